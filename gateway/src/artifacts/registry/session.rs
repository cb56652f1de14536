//! How a registry came to believe us: the headers that it accepted, for as long as they count.
//!
//! A header goes to the registry's own scheme, host and port and nowhere else; `ask.rs` sees to that.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;

use super::secret::Secret;

/// What proves who we are, as one request carries it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Authorization {
    Basic { user: String, password: Secret },
    Bearer(Secret),
}

impl Authorization {
    /// The value of the header; `None`: the token has characters that no header may have.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let text = match self {
            Self::Basic { user, password } => {
                format!("Basic {}", STANDARD.encode(format!("{user}:{password}", password = password.0)))
            }
            Self::Bearer(token) => format!("Bearer {}", token.0),
        };
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// What one registry accepts at present, by scope.
#[derive(Default)]
pub(super) struct Session {
    known: Mutex<BTreeMap<String, Known>>,
}

struct Known {
    authorization: Authorization,
    until: Instant,
}

impl Session {
    /// What was accepted for `scope` and still counts at `now`.
    pub(super) fn known(&self, scope: &str, now: Instant) -> Option<Authorization> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(scope).filter(|known| known.until > now).map(|known| known.authorization.clone())
    }

    /// Remembers what is good for `scope`, for `lifetime` from `now`.
    pub(super) fn keep(&self, scope: &str, authorization: Authorization, lifetime: Duration, now: Instant) {
        /// More scopes than a gateway has repositories; beyond it all are asked for again.
        const MOST: usize = 64;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, known| known.until > now);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(scope.to_owned(), Known { authorization, until: now + lifetime });
    }

    /// What was kept for `scope` was refused.
    pub(super) fn forget(&self, scope: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(scope);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PULL: &str = "repository:a:pull";

    fn bearer(token: &str) -> Authorization {
        Authorization::Bearer(Secret(token.into()))
    }

    #[test]
    fn a_token_counts_for_its_scope_and_its_lifetime() {
        let (session, now) = (Session::default(), Instant::now());
        session.keep(PULL, bearer("t"), Duration::from_secs(60), now);
        assert_eq!(session.known(PULL, now), Some(bearer("t")));
        assert_eq!(session.known("repository:a:pull,push", now), None);
        assert_eq!(session.known(PULL, now + Duration::from_secs(60)), None);
        session.forget(PULL);
        assert_eq!(session.known(PULL, now), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (session, now) = (Session::default(), Instant::now());
        for index in 0..1000 {
            session.keep(&index.to_string(), bearer("t"), Duration::from_secs(60), now);
        }
        assert!(session.known.lock().unwrap().len() <= 64);
        assert!(session.known("999", now).is_some());
    }

    #[test]
    fn headers_are_written_as_the_specifications_say_and_never_printed() {
        let basic = Authorization::Basic { user: "Aladdin".into(), password: Secret("open sesame".into()) };
        let header = basic.header().unwrap();
        assert_eq!(header.to_str().unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(!format!("{basic:?} {header:?}").contains("sesame"));
        assert_eq!(bearer("line\nbreak").header(), None);
    }
}
