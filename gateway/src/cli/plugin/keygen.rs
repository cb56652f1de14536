//! A key pair for those who release plugins.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::artifacts::signature::{KeyKind, PrivateKey};
use crate::cli::{Exit, Failure, Output};

#[derive(Debug, Args)]
pub(super) struct Keygen {
    /// Where to: `NAME.key` is the private key, `NAME.pub` the public one. Nothing is overwritten.
    #[arg(long, value_name = "NAME", default_value = "plugin-release")]
    to: PathBuf,
    /// An Ed25519 key in place of an ECDSA key on P-256.
    #[arg(long)]
    ed25519: bool,
}

/// For its owner alone.
const PRIVATE: u32 = 0o600;

/// For everyone to read.
const PUBLIC: u32 = 0o644;

impl Keygen {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let kind = if self.ed25519 { KeyKind::Ed25519 } else { KeyKind::EcdsaP256 };
        let internal = |error: &dyn std::error::Error| Failure::new(Exit::Internal, error.to_string());
        let key = PrivateKey::generate(kind).map_err(|error| internal(&error))?;
        let (private, public) = (with_ending(&self.to, "key"), with_ending(&self.to, "pub"));
        create(&private, PRIVATE, &key.to_pem())?;
        // A private key without its public one would be of no use, and in the way of the next attempt.
        create(&public, PUBLIC, &key.public_key_pem()).inspect_err(|_| drop(fs::remove_file(&private)))?;
        let id = self.to.file_name().map_or_else(String::new, |name| name.to_string_lossy().to_lowercase());
        if output.is_json() {
            output.json(&json!({ "private": private, "public": public, "kind": kind.name(), "id": id }));
        } else {
            output.line(format_args!("private key  {}: for those who release, and nobody else", private.display()));
            output.line(format_args!("public key   {}: for gateways, in their configuration:", public.display()));
            output.text(&format!("\ntrust:\n  keys:\n  - {{id: {id}, file: {}}}\n", public.display()));
        }
        Ok(())
    }
}

/// The ending comes after the whole name: `release-1.2` stays what it is.
fn with_ending(name: &Path, ending: &str) -> PathBuf {
    let mut text = name.as_os_str().to_owned();
    text.push(".");
    text.push(ending);
    text.into()
}

/// Writes a file that is not there yet, with these permissions from the first byte on.
fn create(path: &Path, mode: u32, text: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Io, format!("{}: {error}", path.display()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_in_the_name_is_part_of_the_name() {
        assert_eq!(with_ending(Path::new("keys/release-1.2"), "pub"), Path::new("keys/release-1.2.pub"));
    }
}
