//! The coverage rule against brute force: small worlds whose topics can all be written down.
//!
//! The oracle shares no code with the rule. It matches level by level straight from the definitions, over every topic of
//! up to four levels, and keeps "which topics" as bit sets so that more than 10^5 worlds take about a second unoptimised.

use super::*;
use crate::topic::{check_filter, filter_matches};

/// `c` stands for all values that no filter and no template names.
const TOPIC_LEVELS: [&str; 5] = ["a", "b", "c", "", "$"];
const FILTER_LEVELS: [&str; 5] = ["a", "b", "", "$", "+"];
const TEMPLATE_LEVELS: [&str; 5] = ["a", "b", "", "$", "{}"];
const TOPIC_DEPTH: usize = 4;
const PATTERN_DEPTH: usize = 3;
const WORLDS: usize = 150_000;

/// A set of topics, by their index.
#[derive(Clone, PartialEq)]
struct Set([u64; 13]);

impl Set {
    fn of(topics: &[Vec<&str>], wanted: impl Fn(&[&str]) -> bool) -> Self {
        let mut set = Self([0; 13]);
        for (index, topic) in topics.iter().enumerate() {
            if wanted(topic) {
                set.0[index / 64] |= 1 << (index % 64);
            }
        }
        set
    }

    fn and(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & other.0[word]))
    }

    fn without(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & !other.0[word]))
    }

    fn is_empty(&self) -> bool {
        self.0 == [0; 13]
    }

    fn topics(&self) -> Vec<usize> {
        let mut topics = vec![];
        for (word, mut bits) in self.0.into_iter().enumerate() {
            while bits != 0 {
                topics.push(word * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
        topics
    }
}

/// All sequences of up to `depth` of these levels.
fn sequences(levels: &[&'static str], depth: usize) -> Vec<Vec<&'static str>> {
    let mut all: Vec<Vec<&'static str>> = vec![];
    let mut longest = vec![vec![]];
    for _ in 0..depth {
        let longer = |shorter: &Vec<&'static str>| {
            let extend = |level: &&'static str| shorter.iter().chain([level]).copied().collect::<Vec<_>>();
            levels.iter().map(extend).collect::<Vec<_>>()
        };
        longest = longest.iter().flat_map(longer).collect();
        all.extend(longest.iter().cloned());
    }
    all
}

/// MQTT5 4.7, by recursion.
fn oracle_filter(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => oracle_filter(filter, topic),
        ([wanted, filter @ ..], [level, topic @ ..]) => wanted == level && oracle_filter(filter, topic),
        _ => false,
    }
}

/// The variables' values if the template matches; `{}` is a variable, `{...}` takes the rest.
fn oracle_template(template: &[&str], topic: &[&str]) -> Option<Vec<String>> {
    let (Some(segment), Some(level)) = (template.first(), topic.first()) else {
        return (template.is_empty() && topic.is_empty()).then(Vec::new);
    };
    let (here, after) = match *segment {
        "{...}" => (topic.iter().all(|level| !level.is_empty()).then(|| vec![topic.join("/")])?, vec![]),
        "{}" => {
            ((!level.is_empty()).then(|| vec![(*level).to_owned()])?, oracle_template(&template[1..], &topic[1..])?)
        }
        literal => ((literal == *level).then(Vec::new)?, oracle_template(&template[1..], &topic[1..])?),
    };
    Some([here, after].concat())
}

/// `$` at the start of a topic is out of reach of wildcards and variables.
fn hidden(pattern: &[&str], topic: &[&str]) -> bool {
    topic[0].starts_with('$') && ["+", "#", "{}", "{...}"].contains(&pattern[0])
}

/// A template of the oracle beside the parsed one.
struct Pattern {
    levels: Vec<&'static str>,
    parsed: Template,
    topics: Set,
}

struct Universe {
    topics: Vec<Vec<&'static str>>,
    filters: Vec<(String, Set)>,
    patterns: Vec<Pattern>,
}

impl Universe {
    fn new() -> Self {
        let topics = sequences(&TOPIC_LEVELS, TOPIC_DEPTH);
        let filters = sequences(&FILTER_LEVELS, PATTERN_DEPTH);
        let hashes = filters.iter().map(|filter| [filter.as_slice(), &["#"]].concat());
        let filters = [vec!["#"]].into_iter().chain(filters.iter().cloned()).chain(hashes);
        // The lone empty level is the empty string, which is no filter.
        let filters = filters.filter(|filter| check_filter(&filter.join("/")).is_ok());
        let filters = filters.map(|filter| {
            let set = Set::of(&topics, |topic| !hidden(&filter, topic) && oracle_filter(&filter, topic));
            (filter.join("/"), set)
        });
        let filters = filters.collect();
        let closed = sequences(&TEMPLATE_LEVELS, PATTERN_DEPTH);
        let short = sequences(&TEMPLATE_LEVELS, PATTERN_DEPTH - 1);
        let open = short.iter().map(|template| [template.as_slice(), &["{...}"]].concat());
        let all = [vec!["{...}"]].into_iter().chain(open).chain(closed.iter().cloned());
        let patterns = all.filter(|levels| levels != &[""]).map(|levels| {
            let topics = Set::of(&topics, |topic| !hidden(&levels, topic) && oracle_template(&levels, topic).is_some());
            Pattern { parsed: parse("t", &levels), levels, topics }
        });
        let patterns = patterns.collect();
        Self { topics, filters, patterns }
    }

    /// The values of the variables on which all these topics agree: what "bound" means.
    fn agreed(&self, pattern: &Pattern, topics: &Set) -> Vec<Option<String>> {
        let mut agreed: Option<Vec<Option<String>>> = None;
        for topic in topics.topics() {
            let values = oracle_template(&pattern.levels, &self.topics[topic]).unwrap();
            let values = values.into_iter().map(Some).collect::<Vec<_>>();
            agreed = Some(match agreed {
                None => values,
                Some(known) => known
                    .into_iter()
                    .zip(values)
                    .map(|(known, value)| if known == value { known } else { None })
                    .collect(),
            });
            if agreed.as_ref().is_some_and(|agreed| agreed.iter().all(Option::is_none)) {
                break;
            }
        }
        agreed.unwrap_or_default()
    }
}

fn parse(name: &str, levels: &[&str]) -> Template {
    let named = |(index, level): (usize, &&str)| level.replace('{', &format!("{{v{index}"));
    let pattern = levels.iter().enumerate().map(named).collect::<Vec<_>>().join("/");
    Template::parse(name, &pattern).unwrap()
}

/// A small generator (xorshift64*): a world is reproduced by its number.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    }
}

/// A permission: this template, and these values of its variables (`None`: any).
#[derive(Debug)]
struct Grant {
    template: usize,
    values: Vec<Option<&'static str>>,
}

/// A request with an unbound variable meets no condition on it.
fn granted(grants: &[Grant], template: usize, vars: &[Option<String>]) -> bool {
    let meets = |(wanted, value): (&Option<&str>, &Option<String>)| wanted.is_none() || *wanted == value.as_deref();
    grants.iter().any(|grant| grant.template == template && grant.values.iter().zip(vars).all(meets))
}

#[test]
fn filters_and_templates_match_as_defined_on_every_topic() {
    let universe = Universe::new();
    let topics = universe.topics.iter().map(|topic| topic.join("/")).collect::<Vec<_>>();
    for (filter, matched) in &universe.filters {
        let found = Set(std::array::from_fn(|word| {
            (0..64)
                .filter(|bit| topics.get(word * 64 + bit).is_some_and(|topic| filter_matches(filter, topic)))
                .fold(0, |set, bit| set | 1 << bit)
        }));
        assert!(found == *matched, "{filter}");
    }
    for pattern in &universe.patterns {
        for (topic, levels) in topics.iter().zip(&universe.topics) {
            let found = pattern
                .parsed
                .match_topic(topic)
                .map(|vars| vars.bound().map(|(_, value)| value.to_owned()).collect::<Vec<_>>());
            let expected =
                if hidden(&pattern.levels, levels) { None } else { oracle_template(&pattern.levels, levels) };
            assert_eq!(found, expected, "{} {topic}", pattern.parsed.pattern());
        }
    }
}

#[test]
fn shadowed_templates_are_those_that_no_topic_reaches() {
    let universe = Universe::new();
    for (index, earlier) in universe.patterns.iter().enumerate() {
        for later in universe.patterns.iter().skip(index % 3).step_by(3) {
            let both = [parse("earlier", &earlier.levels), parse("later", &later.levels)];
            let shadowed = !Templates::new(both.to_vec()).unwrap().shadowed().is_empty();
            let reachable = later.topics.without(&earlier.topics);
            assert_eq!(
                shadowed,
                reachable.is_empty(),
                "{earlier:?} {later:?}",
                earlier = earlier.levels,
                later = later.levels
            );
        }
    }
}

/// One case: templates in order, a filter, and what the principal may do.
struct World<'u> {
    number: usize,
    universe: &'u Universe,
    patterns: Vec<&'u Pattern>,
    filter: &'u (String, Set),
    grants: Vec<Grant>,
}

