//! The keys of one exchange, in the clear: what it may put into its request, and what it must hide in the answer.

use super::error::SecretError;
use crate::memory::Plaintext;
use crate::name::KeyName;
use std::fmt;
use std::sync::Arc;

/// The generation of a key that there is not: no value has it.
pub(super) const NO_GENERATION: u64 = u64::MAX;

/// The keys that one exchange may use and must hide, in the clear; wiped when the last holder drops it.
#[derive(Default)]
pub struct Keys(Vec<OpenedKey>);

/// A key's value as it was when it was opened, and those before it that are still to be hidden.
pub(super) struct OpenedKey {
    pub name: KeyName,
    pub value: Result<Arc<Plaintext>, SecretError>,
    pub older: Vec<Arc<Plaintext>>,
    /// Of the value, as [`Secrets::generation`] tells it.
    pub generation: u64,
}

impl Keys {
    /// None yet, with room for so many.
    pub(super) fn with_capacity(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    /// Adds a key.
    pub(super) fn push(&mut self, key: OpenedKey) {
        self.0.push(key);
    }

    /// Whether the key was asked for.
    pub(super) fn has(&self, name: &KeyName) -> bool {
        self.held(name).is_some()
    }

    /// The key's value; `None` where it was not asked for or can't be had.
    pub fn get(&self, name: &KeyName) -> Option<&Arc<Plaintext>> {
        self.held(name)?.value.as_ref().ok()
    }

    /// Which of the key's values it is, as [`Secrets::generation`] tells: of a key that was not asked for none.
    pub fn generation(&self, name: &KeyName) -> u64 {
        self.held(name).map_or(NO_GENERATION, |held| held.generation)
    }

    /// Why a key that was asked for can't be had.
    pub fn missing(&self, name: &KeyName) -> Option<&SecretError> {
        self.held(name)?.value.as_ref().err()
    }

    /// A key that may be there, and of which no value is known to hide: what answers could show it.
    pub fn unhidden(&self) -> Option<&SecretError> {
        let exposed = self.0.iter().filter(|held| held.older.is_empty());
        let mut errors = exposed.filter_map(|held| held.value.as_ref().err());
        errors.find(|e| !matches!(e, SecretError::Absent { .. }))
    }

    /// Every value to be hidden, old ones too.
    pub fn iter(&self) -> impl Iterator<Item = (&KeyName, &Arc<Plaintext>)> {
        self.0.iter().flat_map(|h| h.value.iter().chain(&h.older).map(|v| (&h.name, v)))
    }

    fn held(&self, name: &KeyName) -> Option<&OpenedKey> {
        self.0.iter().find(|h| h.name == *name)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|h| &h.name)).finish()
    }
}
