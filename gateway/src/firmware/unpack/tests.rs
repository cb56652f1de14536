//! Archives as tar writes them, and as nobody should.

use proptest::prelude::*;

use super::*;

const FILE: &str = "firmware";
const MOST: u64 = 1 << 10;

/// A file as it stands in an archive; `change` comes before the sum of the header.
fn entry(name: &str, bytes: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut header = vec![0; BLOCK];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[124..135].copy_from_slice(format!("{:011o}", bytes.len()).as_bytes());
    header[156] = b'0';
    header[257..263].copy_from_slice(b"ustar\0");
    change(&mut header);
    header[148..156].fill(b' ');
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header.extend(bytes);
    header.resize(header.len().next_multiple_of(BLOCK), 0);
    header
}

fn plain(name: &str, bytes: &[u8]) -> Vec<u8> {
    entry(name, bytes, |_| {})
}

/// The file in the archive, if it is there; what was written is never more than it may be.
fn searched(archive: &[u8]) -> Result<Option<Vec<u8>>, UnpackError> {
    let mut written = Vec::new();
    let found = search(&mut Cursor(archive), (FILE, MOST), &mut written);
    assert!(written.len() as u64 <= MOST * 2);
    Ok(found?.map(|(digest, size)| {
        assert_eq!((digest, size), (Digest::of(&written), written.len() as u64));
        written
    }))
}

/// Hands out bytes in small pieces, as a decoder does.
struct Cursor<'b>(&'b [u8]);

impl Read for Cursor<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (now, later) = self.0.split_at(self.0.len().min(buffer.len()).min(100));
        buffer[..now.len()].copy_from_slice(now);
        self.0 = later;
        Ok(now.len())
    }
}

#[test]
fn a_file_is_found_in_the_root_alone_and_whatever_stands_before_it() {
    let archive = |before: Vec<u8>, name: &str| [before, plain(name, b"the image")].concat();
    let found = Some(b"the image".to_vec());
    for name in ["firmware", "./firmware", "/firmware"] {
        assert_eq!(searched(&archive(plain("other", &[7; 700]), name)).unwrap(), found, "{name}");
    }
    for name in ["firmware.bin", "etc/firmware", "../firmware", "firmware/"] {
        assert_eq!(searched(&archive(Vec::new(), name)).unwrap(), None, "{name}");
    }
    let below = entry("firmware", b"x", |header| header[345..348].copy_from_slice(b"etc"));
    assert_eq!(searched(&below).unwrap(), None, "its folder stands in another field");
    let link = entry("firmware", b"", |header| header[156] = b'2');
    assert_eq!(searched(&archive(link, "firmware")).unwrap(), found, "a link is no file");
    assert_eq!(searched(&plain("firmware", b"")).unwrap(), Some(Vec::new()));
}

#[test]
fn a_size_is_octal_or_after_a_set_bit_binary() {
    let binary = |bytes: [u8; 12]| entry("firmware", b"x", |header| header[124..136].copy_from_slice(&bytes));
    assert_eq!(searched(&binary([0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])).unwrap(), Some(b"x".to_vec()));
    let told = searched(&binary([0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])).unwrap_err();
    assert!(matches!(told, UnpackError::Size { size, .. } if size == u64::MAX >> 1), "{told}");
    let told = searched(&binary([0xff; 12])).unwrap_err();
    assert!(matches!(told, UnpackError::Archive(_)), "{told}");
}

#[test]
fn what_is_cut_off_or_damaged_is_no_archive() {
    let whole = plain("firmware", &[1; 600]);
    for cut in [1, 511, 513, 1_000] {
        assert!(matches!(searched(&whole[..cut]), Err(UnpackError::Archive(_))), "after {cut} bytes");
    }
    let mut damaged = whole;
    damaged[3] ^= 1;
    assert!(matches!(searched(&damaged), Err(UnpackError::Archive(_))));
    let twice = [plain("firmware", b"one"), plain("./firmware", b"two")].concat();
    assert!(matches!(searched(&twice), Err(UnpackError::Twice(FILE))));
    let large = plain("firmware", &[0; MOST as usize + 1]);
    assert!(matches!(searched(&large), Err(UnpackError::Size { .. })));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..2_000),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        field in prop::collection::vec(any::<u8>(), 0..13),
    ) {
        let _ = (searched(&bytes), number(&field));
        // One that is damaged, and one whose sum is right all the same.
        let mut archive = [plain("other", b"x"), plain("firmware", &[1; 600])].concat();
        let at = at.index(archive.len());
        archive[at] = byte;
        let _ = searched(&archive);
        let _ = searched(&entry("firmware", &bytes, |header| header[at % 148] = byte));
        let _ = searched(&entry("firmware", &bytes, |header| header[124..124 + field.len()].copy_from_slice(&field)));
    }
}
