//! What the authority has issued: the source of its revocation list.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::files::{self, Readers};
use super::{CertsError, Reason};

/// Its name in the authority's directory.
pub(super) const INDEX: &str = "index.json";

const FORMAT: u32 = 1;

/// All certificates that were issued, and the number of the last revocation list.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Index {
    format: u32,
    /// Only ever grows, so that a reader can tell the newer of two lists.
    pub(super) crl_number: u64,
    pub(super) issued: Vec<Entry>,
}

/// One certificate.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// In lower-case hexadecimal digits.
    pub(super) serial: String,
    /// The file's stem, and the common name.
    pub(super) name: String,
    /// The end of validity, in Unix seconds.
    pub(super) not_after_s: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) revoked: Option<Revocation>,
}

/// When and why a certificate stopped counting.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revocation {
    pub(super) at_s: i64,
    pub(super) reason: Reason,
}

impl Default for Index {
    fn default() -> Self {
        Self { format: FORMAT, crl_number: 0, issued: Vec::new() }
    }
}

impl Index {
    /// Reads the index; an authority that was made by other means has none yet.
    pub(super) fn read(directory: &Path) -> Result<Self, CertsError> {
        let file = directory.join(INDEX);
        if !file.exists() {
            return Ok(Self::default());
        }
        let index: Self =
            serde_json::from_slice(&files::read(&file)?).map_err(|error| CertsError::damaged(&file, error))?;
        if index.format != FORMAT {
            let message = format!("format {} is not known to this version of causeway", index.format);
            return Err(CertsError::damaged(&file, message));
        }
        Ok(index)
    }

    pub(super) fn write(&self, directory: &Path) -> Result<(), CertsError> {
        let file = directory.join(INDEX);
        let text = serde_json::to_vec_pretty(self).map_err(|error| CertsError::damaged(&file, error))?;
        files::write(&file, &text, Readers::All)
    }
}
