//! Times as devices write them: ISO 8601 in its usual spellings, or Unix milliseconds.

use serde_json::Value;
use time::{Date, Month, PrimitiveDateTime, Time, UtcOffset};

/// Unix milliseconds of a JSON value: a whole number of milliseconds, or a text.
pub(super) fn from_json(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => from_text(text),
        _ => None,
    }
}

/// Unix milliseconds of `YYYY-MM-DD[(T| )HH:MM[:SS[.fraction]][Z|±HH[:]MM]]`, UTC when no zone is given, or of a
/// whole number.
pub(super) fn from_text(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(ms) = text.parse::<i64>() {
        return Some(ms);
    }
    let (date, rest) = text.split_at_checked(10)?;
    let date = parse_date(date)?;
    let Some(clock) = rest.strip_prefix(['T', 't', ' ']) else {
        return rest.is_empty().then(|| ms(date, Time::MIDNIGHT, UtcOffset::UTC));
    };
    let (clock, offset) = split_offset(clock)?;
    Some(ms(date, parse_clock(clock)?, offset))
}

fn ms(date: Date, clock: Time, offset: UtcOffset) -> i64 {
    let at = PrimitiveDateTime::new(date, clock).assume_offset(offset);
    at.unix_timestamp() * 1000 + i64::from(at.millisecond())
}

fn parse_date(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let year = number(parts.next()?, 4)?;
    let month = number(parts.next()?, 2)?;
    let day = number(parts.next()?, 2)?;
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    Date::from_calendar_date(i32::try_from(year).ok()?, month, u8::try_from(day).ok()?).ok()
}

fn parse_clock(text: &str) -> Option<Time> {
    let (whole, fraction) = text.split_once(['.', ',']).unwrap_or((text, ""));
    let mut parts = whole.split(':');
    let hour = number(parts.next()?, 2)?;
    let minute = number(parts.next()?, 2)?;
    let second = parts.next().map_or(Some(0), |text| number(text, 2))?;
    if parts.next().is_some() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let milli = format!("{fraction:0<3}").get(..3)?.parse::<u16>().ok()?;
    // A leap second is the last one before it: nothing here counts seconds.
    let second = u8::try_from(second).ok()?.min(if second == 60 { 59 } else { u8::MAX });
    Time::from_hms_milli(u8::try_from(hour).ok()?, u8::try_from(minute).ok()?, second, milli).ok()
}

fn split_offset(text: &str) -> Option<(&str, UtcOffset)> {
    if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        return Some((clock, UtcOffset::UTC));
    }
    let Some(at) = text.find(['+', '-']) else {
        return Some((text, UtcOffset::UTC));
    };
    let (clock, zone) = text.split_at(at);
    let (sign, digits) = zone.split_at(1);
    let digits = digits.replace(':', "");
    let hours = i8::try_from(number(digits.get(..2)?, 2)?).ok()?;
    let minutes = match digits.get(2..)? {
        "" => 0,
        rest => i8::try_from(number(rest, 2)?).ok()?,
    };
    let sign = if sign == "-" { -1 } else { 1 };
    Some((clock, UtcOffset::from_hms(sign * hours, sign * minutes, 0).ok()?))
}

/// A number of exactly so many digits.
fn number(text: &str, digits: usize) -> Option<u32> {
    let plain = text.len() == digits && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: Option<i64>) {
        assert_eq!(from_text(text), expected, "{text}");
    }

    #[test]
    fn the_usual_spellings_are_understood() {
        check("2020-06-15T12:34:56.789Z", Some(1_592_224_496_789));
        check("2020-06-15 12:34:56.789000000", Some(1_592_224_496_789));
        check("2020-06-15T12:34:56", Some(1_592_224_496_000));
        check("2020-06-15T14:34:56+02:00", Some(1_592_224_496_000));
        check("2020-06-15T07:04:56-0530", Some(1_592_224_496_000));
        check("2020-06-15T12:34", Some(1_592_224_440_000));
        check("2020-06-15", Some(1_592_179_200_000));
        check("1592224496789", Some(1_592_224_496_789));
        check("2016-12-31T23:59:60Z", Some(1_483_228_799_000));
    }

    #[test]
    fn anything_else_is_no_time() {
        for text in [
            "",
            "yesterday",
            "2020-06",
            "2020-13-01",
            "2020-02-30",
            "2020-06-15X",
            "2020-06-15T25:00",
            "2020-06-15T12",
            "2020-06-15T12:34:56:78",
            "2020-06-15T12:34:56.x",
            "2020-06-15T12:34+9",
            "2020-06-15T12:34:61Z",
            "äöü€-06-15",
        ] {
            check(text, None);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = from_text(&text);
        }
    }
}
