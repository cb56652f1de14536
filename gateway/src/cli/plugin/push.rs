//! From a component file to an artifact in a registry or a layout, with its signature.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use causeway_host::Outline;
use clap::Args;
use semver::Version;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::place::{Keep, Place, Trusting, failure};
use super::sign;
use crate::artifacts::shelf::{Parcel, Shelf};
use crate::artifacts::signature::PrivateKey;
use crate::artifacts::{Digest, Manifest, Reference, manifest};
use crate::cli::{Exit, Failure, Output};
use crate::plugins::component_artifact::{CREATED, ComponentArtifact, REVISION, TITLE};

/// When an artifact was made, in seconds since 1970, for builds that shall make the same bytes again.
const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

#[derive(Debug, Args)]
pub(super) struct Push {
    /// The file of the component.
    component: PathBuf,
    /// Where to: `oci://host/repository:tag`, or `oci-layout://folder:tag`.
    reference: Reference,
    /// Sign it as well, with this private key (PEM); the tag is set when the signature is there.
    #[arg(long, value_name = "KEY")]
    sign_with: Option<PathBuf>,
    /// The repository that the signature names, `host[:port]/repository`, when it is pushed into a layout.
    #[arg(long, value_name = "REPOSITORY", requires = "sign_with")]
    sign_as: Option<String>,
    #[command(flatten)]
    labels: Labels,
    #[command(flatten)]
    place: Place,
}

/// What is said of the artifact.
#[derive(Debug, Args)]
struct Labels {
    /// Its version, such as 1.2.0; without it the tag, if that is a version.
    #[arg(long, value_name = "VERSION")]
    version: Option<Version>,
    /// Its name for people; without it the name of the file.
    #[arg(long, value_name = "TITLE")]
    title: Option<String>,
    /// The revision of its source.
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// A further annotation; may be repeated.
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = annotation)]
    annotations: Vec<(String, String)>,
}

