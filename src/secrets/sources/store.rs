//! A key in a store of this machine.

use crate::memory::Plaintext;
use crate::name::KeyName;
use crate::secrets::source::{Freshness, SecretSource, SourceError};
use crate::secrets::store::{Store, entry_name};
use crate::secrets::value;
use std::sync::Arc;

/// A store's entry for one key.
pub struct StoreSource {
    store: Arc<dyn Store>,
    entry: String,
}

impl StoreSource {
    /// The entry of `key` in `store`.
    pub fn new(store: Arc<dyn Store>, key: &KeyName) -> Self {
        Self { store, entry: entry_name(key) }
    }
}

impl SecretSource for StoreSource {
    fn describe(&self) -> String {
        self.store.describe()
    }

    fn load(&self) -> Result<Option<Plaintext>, SourceError> {
        match self.store.get(&self.entry)? {
            Some(raw) => value::clean(raw, &self.describe()),
            None => Ok(None),
        }
    }

    fn freshness(&self) -> Freshness {
        self.store.freshness()
    }
}
