//! Tags that are followed, and tags that are pinned: what a tag stands for here is what the lockfile says, and this is who
//! changes that.

use std::sync::Arc;

use super::catalogue::Known;
use super::find::{Found, From};
use super::{Shared, Unready, unready};
use crate::artifacts::{Digest, Reference};

impl Shared {
    /// Asks what a followed tag stands for now, and takes it over or lets it wait. What it stood for stays until then.
    pub(super) fn poll(&self, reference: &str, approval: bool) {
        let ready = self.read().ready(reference);
        let newest = tag(reference).and_then(|tag| {
            let newest = self.artifacts.now(&tag).map_err(|error| unready(&error))?;
            Ok((self.artifacts.locked(&tag).map_err(|error| unready(&error))?, tag, newest))
        });
        let (locked, tag, newest) = match newest {
            Ok(newest) => newest,
            Err(why) => return self.not_followed(reference, why),
        };
        if ready.is_some_and(|ready| ready.digest() == newest) {
            return self.write().wait(reference, None, self.config.poll);
        }
        let known = match self.at(&tag, newest, From::Anywhere) {
            Found::Yes(known) => known,
            Found::No(why) => return self.not_followed(reference, why),
            Found::Elsewhere => return self.not_followed(reference, Unready::Unknown),
        };
        if approval && locked != Some(newest) {
            let release = &known.release;
            tracing::info!(reference, version = release.version, digest = %newest, "a followed tag moved; it waits for approval");
            self.write().wait(reference, Some(Arc::clone(&known)), self.config.poll);
            self.judge_known(&known);
            return self.hold();
        }
        match self.artifacts.pin(&tag, newest) {
            Ok(()) => self.take_over(reference, known),
            Err(error) => self.not_followed(reference, unready(&error)),
        }
    }

    /// A tag stands for this from now on.
    pub(super) fn pin(&self, reference: &str, digest: Option<Digest>) -> Result<Arc<Known>, Unready> {
        let tag = tag(reference)?;
        let waiting = self.read().waiting(reference);
        let approved = waiting.filter(|waiting| digest.is_none_or(|digest| waiting.digest() == digest));
        let known = match (approved, digest) {
            (Some(known), _) => known,
            (None, digest) => {
                let digest = digest.map_or_else(|| self.artifacts.now(&tag), Ok).map_err(|error| unready(&error))?;
                match self.at(&tag, digest, From::Anywhere) {
                    Found::Yes(known) => known,
                    Found::No(why) => return Err(why),
                    Found::Elsewhere => return Err(Unready::Unknown),
                }
            }
        };
        self.artifacts.pin(&tag, known.digest()).map_err(|error| unready(&error))?;
        self.take_over(reference, Arc::clone(&known));
        Ok(known)
    }

    pub(super) fn take_over(&self, reference: &str, known: Arc<Known>) {
        let (version, digest) = (known.release.version.clone(), known.digest());
        tracing::info!(reference, version, %digest, "a tag stands for another release");
        let again = self.read().followed(reference).map(|_| self.config.poll);
        // Whoever pinned it asked for it.
        let forgotten = self.write().ask(reference);
        self.metrics.forgotten(forgotten);
        self.write().found(reference, Ok(Arc::clone(&known)), again);
        self.judge_known(&known);
        self.hold();
    }

    /// It could not be asked; what it stood for before stays.
    fn not_followed(&self, reference: &str, why: Unready) {
        tracing::warn!(reference, reason = %why, "a followed tag cannot be asked for");
        self.metrics.unready(&why);
        self.write().found(reference, Err(why), Some(self.config.retry));
    }
}

/// A reference with a tag and without a digest.
fn tag(reference: &str) -> Result<Reference, Unready> {
    let parsed = reference.parse::<Reference>().map_err(|error| Unready::Refused(error.to_string()))?;
    let has_tag = match &parsed {
        Reference::Registry(image) => image.digest.is_none(),
        Reference::Layout { tag, digest, .. } => tag.is_some() && digest.is_none(),
        Reference::File(_) | Reference::Builtin(_) => false,
    };
    match has_tag {
        true => Ok(parsed),
        false => Err(Unready::Refused(format!(
            "{reference} is no tag, which could stand for another release; write `oci://host/repository:tag` or \
             `oci-layout://folder:tag`, and what it is to stand for after it"
        ))),
    }
}
