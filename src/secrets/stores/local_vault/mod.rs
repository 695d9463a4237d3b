//! The encrypted file of secrets, for a master password or bound to this machine.

mod error;
mod format;
mod kdf;
mod store;

pub use kdf::Kdf;
pub use store::{MIN_PASSWORD, Vault, VaultLock};
