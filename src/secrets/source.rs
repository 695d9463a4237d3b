//! A source of one key's value, when what it gave has to be asked for again, and why it can't say.

use crate::memory::Plaintext;
use std::time::Duration;

/// A source of one key's value, such as a variable, a file or an entry of a store.
///
/// Sources block: the table asks them where blocking is allowed, one caller at a time for each key.
pub trait SecretSource: Send + Sync {
    /// Where it looks, as errors and tables say it: `file /run/secrets/openai`.
    fn describe(&self) -> String;

    /// The value, or `None` where there is none, so that the next source may be asked.
    ///
    /// # Errors
    /// When it can't be said whether there is one.
    fn load(&self) -> Result<Option<Plaintext>, SourceError>;

    /// How long a loaded value is good for. Asked before each `load` and about once a second, so it has to be cheap.
    fn freshness(&self) -> Freshness {
        Freshness::default()
    }
}

/// The freshness of a value, which has to be loaded again once the stamp differs from before, or it is older than its
/// lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Freshness {
    /// Any number that differs once the value may have changed.
    pub stamp: u64,
    /// How long a value is good for after it was loaded; `None` as long as the stamp stays.
    pub lifetime: Option<Duration>,
}

/// An error of a source, which could not say whether it has the value: what is the matter, and what to do about it.
/// Never a part of a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct SourceError {
    /// What is the matter.
    pub what: String,
    /// What to do about it.
    pub next: String,
}

impl SourceError {
    /// Pairs what is the matter with what to do about it.
    pub fn new(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { what: what.into(), next: next.into() }
    }
}
