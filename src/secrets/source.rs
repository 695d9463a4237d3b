//! A source of one key's value, when what it gave has to be asked for again, and why it can't say.

use crate::memory::Plaintext;
use std::time::Duration;

/// One place that may hold the value of one key.
///
/// Sources block: the table asks them where blocking is allowed, one caller at a time for each key.
pub trait SecretSource: Send + Sync {
    /// Where it looks, as errors and tables say it: `file /run/secrets/openai`.
    fn describe(&self) -> String;

    /// The value, or `None` where there is none, so that the next source may be asked.
    fn load(&self) -> Result<Option<Plaintext>, SourceError>;

    /// How long a loaded value is good for. Asked before each `load` and about once a second, so it has to be cheap.
    fn freshness(&self) -> Freshness {
        Freshness::default()
    }
}

/// When a value has to be loaded again: once the stamp differs from before, or it is older than its lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Freshness {
    pub stamp: u64,
    pub lifetime: Option<Duration>,
}

/// Why a source could not say whether it has the value: what is the matter, and what to do about it. Never a part of
/// a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct SourceError {
    pub what: String,
    pub next: String,
}

impl SourceError {
    pub fn new(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { what: what.into(), next: next.into() }
    }
}
