//! Whose artifacts run here: the decision alone, without files and network.
//!
//! A signature counts if a pinned key made it, for this digest, for this repository, and if the key may sign for both the
//! repository and the kind. A digest that is revoked never runs, whoever signed it.

mod load;

use std::collections::BTreeSet;

use thiserror::Error;

use super::Because;
use super::digest::Digest;
use super::reference::is_below;
use super::signature::{Payload, PublicKey, Signed};

/// Whom the configuration trusts with what.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// The keys whose signatures count.
    pub keys: Vec<PinnedKey>,
    /// What never runs.
    pub revoked: BTreeSet<Digest>,
    /// References that need no signature, or what they begin with.
    pub unsigned: Vec<String>,
}

/// A key, and what it may sign.
#[derive(Clone, Debug)]
pub struct PinnedKey {
    /// Its name here.
    pub id: String,
    /// The key.
    pub key: PublicKey,
    /// Repositories, or what they begin with; none: every repository, and files too.
    pub repositories: Vec<String>,
    /// Kinds; none: every kind.
    pub kinds: Vec<String>,
}

/// What is to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// The reference as it is written, without what it was resolved to.
    pub reference: &'q str,
    /// The repository that its signature must name; none if nobody said which.
    pub repository: Option<&'q str>,
    /// What it is to be used as.
    pub kind: &'q str,
    /// What its manifest is known by.
    pub digest: Digest,
}

/// What there is to show for an artifact.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Signatures, whoever made them.
    pub signatures: Vec<Signed>,
    /// There is a signature in the newer format of sigstore, which is not read.
    pub bundle: bool,
}

/// Why an artifact is not trusted; one line, with what to do if it should be.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Distrust {
    /// It is revoked.
    #[error("{0} is revoked (`trust.revoked`)")]
    Revoked(Digest),
    /// There is no signature.
    #[error(
        "it has no signature that can be read; sign it with `causeway plugin sign` or `cosign sign`, or allow it under `trust.unsigned`"
    )]
    Unsigned,
    /// There is one, in a format that is not read.
    #[error(
        "its signature is a sigstore bundle, which is not read here; sign it with `cosign sign --key K --tlog-upload=false --new-bundle-format=false --use-signing-config=false`"
    )]
    Bundle,
    /// None of the keys made any of the signatures.
    #[error("none of its {count} signatures is by a key that is trusted (`trust.keys`: {})", shown(.keys))]
    Stranger {
        /// How many signatures there are.
        count: usize,
        /// The keys that are trusted.
        keys: Vec<String>,
    },
    /// A key made one, and what it signed is no such text.
    #[error("what the key `{key}` signed is not to be read: {reason}")]
    Payload {
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A key made one, for something else.
    #[error("the signature of the key `{key}` is of {signed} and not of {wanted}")]
    OtherDigest {
        /// The key.
        key: String,
        /// What it signed.
        signed: Digest,
        /// What was asked for.
        wanted: Digest,
    },
    /// A key made one, for another place.
    #[error(
        "the signature of the key `{key}` is for `{signed}` and not for `{wanted}`; if that is meant, say so with `signed_as: {signed}`"
    )]
    OtherRepository {
        /// The key.
        key: String,
        /// The repository that it names.
        signed: String,
        /// The one that was asked for.
        wanted: String,
    },
    /// A key made one, and nobody said for which place it should be.
    #[error(
        "nobody says which repository it is to be signed for; if the one of its signature is meant, write `signed_as: {signed}`"
    )]
    NoRepository {
        /// The repository that it names.
        signed: String,
    },
    /// A key made one that it may not make.
    #[error("the key `{key}` may not sign {what} (`trust.keys`)")]
    Scope {
        /// The key.
        key: String,
        /// For what.
        what: String,
    },
}

impl Distrust {
    /// The rule that was broken.
    #[must_use]
    pub const fn because(&self) -> Because {
        match self {
            Self::Revoked(_) => Because::Revoked,
            Self::Unsigned | Self::Bundle => Because::Unsigned,
            _ => Because::Signature,
        }
    }
}

impl Trust {
    /// Decides whether an artifact may run: the id of the key that answers for it, or none if nobody has to.
    ///
    /// # Errors
    /// [`Distrust`]: of several signatures the one that came nearest says why.
    pub fn judge(&self, question: Question<'_>, evidence: &Evidence) -> Result<Option<String>, Distrust> {
        self.not_revoked(&question.digest)?;
        let mut nearest: Option<Distrust> = None;
        for signed in &evidence.signatures {
            for pinned in self.keys.iter().filter(|pinned| pinned.key.verifies(&signed.payload, &signed.signature)) {
                match pinned.answers(question, &signed.payload) {
                    Ok(()) => return Ok(Some(pinned.id.clone())),
                    Err(distrust) => nearest = Some(distrust),
                }
            }
        }
        if self.needs_none(question.reference) {
            return Ok(None);
        }
        Err(nearest.unwrap_or_else(|| self.distrust(evidence.signatures.len(), evidence.bundle)))
    }

