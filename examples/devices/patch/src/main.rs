//! Applies a patch to a file, as a device applies one to its flash: `apply-patch OLD PATCH NEW`.

use std::env;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::process::ExitCode;

use causeway_device_patch::{Apply, Slots};

/// What a device takes at once.
const BLOCK: usize = 512;

/// The running image, and the one that is being written.
struct Files {
    old: Vec<u8>,
    new: BufWriter<File>,
    failed: Option<std::io::Error>,
}

impl Slots for Files {
    fn old(&mut self, at: u32) -> Option<u8> {
        self.old.get(usize::try_from(at).ok()?).copied()
    }

    fn append(&mut self, byte: u8) {
        if let Err(error) = self.new.write_all(&[byte]) {
            self.failed.get_or_insert(error);
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [old, patch, new] = arguments.as_slice() else {
        eprintln!("usage: apply-patch OLD PATCH NEW");
        return ExitCode::from(2);
    };
    match apply(old, patch, new) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("apply-patch: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn apply(old: &str, patch: &str, new: &str) -> Result<(), String> {
    let named = |name: &str, error: std::io::Error| format!("{name}: {error}");
    let patch_bytes = fs::read(patch).map_err(|error| named(patch, error))?;
    let old = fs::read(old).map_err(|error| named(old, error))?;
    let created = File::create(new).map_err(|error| named(new, error))?;
    let mut files = Files { old, new: BufWriter::new(created), failed: None };
    let mut apply = Apply::new();
    for block in patch_bytes.chunks(BLOCK) {
        apply.push(block, &mut files).map_err(|bad| format!("{patch}: {bad:?}"))?;
    }
    apply.finish().map_err(|bad| format!("{patch}: {bad:?}"))?;
    match files.failed {
        Some(error) => Err(named(new, error)),
        None => files.new.flush().map_err(|error| named(new, error)),
    }
}
