//! Maintenance windows: `mon-fri 22:00-04:00 +02:00`.
//!
//! Days, a time of day from and to, and how far that clock is ahead of UTC; without days every day, without an offset
//! UTC. A window over midnight belongs to the day on which it opens. There are no time zones: who has summer time
//! changes the offset.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MINUTE_MS: i64 = 60_000;
const DAY_MINUTES: i64 = 1_440;
/// The first day of Unix time, counted from Monday.
const THURSDAY: i64 = 3;
/// The furthest that clocks are from UTC.
const MAX_OFFSET: i64 = 14 * 60;

/// A time of the week in which devices may be updated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Window {
    /// The days on which it opens, Monday first.
    days: [bool; 7],
    /// When it opens, in minutes of its day.
    from: i64,
    /// How long it is open, in minutes: 1 to a whole day.
    length: i64,
    /// Minutes that its clock is ahead of UTC.
    offset: i64,
}

/// Whether it is time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Opening {
    /// A window is open.
    Open,
    /// All are shut until this time, Unix ms.
    Shut(u64),
}

/// Why a text is no window.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum WindowError {
    /// It has other parts.
    #[error("`{0}` is no window; write days, times and an offset: `mon-fri 22:00-04:00 +02:00`")]
    Form(String),
    /// A day that is none.
    #[error("`{0}` is no day; write mon, tue, wed, thu, fri, sat or sun, as `mon-fri` or `sat,sun`")]
    Day(String),
    /// A time that is none.
    #[error("`{0}` is no time of day; write `22:00-04:00`, the end up to 24:00")]
    Time(String),
    /// It opens when it shuts.
    #[error("`{0}` is never open; write `00:00-24:00` for the whole day")]
    Empty(String),
    /// An offset that no clock has.
    #[error("`{0}` is no offset from UTC; write `+2`, `-03:30` or `+05:45`, at most 14 hours")]
    Offset(String),
}

/// Whether one of the windows is open at a time, Unix ms; without windows it always is.
#[must_use]
pub fn opening(windows: &[Window], at_ms: u64) -> Opening {
    let next = windows.iter().map(|window| window.opens_ms(at_ms)).min();
    match next {
        Some(opens) if opens > at_ms => Opening::Shut(opens),
        _ => Opening::Open,
    }
}

impl Window {
    /// When it is open from `at_ms` on: that very time, or the next one at which it opens.
    #[must_use]
    pub fn opens_ms(&self, at_ms: u64) -> u64 {
        let local = i64::try_from(at_ms).unwrap_or(i64::MAX / 2) + self.offset * MINUTE_MS;
        let today = local.div_euclid(DAY_MINUTES * MINUTE_MS);
        // What opened yesterday may be open still; a week and a day later every day has been tried.
        for day in today - 1..=today + 7 {
            if !self.opens_on(day) {
                continue;
            }
            let from = (day * DAY_MINUTES + self.from) * MINUTE_MS;
            if local < from + self.length * MINUTE_MS {
                return u64::try_from(from - self.offset * MINUTE_MS).unwrap_or(0).max(at_ms);
            }
        }
        u64::MAX
    }

    fn opens_on(&self, day: i64) -> bool {
        let weekday = usize::try_from((day + THURSDAY).rem_euclid(7)).unwrap_or(0);
        self.days.get(weekday).copied().unwrap_or(false)
    }
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let mut parts = text.split_whitespace().peekable();
        let is_days = |part: &&str| !part.starts_with(|c: char| c.is_ascii_digit());
        let days = parts.next_if(is_days).map_or(Ok([true; 7]), days)?;
        let (Some(times), offset, None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(WindowError::Form(shown(text)));
        };
        let wrong = || WindowError::Time(shown(times));
        let (from, to) = times.split_once('-').ok_or_else(wrong)?;
        let (from, to) = clock(from).zip(clock(to)).filter(|(from, _)| *from < DAY_MINUTES).ok_or_else(wrong)?;
        let length = match to - from {
            0 => return Err(WindowError::Empty(shown(times))),
            length if length < 0 => length + DAY_MINUTES,
            length => length,
        };
        let offset = match offset {
            None => 0,
            Some(offset) => minutes_ahead(offset).ok_or_else(|| WindowError::Offset(shown(offset)))?,
        };
        Ok(Self { days, from, length, offset })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days != [true; 7] {
            let names: Vec<_> = DAYS.iter().zip(self.days).filter(|(_, open)| *open).map(|(name, _)| *name).collect();
            write!(f, "{} ", names.join(","))?;
        }
        let to =
            if self.from + self.length == DAY_MINUTES { DAY_MINUTES } else { (self.from + self.length) % DAY_MINUTES };
        write!(f, "{:02}:{:02}-{:02}:{:02}", self.from / 60, self.from % 60, to / 60, to % 60)?;
        let sign = if self.offset < 0 { '-' } else { '+' };
        write!(f, " {sign}{:02}:{:02}", self.offset.abs() / 60, self.offset.abs() % 60)
    }
}

