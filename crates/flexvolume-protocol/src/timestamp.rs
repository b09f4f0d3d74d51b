//! A moment as RFC 3339 writes it: what a driver says of when a snapshot was taken.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::names::NameError;

/// A moment of the years 1 to 9999, to the nanosecond. It is written in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp {
    /// Since 1970, rounded down.
    seconds: i64,
    nanos: u32,
}

const DAY: i64 = 86_400;
/// The first second of the year 1, and the last of 9999.
const FIRST: i64 = -62_135_596_800;
const LAST: i64 = 253_402_300_799;
/// Days in 400 years, after which the calendar repeats.
const ERA: i64 = 146_097;
/// Days from 1 March of the year 0, from which leap days are easy to count, to 1970.
const BEFORE_1970: i64 = 719_468;

impl Timestamp {
    /// The moment so many seconds and nanoseconds after 1970 began; `None` if it lies outside the years of the type, or
    /// if the nanoseconds are a second or more.
    pub fn from_unix(seconds: i64, nanos: u32) -> Option<Self> {
        ((FIRST..=LAST).contains(&seconds) && nanos < 1_000_000_000).then_some(Self { seconds, nanos })
    }

    /// Reads `2026-03-01T12:00:00Z`: as RFC 3339 has it, with any offset. A blank may stand for the `T`, as `date`
    /// prints it.
    ///
    /// # Errors
    /// [`NameError`] when it is written otherwise or is no such day or time.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let why = "it must be written as RFC 3339 has it, such as 2026-03-01T12:00:00Z";
        read(text.as_bytes()).ok_or_else(|| NameError::new("time", text, why))
    }

    /// Whole seconds since 1970, rounded down.
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// What is left beside the seconds, less than 1,000,000,000.
    pub fn nanos(self) -> u32 {
        self.nanos
    }
}

fn read(text: &[u8]) -> Option<Timestamp> {
    let (date, rest) = text.split_at_checked(10)?;
    let (clock, rest) = rest.split_at_checked(9)?;
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = *date else { return None };
    let [b'T' | b't' | b' ', h1, h2, b':', min1, min2, b':', s1, s2] = *clock else { return None };
    let (year, month, day) = (number(&[y1, y2, y3, y4])?, number(&[m1, m2])?, number(&[d1, d2])?);
    let (hour, minute, second) = (number(&[h1, h2])?, number(&[min1, min2])?, number(&[s1, s2])?);
    let is_day = (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    if !is_day || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (nanos, rest) = match rest.strip_prefix(b".") {
        Some(rest) => fraction(rest)?,
        None => (0, rest),
    };
    let seconds = days_since_1970(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset(rest)?;
    Timestamp::from_unix(seconds, nanos)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
}

/// Nanoseconds of the digits at the beginning, of which there must be one; those beyond the ninth are dropped.
fn fraction(text: &[u8]) -> Option<(u32, &[u8])> {
    let length = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(length);
    let nine = digits.iter().chain(std::iter::repeat(&b'0')).take(9);
    let nanos = nine.fold(0, |value, byte| value * 10 + u32::from(byte - b'0'));
    (length > 0).then_some((nanos, rest))
}

/// Seconds that the local time is ahead of UTC.
fn offset(text: &[u8]) -> Option<i64> {
    match *text {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[h1, h2])?, number(&[m1, m2])?);
            let ahead = hours * 3600 + minutes * 60;
            (hours < 24 && minutes < 60).then_some(if sign == b'+' { ahead } else { -ahead })
        }
        _ => None,
    }
}

fn days_of(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Years are counted from March here, so that the leap day comes last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * ERA + 365 * of_era + of_era / 4 - of_era / 100 + of_year - BEFORE_1970
}

fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + BEFORE_1970;
    let (era, of_era) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

