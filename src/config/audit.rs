//! `[audit]` and `[anomaly]`: what is recorded and for how long, what counts as unusual, and who is told.

use super::reader::TableReader;
use crate::anomaly;
use crate::audit::Durability;
use crate::audit::write::tidy::Retention;
use crate::upstream::post::PostUrl;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// A file of the audit is followed by another at this size: read in a moment, and a day or so of a busy agent.
const MAX_FILE: u64 = 64_000_000;
/// Smaller ones would be most of the folder's entries, and larger ones are read whole for a few records.
const FILE_SIZES: std::ops::RangeInclusive<u64> = 100_000..=4_000_000_000;

/// `[audit]`.
#[derive(Debug, Clone)]
pub struct AuditSettings {
    /// The folder of the audit's files.
    pub dir: PathBuf,
    /// How safe a record is before its exchange goes on.
    pub durability: Durability,
    /// Whether exchanges without anything of note are recorded too.
    pub exchanges: bool,
    /// A file that has reached this is followed by another.
    pub max_file: u64,
    /// How long files are kept.
    pub retention: Retention,
}

/// `[anomaly]`.
#[derive(Debug, Clone)]
pub struct AnomalySettings {
    /// From what on something is unusual.
    pub limits: anomaly::AnomalyLimits,
    /// What follows.
    pub action: AnomalyAction,
    /// The URL that hears of it.
    pub webhook: Option<PostUrl>,
    /// The secret that notices are signed with; else `LOCUM_WEBHOOK_SECRET`.
    pub webhook_secret_file: Option<PathBuf>,
}

/// The action that follows an anomaly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnomalyAction {
    /// A record, a line in the log, the webhook.
    Alert,
    /// These, and 429 for the key or the agent until it is calm.
    Refuse,
}

/// Reads `[audit]`.
pub(super) fn audit(r: &mut TableReader<'_>, state: &Path) -> AuditSettings {
    let durability = [("write", Durability::Write), ("fsync", Durability::Fsync)];
    AuditSettings {
        // Unlike other paths it is looked for in the state.
        dir: state.join(r.parsed::<PathBuf>("dir").unwrap_or_else(|| "audit".into())),
        durability: r.choice("durability", &durability).unwrap_or_default(),
        exchanges: r.flag("exchanges").unwrap_or(true),
        max_file: r.with("max_file", file_size).unwrap_or(MAX_FILE),
        retention: Retention {
            max_age: r.parsed::<RetentionAge>("keep_for").map(|age| age.0),
            max_bytes: r.parsed::<ByteSize>("keep_size").map(|size| size.0),
        },
    }
}

/// Reads `[anomaly]`.
pub(super) fn anomaly(r: &mut TableReader<'_>) -> AnomalySettings {
    let default = anomaly::AnomalyLimits::default();
    AnomalySettings {
        limits: anomaly::AnomalyLimits {
            rate_per_minute: r.number("rate_per_minute", 1..=1_000_000).unwrap_or(default.rate_per_minute),
            errors: r.number("errors", 1..=1_000_000).unwrap_or(default.errors),
            large_response: r.parsed::<ByteSize>("large_response").map_or(default.large_response, |size| size.0),
        },
        action: r
            .choice("action", &[("alert", AnomalyAction::Alert), ("refuse", AnomalyAction::Refuse)])
            .unwrap_or(AnomalyAction::Alert),
        // Its path may be all that keeps strangers from posting there, so no message repeats it.
        webhook: r.parsed("webhook"),
        webhook_secret_file: r.path("webhook_secret_file"),
    }
}

fn file_size(text: &str) -> Result<u64, String> {
    let ByteSize(bytes) = text.parse()?;
    if FILE_SIZES.contains(&bytes) { Ok(bytes) } else { Err(format!("'{text}' is not within 100kB and 4GB")) }
}

/// `10MB`, `64 kB`, `1GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ByteSize(u64);

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
struct RetentionAge(Duration);

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
    }
}
