//! The encrypted file of secrets, for a master password or bound to this machine.

mod error;
mod format;
mod generation;
mod kdf;
mod store;

pub use error::VaultError;
pub use kdf::Kdf;
pub use store::{Acceptance, MIN_PASSWORD, PasswordAdvice, Vault, VaultLock};
