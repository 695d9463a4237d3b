//! Why a key can't be had, and what the operator can do about it.

use super::source::SourceError;
use crate::name::KeyName;

/// Why a key can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("key {0} is not in the config any more")]
    Unknown(KeyName),
    #[error("key {key} has no value: looked in {looked}")]
    Absent { key: KeyName, looked: String },
    #[error("key {key} can't be had: {error}")]
    SecretSource { key: KeyName, error: SourceError },
    #[error("key {0} was wiped from memory")]
    Wiped(KeyName),
}

impl SecretError {
    pub fn key(&self) -> &KeyName {
        match self {
            SecretError::Unknown(key) | SecretError::Wiped(key) => key,
            SecretError::Absent { key, .. } | SecretError::SecretSource { key, .. } => key,
        }
    }

    /// What the operator can do.
    pub fn next(&self) -> String {
        match self {
            SecretError::Unknown(key) => format!("add [key.{key}] and reload"),
            SecretError::Absent { key, .. } => format!("store it with 'locum key set {key}'"),
            SecretError::SecretSource { error, .. } => error.next.clone(),
            SecretError::Wiped(_) => "send SIGHUP to load the keys again, or restart".into(),
        }
    }
}
