//! What a registry wants to see before it serves: `WWW-Authenticate` (RFC 9110 11.6.1).
//!
//! A parser of a peer's bytes: bounded, and without a way to panic.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// What is wanted. A bearer token goes before a password.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Challenge {
    /// A token of the token server `realm`.
    Bearer {
        /// The token server's address, as the registry wrote it.
        realm: String,
        /// The name by which the token server knows the registry.
        service: Option<String>,
    },
    /// User name and password.
    Basic,
}

/// The challenge to answer; `None`: nothing that is understood.
pub(super) fn of(headers: &HeaderMap) -> Option<Challenge> {
    const MOST_HEADERS: usize = 8;
    let values = headers.get_all(WWW_AUTHENTICATE).iter().take(MOST_HEADERS).filter_map(|value| value.to_str().ok());
    let all: Vec<_> = values.flat_map(parse).collect();
    let bearer = all.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    bearer.or_else(|| all.first()).cloned()
}

/// All challenges of one header that are understood.
fn parse(text: &str) -> Vec<Challenge> {
    const LONGEST: usize = 8192;
    let mut scanner = Scanner { rest: text.get(..LONGEST).unwrap_or(text) };
    let mut schemes: Vec<Scheme> = Vec::new();
    // A word without `=` begins a challenge, one with `=` is a parameter of the last challenge.
    while let Some(word) = scanner.word() {
        match (scanner.value(), schemes.last_mut()) {
            (None, _) => schemes.push(Scheme { name: word, parameters: Vec::new() }),
            (Some(value), Some(scheme)) => scheme.parameters.push((word, value)),
            (Some(_), None) => {}
        }
    }
    schemes.into_iter().filter_map(Scheme::understood).collect()
}

struct Scheme {
    name: String,
    parameters: Vec<(String, String)>,
}

impl Scheme {
    fn understood(self) -> Option<Challenge> {
        let parameter = |name: &str| {
            let found = self.parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        if self.name.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        let realm = parameter("realm").filter(|_| self.name.eq_ignore_ascii_case("bearer"))?;
        Some(Challenge::Bearer { realm, service: parameter("service") })
    }
}

struct Scanner<'a> {
    rest: &'a str,
}

impl Scanner<'_> {
    /// The next word; what stands before it and is no part of one is skipped.
    fn word(&mut self) -> Option<String> {
        let start = self.rest.find(is_token)?;
        let rest = self.rest.get(start..)?;
        let end = rest.find(|c| !is_token(c)).unwrap_or(rest.len());
        let word = rest.get(..end)?.to_owned();
        self.rest = rest.get(end..)?;
        Some(word)
    }

    /// What stands behind `=` after a word: a word or a quoted text.
    fn value(&mut self) -> Option<String> {
        let rest = self.rest.trim_start_matches([' ', '\t']).strip_prefix('=')?.trim_start_matches([' ', '\t']);
        let Some(quoted) = rest.strip_prefix('"') else {
            let end = rest.find([',', ' ', '\t']).unwrap_or(rest.len());
            let (value, rest) = rest.split_at_checked(end)?;
            self.rest = rest;
            return Some(value.to_owned());
        };
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = quoted.get(at + 1..)?;
                    return Some(value);
                }
                '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
                other => value.push(other),
            }
        }
        self.rest = "";
        Some(value)
    }
}

fn is_token(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::header::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(headers: &[&str], expected: Option<Challenge>) {
        let mut map = HeaderMap::new();
        headers.iter().for_each(|value| {
            map.append(WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap());
        });
        assert_eq!(of(&map), expected);
    }

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.into(), service: service.map(Into::into) })
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        check(&[r#"Basic realm="Registry""#], Some(Challenge::Basic));
        check(
            &[r#"Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:user/image:pull""#],
            bearer("https://ghcr.io/token", Some("ghcr.io")),
        );
        check(&[r#"bearer  Realm = https://a/t , error="a \"quoted\", text""#], bearer("https://a/t", None));
    }

    #[test]
    fn a_token_goes_before_a_password() {
        check(&[r#"Basic realm="x", Bearer realm="https://a/t",service="s""#], bearer("https://a/t", Some("s")));
        check(&["Basic realm=x", r#"Bearer realm="https://a/t""#], bearer("https://a/t", None));
    }

    #[test]
    fn what_is_not_understood_is_no_challenge() {
        check(&[], None);
        check(&["Negotiate"], None);
        check(&["Bearer service=x"], None);
        check(&[r#"realm="https://a/t""#], None);
        check(&[r#"Bearer realm="https://unfinished"#], bearer("https://unfinished", None));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in r#"(Bearer|Basic|realm|=|"|\\|,| |é|[a-z]|.){0,60}"#) {
            let _ = parse(&text);
        }
    }
}
