//! Topic templates: what makes a topic a typed resource.
//!
//! A template is a pattern such as `dt/cvra/{device}/cardata`: literal levels, `{name}` for one level, and as the last
//! level `{name...}` for all that remain. The first declared template that matches a topic is the topic's type, and the
//! values of its variables are what a policy may compare. A topic that no template matches is *untyped*.
//! An empty level is never the value of a variable, and a variable at the start never matches a level that starts with
//! `$`, as MQTT's wildcards don't. What a *filter* may reach is decided in `coverage`.

use crate::topic::{self, TopicError};

/// The most variables of one template: values are kept in place, so that matching a topic allocates nothing.
pub const MAX_VARIABLES: usize = 8;

/// The name of the type of all topics that no template matches; no template may take it.
pub const UNTYPED: &str = "untyped";

/// Why a template cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Names are written in policies, so they are plain.
    #[error("the template name `{0}` is not made of lower-case letters, digits and `-`")]
    BadName(String),
    /// `untyped` means that no template matches.
    #[error("the template name `{UNTYPED}` is reserved for topics that no template matches")]
    ReservedName,
    /// Two templates of one name could not be told apart in a policy.
    #[error("the template name `{0}` is used twice")]
    DuplicateName(String),
    /// The pattern would not be a topic even with its variables filled in.
    #[error("the pattern is no topic: {0}")]
    BadTopic(#[from] TopicError),
    /// A level mixes braces with other characters, or a brace is not closed.
    #[error("the level `{0}` is neither literal nor one whole `{{variable}}`")]
    BadLevel(String),
    /// Variables become attributes in policies.
    #[error("the variable `{0}` is not a lower-case letter followed by lower-case letters, digits and `_`")]
    BadVariable(String),
    /// A variable has one value.
    #[error("the variable `{0}` is used twice")]
    DuplicateVariable(String),
    /// `{name...}` takes all that remains.
    #[error("`{{{0}...}}` is not the last level")]
    RestNotLast(String),
    /// More than [`MAX_VARIABLES`] variables.
    #[error("a template has at most {MAX_VARIABLES} variables")]
    TooManyVariables,
}

/// One level of a pattern; a variable is an index into the template's list of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Literal(String),
    Variable(usize),
    Rest(usize),
}

/// A named pattern that topics can match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    name: String,
    pattern: String,
    /// The pattern up to its first variable: rejects most topics with one comparison.
    prefix: String,
    segments: Vec<Segment>,
    variables: Vec<String>,
}

impl Template {
    /// Reads a pattern; the name is what policies call the template.
    pub fn parse(name: &str, pattern: &str) -> Result<Self, TemplateError> {
        check_name(name)?;
        topic::check_topic(pattern)?;
        let mut segments = Vec::new();
        let mut variables = Vec::new();
        for level in pattern.split('/') {
            if let Some(Segment::Rest(index)) = segments.last() {
                return Err(TemplateError::RestNotLast(variables.get(*index).cloned().unwrap_or_default()));
            }
            segments.push(parse_level(level, &mut variables)?);
        }
        let prefix = pattern.split('{').next().unwrap_or_default().to_owned();
        Ok(Self { name: name.to_owned(), pattern: pattern.to_owned(), prefix, segments, variables })
    }

    /// The name that policies use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pattern as it was written.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// The names of the variables, from left to right.
    pub fn variables(&self) -> &[String] {
        &self.variables
    }

    /// The narrowest MQTT filter that matches all of its topics.
    pub fn filter(&self) -> String {
        let level = |segment: &Segment| match segment {
            Segment::Literal(literal) => literal.clone(),
            Segment::Variable(_) => "+".to_owned(),
            // It takes one level at least, and `x/#` would match `x`.
            Segment::Rest(_) => "+/#".to_owned(),
        };
        self.segments.iter().map(level).collect::<Vec<_>>().join("/")
    }

