//! `[audit]` and `[anomaly]`: what is recorded and for how long, what counts as unusual, and who is told.

use super::reader::TableReader;
use super::units::{ByteSize, RetentionAge};
use crate::anomaly;
use crate::audit::Durability;
use crate::audit::write::tidy::Retention;
use crate::upstream::post::PostUrl;
use std::path::{Path, PathBuf};

/// A file of the audit is followed by another at this size: read in a moment, and a day or so of a busy agent.
const MAX_FILE: u64 = 64_000_000;
/// All files together: months of a busy agent, as old ones are compressed, and an end for whoever would fill the disk.
const KEEP_SIZE: u64 = 1 << 30;
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
            max_bytes: Some(r.parsed::<ByteSize>("keep_size").map_or(KEEP_SIZE, |size| size.0)),
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
