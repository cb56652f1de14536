//! Which devices are meant: `type=sensor group=pilot version!=0.1.1`.
//!
//! Terms are separated by blanks and all of them must hold. A term is `name=value` or `name!=value`; of several values,
//! separated by commas, one must be it, or with `!=` none. `*` in a value stands for any characters; a value in double
//! quotes is taken as it is. `id`, `group`, `parent` and `version` are what the gateway knows of a device, every other
//! name is an attribute. `*` alone is every device. What has no value equals nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The longest query, in bytes: room for a list of a few thousand ids.
pub const MAX_QUERY_BYTES: usize = 64 * 1024;

/// Terms of one query at most.
pub const MAX_TERMS: usize = 32;

/// A set of devices, described.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Query {
    text: String,
    terms: Vec<Term>,
}

/// What a query looks at.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The device's id.
    pub id: &'a str,
    /// Its groups.
    pub groups: &'a [String],
    /// The device that it hangs on.
    pub parent: Option<&'a str>,
    /// Its attributes.
    pub attributes: &'a BTreeMap<String, String>,
    /// What it runs, if it has said so.
    pub version: Option<&'a str>,
}

/// Why a text is no query: what, and at which of its characters, from 1.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{problem}, at character {place}")]
pub struct QueryError {
    /// What is wrong, and what to write.
    pub problem: Problem,
    /// Where it begins.
    pub place: usize,
}

/// What is wrong with a query.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Problem {
    /// Nothing is named.
    #[error("it names no devices; write `*` for all of them")]
    Empty,
    /// Too long.
    #[error("it is longer than {MAX_QUERY_BYTES} bytes")]
    Long,
    /// Too many terms.
    #[error("it has more than {MAX_TERMS} terms; write values of one name as a list: `id=a,b`")]
    Terms,
    /// A word that compares nothing.
    #[error("`{0}` compares nothing; write `name=value` or `name!=value`")]
    Term(String),
    /// A name that no attribute can have.
    #[error("`{0}` is no name; it has letters, digits and . _ - : @ ~")]
    Name(String),
    /// No value.
    #[error("`{0}` has no value; write `\"\"` for an empty one")]
    Value(String),
    /// A quote without its end.
    #[error("the quote has no end; write `\"`, and `\\\"` for a quote in the value")]
    Quote,
    /// Something behind a quoted value.
    #[error("a quoted value is followed by neither a comma nor a blank")]
    AfterQuote,
    /// A control character.
    #[error("it has a control character")]
    Control,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Term {
    All,
    Compare { name: Name, negated: bool, values: Vec<Pattern> },
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Name {
    Id,
    Group,
    Parent,
    Version,
    Attribute(String),
}

/// A value; between two parts there may be anything.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Pattern(Vec<String>);

impl Query {
    /// Whether the device is one of those that are meant.
    #[must_use]
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        self.terms.iter().all(|term| term.matches(subject))
    }

    /// Whether it asks what devices run.
    #[must_use]
    pub fn asks_version(&self) -> bool {
        self.terms.iter().any(|term| matches!(term, Term::Compare { name: Name::Version, .. }))
    }
}

impl Default for Query {
    /// Every device.
    fn default() -> Self {
        Self { text: "*".to_owned(), terms: vec![Term::All] }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Query {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        let at = |problem, place| QueryError { problem, place };
        if text.len() > MAX_QUERY_BYTES {
            return Err(at(Problem::Long, 1));
        }
        if let Some(place) = text.chars().position(char::is_control) {
            return Err(at(Problem::Control, place + 1));
        }
        let mut scan = Scan { rest: text, place: 1 };
        let mut terms = Vec::new();
        scan.blanks();
        while !scan.rest.is_empty() {
            if terms.len() == MAX_TERMS {
                return Err(at(Problem::Terms, scan.place));
            }
            terms.push(scan.term()?);
            scan.blanks();
        }
        if terms.is_empty() {
            return Err(at(Problem::Empty, 1));
        }
        Ok(Self { text: text.trim_matches(' ').to_owned(), terms })
    }
}

impl Term {
    fn matches(&self, subject: &Subject<'_>) -> bool {
        let Self::Compare { name, negated, values } = self else { return true };
        let is = |value: &str| values.iter().any(|pattern| pattern.matches(value));
        let found = match name {
            Name::Id => is(subject.id),
            Name::Group => subject.groups.iter().any(|group| is(group)),
            Name::Parent => subject.parent.is_some_and(is),
            Name::Version => subject.version.is_some_and(is),
            Name::Attribute(name) => subject.attributes.get(name).is_some_and(|value| is(value)),
        };
        found != *negated
    }
}

impl Pattern {
    fn matches(&self, value: &str) -> bool {
        let Some((first, further)) = self.0.split_first() else { return false };
        let Some((last, between)) = further.split_last() else { return value == first };
        let Some(mut rest) = value.strip_prefix(first.as_str()) else { return false };
        for part in between {
            // The first place is the best: it leaves the most for what follows.
            let Some((_, behind)) = rest.split_once(part.as_str()) else { return false };
            rest = behind;
        }
        rest.ends_with(last.as_str())
    }
}

/// What is still to be read, and which character it begins with.
struct Scan<'t> {
    rest: &'t str,
    place: usize,
}