    /// The topic with these values of its variables; none if one of them has no value.
    #[must_use]
    pub fn topic<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> Option<String> {
        let level = |segment: &Segment| match segment {
            Segment::Literal(literal) => Some(literal.clone()),
            Segment::Variable(index) | Segment::Rest(index) => value(self.variables.get(*index)?).map(str::to_owned),
        };
        Some(self.segments.iter().map(level).collect::<Option<Vec<_>>>()?.join("/"))
    }

    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Matches one topic and captures the variables, all of them bound. No memory is allocated.
    pub fn match_topic<'a>(&'a self, topic: &'a str) -> Option<Vars<'a>> {
        if !topic.starts_with(&self.prefix) {
            return None;
        }
        let mut vars = Vars::unbound(self);
        let mut remaining = Some(topic);
        for segment in &self.segments {
            let here = remaining?;
            let (level, after) = match here.split_once('/') {
                Some((level, after)) => (level, Some(after)),
                None => (here, None),
            };
            match segment {
                Segment::Literal(literal) if literal == level => {}
                Segment::Literal(_) => return None,
                Segment::Variable(_) | Segment::Rest(_) if here.len() == topic.len() && is_reserved(level) => {
                    return None;
                }
                Segment::Variable(_) if level.is_empty() => return None,
                Segment::Variable(index) => vars.bind(*index, level),
                Segment::Rest(_) if here.split('/').any(str::is_empty) => return None,
                Segment::Rest(index) => {
                    vars.bind(*index, here);
                    return Some(vars);
                }
            }
            remaining = after;
        }
        remaining.is_none().then_some(vars)
    }

    /// Whether every topic that `other` matches is matched by this template too.
    fn contains(&self, other: &Self) -> bool {
        let mut theirs = other.segments.iter();
        for (index, ours) in self.segments.iter().enumerate() {
            if matches!(ours, Segment::Rest(_)) {
                // One level at least must remain, and none of the remaining may be empty or reserved.
                let mut rest = theirs.enumerate().map(|(offset, segment)| reaches(index + offset, segment)).peekable();
                return rest.peek().is_some() && rest.all(|reached| reached);
            }
            let contained = match (ours, theirs.next()) {
                (_, None | Some(Segment::Rest(_))) | (Segment::Literal(_), Some(Segment::Variable(_))) => false,
                (Segment::Literal(ours), Some(Segment::Literal(theirs))) => ours == theirs,
                (_, Some(theirs)) => reaches(index, theirs),
            };
            if !contained {
                return false;
            }
        }
        theirs.next().is_none()
    }
}

/// Whether a variable at level `index` can take every value of this segment.
fn reaches(index: usize, segment: &Segment) -> bool {
    match segment {
        Segment::Literal(level) => can_be_value(index == 0, level),
        Segment::Variable(_) | Segment::Rest(_) => true,
    }
}

/// Topics that start with `$` belong to brokers: wildcards and variables do not reach them (MQTT5 4.7.2).
pub(crate) fn is_reserved(first_level: &str) -> bool {
    first_level.starts_with('$')
}

/// Whether a variable, at the start of a pattern or after it, can take this level as its value.
pub(crate) fn can_be_value(first: bool, level: &str) -> bool {
    let hidden = first && is_reserved(level);
    !level.is_empty() && !hidden
}

fn check_name(name: &str) -> Result<(), TemplateError> {
    if name == UNTYPED {
        return Err(TemplateError::ReservedName);
    }
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(TemplateError::BadName(name.to_owned()));
    }
    Ok(())
}

fn parse_level(level: &str, variables: &mut Vec<String>) -> Result<Segment, TemplateError> {
    if !level.contains(['{', '}']) {
        return Ok(Segment::Literal(level.to_owned()));
    }
    let inner = level
        .strip_prefix('{')
        .and_then(|level| level.strip_suffix('}'))
        .ok_or_else(|| TemplateError::BadLevel(level.to_owned()))?;
    let (name, rest) = match inner.strip_suffix("...") {
        Some(name) => (name, true),
        None => (inner, false),
    };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) || !name.bytes().all(plain) {
        return Err(TemplateError::BadVariable(name.to_owned()));
    }
    if variables.iter().any(|known| known == name) {
        return Err(TemplateError::DuplicateVariable(name.to_owned()));
    }
    let index = variables.len();
    if index == MAX_VARIABLES {
        return Err(TemplateError::TooManyVariables);
    }
    variables.push(name.to_owned());
    Ok(if rest { Segment::Rest(index) } else { Segment::Variable(index) })
}

