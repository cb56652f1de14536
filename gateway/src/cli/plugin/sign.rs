//! A signature for an artifact or a file: made here, or made elsewhere and attached.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::Args;
use serde_json::json;

use super::place::{Keep, Place, Trusting, failure};
use crate::artifacts::shelf::{Parcel, Shelf};
use crate::artifacts::signature::{self, Payload, PrivateKey, PublicKey, Signed};
use crate::artifacts::{Digest, Reference};
use crate::cli::{Exit, Failure, Output};

/// How the file with a file's signature ends.
const ENDING: &str = "sig";

#[derive(Debug, Args)]
pub(super) struct Sign {
    /// What to sign: `oci://host/repository:tag`, `oci-layout://folder:tag`, or a component file.
    reference: Reference,
    /// The private key (PEM, PKCS#8); with --attach the public one.
    #[arg(long, value_name = "KEY", required_unless_present = "payload")]
    key: Option<PathBuf>,
    /// The repository that the signature names, `host[:port]/repository`; needed for a layout.
    #[arg(long = "as", value_name = "REPOSITORY")]
    repository: Option<String>,
    /// Sign nothing: write the text that is to be signed into this file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["attach", "key"])]
    payload: Option<PathBuf>,
    /// Sign nothing: attach the signature in this file, Base64 as `openssl base64` writes it.
    #[arg(long, value_name = "FILE")]
    attach: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

impl Sign {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        match &self.reference {
            Reference::File(file) => self.file(file, output),
            Reference::Builtin(_) => Err(usage("what is part of the program needs no signature")),
            Reference::Registry(_) | Reference::Layout { .. } => self.artifact(output),
        }
    }

    fn artifact(&self, output: &mut Output) -> Result<(), Failure> {
        let stage = self.place.open(Keep::Nothing, &Trusting::default())?;
        let shelf = stage.shelf(&self.reference, false)?;
        let digest = shelf.digest().map_err(|error| failure(&error))?;
        // What is not there cannot be signed by mistake.
        shelf.manifest(&digest).map_err(|error| failure(&error))?;
        let repository = repository(&self.reference, self.repository.as_deref())?;
        let payload = Payload { repository, digest };
        if let Some(file) = &self.payload {
            return write(file, &payload.to_bytes(), output);
        }
        let (signed, key) = self.signed(&payload.to_bytes())?;
        let added = attach(&shelf, &digest, signed, &key)?;
        if output.is_json() {
            output.json(&json!({ "digest": digest.to_string(), "repository": payload.repository, "added": added }));
        } else {
            let text = if added { "signed" } else { "signed already" };
            output.line(format_args!("{text}: {digest} for {}", payload.repository));
        }
        Ok(())
    }

    /// A file is its own text.
    fn file(&self, file: &Path, output: &mut Output) -> Result<(), Failure> {
        if self.payload.is_some() || self.repository.is_some() {
            return Err(usage("a file is signed as it is: leave `--payload` and `--as` out"));
        }
        let bytes = fs::read(file).map_err(|error| io(file, &error))?;
        let (signed, _) = self.signed(&bytes)?;
        let mut to = file.as_os_str().to_owned();
        to.push(".");
        to.push(ENDING);
        write(Path::new(&to), STANDARD.encode(signed.signature).as_bytes(), output)
    }

    /// The signature of a text, and the key that verifies it: made with the private key, or read with the public one.
    fn signed(&self, text: &[u8]) -> Result<(Signed, PublicKey), Failure> {
        let Some(key) = &self.key else { return Err(usage("name the key: `--key`")) };
        let Some(file) = &self.attach else { return sign(&private(key)?, text) };
        let public = PublicKey::from_pem(&read(key)?).map_err(|error| wrong(key, &error))?;
        let signature = signature::decode(&read(file)?);
        let signature =
            signature.ok_or_else(|| wrong(file, &"it holds no signature in Base64; `openssl base64 -A` writes one"))?;
        if public.verifies(text, &signature) {
            return Ok((Signed { payload: text.to_owned(), signature }, public));
        }
        let reason = format!("it is no signature of this by the key in {}", key.display());
        Err(wrong(file, &reason))
    }
}

/// The private key in a file.
pub(in crate::cli) fn private(key: &Path) -> Result<PrivateKey, Failure> {
    PrivateKey::from_pem(&read(key)?).map_err(|error| wrong(key, &error))
}

fn sign(key: &PrivateKey, text: &[u8]) -> Result<(Signed, PublicKey), Failure> {
    let signature = key.sign(text).map_err(|error| Failure::new(Exit::Internal, error.to_string()))?;
    Ok((Signed { payload: text.to_owned(), signature }, key.public_key()))
}

/// Signs an image of a shelf.
pub(in crate::cli) fn sign_image(
    shelf: &Shelf<'_>,
    digest: &Digest,
    repository: String,
    key: &PrivateKey,
) -> Result<(), Failure> {
    let payload = Payload { repository, digest: *digest };
    let (signed, key) = sign(key, &payload.to_bytes())?;
    attach(shelf, digest, signed, &key).map(drop)
}

/// The repository that a signature is to name.
pub(in crate::cli) fn repository(reference: &Reference, named: Option<&str>) -> Result<String, Failure> {
    let own = || reference.repository_name();
    named.map(str::to_owned).or_else(own).ok_or_else(|| {
        usage("a layout has no repository of its own: name the one that it is signed for, as in `--as registry.example.com/acme/alarm`")
    })
}

/// Puts a signature beside those that are there, unless the key has signed the same already; whether it did.
fn attach(shelf: &Shelf<'_>, digest: &Digest, signed: Signed, key: &PublicKey) -> Result<bool, Failure> {
    let evidence = shelf.evidence(digest).map_err(|error| failure(&error))?;
    let is_same = |other: &Signed| other.payload == signed.payload && key.verifies(&other.payload, &other.signature);
    if evidence.signatures.iter().any(is_same) {
        return Ok(false);
    }
    let image = shelf.signatures(digest).map_err(|error| failure(&error))?;
    let payload = Bytes::copy_from_slice(&signed.payload);
    let (manifest, config) = signed.added_to(image);
    let parcel = Parcel { manifest: &manifest, blobs: vec![config.into(), payload] };
    shelf.put(parcel, Some(&digest.signature_tag())).map_err(|error| failure(&error))?;
    Ok(true)
}

fn write(file: &Path, bytes: &[u8], output: &mut Output) -> Result<(), Failure> {
    fs::write(file, bytes).map_err(|error| io(file, &error))?;
    if output.is_json() {
        output.json(&json!({ "file": file }));
    } else {
        output.line(file.display());
    }
    Ok(())
}

fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| io(file, &error))
}

fn usage(text: &str) -> Failure {
    Failure::new(Exit::Usage, text)
}

fn wrong(file: &Path, why: &impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Usage, format!("{}: {why}", file.display()))
}

fn io(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Io, format!("{}: {error}", file.display()))
}