impl<'t> Scan<'t> {
    fn blanks(&mut self) {
        let blank = self.rest.find(|c: char| c != ' ').unwrap_or(self.rest.len());
        self.take(blank);
    }

    /// Takes so many bytes, which end at a character.
    fn take(&mut self, bytes: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.place += taken.chars().count();
        self.rest = rest;
        taken
    }

    fn word(&self) -> &'t str {
        self.rest.split(' ').next().unwrap_or_default()
    }

    fn term(&mut self) -> Result<Term, QueryError> {
        let begin = self.place;
        let at = |problem| QueryError { problem, place: begin };
        let word = self.word();
        if word == "*" {
            self.take(1);
            return Ok(Term::All);
        }
        let Some(equals) = word.find('=') else { return Err(at(Problem::Term(shown(word)))) };
        let before = self.take(equals);
        self.take(1);
        let (name, negated) = before.strip_suffix('!').map_or((before, false), |name| (name, true));
        let name = named(name).ok_or_else(|| at(Problem::Name(shown(name))))?;
        let mut values = vec![self.value(word)?];
        while self.rest.starts_with(',') {
            self.take(1);
            values.push(self.value(word)?);
        }
        Ok(Term::Compare { name, negated, values })
    }

    /// One value, up to a comma or a blank.
    fn value(&mut self, word: &str) -> Result<Pattern, QueryError> {
        if self.rest.starts_with('"') {
            return self.quoted();
        }
        let begin = self.place;
        let end = self.rest.find([',', ' ']).unwrap_or(self.rest.len());
        let value = self.take(end);
        if value.is_empty() {
            return Err(QueryError { problem: Problem::Value(shown(word)), place: begin });
        }
        Ok(Pattern(value.split('*').map(str::to_owned).collect()))
    }

    fn quoted(&mut self) -> Result<Pattern, QueryError> {
        let begin = self.place;
        let mut value = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        let end = loop {
            match characters.next() {
                Some((at, '"')) => break at + 1,
                Some((_, '\\')) => value.extend(characters.next().map(|(_, escaped)| escaped)),
                Some((_, plain)) => value.push(plain),
                None => return Err(QueryError { problem: Problem::Quote, place: begin }),
            }
        };
        self.take(end);
        if !self.rest.is_empty() && !self.rest.starts_with([',', ' ']) {
            return Err(QueryError { problem: Problem::AfterQuote, place: self.place });
        }
        Ok(Pattern(vec![value]))
    }
}

fn named(name: &str) -> Option<Name> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:@~".contains(&byte);
    match name {
        "id" => Some(Name::Id),
        "group" => Some(Name::Group),
        "parent" => Some(Name::Parent),
        "version" => Some(Name::Version),
        name if !name.is_empty() && name.bytes().all(plain) => Some(Name::Attribute(name.to_owned())),
        _ => None,
    }
}