    /// Decides whether a bare file may run, whose signature, if it has one, is of its very bytes. One that is there and
    /// does not count is never passed over: somebody meant it to be asked for.
    ///
    /// # Errors
    /// [`Distrust`].
    pub fn judge_file(
        &self,
        reference: &str,
        kind: &str,
        digest: &Digest,
        bytes: &[u8],
        signature: Option<&[u8]>,
    ) -> Result<Option<String>, Distrust> {
        self.not_revoked(digest)?;
        let by = signature.and_then(|signature| self.keys.iter().find(|pinned| pinned.key.verifies(bytes, signature)));
        let nearest = match by.map(|pinned| pinned.may_sign_file(kind).map(|()| pinned.id.clone())) {
            Some(Ok(id)) => return Ok(Some(id)),
            Some(Err(distrust)) => distrust,
            None => self.distrust(usize::from(signature.is_some()), false),
        };
        if signature.is_none() && self.needs_none(reference) { Ok(None) } else { Err(nearest) }
    }

    /// Decides whether a bare file that was judged before, and kept, may still run: `signer` answered for it then.
    ///
    /// # Errors
    /// [`Distrust`].
    pub fn judge_kept_file(
        &self,
        reference: &str,
        kind: &str,
        digest: &Digest,
        signer: Option<&str>,
    ) -> Result<(), Distrust> {
        self.not_revoked(digest)?;
        if self.needs_none(reference) {
            return Ok(());
        }
        match self.keys.iter().find(|pinned| Some(pinned.id.as_str()) == signer) {
            Some(pinned) => pinned.may_sign_file(kind),
            None => Err(self.distrust(usize::from(signer.is_some()), false)),
        }
    }

    /// Whether a manifest, or a blob of one, never runs.
    ///
    /// # Errors
    /// [`Distrust::Revoked`].
    pub fn not_revoked(&self, digest: &Digest) -> Result<(), Distrust> {
        if self.revoked.contains(digest) { Err(Distrust::Revoked(*digest)) } else { Ok(()) }
    }

    fn needs_none(&self, reference: &str) -> bool {
        self.unsigned.iter().any(|prefix| is_below(reference, prefix))
    }

    /// Nothing that is there was made by a key that counts.
    fn distrust(&self, signatures: usize, bundle: bool) -> Distrust {
        match (signatures, bundle) {
            (0, true) => Distrust::Bundle,
            (0, false) => Distrust::Unsigned,
            (count, _) => {
                Distrust::Stranger { count, keys: self.keys.iter().map(|pinned| pinned.id.clone()).collect() }
            }
        }
    }
}

impl PinnedKey {
    /// Whether what this key signed answers the question.
    fn answers(&self, question: Question<'_>, payload: &[u8]) -> Result<(), Distrust> {
        let key = || self.id.clone();
        let unreadable =
            |error: super::signature::PayloadError| Distrust::Payload { key: key(), reason: error.to_string() };
        let Payload { repository: signed, digest } = Payload::parse(payload).map_err(unreadable)?;
        if digest != question.digest {
            return Err(Distrust::OtherDigest { key: key(), signed: digest, wanted: question.digest });
        }
        let Some(wanted) = question.repository else {
            return Err(Distrust::NoRepository { signed: printable(&signed) });
        };
        if signed != wanted {
            let (signed, wanted) = (printable(&signed), wanted.to_owned());
            return Err(Distrust::OtherRepository { key: key(), signed, wanted });
        }
        if !self.repositories.is_empty() && !self.repositories.iter().any(|prefix| is_below(wanted, prefix)) {
            return Err(Distrust::Scope { key: key(), what: format!("for `{wanted}`") });
        }
        self.may_sign_kind(question.kind)
    }

    /// A bare file says nothing of a repository: only a key for all of them may sign it.
    fn may_sign_file(&self, kind: &str) -> Result<(), Distrust> {
        if !self.repositories.is_empty() {
            let what = "bare files, because it is for repositories".to_owned();
            return Err(Distrust::Scope { key: self.id.clone(), what });
        }
        self.may_sign_kind(kind)
    }

    fn may_sign_kind(&self, kind: &str) -> Result<(), Distrust> {
        if self.kinds.is_empty() || self.kinds.iter().any(|own| own == kind) {
            return Ok(());
        }
        Err(Distrust::Scope { key: self.id.clone(), what: format!("what is of the kind `{kind}`") })
    }
}

/// A text of somebody else, fit for one line.
fn printable(text: &str) -> String {
    const LONGEST: usize = 255;
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

fn shown(keys: &[String]) -> String {
    if keys.is_empty() { "there is none".to_owned() } else { keys.join(", ") }
}

#[cfg(test)]
mod tests;
