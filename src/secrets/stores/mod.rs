//! Where values can be kept.

pub mod disk;
pub mod keyring;
pub mod local_vault;
