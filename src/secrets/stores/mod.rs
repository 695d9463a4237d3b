//! Where values can be kept.

pub mod keyring;
pub mod local_vault;
pub mod private_file;
