//! Fetches a release, if it is trusted: into what the gateway keeps, or into a file.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::{Signed, failure, resolve, written};
use crate::cli::plugin::place::{self, Place};
use crate::cli::{Exit, Failure, Output};
use crate::firmware::{self, Image};

#[derive(Debug, Args)]
pub(super) struct Pull {
    /// The release: `oci://…`, `oci-layout://…`, a file, or `name:version` of what the gateway knows.
    reference: String,
    /// Write the image into this file; without it the gateway keeps it.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    signed: Signed,
    #[command(flatten)]
    place: Place,
}

impl Pull {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let stage = self.signed.open(&self.place)?;
        if stage.config.is_none() && self.to.is_none() {
            let text =
                "there is no configuration, so no gateway would keep it; name it with `-c`, or a file with `--to`";
            return Err(Failure::new(Exit::Usage, text));
        }
        let reference = written(&self.reference)?;
        resolve(&stage, &reference).map_err(|error| place::failure(&error))?;
        let config = self.signed.settings(&stage, &reference);
        let (known, image) = firmware::fetch(&config, &stage.artifacts, &reference).map_err(|why| failure(&why))?;
        if let Some(file) = &self.to {
            let written = write(file, &image);
            written.map_err(|error| Failure::new(Exit::Io, format!("{}: {error}", file.display())))?;
        }
        let release = &known.release;
        if output.is_json() {
            output.json(&json!({
                "reference": known.wanted.reference.to_string(),
                "digest": known.digest().to_string(),
                "name": release.name,
                "version": release.version,
                "image": release.image,
                "bytes": release.size,
                "signed_by": known.signed_by,
                "file": self.to,
            }));
        } else {
            output.line(format_args!("{}:{} {}", release.name, release.version, known.wanted.reference));
        }
        Ok(())
    }
}

/// The file appears under its name only when it is whole.
fn write(file: &Path, image: &Image) -> io::Result<()> {
    const CHUNK: u32 = 1 << 20;
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".part");
    let copy = || {
        let mut part = fs::File::create(&unfinished)?;
        let mut at = 0;
        while at < image.size() {
            let block = image.block(at, CHUNK)?;
            part.write_all(&block)?;
            at += block.len() as u64;
        }
        fs::rename(&unfinished, file)
    };
    copy().inspect_err(|_| drop(fs::remove_file(&unfinished)))
}
