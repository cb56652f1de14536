//! Bearer tokens: known by their hash, compared in constant time, refused attempts bounded per address.

use std::collections::HashMap;
use std::hint::black_box;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ring::digest::{SHA256, digest};

use super::caller::Caller;
use crate::config::{HttpsConfig, Role};

type Hash = [u8; 32];

const WINDOW: Duration = Duration::from_secs(60);
/// Addresses whose failures are counted apart. Beyond it all others share one count, which costs an attacker
/// with many addresses the same as one with a single address.
const MAX_ADDRESSES: usize = 4_096;

/// The known tokens and the recent failures.
pub(super) struct Tokens {
    known: Vec<Known>,
    max_failures: u32,
    failures: Mutex<HashMap<Option<IpAddr>, Failures>>,
}

struct Known {
    name: String,
    hash: Hash,
    role: Role,
}

#[derive(Clone, Copy)]
struct Failures {
    since: Instant,
    count: u32,
}

/// Why a token was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TokenRefusal {
    /// No token, or none that is known.
    Unknown,
    /// The address has failed too often; the token was not looked at.
    TooMany,
}

impl Tokens {
    pub(super) fn new(config: &HttpsConfig) -> Self {
        let known = config.tokens.iter().filter_map(|(name, token)| {
            Some(Known { name: name.clone(), hash: parse(&token.sha256)?, role: token.role })
        });
        Self { known: known.collect(), max_failures: config.max_failures_per_minute, failures: Mutex::default() }
    }

    /// Finds out whose token it is.
    pub(super) fn caller(&self, token: Option<&str>, address: IpAddr, now: Instant) -> Result<Caller, TokenRefusal> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|_, failures| now.duration_since(failures.since) < WINDOW);
        let full = failures.len() >= MAX_ADDRESSES && !failures.contains_key(&Some(address));
        let key = (!full).then_some(address);
        if failures.get(&key).is_some_and(|failures| failures.count >= self.max_failures) {
            return Err(TokenRefusal::TooMany);
        }
        if let Some(known) = token.and_then(|token| self.find(token)) {
            return Ok(Caller { name: known.name.clone(), roles: vec![known.role], via: "token" });
        }
        failures.entry(key).or_insert(Failures { since: now, count: 0 }).count += 1;
        Err(TokenRefusal::Unknown)
    }

    /// Compares with every known hash, so that the time says nothing about which one was close.
    fn find(&self, token: &str) -> Option<&Known> {
        let hash = digest(&SHA256, token.as_bytes());
        let mut found = None;
        for known in &self.known {
            let different = known.hash.iter().zip(hash.as_ref()).fold(0, |bits, (left, right)| bits | (left ^ right));
            if black_box(different) == 0 {
                found = Some(known);
            }
        }
        found
    }
}

fn parse(hexadecimal: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hexadecimal.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    (hexadecimal.len() == 2 * hash.len()).then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TokenConfig;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn tokens() -> Tokens {
        // The SHA-256 of "abc", from FIPS 180-2.
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned();
        let token = TokenConfig { sha256, role: Role::Operator };
        let tokens = [("ci".to_owned(), token)].into();
        Tokens::new(&HttpsConfig { tokens, max_failures_per_minute: 3, ..HttpsConfig::default() })
    }

    #[test]
    fn a_token_is_known_by_its_hash() {
        let now = Instant::now();
        let caller = tokens().caller(Some("abc"), ADDRESS, now).unwrap();
        assert_eq!((caller.name.as_str(), caller.roles.as_slice()), ("ci", &[Role::Operator][..]));
        for wrong in [None, Some(""), Some("abd"), Some("ABC"), Some("abc "), Some("ba7816bf")] {
            assert_eq!(tokens().caller(wrong, ADDRESS, now), Err(TokenRefusal::Unknown), "{wrong:?}");
        }
    }

    #[test]
    fn an_address_that_fails_too_often_waits_even_with_the_right_token() {
        let (tokens, start) = (tokens(), Instant::now());
        for _ in 0..3 {
            assert_eq!(tokens.caller(Some("wrong"), ADDRESS, start), Err(TokenRefusal::Unknown));
        }
        assert_eq!(tokens.caller(Some("abc"), ADDRESS, start), Err(TokenRefusal::TooMany));
        let elsewhere = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
        assert!(tokens.caller(Some("abc"), elsewhere, start).is_ok());
        assert!(tokens.caller(Some("abc"), ADDRESS, start + WINDOW).is_ok());
    }

    #[test]
    fn many_addresses_need_no_more_memory() {
        let (tokens, now) = (tokens(), Instant::now());
        for number in 0..10_000_u32 {
            let _ = tokens.caller(None, IpAddr::V4(number.into()), now);
        }
        assert!(tokens.failures.lock().unwrap().len() <= MAX_ADDRESSES + 1);
    }
}