/// `mon-fri`, `sat,sun`, `daily`; a range may go over Sunday.
fn days(text: &str) -> Result<[bool; 7], WindowError> {
    if text == "daily" {
        return Ok([true; 7]);
    }
    let mut days = [false; 7];
    for range in text.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let day = |name: &str| {
            let place = DAYS.iter().position(|day| name.eq_ignore_ascii_case(day));
            place.ok_or_else(|| WindowError::Day(shown(name)))
        };
        let (first, last) = (day(first)?, day(last)?);
        let length = (last + 7 - first) % 7;
        for (place, open) in days.iter_mut().enumerate() {
            *open |= (place + 7 - first) % 7 <= length;
        }
    }
    Ok(days)
}

/// Minutes of the day; 24:00 is its end.
fn clock(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let (hours, minutes) = (digits(hours)?, digits(minutes).filter(|_| minutes.len() == 2)?);
    let of_day = hours * 60 + minutes;
    (minutes < 60 && of_day <= DAY_MINUTES).then_some(of_day)
}

fn minutes_ahead(text: &str) -> Option<i64> {
    let (sign, number) = match text.strip_prefix('-') {
        Some(number) => (-1, number),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let minutes = match number.split_once(':') {
        Some(_) => clock(number)?,
        None => digits(number)? * 60,
    };
    (minutes <= MAX_OFFSET).then_some(sign * minutes)
}

/// One or two digits.
fn digits(text: &str) -> Option<i64> {
    let plain = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

fn shown(text: &str) -> String {
    text.chars().take(60).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Monday 2026-11-23, 00:00 UTC.
    const MONDAY: u64 = 1_795_392_000_000;
    const HOUR: u64 = 3_600_000;
    const DAY: u64 = 24 * HOUR;

    /// When the window is open from an hour of that Monday on, in hours of it.
    fn check(window: &str, hour: u64, opens: u64) {
        let window: Window = window.parse().unwrap();
        assert_eq!((window.opens_ms(MONDAY + hour * HOUR) - MONDAY) / HOUR, opens, "{window} at {hour}");
    }

    #[test]
    fn a_window_is_open_between_its_times_on_its_days() {
        check("mon 08:00-10:00", 0, 8);
        check("mon 08:00-10:00", 8, 8);
        check("mon 08:00-10:00", 9, 9);
        check("mon 08:00-10:00", 10, 7 * 24 + 8);
        check("tue 08:00-10:00", 9, 24 + 8);
        check("08:00-10:00", 10, 24 + 8);
        check("daily 00:00-24:00", 13, 13);
        check("sat-mon 01:00-02:00", 0, 1);
        check("sat-mon 01:00-02:00", 2, 5 * 24 + 1);
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_opens() {
        check("mon 22:00-04:00", 23, 23);
        check("mon 22:00-04:00", 27, 27);
        check("mon 22:00-04:00", 28, 7 * 24 + 22);
        check("mon 22:00-04:00", 3, 22);
        check("sun 22:00-04:00", 3, 3);
    }

    #[test]
    fn the_offset_says_how_far_its_clock_is_ahead() {
        check("mon 08:00-10:00 +2", 6, 6);
        check("mon 08:00-10:00 +02:00", 8, 7 * 24 + 6);
        check("mon 08:00-10:00 -3", 8, 11);
        // It is still Sunday there.
        check("sun 22:00-23:00 -3", 1, 1);
    }

    #[test]
    fn without_windows_it_is_always_time_and_of_several_the_next_one_counts() {
        assert_eq!(opening(&[], 7), Opening::Open);
        let windows = ["mon 08:00-10:00", "mon 09:00-12:00"].map(|window| window.parse().unwrap());
        assert_eq!(opening(&windows, MONDAY + 11 * HOUR), Opening::Open);
        assert_eq!(opening(&windows, MONDAY), Opening::Shut(MONDAY + 8 * HOUR));
        assert_eq!(opening(&windows, MONDAY + 12 * HOUR), Opening::Shut(MONDAY + 7 * DAY + 8 * HOUR));
    }

    #[test]
    fn a_text_that_is_no_window_is_refused_in_one_line() {
        let form = "`mon` is no window; write days, times and an offset: `mon-fri 22:00-04:00 +02:00`";
        for (text, expected) in [
            ("mon", form),
            (
                "funday 1:00-2:00",
                "`funday` is no day; write mon, tue, wed, thu, fri, sat or sun, as `mon-fri` or `sat,sun`",
            ),
            ("25:00-26:00", "`25:00-26:00` is no time of day; write `22:00-04:00`, the end up to 24:00"),
            ("8-10", "`8-10` is no time of day; write `22:00-04:00`, the end up to 24:00"),
            ("08:00-08:00", "`08:00-08:00` is never open; write `00:00-24:00` for the whole day"),
            ("08:00-09:00 CET", "`CET` is no offset from UTC; write `+2`, `-03:30` or `+05:45`, at most 14 hours"),
        ] {
            assert_eq!(text.parse::<Window>().unwrap_err().to_string(), expected);
        }
        assert!("".parse::<Window>().is_err() && "mon 08:00-09:00 +2 more".parse::<Window>().is_err());
    }

    fn any_window() -> impl Strategy<Value = Window> {
        let days = prop::array::uniform7(any::<bool>()).prop_filter("it opens", |days| days.contains(&true));
        (days, 0..DAY_MINUTES, 1..=DAY_MINUTES, -MAX_OFFSET..=MAX_OFFSET)
            .prop_filter("a day has one way to be whole", |(_, from, length, _)| *length < DAY_MINUTES || *from == 0)
            .prop_map(|(days, from, length, offset)| Window { days, from, length, offset })
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".*", near in "(mon|sun|daily|,|-|[0-9:+ ]){0,12}") {
            for text in [text, near] {
                if let Err(error) = text.parse::<Window>() {
                    prop_assert!(!error.to_string().contains('\n'));
                }
            }
        }

        #[test]
        fn what_is_printed_parses_to_itself(window in any_window()) {
            prop_assert_eq!(window.to_string().parse::<Window>().unwrap(), window);
        }

        #[test]
        fn a_window_opens_within_a_week_and_is_open_then(window in any_window(), at in 0..4_000_000_000_000_u64) {
            let opens = window.opens_ms(at);
            prop_assert!(at <= opens && opens <= at + 8 * DAY);
            prop_assert_eq!(opening(&[window], opens), Opening::Open);
            if opens > at {
                prop_assert_eq!(opening(&[window], opens - 1), Opening::Shut(opens));
            }
        }

        #[test]
        fn the_time_of_day_decides_minute_by_minute(window in any_window(), minute in 0..20_000_i64) {
            let local = minute + window.offset;
            let (day, time) = (local.div_euclid(DAY_MINUTES), local.rem_euclid(DAY_MINUTES));
            let today = window.opens_on(day) && (window.from..window.from + window.length).contains(&time);
            let yesterday = window.opens_on(day - 1) && time < window.from + window.length - DAY_MINUTES;
            let at = u64::try_from(minute * MINUTE_MS).unwrap();
            prop_assert_eq!(opening(&[window], at) == Opening::Open, today || yesterday);
        }
    }
}
