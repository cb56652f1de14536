//! From an image to an artifact in a registry, in a layout or on this gateway, with its signature.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::artifacts::manifest::{EMPTY, VERSION};
use crate::artifacts::{Descriptor, Digest, Manifest, Reference};
use crate::cli::plugin::place::{Keep, Place, Stage, Trusting};
use crate::cli::plugin::push::{annotation, created, put, tag};
use crate::cli::plugin::sign;
use crate::cli::{Exit, Failure, Output};
use crate::config::FirmwareConfig;
use crate::firmware::layouts::{BLOB, FROM, TITLE, check_version, is_name};
use crate::plugins::component_artifact::{CREATED, REVISION};

/// What the artifact says that it is.
const ARTIFACT: &str = "application/vnd.causeway.firmware.v1";

#[derive(Debug, Args)]
pub(super) struct Push {
    /// The file of the image, as devices are to store it.
    image: PathBuf,
    /// Where to: `oci://host/repository:tag`, or `oci-layout://folder:tag`; without it, on the gateway of the configuration.
    reference: Option<Reference>,
    /// The firmware's name; devices with the same hardware share one.
    #[arg(long)]
    name: String,
    /// Its version, exactly as devices will report it.
    #[arg(long, value_name = "VERSION")]
    version: String,
    /// A version over which it may be installed; may be repeated. Without any, over every one.
    #[arg(long, value_name = "VERSION")]
    from: Vec<String>,
    /// Sign it as well, with this private key (PEM); the tag is set when the signature is there.
    #[arg(long, value_name = "KEY")]
    sign_with: Option<PathBuf>,
    /// The repository that the signature names, `host[:port]/repository`, when it is not pushed into a registry.
    #[arg(long, value_name = "REPOSITORY", requires = "sign_with")]
    sign_as: Option<String>,
    /// The revision of its source.
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// A further annotation; may be repeated.
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = annotation)]
    annotations: Vec<(String, String)>,
    #[command(flatten)]
    place: Place,
}

