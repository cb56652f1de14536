//! Whether a topic *filter* may be subscribed to: the coverage rule.
//!
//! A filter is covered if for every template that it can reach, the request with that template's variables, bound where
//! the filter is literal and unbound where it has wildcards, is permitted. An unbound variable equals nothing, so a
//! device may subscribe to `devices/d1/#` and not to `devices/+/#`; a filter that is covered in part is refused whole.
//! A filter *reaches* a template if it matches a topic of that type: what an earlier template takes doesn't count.
//!
//! The rule decides about the subscription; each delivery is decided again for its own topic. So a `forbid` on one
//! value need not refuse a wildcard over all values, and untyped topics need not refuse a filter that matches them too.

use crate::template::{Segment, Template, Templates, Vars, can_be_value, is_reserved};

/// What the coverage rule says about a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage<'a> {
    /// Every template that the filter reaches is permitted.
    Covered,
    /// This template is reached, and the request with these variables is not permitted.
    Uncovered(&'a Template, Vars<'a>),
    /// The filter reaches no template: all topics that it matches are untyped, and the caller decides about those.
    Untyped,
}

/// Applies the coverage rule; `permitted` answers the request for one template with the variables that are bound.
///
/// The filter must have passed [`check_filter`](crate::topic::check_filter).
pub fn coverage<'a>(
    templates: &'a Templates,
    filter: &'a str,
    mut permitted: impl FnMut(&'a Template, &Vars<'a>) -> bool,
) -> Coverage<'a> {
    let reached = templates.intersections(filter);
    if reached.is_empty() {
        return Coverage::Untyped;
    }
    let refused = reached.into_iter().find(|(template, vars)| !permitted(template, vars));
    refused.map_or(Coverage::Covered, |(template, vars)| Coverage::Uncovered(template, vars))
}

impl Templates {
    /// The templates that a filter reaches, each with the variables that the filter's literals bind.
    pub fn intersections<'a>(&'a self, filter: &'a str) -> Vec<(&'a Template, Vars<'a>)> {
        let longest = self.iter().map(|template| template.segments().len()).max().unwrap_or(0);
        let mut reached = Vec::new();
        for (index, template) in self.iter().enumerate() {
            let Some(meeting) = Meeting::of(template, filter) else { continue };
            let taken = |topic: &[Level<'_>]| self.iter().take(index).any(|earlier| matches(earlier, topic));
            if meeting.any_topic(longest, |topic| !taken(topic)) {
                reached.push((template, meeting.vars));
            }
        }
        reached
    }
}

/// One level of the topics that a filter and a template share.
#[derive(Clone, Copy)]
enum Level<'a> {
    Literal(&'a str),
    /// Any level that is not empty. It stands for a value that no template has as a literal, which is the value that
    /// the fewest templates match: if they all do, they match every other value as well.
    Any,
}

/// The topics that a template and a filter have in common, and what they say of the variables.
struct Meeting<'a> {
    vars: Vars<'a>,
    levels: Vec<Level<'a>>,
    /// Both go on for ever: any number of levels may follow, but at least this many.
    open: Option<usize>,
}

impl<'a> Meeting<'a> {
    /// Walks both patterns side by side; `None` if no topic matches both.
    fn of(template: &'a Template, filter: &'a str) -> Option<Self> {
        let mut meeting = Self { vars: Vars::unbound(template), levels: Vec::new(), open: None };
        let mut remaining = Some(filter);
        for segment in template.segments() {
            let here = remaining?;
            let (level, after) = here.split_once('/').map_or((here, None), |(level, after)| (level, Some(after)));
            if let Segment::Rest(index) = segment {
                return meeting.meet_rest(*index, here).then_some(meeting);
            }
            if !meeting.meet_level(segment, level) {
                return None;
            }
            // `#` stays: it also takes the levels after this one.
            remaining = if level == "#" { remaining } else { after };
        }
        // `a/#` matches `a`, too.
        remaining.is_none_or(|rest| rest == "#").then_some(meeting)
    }

    /// Meets one level of the filter with a segment that takes exactly one level.
    fn meet_level(&mut self, segment: &'a Segment, level: &'a str) -> bool {
        let wildcard = level == "+" || level == "#";
        match segment {
            Segment::Literal(literal) if wildcard => self.push_unless(self.is_first() && is_reserved(literal), literal),
            Segment::Literal(literal) => self.push_unless(literal != level, literal),
            Segment::Variable(_) | Segment::Rest(_) if wildcard => {
                self.levels.push(Level::Any);
                true
            }
            Segment::Variable(index) | Segment::Rest(index) => {
                self.vars.bind(*index, level);
                self.push_unless(!can_be_value(self.is_first(), level), level)
            }
        }
    }

    /// Meets what remains of the filter, one level at least, with a variable that takes all remaining levels.
    fn meet_rest(&mut self, index: usize, remaining: &'a str) -> bool {
        let before = self.levels.len();
        let mut literal = true;
        for level in remaining.split('/') {
            match level {
                "#" => self.open = Some(usize::from(self.levels.len() == before)),
                "+" => self.levels.push(Level::Any),
                level if can_be_value(self.is_first(), level) => self.levels.push(Level::Literal(level)),
                _ => return false,
            }
            literal &= level != "+" && level != "#";
        }
        if literal {
            self.vars.bind(index, remaining);
        }
        true
    }

    fn is_first(&self) -> bool {
        self.levels.is_empty()
    }

