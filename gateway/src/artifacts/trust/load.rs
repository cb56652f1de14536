//! Whom the configuration trusts, with the files of the keys read.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::signature::PublicKey;
use super::{PinnedKey, Trust};
use crate::config::{KeyConfig, Problem, TrustConfig};

/// The largest file of a key.
const MAX_KEY_FILE: u64 = 64 << 10;

impl Trust {
    /// Reads the keys; on failure every problem is reported.
    ///
    /// # Errors
    /// A file that cannot be read, or no key in it.
    pub fn load(config: &TrustConfig) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut keys = Vec::new();
        for key in &config.keys {
            match pinned(key) {
                Ok(key) => keys.push(key),
                Err(problem) => problems.push(*problem),
            }
        }
        let mut revoked = BTreeSet::new();
        for digest in &config.revoked {
            match digest.parse() {
                Ok(digest) => drop(revoked.insert(digest)),
                Err(error) => problems.push(problem(Path::new("trust.revoked"), "", error, "")),
            }
        }
        if problems.is_empty() { Ok(Self { keys, revoked, unsigned: config.unsigned.clone() }) } else { Err(problems) }
    }
}

fn pinned(config: &KeyConfig) -> Result<PinnedKey, Box<Problem>> {
    let file = config.file.clone().unwrap_or_else(|| PathBuf::from("trust.keys"));
    let wrong = |error: &dyn Display, remedy: &str| Box::new(problem(&file, &config.id, error, remedy));
    let pem = match (&config.file, &config.pem) {
        (Some(path), _) => read(path).map_err(|error| wrong(&error, "check the path and its permissions"))?,
        (None, pem) => pem.clone().unwrap_or_default(),
    };
    let key = PublicKey::from_pem(&pem).map_err(|error| wrong(&error, ""))?;
    let KeyConfig { id, repositories, kinds, .. } = config.clone();
    Ok(PinnedKey { id, key, repositories, kinds })
}

fn read(path: &Path) -> std::io::Result<String> {
    if fs::metadata(path)?.len() > MAX_KEY_FILE {
        return Err(std::io::Error::other("it is too large for a key"));
    }
    fs::read_to_string(path)
}

fn problem(file: &Path, id: &str, error: impl Display, remedy: &str) -> Problem {
    let key = if id.is_empty() { String::new() } else { format!("trust.keys: {id}") };
    let told = error.to_string();
    // The remedy is the second half of the message, if it has one.
    let (message, of_error) = told.split_once("; ").unwrap_or((&told, remedy));
    Problem {
        file: file.to_owned(),
        line: None,
        key,
        value: String::new(),
        message: message.to_owned(),
        remedy: of_error.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::signature::{KeyKind, PrivateKey};
    use super::*;

    #[test]
    fn keys_stand_in_files_or_in_the_configuration_and_all_that_are_wrong_are_named() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("release.pub");
        let pem = PrivateKey::generate(KeyKind::EcdsaP256).unwrap().public_key_pem();
        fs::write(&file, &pem).unwrap();
        let key = |id: &str, file: Option<&Path>, pem: Option<&str>| KeyConfig {
            id: id.to_owned(),
            file: file.map(Path::to_owned),
            pem: pem.map(str::to_owned),
            ..KeyConfig::default()
        };
        let trust = |keys: Vec<KeyConfig>| Trust::load(&TrustConfig { keys, ..TrustConfig::default() });
        let good = trust(vec![key("file", Some(&file), None), key("pem", None, Some(&pem))]).unwrap();
        assert_eq!(good.keys[0].key, good.keys[1].key);
        assert_eq!(good.unsigned, ["file://"]);

        let gone = home.path().join("gone.pub");
        let found = trust(vec![key("gone", Some(&gone), None), key("none", None, Some("none"))]).unwrap_err();
        let told: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert!(told[0].contains("gone.pub") && told[0].contains("trust.keys: gone"), "{told:?}");
        assert!(told[1].contains("no public key") && told[1].contains("BEGIN PUBLIC KEY"), "{told:?}");
    }
}
