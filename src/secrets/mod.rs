//! Sources and stores of keys: every source behind one trait, and the table that opens keys for a permit.
//!
//! Which key a request may have is decided elsewhere; how a value is written into it as well.

mod backends;
mod entry;
mod error;
mod keys;
mod oddity;
mod past;
mod slot;
mod source;
mod sources;
mod spec;
mod store;
mod stores;
mod table;
mod value;

pub use backends::{SecretBackends, SecretsConfig};
pub use entry::KeySource;
pub use error::SecretError;
pub use keys::Keys;
pub use oddity::ValueOddity;
pub use slot::{SecretSlot, SlotSearch};
pub use source::{Freshness, SecretSource, SourceError};
pub use sources::auto::PassedOver;
pub use sources::env::EnvSource;
pub use sources::exec::ExecSource;
pub use sources::file::FileSource;
pub use sources::lifetime::LimitedSource;
pub use sources::store::StoreSource;
pub use spec::{SourceSpec, SpecError};
pub use store::{Store, entry_name};
pub use stores::keyring::Keyring;
pub use stores::local_vault::{Acceptance, Kdf, MIN_PASSWORD, PasswordAdvice, Vault, VaultError, VaultLock};
pub use table::{KeySurvey, KeyTable, Secrets, masked};
pub use value::MAX_VALUE;
