//! The trait of stores, where keys can be put and not only read: small named secrets in the keyring, the vault or the
//! machine's store.

use super::source::{Freshness, SourceError};
use crate::memory::Plaintext;
use crate::name::KeyName;

/// A place that keeps small named secrets: keys as `key/NAME`, and what other rooms keep under names of their own.
///
/// Stores block.
pub trait Store: Send + Sync {
    /// As errors and tables say it: `keyring (Secret Service)`.
    fn describe(&self) -> String;

    /// What is kept under the name; `None` where nothing is.
    ///
    /// # Errors
    /// When the store can't be asked.
    fn get(&self, name: &str) -> Result<Option<Plaintext>, SourceError>;

    /// Whole and durable when it returns, or as it was before.
    fn set(&self, name: &str, value: &[u8]) -> Result<(), SourceError>;

    /// Whether there was one.
    fn delete(&self, name: &str) -> Result<bool, SourceError>;

    /// All names, sorted.
    fn list(&self) -> Result<Vec<String>, SourceError>;

    /// What another program keeps here as its `service`, for its `user`. Only what programs share has such.
    ///
    /// # Errors
    /// When the store can't be asked.
    fn of_program(&self, _service: &str, _user: &str) -> Result<Option<Plaintext>, SourceError> {
        Ok(None)
    }

    /// How long what was read is good for.
    fn freshness(&self) -> Freshness;

    /// Whether there is one at all: a keyring that nobody runs holds nothing that could be read, changed or forgotten.
    fn is_there(&self) -> bool {
        true
    }

    /// Whether something could be put here now.
    fn probe(&self) -> Result<(), SourceError> {
        self.list().map(drop)
    }
}

/// The name under which a store keeps a key.
pub fn entry_name(key: &KeyName) -> String {
    format!("key/{key}")
}