/// The variables of a template with their values; one that a filter leaves open is unbound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vars<'a> {
    names: &'a [String],
    values: [Option<&'a str>; MAX_VARIABLES],
}

impl<'a> Vars<'a> {
    pub(crate) fn unbound(template: &'a Template) -> Self {
        Self { names: &template.variables, values: [None; MAX_VARIABLES] }
    }

    pub(crate) fn bind(&mut self, index: usize, value: &'a str) {
        if let Some(slot) = self.values.get_mut(index) {
            *slot = Some(value);
        }
    }

    /// The value of a variable, if the template has it and it is bound.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.bound().find_map(|(known, value)| (known == name).then_some(value))
    }

    /// The bound variables, from left to right.
    pub fn bound(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.names.iter().zip(self.values).filter_map(|(name, value)| Some((name.as_str(), value?)))
    }
}

/// A template that can never be a topic's type, because an earlier one matches all that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shadowed<'a> {
    /// The template that is never reached.
    pub template: &'a Template,
    /// The earlier one that takes all its topics.
    pub by: &'a Template,
}

/// The templates in the order of their declaration.
#[derive(Clone, Debug, Default)]
pub struct Templates(Vec<Template>);

impl Templates {
    /// Takes the templates in order; each name may be used once.
    pub fn new(templates: Vec<Template>) -> Result<Self, TemplateError> {
        for (index, template) in templates.iter().enumerate() {
            if templates.iter().take(index).any(|earlier| earlier.name == template.name) {
                return Err(TemplateError::DuplicateName(template.name.clone()));
            }
        }
        Ok(Self(templates))
    }

    /// The templates in the order of their declaration.
    pub fn iter(&self) -> impl Iterator<Item = &Template> {
        self.0.iter()
    }