/// As much of a word as a line of an error has room for.
fn shown(word: &str) -> String {
    const LONGEST: usize = 40;
    if word.chars().count() <= LONGEST {
        return word.to_owned();
    }
    word.chars().take(LONGEST).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    /// Whether a truck that runs 0.1.0 is meant.
    fn check(query: &str, expected: bool) {
        let attributes = attributes(&[("type", "sensor"), ("hardware", "rev-b"), ("make", "Aston Martin")]);
        let groups = ["pilot".to_owned(), "north".to_owned()];
        let subject = Subject {
            id: "truck-17",
            groups: &groups,
            parent: Some("depot-1"),
            attributes: &attributes,
            version: Some("0.1.0"),
        };
        assert_eq!(query.parse::<Query>().unwrap().matches(&subject), expected, "{query}");
    }

    #[test]
    fn every_term_must_hold_and_of_a_list_one_value() {
        check("id=truck-*", true);
        check("id=truck-*  group=pilot", true);
        check("id=truck-* group=south", false);
        check("group=south,north", true);
        check("type=sensor hardware!=rev-a", true);
        check("hardware!=rev-a,rev-b", false);
        check("parent=depot-1", true);
        check("version=0.1.0", true);
        check("version!=0.1.0", false);
        check("version=0.*.0", true);
        check("*", true);
    }

    #[test]
    fn what_a_device_does_not_have_equals_nothing() {
        check("colour=*", false);
        check("colour!=red", true);
        check("colour=\"\"", false);
    }

    #[test]
    fn a_quoted_value_is_taken_as_it_is() {
        check("make=\"Aston Martin\"", true);
        check("make=BMW,\"Aston Martin\" type=sensor", true);
        check("make=\"Aston*\"", false);
        check("make=Aston*", true);
    }

    #[test]
    fn a_star_stands_for_any_characters_everywhere() {
        for (query, expected) in [
            ("id=*", true),
            ("id=*17", true),
            ("id=*uck*", true),
            ("id=t*-*7", true),
            ("id=truck-17*", true),
            ("id=truck-171*", false),
            ("id=truck-1*17", false),
            ("id=*x*", false),
        ] {
            check(query, expected);
        }
    }

    #[test]
    fn a_text_that_is_no_query_is_refused_in_one_line_with_the_place() {
        for (query, expected) in [
            ("", "it names no devices; write `*` for all of them, at character 1"),
            ("   ", "it names no devices; write `*` for all of them, at character 1"),
            ("type=a sensor", "`sensor` compares nothing; write `name=value` or `name!=value`, at character 8"),
            ("ä=b", "`ä` is no name; it has letters, digits and . _ - : @ ~, at character 1"),
            ("a=b,", "`a=b,` has no value; write `\"\"` for an empty one, at character 5"),
            ("ü!= x", "`ü` is no name; it has letters, digits and . _ - : @ ~, at character 1"),
            ("a=\"b", "the quote has no end; write `\"`, and `\\\"` for a quote in the value, at character 3"),
            ("a=\"b\"c", "a quoted value is followed by neither a comma nor a blank, at character 6"),
            ("a=b\n", "it has a control character, at character 4"),
        ] {
            assert_eq!(query.parse::<Query>().unwrap_err().to_string(), expected, "{query:?}");
        }
        let many = "a=b ".repeat(MAX_TERMS + 1);
        assert_eq!(many.parse::<Query>().unwrap_err().problem, Problem::Terms);
    }

    /// The same as [`Pattern::matches`], by trying everything.
    fn slowly(parts: &[char], value: &[char]) -> bool {
        match parts.split_first() {
            None => value.is_empty(),
            Some(('*', rest)) => (0..=value.len()).any(|skip| slowly(rest, &value[skip..])),
            Some((c, rest)) => value.split_first().is_some_and(|(v, behind)| c == v && slowly(rest, behind)),
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".*", near in "[a-c=!,* \"\\\\ä]{0,24}") {
            for text in [text, near] {
                if let Err(error) = text.parse::<Query>() {
                    prop_assert!(!error.to_string().contains('\n'));
                    prop_assert!(error.place <= text.chars().count() + 1);
                }
            }
        }

        #[test]
        fn what_is_printed_parses_to_itself(text in "[a-c=!,* \"\\\\]{1,24}") {
            if let Ok(query) = text.parse::<Query>() {
                prop_assert_eq!(query.to_string().parse::<Query>().unwrap(), query);
            }
        }

        #[test]
        fn a_quoted_value_matches_itself_and_nothing_else(value in "[^\\p{Cc}]{0,12}", other in "[^\\p{Cc}]{0,12}") {
            let escaped: String =
                value.chars().flat_map(|c| if matches!(c, '"' | '\\') { vec!['\\', c] } else { vec![c] }).collect();
            let query: Query = format!("type=\"{escaped}\"").parse().unwrap();
            let matches = |value: &str| {
                let attributes = attributes(&[("type", value)]);
                query.matches(&Subject { id: "d", groups: &[], parent: None, attributes: &attributes, version: None })
            };
            prop_assert!(matches(&value));
            prop_assert_eq!(matches(&other), value == other);
        }

        #[test]
        fn a_star_matches_what_trying_everything_matches(pattern in "[ab*]{1,8}", value in "[ab]{0,8}") {
            let query = Pattern(pattern.split('*').map(str::to_owned).collect());
            let (parts, characters): (Vec<_>, Vec<_>) = (pattern.chars().collect(), value.chars().collect());
            prop_assert_eq!(query.matches(&value), slowly(&parts, &characters));
        }

        #[test]
        fn a_term_and_its_negation_divide_all_devices(value in "[ab*]{1,4}", id in "[ab]{1,4}") {
            let attributes = BTreeMap::new();
            let subject = Subject { id: &id, groups: &[], parent: None, attributes: &attributes, version: None };
            let holds = |query: String| query.parse::<Query>().unwrap().matches(&subject);
            prop_assert_ne!(holds(format!("id={value}")), holds(format!("id!={value}")));
        }
    }
}
