//! Sizes and times as people write them: a number and a unit.

use std::str::FromStr;
use std::time::Duration;

/// `10MB`, `64 kB`, `1GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const UNITS: [(&str, u64); 8] = [
            ("b", 1),
            ("kb", 1_000),
            ("mb", 1_000_000),
            ("gb", 1_000_000_000),
            ("tb", 1_000_000_000_000),
            ("kib", 1 << 10),
            ("mib", 1 << 20),
            ("gib", 1 << 30),
        ];
        measure(text, &UNITS).map(ByteSize).ok_or_else(|| format!("'{}' is no size", text.escape_debug()))
    }
}

/// `90d`, `12 h`, `1 year`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RetentionAge(pub Duration);

impl FromStr for RetentionAge {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const HOUR: u64 = 3600;
        const DAY: u64 = 24 * HOUR;
        const UNITS: [(&str, u64); 11] = [
            ("h", HOUR),
            ("hours", HOUR),
            ("d", DAY),
            ("day", DAY),
            ("days", DAY),
            ("w", 7 * DAY),
            ("weeks", 7 * DAY),
            ("months", 30 * DAY),
            ("y", 365 * DAY),
            ("year", 365 * DAY),
            ("years", 365 * DAY),
        ];
        let seconds = measure(text, &UNITS).ok_or_else(|| format!("'{}' is no time to keep", text.escape_debug()))?;
        Ok(RetentionAge(Duration::from_secs(seconds)))
    }
}

/// `90s`, `10m`, `1 hour`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timeout(pub Duration);

impl FromStr for Timeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const UNITS: [(&str, u64); 8] = [
            ("s", 1),
            ("seconds", 1),
            ("m", 60),
            ("min", 60),
            ("minutes", 60),
            ("h", 3600),
            ("hour", 3600),
            ("hours", 3600),
        ];
        let seconds = measure(text, &UNITS).ok_or_else(|| format!("'{}' is no time to wait", text.escape_debug()))?;
        Ok(Timeout(Duration::from_secs(seconds)))
    }
}

/// A number above zero and a unit, in whatever case.
fn measure(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let unit = unit.trim().to_ascii_lowercase();
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor).filter(|n| *n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_numbers_with_units() {
        for (text, bytes) in [
            ("10MB", Some(10_000_000)),
            ("64 kB", Some(64_000)),
            ("1gib", Some(1 << 30)),
            ("512b", Some(512)),
            ("10", None),
            ("MB", None),
            ("0MB", None),
            ("-1MB", None),
            ("1.5MB", None),
            ("10 parsec", None),
            ("99999999999999999999b", None),
            ("99999999999tb", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<ByteSize>().ok(), bytes.map(ByteSize), "{text}");
        }
        for (text, hours) in [("12h", Some(12)), ("90d", Some(2160)), ("1 year", Some(8760)), ("3", None), ("3m", None)]
        {
            assert_eq!(
                text.parse::<RetentionAge>().ok(),
                hours.map(|h| RetentionAge(Duration::from_secs(h * 3600))),
                "{text}"
            );
        }
        for (text, seconds) in
            [("90s", Some(90)), ("10m", Some(600)), ("1 hour", Some(3600)), ("0s", None), ("9", None)]
        {
            assert_eq!(text.parse().ok(), seconds.map(|s| Timeout(Duration::from_secs(s))), "{text}");
        }
    }
}