pub(in crate::cli) fn annotation(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Push {
    pub(super) fn run(self, output: &mut Output) -> Result<(), Failure> {
        let bytes = fs::read(&self.component).map_err(|error| self.wrong(Exit::Io, &error))?;
        let outline = Outline::read(&bytes).map_err(|error| self.wrong(Exit::Usage, &error))?;
        // Whatever can be wrong is found before anything is pushed.
        let key = self.sign_with.as_deref().map(sign::private).transpose()?;
        let key = key
            .map(|key| Ok::<_, Failure>((key, sign::repository(&self.reference, self.sign_as.as_deref())?)))
            .transpose()?;
        let tag = tag(&self.reference)?;
        let name = self.component.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let annotations = self.labels.annotations(tag.as_deref(), &name, created()?);
        let artifact = ComponentArtifact::of(&bytes, &outline, &name, annotations);
        let stage = self.place.open(Keep::Nothing, &Trusting::default())?;
        let shelf = stage.shelf(&self.reference, true)?;
        let content = Digest::of(&bytes);
        let blobs = vec![artifact.config.into(), bytes.into()];
        let digest = put(&shelf, &artifact.manifest, blobs, key, tag.as_deref())?;
        let pinned = self.reference.clone().at(digest);
        if output.is_json() {
            output.json(&json!({
                "reference": pinned.to_string(),
                "digest": digest.to_string(),
                "component": content.to_string(),
                "version": artifact.manifest.version(),
                "signed": self.sign_with.is_some(),
            }));
        } else {
            output.line(pinned);
        }
        Ok(())
    }

    fn wrong(&self, exit: Exit, why: &dyn std::error::Error) -> Failure {
        Failure::new(exit, format!("{}: {why}", self.component.display()))
    }
}

/// The tag comes last: whoever follows it finds the signature there.
pub(in crate::cli) fn put(
    shelf: &Shelf<'_>,
    manifest: &Manifest,
    blobs: Vec<Bytes>,
    key: Option<(PrivateKey, String)>,
    tag: Option<&str>,
) -> Result<Digest, Failure> {
    let put = |blobs, tag| shelf.put(Parcel { manifest, blobs }, tag).map_err(|error| failure(&error));
    let Some((key, repository)) = key else { return put(blobs, tag) };
    let digest = put(blobs, None)?;
    sign::sign_image(shelf, &digest, repository, &key)?;
    if tag.is_some() {
        put(Vec::new(), tag)?;
    }
    Ok(digest)
}

/// The tag to push to. A digest is what comes of it, not what is asked for.
pub(in crate::cli) fn tag(reference: &Reference) -> Result<Option<String>, Failure> {
    let (tag, digest) = match reference {
        Reference::Registry(image) => (image.tag.clone(), image.digest),
        Reference::Layout { tag, digest, .. } => (tag.clone(), *digest),
        Reference::File(_) | Reference::Builtin(_) => {
            let text = format!("{reference} is no place to push to; write `oci://host/repository:tag`");
            return Err(Failure::new(Exit::Usage, text));
        }
    };
    match digest {
        None => Ok(tag),
        Some(_) => {
            Err(Failure::new(Exit::Usage, format!("{reference}: push to a tag; the digest comes of what is pushed")))
        }
    }
}

impl Labels {
    /// The annotations; what is given by name wins over what is given as an annotation.
    fn annotations(&self, tag: Option<&str>, file: &str, created: OffsetDateTime) -> BTreeMap<String, String> {
        let mut all: BTreeMap<String, String> = self.annotations.iter().cloned().collect();
        let mut set = |key: &str, value: Option<String>, default: Option<String>| {
            if let Some(value) = value {
                all.insert(key.to_owned(), value);
            } else if let Some(value) = default {
                all.entry(key.to_owned()).or_insert(value);
            }
        };
        let of_tag = tag.filter(|tag| Version::parse(tag).is_ok()).map(str::to_owned);
        let plain = file.strip_suffix(".wasm").unwrap_or(file).to_owned();
        set(manifest::VERSION, self.version.as_ref().map(ToString::to_string), of_tag);
        set(TITLE, self.title.clone(), Some(plain));
        set(REVISION, self.revision.clone(), None);
        set(CREATED, None, created.format(&Rfc3339).ok());
        all
    }
}

/// The time of creation: the one that the build says, or now.
pub(in crate::cli) fn created() -> Result<OffsetDateTime, Failure> {
    let Some(epoch) = std::env::var_os(SOURCE_DATE_EPOCH) else {
        let now = OffsetDateTime::now_utc();
        return Ok(now.replace_nanosecond(0).unwrap_or(now));
    };
    let seconds = epoch.to_str().and_then(|text| text.parse().ok());
    let moment = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let wrong = || format!("{SOURCE_DATE_EPOCH}: {epoch:?} is no number of seconds since 1970; mend or unset it");
    moment.ok_or_else(|| Failure::new(Exit::Usage, wrong()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(annotations: &[(&str, &str)]) -> Labels {
        let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Labels { version: None, title: None, revision: None, annotations }
    }

    fn of(labels: &Labels, tag: Option<&str>) -> BTreeMap<String, String> {
        labels.annotations(tag, "alarm.wasm", OffsetDateTime::UNIX_EPOCH)
    }

    #[test]
    fn a_tag_that_is_a_version_is_the_version_unless_another_is_given() {
        assert_eq!(of(&labels(&[]), Some("1.2.0"))[manifest::VERSION], "1.2.0");
        assert!(!of(&labels(&[]), Some("stable")).contains_key(manifest::VERSION));
        let given = Labels { version: Some(Version::new(2, 0, 0)), ..labels(&[(manifest::VERSION, "3.0.0")]) };
        assert_eq!(of(&given, Some("1.2.0"))[manifest::VERSION], "2.0.0");
        assert_eq!(of(&labels(&[(manifest::VERSION, "3.0.0")]), Some("1.2.0"))[manifest::VERSION], "3.0.0");
    }

    #[test]
    fn what_is_not_said_is_made_of_the_file_and_the_time() {
        let all = of(&labels(&[("a", "b=c")]), None);
        assert_eq!(
            (all[TITLE].as_str(), all[CREATED].as_str(), all["a"].as_str()),
            ("alarm", "1970-01-01T00:00:00Z", "b=c")
        );
    }

    #[test]
    fn only_a_tag_can_be_pushed_to() {
        let pushed = |reference: &str| tag(&reference.parse().unwrap()).ok();
        assert_eq!(pushed("oci://host/a:1"), Some(Some("1".to_owned())));
        assert_eq!(pushed("oci-layout://folder"), Some(None));
        for wrong in ["plugin.wasm", "builtin:telemetry", &format!("oci://host/a:1@sha256:{}", "0".repeat(64))] {
            assert_eq!(pushed(wrong), None, "{wrong}");
        }
    }
}
