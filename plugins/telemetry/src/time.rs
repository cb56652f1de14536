//! ISO 8601 times as vehicles write them: a date, optionally a time, a fraction and a zone; no zone means UTC.

/// The time in Unix milliseconds; `None` for what is no time or lies before 1970.
pub(crate) fn parse_ms(text: &str) -> Option<u64> {
    let mut text = Cursor(text.trim().as_bytes());
    let (year, month, day) = (text.digits(4)?, text.after(b"-")?.digits(2)?, text.after(b"-")?.digits(2)?);
    if !(1..=12).contains(&month) || !(1..=days_in(month, year)).contains(&day) {
        return None;
    }
    let mut ms = days_since_1970(year, month, day) * 86_400_000;
    if !text.0.is_empty() {
        ms += text.after(b"Tt ")?.time_of_day()?;
        ms -= text.zone()?;
    }
    if text.0.is_empty() { u64::try_from(ms).ok() } else { None }
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    /// A number of exactly `count` digits.
    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
    }

    /// Steps over one of the bytes `any`.
    fn after(&mut self, any: &[u8]) -> Option<&mut Self> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        any.contains(first).then_some(self)
    }

    fn peek(&self, any: &[u8]) -> bool {
        self.0.first().is_some_and(|first| any.contains(first))
    }

    /// Milliseconds since midnight; a leap second counts as the next second.
    fn time_of_day(&mut self) -> Option<i64> {
        let (hour, minute) = (self.digits(2)?, self.after(b":")?.digits(2)?);
        let second = if self.peek(b":") { self.after(b":")?.digits(2)? } else { 0 };
        let fraction = if self.peek(b".,") { self.after(b".,")?.fraction()? } else { 0 };
        let valid = hour < 24 && minute < 60 && second <= 60;
        valid.then_some(((hour * 60 + minute) * 60 + second) * 1000 + fraction)
    }

    /// The milliseconds of a fraction with any number of digits.
    fn fraction(&mut self) -> Option<i64> {
        let length = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        let padded = digits.iter().copied().chain(std::iter::repeat(b'0')).take(3);
        (length > 0).then(|| padded.fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
    }

    /// The zone's offset from UTC in milliseconds.
    fn zone(&mut self) -> Option<i64> {
        if self.0.is_empty() {
            return Some(0);
        }
        if self.peek(b"Zz") {
            self.after(b"Zz")?;
            return Some(0);
        }
        let sign = if self.peek(b"-") { -1 } else { 1 };
        let hours = self.after(b"+-")?.digits(2)?;
        if self.peek(b":") {
            self.after(b":")?;
        }
        let minutes = if self.0.is_empty() { 0 } else { self.digits(2)? };
        (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60_000)
    }
}

const fn days_in(month: i64, year: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar. Counting years from March puts the leap day at the end of a year.
const fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::parse_ms;

    fn check(text: &str, expected: Option<u64>) {
        assert_eq!(parse_ms(text), expected, "{text}");
    }

    #[test]
    fn times_of_all_iso_forms_are_read() {
        check("1970-01-01", Some(0));
        check("2020-05-11T12:34:56Z", Some(1_589_200_496_000));
        check("2020-05-11T12:34:56.789Z", Some(1_589_200_496_789));
        check("2020-05-11 12:34:56.789123", Some(1_589_200_496_789));
        check("2020-05-11T14:34:56+02:00", Some(1_589_200_496_000));
        check("2020-05-11T10:04:56-0230", Some(1_589_200_496_000));
        check("2020-05-11T12:34", Some(1_589_200_440_000));
        check("2024-02-29T00:00:00Z", Some(1_709_164_800_000));
        check("2000-03-01", Some(951_868_800_000));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in
            ["", "now", "2020-13-01", "2020-02-30", "2023-02-29", "2020-05-11T25:00Z", "2020-05-11Z", "20200511"]
        {
            check(text, None);
        }
        check("1969-12-31T23:59:59Z", None);
        check("2020-05-11T12:34:56Zjunk", None);
        check("2020-05-11T12:34:56.Z", None);
        check("２０２０-05-11", None);
    }
}
