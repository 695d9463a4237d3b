//! Stores: the desktop's keyring, and encrypted files.

pub mod keyring;
pub mod local_vault;
pub mod private_file;
