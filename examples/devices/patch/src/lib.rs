//! How a device applies a firmware patch of the format `detools-heatshrink`, block by block as it comes: a reference to read
//! or to use as it is. It has no `unsafe`, no allocation, no dependency, and needs 330 bytes of memory.
//!
//! The patch never holds the whole image: it says which bytes of the running one to copy, what to add to them and what is
//! new. The device writes the result into its other slot, and compares its SHA-256 with the checksum of the Swap command
//! before it starts it, exactly as with a full image. Firmware in C uses the library of `detools` for the same.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

/// The two places of firmware.
pub trait Slots {
    /// The byte of the running image at `at`; none behind its end.
    fn old(&mut self, at: u32) -> Option<u8>;
    /// Appends a byte to the new image.
    fn append(&mut self, byte: u8);
}

/// The patch is none, or not one for the image that runs. The device asks for the full image then: it reports its version
/// without the format.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bad {
    /// It does not begin like a patch of this format.
    Header,
    /// A number of it is larger than an image can be.
    Number,
    /// It reaches beyond one of the images.
    Range,
    /// It ended before the new image was whole.
    Cut,
}

/// The window of the compression: 2^8 bytes.
const WINDOW: usize = 256;

/// The second byte of what is compressed says 2^8 and 2^7: `(8 - 4) << 4 | (7 - 3)`.
const SIZES: u8 = 0x44;

/// What the next byte of the patch is, before it is compressed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outer {
    Kind,
    NewSize(Number),
    Sizes,
    Compressed,
}

/// What the next byte is that comes out of the compression.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Inner {
    /// The size of what is special to a processor; there is none.
    Special(Number),
    NearlySize(Number),
    Nearly(u32),
    ExtraSize(Number),
    Extra(u32),
    Seek(Number),
}

/// What the next bits are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Bits {
    Tag,
    Literal,
    Distance,
    Length(u16),
}

/// A number of several bytes, as far as it came.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Number {
    value: u64,
    bits: u8,
    negative: bool,
}

impl Number {
    /// Takes a byte; true once it was the last.
    fn push(&mut self, byte: u8) -> Result<bool, Bad> {
        if self.bits == 0 {
            self.negative = byte & 0x40 != 0;
            self.value = u64::from(byte & 0x3f);
            self.bits = 6;
        } else {
            if self.bits > 34 {
                return Err(Bad::Number);
            }
            self.value |= u64::from(byte & 0x7f) << self.bits;
            self.bits += 7;
        }
        Ok(byte & 0x80 == 0)
    }

    /// A size: never negative, and no larger than an image.
    fn size(self) -> Result<u32, Bad> {
        if self.negative { Err(Bad::Number) } else { u32::try_from(self.value).map_err(|_| Bad::Number) }
    }
}

/// A patch that is being applied. It can be written to flash between two blocks, and be gone on with after a reset.
#[derive(Clone, Debug)]
pub struct Apply {
    outer: Outer,
    inner: Inner,
    /// The compression.
    bits: Bits,
    collected: u16,
    count: u8,
    window: [u8; WINDOW],
    head: u8,
    /// Bytes that the new image still has to get.
    left: u32,
    /// Where in the old image it is.
    at: i64,
}

impl Default for Apply {
    fn default() -> Self {
        Self::new()
    }
}

impl Apply {
    /// Nothing of the patch has come yet.
    #[must_use]
    pub const fn new() -> Self {
        const ZERO: Number = Number { value: 0, bits: 0, negative: false };
        Self {
            outer: Outer::Kind,
            inner: Inner::Special(ZERO),
            bits: Bits::Tag,
            collected: 0,
            count: 0,
            window: [0; WINDOW],
            head: 0,
            left: 0,
            at: 0,
        }
    }

    /// The next block of the patch, of any length.
    pub fn push(&mut self, block: &[u8], slots: &mut impl Slots) -> Result<(), Bad> {
        for byte in block {
            self.outer(*byte, slots)?;
        }
        Ok(())
    }

