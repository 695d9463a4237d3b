//! The error of opening a key: why it can't be had, and what the operator can do about it.

use super::source::SourceError;
use crate::name::KeyName;

/// An error of opening a key: why it can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// No table of the config names it any more.
    #[error("key {0} is not in the config any more")]
    Unknown(KeyName),
    /// No source has a value.
    #[error("key {key} has no value: looked in {looked}")]
    Absent {
        /// The key's name.
        key: KeyName,
        /// The sources that were asked, in words.
        looked: String,
    },
    /// A source could not say whether it has one.
    #[error("key {key} can't be had: {error}")]
    Source {
        /// The key's name.
        key: KeyName,
        /// The source's reason.
        error: SourceError,
    },
    /// All values were wiped, and not loaded again yet.
    #[error("key {0} was wiped from memory")]
    Wiped(KeyName),
}

impl SecretError {
    /// The key's name.
    pub fn key(&self) -> &KeyName {
        match self {
            SecretError::Unknown(key) | SecretError::Wiped(key) => key,
            SecretError::Absent { key, .. } | SecretError::Source { key, .. } => key,
        }
    }

    /// What the operator can do.
    pub fn next(&self) -> String {
        match self {
            SecretError::Unknown(key) => format!("add [key.{key}] and reload"),
            SecretError::Absent { key, .. } => format!("store it with 'locum key set {key}'"),
            SecretError::Source { error, .. } => error.next.clone(),
            SecretError::Wiped(_) => "send SIGHUP to load the keys again, or restart".into(),
        }
    }
}
