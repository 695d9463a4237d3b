//! A source whose value counts for as long as the config says, whatever the source says itself.

use crate::memory::Plaintext;
use crate::secrets::source::{Freshness, SecretSource, SourceError};
use std::sync::Arc;
use std::time::Duration;

/// A source with a lifetime for what it gives.
pub struct LimitedSource {
    source: Arc<dyn SecretSource>,
    lifetime: Duration,
}

impl LimitedSource {
    /// What `source` gives counts for `lifetime` from when it was asked.
    pub fn new(source: Arc<dyn SecretSource>, lifetime: Duration) -> Self {
        Self { source, lifetime }
    }
}

impl SecretSource for LimitedSource {
    fn describe(&self) -> String {
        self.source.describe()
    }

    fn load(&self) -> Result<Option<Plaintext>, SourceError> {
        self.source.load()
    }

    fn freshness(&self) -> Freshness {
        Freshness { lifetime: Some(self.lifetime), ..self.source.freshness() }
    }
}