    /// All of the patch has come: the new image must be whole.
    pub fn finish(&self) -> Result<(), Bad> {
        let is_whole = self.left == 0 && matches!(self.outer, Outer::Sizes | Outer::Compressed);
        // Where it went on in the old image does not matter any more, but it has to be said.
        let is_told = self.outer == Outer::Sizes || matches!(self.inner, Inner::NearlySize(number) if number.bits == 0);
        if is_whole && is_told { Ok(()) } else { Err(Bad::Cut) }
    }

    fn outer(&mut self, byte: u8, slots: &mut impl Slots) -> Result<(), Bad> {
        match &mut self.outer {
            Outer::Kind if byte == 0x04 => self.outer = Outer::NewSize(Number::default()),
            Outer::Sizes if byte == SIZES && self.left > 0 => self.outer = Outer::Compressed,
            Outer::Kind | Outer::Sizes => return Err(Bad::Header),
            Outer::NewSize(number) => {
                if number.push(byte)? {
                    self.left = number.size()?;
                    self.outer = Outer::Sizes;
                }
            }
            Outer::Compressed => {
                for at in (0..8).rev() {
                    self.bit(byte >> at & 1, slots)?;
                }
            }
        }
        Ok(())
    }

    /// One bit of what is compressed: `1` and a byte, or `0`, how far back and how many.
    fn bit(&mut self, bit: u8, slots: &mut impl Slots) -> Result<(), Bad> {
        let wanted = match self.bits {
            Bits::Tag => 1,
            Bits::Literal | Bits::Distance => 8,
            Bits::Length(_) => 7,
        };
        self.collected = self.collected << 1 | u16::from(bit);
        self.count += 1;
        if self.count < wanted {
            return Ok(());
        }
        let value = self.collected;
        (self.collected, self.count) = (0, 0);
        self.bits = match self.bits {
            Bits::Tag if value == 1 => Bits::Literal,
            Bits::Tag => Bits::Distance,
            Bits::Distance => Bits::Length(value + 1),
            Bits::Literal => {
                self.out(value as u8, slots)?;
                Bits::Tag
            }
            Bits::Length(distance) => {
                for _ in 0..=value {
                    let from = usize::from(self.head).wrapping_sub(usize::from(distance)) % WINDOW;
                    self.out(self.window[from], slots)?;
                }
                Bits::Tag
            }
        };
        Ok(())
    }

    /// One byte of what was compressed.
    fn out(&mut self, byte: u8, slots: &mut impl Slots) -> Result<(), Bad> {
        self.window[usize::from(self.head)] = byte;
        self.head = self.head.wrapping_add(1);
        let none = Number::default();
        self.inner = match self.inner {
            Inner::Special(mut number) => match number.push(byte)? {
                false => Inner::Special(number),
                true if number.value == 0 => Inner::NearlySize(none),
                true => return Err(Bad::Header),
            },
            Inner::NearlySize(mut number) => match number.push(byte)? {
                false => Inner::NearlySize(number),
                true => match self.within(number.size()?)? {
                    0 => Inner::ExtraSize(none),
                    size => Inner::Nearly(size),
                },
            },
            Inner::Nearly(size) => {
                let at = u32::try_from(self.at).map_err(|_| Bad::Range)?;
                let old = slots.old(at).ok_or(Bad::Range)?;
                slots.append(byte.wrapping_add(old));
                self.at += 1;
                self.left -= 1;
                if size > 1 { Inner::Nearly(size - 1) } else { Inner::ExtraSize(none) }
            }
            Inner::ExtraSize(mut number) => match number.push(byte)? {
                false => Inner::ExtraSize(number),
                true => match self.within(number.size()?)? {
                    0 => Inner::Seek(none),
                    size => Inner::Extra(size),
                },
            },
            Inner::Extra(size) => {
                slots.append(byte);
                self.left -= 1;
                if size > 1 { Inner::Extra(size - 1) } else { Inner::Seek(none) }
            }
            Inner::Seek(mut number) => match number.push(byte)? {
                false => Inner::Seek(number),
                true => {
                    let far = i64::try_from(number.value).map_err(|_| Bad::Number)?;
                    self.at += if number.negative { -far } else { far };
                    Inner::NearlySize(none)
                }
            },
        };
        Ok(())
    }

    fn within(&self, size: u32) -> Result<u32, Bad> {
        if size <= self.left { Ok(size) } else { Err(Bad::Range) }
    }
}
