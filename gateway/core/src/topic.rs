//! The syntax of MQTT topic names and topic filters, and whether a filter matches a topic (MQTT5 4.7).
//!
//! It knows nothing of templates or permissions: `template` gives topics their types, `coverage` decides about filters.
//! Called for each PUBLISH, SUBSCRIBE and will at the front door, and for each topic that a plugin or a bridge names.

/// The longest topic or filter: the wire's two-byte length can say no more (MQTT5 1.5.4).
pub const MAX_TOPIC_BYTES: usize = 65_535;

/// The most levels of a topic or a filter. MQTT sets no bound; this one keeps every walk over a topic short, and it is
/// the bound that mosquitto enforces, so a client that works there works here.
pub const MAX_LEVELS: usize = 201;

/// Why a string is not a topic name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// A topic has at least one character (MQTT5 4.7.3-1).
    #[error("a topic is empty")]
    Empty,
    /// Longer than the wire can say.
    #[error("a topic is longer than {MAX_TOPIC_BYTES} bytes")]
    TooLong,
    /// More than [`MAX_LEVELS`] levels.
    #[error("a topic has more than {MAX_LEVELS} levels")]
    TooDeep,
    /// U+0000 is never part of a string (MQTT5 4.7.3-2).
    #[error("a topic contains the character U+0000")]
    Nul,
    /// `+` and `#` belong to filters (MQTT5 3.3.2-2).
    #[error("a topic contains a wildcard")]
    Wildcard,
}

/// Why a string is not a topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A filter has at least one character (MQTT5 4.7.3-1).
    #[error("a filter is empty")]
    Empty,
    /// Longer than the wire can say.
    #[error("a filter is longer than {MAX_TOPIC_BYTES} bytes")]
    TooLong,
    /// More than [`MAX_LEVELS`] levels.
    #[error("a filter has more than {MAX_LEVELS} levels")]
    TooDeep,
    /// U+0000 is never part of a string (MQTT5 4.7.3-2).
    #[error("a filter contains the character U+0000")]
    Nul,
    /// A wildcard takes a whole level (MQTT5 4.7.1-1, 4.7.1-2).
    #[error("a wildcard shares a level with other characters")]
    PartialLevel,
    /// `#` stands at the end or nowhere (MQTT5 4.7.1-1).
    #[error("the wildcard `#` is not the last level")]
    HashNotLast,
}

/// Checks the syntax of a topic name, as a PUBLISH or a will carries it.
pub fn check_topic(topic: &str) -> Result<(), TopicError> {
    if topic.is_empty() {
        return Err(TopicError::Empty);
    }
    if topic.len() > MAX_TOPIC_BYTES {
        return Err(TopicError::TooLong);
    }
    let mut slashes = 0;
    for byte in topic.bytes() {
        match byte {
            0 => return Err(TopicError::Nul),
            b'+' | b'#' => return Err(TopicError::Wildcard),
            b'/' => slashes += 1,
            _ => {}
        }
    }
    if slashes < MAX_LEVELS { Ok(()) } else { Err(TopicError::TooDeep) }
}

/// Checks the syntax of a topic filter, as a SUBSCRIBE or a configuration carries it.
///
/// The prefix `$share/<group>/` of a shared subscription is not part of the filter: its reader removes it first.
pub fn check_filter(filter: &str) -> Result<(), FilterError> {
    if filter.is_empty() {
        return Err(FilterError::Empty);
    }
    if filter.len() > MAX_TOPIC_BYTES {
        return Err(FilterError::TooLong);
    }
    let mut levels = filter.split('/').enumerate().peekable();
    while let Some((index, level)) = levels.next() {
        if index >= MAX_LEVELS {
            return Err(FilterError::TooDeep);
        }
        if level.contains('\0') {
            return Err(FilterError::Nul);
        }
        if level.len() > 1 && level.contains(['+', '#']) {
            return Err(FilterError::PartialLevel);
        }
        if level == "#" && levels.peek().is_some() {
            return Err(FilterError::HashNotLast);
        }
    }
    Ok(())
}

/// Says whether a filter contains a wildcard; one without is the name of the only topic that it matches.
pub fn has_wildcard(filter: &str) -> bool {
    filter.bytes().any(|byte| byte == b'+' || byte == b'#')
}

