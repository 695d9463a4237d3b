//! The audit on disk: `write` appends to it, `read` finds, filters, counts and verifies, `tell` alerts. What a record
//! says is `record`'s business, and how lines vouch for each other `chain`'s.

mod error;
pub(crate) mod file_end;
pub(crate) mod file_name;
pub(crate) mod folder;
pub mod read;
pub(crate) mod signature;
pub(crate) mod stamp;
pub mod tell;
pub(crate) mod verifying_key;
pub(crate) mod write;

pub use error::AuditError;
pub(crate) use folder::files;
pub(crate) use read::last_use::last_uses;
pub use write::config::{Durability, LogConfig, LogUpkeep};
pub(crate) use write::file::preflight;
pub use write::log::{Commit, Log};