impl<'u> World<'u> {
    fn random(universe: &'u Universe, number: usize) -> Self {
        let mut random = Random((number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let count = 1 + random.below(4);
        let pattern = |_| &universe.patterns[random.below(universe.patterns.len())];
        let patterns = (0..count).map(pattern).collect::<Vec<_>>();
        let filter = &universe.filters[random.below(universe.filters.len())];
        let grants = (0..random.below(2 * count + 2)).map(|_| random_grant(&mut random, &patterns)).collect();
        Self { number, universe, patterns, filter, grants }
    }

    fn templates(&self) -> Templates {
        let named = self.patterns.iter().enumerate();
        Templates::new(named.map(|(index, pattern)| parse(&format!("t{index}"), &pattern.levels)).collect()).unwrap()
    }

    /// The topics of each type that the filter matches: the first template that matches is the type.
    fn typed(&self) -> Vec<(usize, Set)> {
        let mut untaken = self.filter.1.clone();
        let mut typed = vec![];
        for (index, pattern) in self.patterns.iter().enumerate() {
            typed.push((index, untaken.and(&pattern.topics)));
            untaken = untaken.without(&pattern.topics);
        }
        typed.retain(|(_, topics)| !topics.is_empty());
        typed
    }

    /// The requests that the rule asks: each type that is reached, with the values common to all that both match.
    fn requests(&self) -> Vec<(usize, Vec<Option<String>>)> {
        let agreed = |index: usize| {
            let pattern = self.patterns[index];
            self.universe.agreed(pattern, &self.filter.1.and(&pattern.topics))
        };
        self.typed().into_iter().map(|(index, _)| (index, agreed(index))).collect()
    }

    fn check(&self) -> Outcome {
        let templates = self.templates();
        let requests = self.requests();
        let permitted = |template: &Template, vars: &Vars<'_>| {
            let index = templates.iter().position(|known| known == template).unwrap();
            let values = template.variables().iter().map(|name| vars.get(name).map(str::to_owned)).collect();
            let request = (index, values);
            assert!(requests.contains(&request), "{self} asks for {request:?}");
            granted(&self.grants, request.0, &request.1)
        };
        let found = coverage(&templates, &self.filter.0, permitted);
        let allowed = requests.iter().all(|(index, values)| granted(&self.grants, *index, values));
        let (expected, outcome) = match found {
            Coverage::Untyped => (requests.is_empty(), Outcome::Untyped),
            Coverage::Covered => (allowed && !requests.is_empty(), Outcome::Covered),
            Coverage::Uncovered(..) => (!allowed, Outcome::Uncovered),
        };
        assert!(expected, "{self} is {outcome:?}");
        if outcome == Outcome::Covered {
            self.assert_sound();
        }
        outcome
    }

    /// Soundness: no typed topic that an allowed filter matches is one that the principal may not receive.
    fn assert_sound(&self) {
        for (index, topics) in self.typed() {
            for topic in topics.topics() {
                let topic = &self.universe.topics[topic];
                let values = oracle_template(&self.patterns[index].levels, topic).unwrap();
                let values = values.into_iter().map(Some).collect::<Vec<_>>();
                assert!(granted(&self.grants, index, &values), "{self} lets {topic:?} through");
            }
        }
    }
}

impl std::fmt::Display for World<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let patterns = self.patterns.iter().map(|pattern| &pattern.levels).collect::<Vec<_>>();
        write!(out, "world {}: {} over {patterns:?} with {:?}", self.number, self.filter.0, self.grants)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Covered,
    Uncovered,
    Untyped,
}

#[test]
fn coverage_agrees_with_brute_force_in_random_worlds() {
    let universe = Universe::new();
    let outcomes = (1..=WORLDS).map(|number| World::random(&universe, number).check()).collect::<Vec<_>>();
    for outcome in [Outcome::Covered, Outcome::Uncovered, Outcome::Untyped] {
        let count = outcomes.iter().filter(|found| **found == outcome).count();
        assert!(count > WORLDS / 20, "only {count} worlds are {outcome:?}");
    }
}

fn random_grant(random: &mut Random, patterns: &[&Pattern]) -> Grant {
    let template = random.below(patterns.len());
    let variables = patterns[template].levels.iter().filter(|level| level.starts_with('{')).count();
    let values = (0..variables).map(|_| [None, None, Some("a"), Some("b"), Some("a/b")][random.below(5)]).collect();
    Grant { template, values }
}