/// Says whether `filter` matches `topic`. Both must have passed their check; no memory is allocated.
///
/// A filter that starts with a wildcard matches no topic that starts with `$` (MQTT5 4.7.2-1), and `a/#` matches `a`
/// (MQTT5 4.7.1.2).
pub fn filter_matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_any_string_without_wildcards_and_nul() {
        for topic in ["a", "/", "a//b", "$SYS/x", "caf\u{e9}/\u{1f600}", " ", "dt/cvra/d1/cardata"] {
            assert_eq!(check_topic(topic), Ok(()), "{topic}");
        }
        assert_eq!(check_topic(""), Err(TopicError::Empty));
        assert_eq!(check_topic("a\0b"), Err(TopicError::Nul));
        assert_eq!(check_topic("a/+/b"), Err(TopicError::Wildcard));
        assert_eq!(check_topic("a/b#"), Err(TopicError::Wildcard));
    }

    #[test]
    fn length_and_depth_are_bounded() {
        assert_eq!(check_topic(&"x".repeat(MAX_TOPIC_BYTES)), Ok(()));
        assert_eq!(check_topic(&"x".repeat(MAX_TOPIC_BYTES + 1)), Err(TopicError::TooLong));
        assert_eq!(check_filter(&"x".repeat(MAX_TOPIC_BYTES + 1)), Err(FilterError::TooLong));
        let deepest = vec!["x"; MAX_LEVELS].join("/");
        assert_eq!((check_topic(&deepest), check_filter(&deepest)), (Ok(()), Ok(())));
        let deeper = format!("{deepest}/");
        assert_eq!(check_topic(&deeper), Err(TopicError::TooDeep));
        assert_eq!(check_filter(&deeper), Err(FilterError::TooDeep));
    }

    #[test]
    fn a_wildcard_takes_a_whole_level_and_hash_the_last() {
        for filter in ["#", "+", "+/+", "/+", "a/#", "a/+/#", "+//", "$SYS/#", "a/b"] {
            assert_eq!(check_filter(filter), Ok(()), "{filter}");
        }
        assert_eq!(check_filter(""), Err(FilterError::Empty));
        assert_eq!(check_filter("a\0"), Err(FilterError::Nul));
        assert_eq!(check_filter("a+/b"), Err(FilterError::PartialLevel));
        assert_eq!(check_filter("a/##"), Err(FilterError::PartialLevel));
        assert_eq!(check_filter("a/b#"), Err(FilterError::PartialLevel));
        assert_eq!(check_filter("#/a"), Err(FilterError::HashNotLast));
        assert_eq!(check_filter("a/#/"), Err(FilterError::HashNotLast));
    }

    /// The examples of MQTT5 4.7.1 and 4.7.2, and the edges around empty levels.
    #[test]
    fn filters_match_as_the_specification_says() {
        let check = |filter, topic, expected| assert_eq!(filter_matches(filter, topic), expected, "{filter} {topic}");
        check("sport/tennis/player1/#", "sport/tennis/player1", true);
        check("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true);
        check("sport/tennis/player1/#", "sport/tennis/player10", false);
        check("sport/#", "sport", true);
        check("#", "a/b/c", true);
        check("sport/tennis/+", "sport/tennis/player1", true);
        check("sport/tennis/+", "sport/tennis/player1/ranking", false);
        check("sport/+", "sport", false);
        check("sport/+", "sport/", true);
        check("+/+", "/finance", true);
        check("/+", "/finance", true);
        check("+", "/finance", false);
        check("#", "$SYS/monitor", false);
        check("+/monitor/Clients", "$SYS/monitor/Clients", false);
        check("$SYS/#", "$SYS/monitor", true);
        check("$SYS/monitor/+", "$SYS/monitor/Clients", true);
        check("a/+", "a/$b", true);
        check("ACCOUNTS", "Accounts", false);
        check("a//b", "a//b", true);
        check("a/b", "a/b/", false);
    }

    #[test]
    fn only_plus_and_hash_are_wildcards() {
        assert!(has_wildcard("a/+/b") && has_wildcard("#"));
        assert!(!has_wildcard("$SYS/*/{x}"));
    }
}