    fn push_unless(&mut self, refused: bool, level: &'a str) -> bool {
        if !refused {
            self.levels.push(Level::Literal(level));
        }
        !refused
    }

    /// Whether one of the common topics satisfies `wanted`. An open end is tried with each length up to one that only
    /// templates with an open end can match, as `longest` is the length of the longest template.
    fn any_topic(&self, longest: usize, wanted: impl Fn(&[Level<'a>]) -> bool) -> bool {
        let Some(least) = self.open else { return wanted(&self.levels) };
        let mut topic = self.levels.clone();
        topic.resize(self.levels.len() + least, Level::Any);
        loop {
            if wanted(&topic) {
                return true;
            }
            if topic.len() > longest {
                return false;
            }
            topic.push(Level::Any);
        }
    }
}

/// Whether a template matches a topic some of whose levels may be any.
fn matches(template: &Template, topic: &[Level<'_>]) -> bool {
    let mut levels = topic.iter().enumerate();
    let reaches = |(index, level): (usize, &Level<'_>)| match level {
        Level::Literal(level) => can_be_value(index == 0, level),
        Level::Any => true,
    };
    for segment in template.segments() {
        let Some(here) = levels.next() else { return false };
        let matched = match (segment, here.1) {
            (Segment::Literal(literal), Level::Literal(level)) => literal == level,
            (Segment::Literal(_), Level::Any) => false,
            (Segment::Variable(_), _) => reaches(here),
            (Segment::Rest(_), _) => return reaches(here) && levels.all(reaches),
        };
        if !matched {
            return false;
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod oracle;

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> Templates {
        let patterns = [
            ("cardata", "dt/cvra/{device}/cardata"),
            ("dtc", "dt/cvra/{device}/dtc"),
            ("own", "devices/{device}/{rest...}"),
            ("jobs", "$aws/events/jobExecution/{rest...}"),
        ];
        let templates = patterns.map(|(name, pattern)| Template::parse(name, pattern).unwrap());
        Templates::new(templates.to_vec()).unwrap()
    }

    fn reached(templates: &Templates, filter: &str) -> Vec<String> {
        let show = |(template, vars): &(&Template, Vars<'_>)| {
            let vars = vars.bound().map(|(name, value)| format!("{name}={value}"));
            [template.name().to_owned()].into_iter().chain(vars).collect::<Vec<_>>().join(" ")
        };
        templates.intersections(filter).iter().map(show).collect()
    }

    #[test]
    fn literals_bind_and_wildcards_leave_unbound() {
        let check = |filter, expected: &[&str]| assert_eq!(reached(&shipped(), filter), expected, "{filter}");
        check("dt/cvra/d1/cardata", &["cardata device=d1"]);
        check("dt/cvra/+/cardata", &["cardata"]);
        check("dt/cvra/d1/+", &["cardata device=d1", "dtc device=d1"]);
        check("dt/cvra/d1/#", &["cardata device=d1", "dtc device=d1"]);
        check("devices/d1/#", &["own device=d1"]);
        check("devices/d1/a/b", &["own device=d1 rest=a/b"]);
        check("devices/d1/a/+", &["own device=d1"]);
        check("devices/#", &["own"]);
        check("#", &["cardata", "dtc", "own"]);
        check("+/cvra/#", &["cardata", "dtc", "own device=cvra"]);
        check("$aws/#", &["jobs"]);
        check("$aws/events/jobExecution/j1/+", &["jobs"]);
        check("devices/d1", &[]);
        check("devices//+", &[]);
        check("other/#", &[]);
    }

    #[test]
    fn what_an_earlier_template_takes_is_not_reached() {
        let patterns = [("secret", "x/{d}/secret"), ("pair", "x/{d}/{leaf}"), ("all", "x/{rest...}")];
        let templates = patterns.map(|(name, pattern)| Template::parse(name, pattern).unwrap());
        let templates = Templates::new(templates.to_vec()).unwrap();
        let check = |filter, expected: &[&str]| assert_eq!(reached(&templates, filter), expected, "{filter}");
        check("x/d1/secret", &["secret d=d1"]);
        check("x/+/secret", &["secret"]);
        check("x/d1/other", &["pair d=d1 leaf=other"]);
        check("x/d1/+", &["secret d=d1", "pair d=d1"]);
        check("x/d1/#", &["secret d=d1", "pair d=d1", "all"]);
        check("x/+", &["all"]);
    }

    #[test]
    fn a_filter_is_allowed_only_if_all_that_it_reaches_is_permitted() {
        let templates = shipped();
        let own = |_: &Template, vars: &Vars<'_>| vars.get("device") == Some("d1");
        assert_eq!(coverage(&templates, "devices/d1/#", own), Coverage::Covered);
        assert_eq!(coverage(&templates, "dt/cvra/d1/+", own), Coverage::Covered);
        assert_eq!(coverage(&templates, "elsewhere/#", own), Coverage::Untyped);
        for filter in ["devices/d2/#", "devices/+/x", "#", "+/d2/#", "dt/cvra/+/cardata"] {
            assert!(matches!(coverage(&templates, filter, own), Coverage::Uncovered(..)), "{filter}");
        }
        let only_dtc = |template: &Template, _: &Vars<'_>| template.name() == "dtc";
        let Coverage::Uncovered(template, vars) = coverage(&templates, "dt/cvra/d7/+", only_dtc) else {
            panic!("the filter reaches cardata, too");
        };
        assert_eq!((template.name(), vars.get("device")), ("cardata", Some("d7")));
    }
}