    /// The type of a topic: the first declared template that matches, with its variables.
    pub fn match_topic<'a>(&'a self, topic: &'a str) -> Option<(&'a Template, Vars<'a>)> {
        self.0.iter().find_map(|template| Some((template, template.match_topic(topic)?)))
    }

    /// The templates that one earlier template makes unreachable.
    pub fn shadowed(&self) -> Vec<Shadowed<'_>> {
        let shadow = |(index, template)| {
            let by = self.0.iter().take(index).find(|earlier| earlier.contains(template))?;
            Some(Shadowed { template, by })
        };
        self.0.iter().enumerate().filter_map(shadow).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn templates(patterns: &[&str]) -> Templates {
        let parse = |(index, pattern): (usize, &&str)| Template::parse(&format!("t{index}"), pattern).unwrap();
        Templates::new(patterns.iter().enumerate().map(parse).collect()).unwrap()
    }

    fn captured(pattern: &str, topic: &str) -> Option<String> {
        let template = Template::parse("t", pattern).unwrap();
        let vars = template.match_topic(topic)?;
        Some(vars.bound().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_variable_captures_one_level() {
        let pattern = "dt/cvra/{device}/cardata";
        assert_eq!(captured(pattern, "dt/cvra/d1/cardata").as_deref(), Some("device=d1"));
        for other in
            ["dt/cvra/d1/trip", "dt/cvra/d1", "dt/cvra/d1/x/cardata", "dt/cvra//cardata", "dt/cvra/d1/cardata/"]
        {
            assert_eq!(captured(pattern, other), None, "{other}");
        }
    }

    #[test]
    fn a_topic_is_made_of_a_template_and_all_of_its_values() {
        let template = |pattern| Template::parse("t", pattern).unwrap();
        let status = template("{fleet...}");
        let values = status.match_topic("a/b").unwrap();
        let command = template("dfu/{fleet...}");
        assert_eq!(command.topic(|name| values.get(name)).as_deref(), Some("dfu/a/b"));
        assert_eq!(template("dfu/{device}/{fleet...}").topic(|name| values.get(name)), None);
        assert_eq!(template("dfu/command").topic(|_| None).as_deref(), Some("dfu/command"));
    }

    #[test]
    fn a_rest_variable_captures_one_level_or_more() {
        let pattern = "devices/{device}/{rest...}";
        assert_eq!(captured(pattern, "devices/d1/a").as_deref(), Some("device=d1 rest=a"));
        assert_eq!(captured(pattern, "devices/d1/a/b/c").as_deref(), Some("device=d1 rest=a/b/c"));
        for other in ["devices/d1", "devices/d1/", "devices/d1/a//b", "devices//a", "devices/d1/a/"] {
            assert_eq!(captured(pattern, other), None, "{other}");
        }
    }

    #[test]
    fn a_leading_variable_does_not_reach_reserved_topics() {
        assert_eq!(captured("{all...}", "$SYS/uptime"), None);
        assert_eq!(captured("{first}/x", "$SYS/x"), None);
        assert_eq!(captured("a/{b}", "a/$b").as_deref(), Some("b=$b"));
        assert_eq!(captured("$aws/{rest...}", "$aws/events").as_deref(), Some("rest=events"));
    }

    #[test]
    fn the_first_declared_match_is_the_type() {
        let templates = templates(&["a/b", "a/{x}", "{rest...}"]);
        let name = |topic| templates.match_topic(topic).map(|(template, _)| template.name().to_owned());
        assert_eq!(name("a/b").as_deref(), Some("t0"));
        assert_eq!(name("a/c").as_deref(), Some("t1"));
        assert_eq!(name("a/c/d").as_deref(), Some("t2"));
        assert_eq!(name("a//d"), None);
    }

    #[test]
    fn variables_are_found_by_name() {
        let template = Template::parse("t", "x/{a}/{b}").unwrap();
        let vars = template.match_topic("x/1/2").unwrap();
        assert_eq!((vars.get("a"), vars.get("b"), vars.get("c")), (Some("1"), Some("2"), None));
    }

    #[test]
    fn what_is_no_template_is_refused_with_the_reason() {
        let check = |pattern, expected| assert_eq!(Template::parse("t", pattern), Err(expected), "{pattern}");
        check("", TemplateError::BadTopic(TopicError::Empty));
        check("a/+", TemplateError::BadTopic(TopicError::Wildcard));
        check("a/x{b}", TemplateError::BadLevel("x{b}".to_owned()));
        check("a/{b", TemplateError::BadLevel("{b".to_owned()));
        check("a/{}", TemplateError::BadVariable(String::new()));
        check("a/{B}", TemplateError::BadVariable("B".to_owned()));
        check("a/{b.c}", TemplateError::BadVariable("b.c".to_owned()));
        check("{a}/{a}", TemplateError::DuplicateVariable("a".to_owned()));
        check("{a...}/b", TemplateError::RestNotLast("a".to_owned()));
        check("{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}", TemplateError::TooManyVariables);
        assert_eq!(Template::parse("Bad", "a"), Err(TemplateError::BadName("Bad".to_owned())));
        assert_eq!(Template::parse("untyped", "a"), Err(TemplateError::ReservedName));
        let twice = vec![Template::parse("t", "a").unwrap(), Template::parse("t", "b").unwrap()];
        assert_eq!(Templates::new(twice).unwrap_err(), TemplateError::DuplicateName("t".to_owned()));
    }

    #[test]
    fn a_template_that_no_topic_can_reach_is_reported_with_its_shadow() {
        let shadows = |patterns: &[&str]| {
            let templates = templates(patterns);
            let pair = |found: &Shadowed<'_>| (found.template.pattern().to_owned(), found.by.pattern().to_owned());
            templates.shadowed().iter().map(pair).collect::<Vec<_>>()
        };
        let pair = |template: &str, by: &str| vec![(template.to_owned(), by.to_owned())];
        assert_eq!(shadows(&["a/{x}", "a/b"]), pair("a/b", "a/{x}"));
        assert_eq!(shadows(&["a/{x...}", "a/b/{y}"]), pair("a/b/{y}", "a/{x...}"));
        assert_eq!(shadows(&["a/{x...}", "a/{y...}"]), pair("a/{y...}", "a/{x...}"));
        assert_eq!(shadows(&["a/b", "a/{x}", "a/{x}/c", "a", "a/{y...}"]), vec![]);
        assert_eq!(shadows(&["{x}/b", "$aws/b", "/b"]), vec![]);
        assert_eq!(shadows(&["a/{x...}", "a/", "a//b"]), vec![]);
    }
}
