//! A length of time as people type it: `90s`, `5m`, `1h30m`, or plain seconds.

use std::time::Duration;

/// No wait is longer than this many seconds: a year, which is for ever.
const LONGEST: f64 = 366.0 * 86_400.0;

/// Reads it; zero is refused, since it would give nothing the time to be done.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    const FORM: &str = "write it as 90s, 5m, 1h30m, or as plain seconds";
    let mut seconds = 0.0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(FORM.to_owned());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| FORM)?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |length| digits + length);
        seconds += number
            * match &rest[digits..unit] {
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                // Plain seconds stand alone.
                "" if digits == text.trim().len() => 1.0,
                _ => return Err(FORM.to_owned()),
            };
        rest = &rest[unit..];
    }
    if seconds <= 0.0 {
        return Err("it must be longer than nothing; to try each volume once, say --no-wait".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds.min(LONGEST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_is_read() {
        for (text, milli) in [
            ("90s", 90_000),
            ("5m", 300_000),
            ("7", 7000),
            ("0.25", 250),
            ("1.5s", 1500),
            ("250ms", 250),
            ("1h30m", 5_400_000),
            ("2m3s", 123_000),
            (" 4s ", 4000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milli)), "{text}");
        }
        assert!(parse("99999999999h").unwrap() > Duration::from_secs(300 * 86_400));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", " ", "s", "5x", "5 m", "-1", "1s2", "m5", "1..2s", "0", "0s", "1e3", "NaN", "inf", "5m3"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
