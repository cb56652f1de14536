//! A patch as bytes: what `detools` calls a sequential patch with heatshrink, which its C library applies block by block.
//!
//! Pure: time and bounds are arguments. `docs/adr/0006-firmware-patches.md` says why this one.

use super::bsdiff::{self, Part, TooLong};
use super::heatshrink::Encoder;

/// What devices call it.
pub const FORMAT: &str = "detools-heatshrink";

/// The first byte: a sequential patch (0) whose compression is heatshrink (4).
const KIND: u8 = 0x04;

/// Why there is no patch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum No {
    /// It would be larger than it may be.
    NotWorth,
    /// It took too long.
    TooLong,
}

/// Makes the patch from one image to another, of `most` bytes at most, until it is `enough`.
pub(super) fn make(old: &[u8], new: &[u8], most: usize, mut enough: impl FnMut() -> bool) -> Result<Vec<u8>, No> {
    let mut head = vec![KIND];
    size(&mut head, new.len() as u64, false);
    if new.is_empty() {
        return Ok(head);
    }
    let mut body = Encoder::new();
    // No part of it is code of a processor that needs special care.
    body.write(&[0]);
    let mut before: Option<Part> = None;
    let done = bsdiff::parts(old, new, &mut enough, |part| {
        if let Some(before) = before.replace(part) {
            write(&mut body, old, new, before, Some(part.old));
        }
        head.len() + body.len() <= most
    });
    done.map_err(|TooLong| No::TooLong)?;
    if let Some(last) = before {
        write(&mut body, old, new, last, None);
    }
    head.extend(body.finish());
    if head.len() <= most { Ok(head) } else { Err(No::NotWorth) }
}

/// The differences, the bytes that are new, and how far to go in the old image to where the next part begins.
fn write(body: &mut Encoder, old: &[u8], new: &[u8], part: Part, next: Option<usize>) {
    let Part { old: from, new: to, nearly, extra } = part;
    let mut number = Vec::new();
    size(&mut number, nearly as u64, false);
    body.write(&number);
    let old = old.get(from..).unwrap_or_default();
    let new = new.get(to..).unwrap_or_default();
    let differences: Vec<u8> = new.iter().zip(old).take(nearly).map(|(new, old)| new.wrapping_sub(*old)).collect();
    body.write(&differences);
    number.clear();
    size(&mut number, extra as u64, false);
    body.write(&number);
    body.write(new.get(nearly..nearly + extra).unwrap_or_default());
    number.clear();
    let end = from + nearly;
    let next = next.unwrap_or(end);
    size(&mut number, end.abs_diff(next) as u64, next < end);
    body.write(&number);
}

/// A number: six bits and the sign in the first byte, seven in each that follows.
fn size(to: &mut Vec<u8>, value: u64, negative: bool) {
    let byte = |bits: u64| u8::try_from(bits).unwrap_or_default();
    let (first, mut rest) = (byte(value & 0x3f), value >> 6);
    let more = |rest: u64| if rest > 0 { 0x80 } else { 0 };
    to.push(more(rest) | if negative { 0x40 } else { 0 } | first);
    while rest > 0 {
        let bits = byte(rest & 0x7f);
        rest >>= 7;
        to.push(more(rest) | bits);
    }
}

#[cfg(test)]
#[expect(unreachable_pub, reason = "it is a package of its own, for devices")]
#[path = "../../../../examples/devices/patch/src/lib.rs"]
mod device;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::artifacts::Digest;

    /// What a device makes of a patch that it gets in blocks of this size.
    fn applied(old: &[u8], patch: &[u8], block: usize) -> Result<Vec<u8>, device::Bad> {
        let mut new = Vec::new();
        let mut apply = device::Apply::new();
        for block in patch.chunks(block) {
            apply.push(block, &mut Memory { old, new: &mut new })?;
        }
        apply.finish()?;
        Ok(new)
    }

    struct Memory<'m> {
        old: &'m [u8],
        new: &'m mut Vec<u8>,
    }

    impl device::Slots for Memory<'_> {
        fn old(&mut self, at: u32) -> Option<u8> {
            self.old.get(at as usize).copied()
        }

        fn append(&mut self, byte: u8) {
            self.new.push(byte);
        }
    }

    fn made(old: &[u8], new: &[u8]) -> Vec<u8> {
        make(old, new, usize::MAX, || false).unwrap()
    }

    #[test]
    fn a_small_change_of_a_large_image_is_a_small_patch() {
        let old: Vec<u8> = (0..40_000_u32).flat_map(|at| (at.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
        let mut new = old.clone();
        // Somewhere a function grew, and what calls it has another address.
        new.splice(30_000..30_010, *b"a longer function");
        new[90_000] ^= 0x11;
        let patch = made(&old, &new);
        assert!(patch.len() < 4_000, "{} bytes", patch.len());
        for block in [1, 7, 512, usize::MAX] {
            assert_eq!(applied(&old, &patch, block).unwrap(), new, "in blocks of {block}");
        }
    }

    #[test]
    fn what_is_not_worth_it_or_takes_too_long_is_no_patch() {
        let old = vec![0; 10_000];
        let new: Vec<u8> = (0..300_u32).flat_map(|at| Digest::of(&at.to_le_bytes()).bytes()).collect();
        assert_eq!(make(&old, &new, 5_000, || false), Err(No::NotWorth));
        assert_eq!(make(&old, &new, usize::MAX, || true), Err(No::TooLong));
        let mut asked = 0;
        let later = make(&old, &new, usize::MAX, || {
            asked += 1;
            asked > 3
        });
        assert_eq!(later, Err(No::TooLong));
    }

    #[test]
    fn a_patch_that_was_cut_or_is_of_something_else_is_noticed() {
        let (old, new) = (b"motor controller 0.1.0 of acme".repeat(9), b"motor controller 0.1.1 of acme!".repeat(9));
        let patch = made(&old, &new);
        for length in 0..patch.len() {
            assert!(applied(&old, &patch[..length], 64).is_err(), "after {length} bytes");
        }
        assert!(applied(&old[..9], &patch, 64).is_err());
    }

    fn image() -> impl Strategy<Value = Vec<u8>> {
        // Few different bytes, so that there is something in common.
        proptest::collection::vec(0_u8..4, 0..600)
    }

    proptest! {
        #[test]
        fn a_device_makes_the_new_image_of_the_old_one(old in image(), new in image(), block in 1_usize..70) {
            prop_assert_eq!(applied(&old, &made(&old, &new), block).unwrap(), new);
        }

        #[test]
        fn edits_of_an_image_are_found(old in proptest::collection::vec(any::<u8>(), 1..2000), edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 0..20)) {
            let mut new = old.clone();
            for (at, byte, insert) in edits {
                let at = at.index(new.len());
                if insert { new.insert(at, byte) } else { new[at] = byte }
            }
            prop_assert_eq!(applied(&old, &made(&old, &new), 512).unwrap(), new);
        }

        #[test]
        fn no_bytes_make_a_device_panic(old in image(), bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = applied(&old, &bytes, 64);
            let framed = [&[0x04, 0x3f, 0x44][..], &bytes].concat();
            let _ = applied(&old, &framed, 64);
        }
    }
}
