//! Compression that a microcontroller undoes with 256 bytes of memory: heatshrink, an LZSS with a window of 2^8 bytes and
//! matches of up to 2^7. These are the sizes that `detools` and its C library have by default.

/// The window, and the longest match, as powers of two.
pub(super) const WINDOW_BITS: u32 = 8;
pub(super) const LENGTH_BITS: u32 = 7;

const WINDOW: usize = 1 << WINDOW_BITS;
const LONGEST: usize = 1 << LENGTH_BITS;

/// A match of one byte costs more than the byte does.
const SHORTEST: usize = 2;

/// Compresses what is written, in parts.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    /// What was written and is not compressed yet, behind the last [`WINDOW`] bytes that are.
    bytes: Vec<u8>,
    /// Where in `bytes` that begins.
    at: usize,
    bits: u32,
    bit_count: u32,
    out: Vec<u8>,
}

impl Encoder {
    /// The byte before the compressed ones: the sizes.
    pub(super) fn new() -> Self {
        let sizes = (WINDOW_BITS - 4) << 4 | (LENGTH_BITS - 3);
        Self { out: vec![u8::try_from(sizes).unwrap_or_default()], ..Self::default() }
    }

    /// Compresses more; a little of it waits for what follows.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.compress(2 * LONGEST);
        if self.at > 64 * WINDOW {
            self.bytes.drain(..self.at - WINDOW);
            self.at = WINDOW;
        }
    }

    /// How much there is so far.
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// All of it.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.compress(0);
        if self.bit_count > 0 {
            self.put(0, 8 - self.bit_count);
        }
        self.out
    }

    /// Compresses all but the last `left` bytes.
    fn compress(&mut self, left: usize) {
        while self.at + left < self.bytes.len() {
            let (distance, length) = self.longest(self.at);
            // One byte later there may be a match that is worth more than this one.
            let is_better_later = length < LONGEST && self.longest(self.at + 1).1 > length + 1;
            if length < SHORTEST || is_better_later {
                let byte = self.bytes.get(self.at).copied().unwrap_or_default();
                self.put(1 << 8 | u32::from(byte), 9);
                self.at += 1;
            } else {
                self.put(u32::try_from(distance - 1).unwrap_or_default(), WINDOW_BITS + 1);
                self.put(u32::try_from(length - 1).unwrap_or_default(), LENGTH_BITS);
                self.at += length;
            }
        }
    }

    /// The distance and the length of the longest match in the window, the nearest of several.
    fn longest(&self, at: usize) -> (usize, usize) {
        let wanted = self.bytes.get(at..).unwrap_or_default();
        let wanted = wanted.get(..LONGEST).unwrap_or(wanted);
        let mut best = (0, 0);
        for distance in 1..=WINDOW.min(at) {
            let there = self.bytes.get(at - distance..).unwrap_or_default();
            if there.get(best.1) != wanted.get(best.1) {
                continue;
            }
            let length = there.iter().zip(wanted).take_while(|(left, right)| left == right).count();
            if length > best.1 {
                best = (distance, length);
                if length == wanted.len() {
                    break;
                }
            }
        }
        best
    }

    fn put(&mut self, value: u32, count: u32) {
        for at in (0..count).rev() {
            self.bits = self.bits << 1 | (value >> at & 1);
            self.bit_count += 1;
            if self.bit_count == 8 {
                self.out.push(u8::try_from(self.bits & 0xff).unwrap_or_default());
                (self.bits, self.bit_count) = (0, 0);
            }
        }
    }
}
