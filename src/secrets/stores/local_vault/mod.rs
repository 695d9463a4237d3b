//! The encrypted file of secrets, for a master password or bound to this machine.

mod format;
mod kdf;
mod store;

pub use kdf::Kdf;
pub use store::{Lock, MIN_PASSWORD, Vault};
