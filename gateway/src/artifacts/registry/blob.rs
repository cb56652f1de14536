//! A blob on its way into a file: never more bytes than were announced, continued where a connection broke, and its
//! digest checked over the whole.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use reqwest::header::CONTENT_RANGE;
use reqwest::{Method, Response, StatusCode};

use super::Registries;
use super::ask::cut;
use super::error::{Again, Failure, RegistryError};
use super::sources::Source;
use crate::artifacts::digest::{Digest, Hasher};

/// A connection that brought this much was worth it: the count of failed attempts begins again.
const PROGRESS: u64 = 64 * 1024;

/// A blob that is being fetched.
pub(super) struct Download<'a> {
    file: &'a mut File,
    digest: Digest,
    size: u64,
    received: u64,
    hasher: Hasher,
}

impl<'a> Download<'a> {
    /// The blob `digest` of `size` bytes into `file`, whatever that holds so far.
    pub(super) fn new(file: &'a mut File, digest: Digest, size: u64) -> Result<Self, RegistryError> {
        let mut own = Self { file, digest, size, received: 0, hasher: Hasher::new() };
        own.restart()?;
        Ok(own)
    }

    fn restart(&mut self) -> Result<(), RegistryError> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.received = 0;
        self.hasher = Hasher::new();
        Ok(())
    }

    /// Fetches what is missing from `source`. If that fails, another source goes on where this one broke off.
    pub(super) async fn fetch(&mut self, registries: &Registries, source: &Source) -> Result<(), RegistryError> {
        let what = format!("blob {}", self.digest);
        let mut failed = 0;
        loop {
            let before = self.received;
            let Err(failure) = self.attempt(registries, source, &what).await else { break };
            failed = if self.received - before >= PROGRESS { 1 } else { failed + 1 };
            registries.wait(failed, failure).await?;
        }
        let got = self.hasher.clone().finish();
        if got == self.digest {
            return Ok(());
        }
        self.restart()?;
        Err(RegistryError::Digest { host: source.place.host.clone(), what, got })
    }

    async fn attempt(&mut self, registries: &Registries, source: &Source, what: &str) -> Result<(), Failure> {
        if self.received == self.size && self.size > 0 {
            return Ok(());
        }
        let mut asked = source.asked(Method::GET, "blobs", "", what);
        asked.url = source.asked(Method::GET, "blobs", &self.digest.to_string(), what).url;
        asked.from = self.received;
        let host = &source.place.host;
        let mut response = registries.0.places.ask(&asked).await?;
        let mut skip = self.expect(&response, host, what)?;
        while let Some(chunk) = response.chunk().await.map_err(|error| cut(host, error))? {
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            skip -= skipped as u64;
            self.take(chunk.get(skipped..).unwrap_or_default(), host, what)?;
        }
        if self.received < self.size {
            let cause = format!("it ended after {} of {} bytes", self.received, self.size);
            let error = RegistryError::Unreachable { host: host.clone(), cause };
            return Err(Failure { error, again: Again::Soon });
        }
        Ok(())
    }

    /// How many bytes of an answer are here already; an answer of another length is not read at all.
    fn expect(&self, response: &Response, host: &str, what: &str) -> Result<u64, RegistryError> {
        let (skip, rest) = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let header = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
                if header.and_then(first_byte) != Some(self.received) {
                    let cause = "another part than was asked for".to_owned();
                    return Err(RegistryError::Answer { host: host.to_owned(), what: what.to_owned(), cause });
                }
                (0, self.size - self.received)
            }
            _ => (self.received, self.size),
        };
        match response.content_length() {
            Some(length) if length != rest => Err(self.other_size(host, what, &format!("of {length} bytes"), rest)),
            _ => Ok(skip),
        }
    }

    fn take(&mut self, bytes: &[u8], host: &str, what: &str) -> Result<(), RegistryError> {
        if bytes.len() as u64 > self.size - self.received {
            return Err(self.other_size(host, what, "of more bytes", self.size));
        }
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.received += bytes.len() as u64;
        Ok(())
    }

    fn other_size(&self, host: &str, what: &str, sent: &str, expected: u64) -> RegistryError {
        let cause = format!("{sent} in place of {expected}");
        RegistryError::Size { host: host.to_owned(), what: what.to_owned(), cause }
    }
}

/// The first byte of `bytes 5-9/10`.
fn first_byte(range: &str) -> Option<u64> {
    range.trim().strip_prefix("bytes ")?.split_once('-')?.0.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_of_a_range_is_read() {
        assert_eq!(first_byte("bytes 5-9/10"), Some(5));
        assert_eq!(first_byte("bytes 0-9/*"), Some(0));
        for wrong in ["", "bytes */10", "5-9/10", "bytes -9/10", "bytes 18446744073709551616-1/2"] {
            assert_eq!(first_byte(wrong), None, "{wrong}");
        }
    }
}