impl Push {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        // Whatever can be wrong is found before anything is pushed.
        self.check()?;
        let stage = self.place.open(Keep::Nothing, &Trusting::default())?;
        let reference = self.to(&stage)?;
        let key = self.sign_with.as_deref().map(sign::private).transpose()?;
        let key = key.map(|key| Ok::<_, Failure>((key, sign::repository(&reference, self.sign_as.as_deref())?)));
        let key = key.transpose()?;
        let tag = tag(&reference)?;
        let bytes = self.read(&stage)?;
        let manifest = self.manifest(&bytes, created()?);
        let (image, size) = (manifest.layers.first().map(|layer| layer.digest.to_string()), bytes.len());
        let shelf = stage.shelf(&reference, true)?;
        let blobs = vec![Bytes::from_static(b"{}"), bytes.into()];
        let digest = put(&shelf, &manifest, blobs, key, tag.as_deref())?;
        let pinned = reference.at(digest);
        if output.is_json() {
            output.json(&json!({
                "reference": pinned.to_string(),
                "digest": digest.to_string(),
                "name": self.name,
                "version": self.version,
                "image": image,
                "bytes": size,
                "signed": self.sign_with.is_some(),
            }));
        } else {
            output.line(pinned);
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Failure> {
        let wrong = |text: String| Err(Failure::new(Exit::Usage, text));
        if !is_name(&self.name) {
            let name = &self.name;
            return wrong(format!("--name: `{name}` is none: letters, digits, `.`, `_` and `-`, at most 64 of them"));
        }
        for (argument, version) in self.from.iter().map(|from| ("--from", from)).chain([("--version", &self.version)]) {
            if let Err(error) = check_version(version) {
                return wrong(format!("{argument}: {error}"));
            }
        }
        Ok(())
    }

    /// Where it goes; without a reference into the gateway's own layout, under its name and version.
    fn to(&self, stage: &Stage) -> Result<Reference, Failure> {
        if let Some(reference) = &self.reference {
            return Ok(reference.clone());
        }
        let Some(config) = &stage.config else {
            let text =
                "there is no configuration, so there is no gateway to keep it; name it with `-c`, or where to push to";
            return Err(Failure::new(Exit::Usage, text));
        };
        Ok(Reference::Layout {
            path: config.firmware.dir.clone(),
            tag: Some(own_tag(&self.name, &self.version)),
            digest: None,
        })
    }

    fn read(&self, stage: &Stage) -> Result<Vec<u8>, Failure> {
        let failed = |exit, why: &dyn std::fmt::Display| Failure::new(exit, format!("{}: {why}", self.image.display()));
        let size = fs::metadata(&self.image).map_err(|error| failed(Exit::Io, &error))?.len();
        let config = stage.config.as_ref().map_or_else(FirmwareConfig::default, |config| config.firmware.clone());
        let most = config.max_image;
        if size > most.bytes() {
            return Err(failed(Exit::Usage, &format!("it has {size} bytes, more than {most} (`firmware.max_image`)")));
        }
        fs::read(&self.image).map_err(|error| failed(Exit::Io, &error))
    }

    /// The artifact, as `oras push image:application/octet-stream` lays it out.
    fn manifest(&self, bytes: &[u8], created: OffsetDateTime) -> Manifest {
        let mut layer = Descriptor::of(BLOB, bytes);
        let file = self.image.file_name().map_or_else(|| self.name.clone(), |name| name.to_string_lossy().into_owned());
        layer.annotations.insert(TITLE.to_owned(), file);
        let mut annotations: BTreeMap<String, String> = self.annotations.iter().cloned().collect();
        annotations.insert(TITLE.to_owned(), self.name.clone());
        annotations.insert(VERSION.to_owned(), self.version.clone());
        if !self.from.is_empty() {
            annotations.insert(FROM.to_owned(), json!(self.from).to_string());
        }
        if let Some(revision) = &self.revision {
            annotations.insert(REVISION.to_owned(), revision.clone());
        }
        if let Ok(created) = created.format(&Rfc3339) {
            annotations.entry(CREATED.to_owned()).or_insert(created);
        }
        // Its annotations say everything.
        let config = Descriptor::of(EMPTY, b"{}");
        Manifest { artifact_type: Some(ARTIFACT.to_owned()), config, layers: vec![layer], annotations }
    }
}

/// The tag of a release in the gateway's own layout; no two releases have the same.
///
/// `__` stands between name and version, and for what a tag cannot have, and for `_`, there is `_` and its hexadecimal
/// value. A tag that would be too long begins with its hash, as no name does.
fn own_tag(name: &str, version: &str) -> String {
    const LONGEST: usize = 128;
    let tag = format!("{}__{}", tagged(name), tagged(version));
    if tag.len() <= LONGEST { tag } else { format!("_{}-{tag:.60}", Digest::of(tag.as_bytes()).hex()) }
}

fn tagged(text: &str) -> String {
    let each = text.bytes().map(|byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' => char::from(byte).to_string(),
        other => format!("_{other:02x}"),
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_tag(tag: &str) -> bool {
        format!("oci-layout://folder:{tag}").parse::<Reference>().is_ok()
    }

    #[test]
    fn a_name_and_a_version_make_a_tag() {
        assert_eq!(own_tag("motor", "1.2.0"), "motor__1.2.0");
        assert_eq!(own_tag("pump_a", "1.2.0+build 7"), "pump_5fa__1.2.0_2bbuild_207");
        let longest = own_tag(&"n".repeat(64), &"é".repeat(32));
        assert!(is_tag(&longest) && longest.contains("-nnn"), "{longest}");
    }

    #[test]
    fn releases_that_differ_have_tags_that_differ() {
        let versions = |last: char| format!("{}{last}", "é".repeat(31));
        for (one, other) in [
            (("a-b", "c"), ("a", "b-c")),
            (("a", "1+2"), ("a", "1 2")),
            (("a", "1_2"), ("a", "1 2")),
            (("a", "__b"), ("a_", "_b")),
            (("a", "é"), ("a", "è")),
            (("a", &versions('e')), ("a", &versions('f'))),
        ] {
            assert_ne!(own_tag(one.0, one.1), own_tag(other.0, other.1), "{one:?} and {other:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_pushed_has_a_tag_of_its_own(
            one in ("[a-c][_.a-]{0,63}", "[ _+a.-]{1,64}"),
            other in ("[a-c][_.a-]{0,63}", "[ _+a.-]{1,64}"),
        ) {
            let tags = [&one, &other].map(|(name, version)| own_tag(name, version));
            prop_assert!(tags.iter().all(|tag| is_tag(tag)), "{:?}", tags);
            prop_assert_eq!(one == other, tags[0] == tags[1]);
        }
    }
}
