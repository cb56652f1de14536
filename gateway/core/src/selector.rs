//! Which topics a binding handles: an MQTT filter, or a template that also takes values out of the topic.
//!
//! A binding's templates have no names and say nothing about permissions; those of the policies are in `template`.

use crate::template::{Template, TemplateError, Vars};
use crate::topic::{FilterError, check_filter, filter_matches};

/// Template names are for policies; a binding's template is known by its pattern.
const NAME: &str = "binding";

/// Why a text selects no topics.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// It has no braces, so it is meant as a filter.
    #[error("it is not an MQTT filter: {0}")]
    Filter(#[from] FilterError),
    /// It has braces, so it is meant as a template.
    #[error("it is not a template: {0}")]
    Template(#[from] TemplateError),
}

/// A filter or a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// An MQTT filter.
    Filter(String),
    /// A template: `{name}` takes one level, `{name...}` all that remain.
    Template(Box<Template>),
}

impl Selector {
    /// Reads a filter, or a template if there are braces in it.
    ///
    /// # Errors
    /// [`SelectorError`].
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.contains(['{', '}']) {
            return Ok(Self::Template(Box::new(Template::parse(NAME, text)?)));
        }
        check_filter(text)?;
        Ok(Self::Filter(text.to_owned()))
    }

    /// Whether it selects the topic.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            Self::Filter(filter) => filter_matches(filter, topic),
            Self::Template(template) => template.match_topic(topic).is_some(),
        }
    }

    /// Its variables with their values in a topic; none for a filter, and for a topic that it does not select.
    #[must_use]
    pub fn variables<'a>(&'a self, topic: &'a str) -> Option<Vars<'a>> {
        match self {
            Self::Filter(_) => None,
            Self::Template(template) => template.match_topic(topic),
        }
    }

    /// Whether it has this variable.
    #[must_use]
    pub fn has(&self, variable: &str) -> bool {
        match self {
            Self::Filter(_) => false,
            Self::Template(template) => template.variables().iter().any(|name| name == variable),
        }
    }

    /// An MQTT filter that matches every topic that it selects, and of a template also topics with empty levels.
    #[must_use]
    pub fn filter(&self) -> String {
        match self {
            Self::Filter(filter) => filter.clone(),
            Self::Template(template) => template.filter(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::TopicError;

    #[test]
    fn braces_make_a_template_of_a_filter() {
        let filter = |text| Selector::parse(text).unwrap().filter();
        assert_eq!(filter("dt/+/#"), "dt/+/#");
        assert_eq!(filter("dt/cvra/{device}/cardata"), "dt/cvra/+/cardata");
        assert_eq!(filter("devices/{device}/{rest...}"), "devices/+/+/#");
        assert_eq!(filter("{all...}"), "+/#");
    }

    #[test]
    fn a_template_gives_the_values_of_its_variables_and_a_filter_gives_none() {
        let template = Selector::parse("dt/cvra/{device}/{flow}").unwrap();
        let variables = template.variables("dt/cvra/d1/trip").unwrap();
        assert_eq!((variables.get("device"), variables.get("flow")), (Some("d1"), Some("trip")));
        assert!(template.matches("dt/cvra/d1/trip") && !template.matches("dt/cvra/d1"));
        assert!(template.has("flow") && !template.has("vin"));
        let filter = Selector::parse("dt/cvra/+/trip").unwrap();
        assert!(filter.matches("dt/cvra/d1/trip") && filter.variables("dt/cvra/d1/trip").is_none());
    }

    #[test]
    fn what_is_neither_is_refused_as_what_it_looks_like() {
        assert_eq!(Selector::parse("a/#/b"), Err(FilterError::HashNotLast.into()));
        assert_eq!(Selector::parse("a/{b"), Err(TemplateError::BadLevel("{b".to_owned()).into()));
        assert_eq!(Selector::parse("a/+/{b}"), Err(TemplateError::BadTopic(TopicError::Wildcard).into()));
    }

    mod every_topic {
        use proptest::prelude::*;

        use super::super::*;

        fn level() -> impl Strategy<Value = String> {
            prop::sample::select(vec!["a", "b", "$s", ""]).prop_map(str::to_owned)
        }

        fn pattern() -> impl Strategy<Value = String> {
            let level = prop::sample::select(vec!["a", "b", "$s", "{x}", "{y}"]).prop_map(str::to_owned);
            (prop::collection::vec(level, 1..4), any::<bool>()).prop_map(|(mut levels, rest)| {
                if rest {
                    levels.push("{rest...}".to_owned());
                }
                levels.join("/")
            })
        }

        proptest! {
            #[test]
            fn of_a_template_is_matched_by_its_filter(
                pattern in pattern(),
                topic in prop::collection::vec(level(), 1..6).prop_map(|levels| levels.join("/")),
            ) {
                // A pattern that uses a variable twice is no template.
                if let Ok(selector) = Selector::parse(&pattern)
                    && selector.matches(&topic)
                {
                    prop_assert!(filter_matches(&selector.filter(), &topic), "{pattern} {topic}");
                }
            }
        }
    }
}