impl FromStr for Timestamp {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Timestamp {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> Self {
        time.to_string()
    }
}

/// What lies beyond the years of the type is taken for its end.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let (seconds, nanos) = match time.duration_since(UNIX_EPOCH) {
            Ok(since) => (i64::try_from(since.as_secs()).unwrap_or(LAST), since.subsec_nanos()),
            Err(before) => {
                let before = before.duration();
                let seconds = i64::try_from(before.as_secs()).map_or(FIRST, |seconds| -seconds);
                // Rounded down: a moment before a whole second belongs to the second before it.
                match before.subsec_nanos() {
                    0 => (seconds, 0),
                    nanos => (seconds - 1, 1_000_000_000 - nanos),
                }
            }
        };
        Self { seconds: seconds.clamp(FIRST, LAST), nanos }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.seconds.div_euclid(DAY), self.seconds.rem_euclid(DAY));
        let (year, month, day) = date_of(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if self.nanos > 0 {
            write!(f, ".{}", format!("{:09}", self.nanos).trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use proptest::prelude::*;

    fn seconds(text: &str) -> i64 {
        Timestamp::parse(text).unwrap().seconds()
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (number, text) in [
            (FIRST, "0001-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (LAST, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(seconds(text), number, "{text}");
            assert_eq!(Timestamp::from_unix(number, 0).unwrap().to_string(), text);
        }
    }

    #[test]
    fn every_spelling_of_the_rule_is_one_moment() {
        let noon = Timestamp::parse("2026-03-01T12:00:00Z").unwrap();
        for same in [
            "2026-03-01t12:00:00z",
            "2026-03-01 12:00:00+00:00",
            "2026-03-01T12:00:00-00:00",
            "2026-03-01T13:30:00+01:30",
            "2026-02-28T13:00:00-23:00",
            "2026-03-01T12:00:00.000Z",
            "2026-03-01T12:00:00.0000000009Z",
        ] {
            assert_eq!(Timestamp::parse(same).unwrap(), noon, "{same}");
        }
        let later = Timestamp::parse("2026-03-01T12:00:00.0500Z").unwrap();
        assert_eq!((later.seconds(), later.nanos(), later > noon), (noon.seconds(), 50_000_000, true));
        assert_eq!(later.to_string(), "2026-03-01T12:00:00.05Z");
        assert_eq!(serde_json::to_string(&later).unwrap(), "\"2026-03-01T12:00:00.05Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>("\"2026-03-01T12:00:00.05Z\"").unwrap(), later);
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "now",
            "1772366400",
            "2026-03-01",
            "2026-03-01T12:00:00",
            "2026-03-01T12:00Z",
            "2026-03-01T12:00:00.Z",
            "2026-03-01T12:00:00,5Z",
            "2026-03-01T12:00:00+0100",
            "2026-03-01T12:00:00+01",
            "2026-03-01T12:00:00+24:00",
            "2026-03-01T12:00:00+01:60",
            "2026-03-01T12:00:00 UTC",
            "2026-03-01T12:00:00Z ",
            " 2026-03-01T12:00:00Z",
            "2026-02-29T12:00:00Z",
            "2100-02-29T12:00:00Z",
            "2026-04-31T12:00:00Z",
            "2026-00-01T12:00:00Z",
            "2026-13-01T12:00:00Z",
            "2026-03-00T12:00:00Z",
            "2026-03-01T24:00:00Z",
            "2026-03-01T12:60:00Z",
            "2026-03-01T12:00:60Z",
            "2026-3-1T12:00:00Z",
            "+026-03-01T12:00:00Z",
            "-001-03-01T12:00:00Z",
            "0000-12-31T23:59:59Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "20260-03-01T12:00:00Z",
            "2026-03-01T12:00:0\u{0661}Z",
            "Sun Mar  1 12:00:00 UTC 2026",
        ] {
            assert!(Timestamp::parse(text).is_err(), "{text:?}");
        }
        let error = Timestamp::parse("now\u{1b}").unwrap_err().to_string();
        assert!(error.contains("is not a time: it must be written as RFC 3339 has it") && !error.contains('\u{1b}'));
        assert_eq!(Timestamp::from_unix(0, 1_000_000_000), None);
        assert_eq!((Timestamp::from_unix(FIRST - 1, 0), Timestamp::from_unix(LAST + 1, 0)), (None, None));
    }

    #[test]
    fn the_systems_time_is_rounded_down_and_never_beyond_the_years() {
        let at = |time: SystemTime| Timestamp::from(time).to_string();
        assert_eq!(at(UNIX_EPOCH + Duration::from_millis(1500)), "1970-01-01T00:00:01.5Z");
        assert_eq!(at(UNIX_EPOCH - Duration::from_millis(1500)), "1969-12-31T23:59:58.5Z");
        assert_eq!(at(UNIX_EPOCH - Duration::from_secs(1)), "1969-12-31T23:59:59Z");
        assert_eq!(at(UNIX_EPOCH + Duration::from_secs(1 << 40)), "9999-12-31T23:59:59Z");
        assert_eq!(at(UNIX_EPOCH - Duration::from_secs(1 << 40)), "0001-01-01T00:00:00Z");
    }

    proptest! {
        /// Another's calendar agrees, both ways.
        #[test]
        fn the_calendar_is_that_of_others(number in FIRST + 86_400..LAST - 86_400, nanos in 0_u32..1_000_000_000) {
            let ours = Timestamp::from_unix(number, nanos).unwrap();
            let theirs = jiff::Timestamp::new(number, nanos as i32).unwrap();
            // Before 1970 theirs counts the parts of a second backwards.
            prop_assert_eq!(theirs.as_nanosecond(), i128::from(number) * 1_000_000_000 + i128::from(nanos));
            prop_assert_eq!(ours.to_string().parse::<jiff::Timestamp>().unwrap(), theirs);
            prop_assert_eq!(Timestamp::parse(&theirs.to_string()).unwrap(), ours);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text: String, almost in "[0-9]{4}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,12})?([Zz]|[+-][0-9]{2}:[0-9]{2})") {
            let _ = Timestamp::parse(&text);
            if let Ok(time) = Timestamp::parse(&almost) {
                prop_assert_eq!(Timestamp::parse(&time.to_string()).unwrap(), time);
                // Theirs takes nine digits at most, and ends a day earlier.
                if let Ok(theirs) = almost.parse::<jiff::Timestamp>() {
                    prop_assert_eq!(theirs, jiff::Timestamp::new(time.seconds(), time.nanos() as i32).unwrap());
                }
            }
        }
    }
}
