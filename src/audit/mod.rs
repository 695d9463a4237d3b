//! The audit on disk: `write` appends to it, `read` finds, filters, counts and verifies, `tell` alerts. What a record says is
//! `record`'s business, and how lines vouch for each other `chain`'s.

mod error;
pub mod file_end;
pub mod file_name;
pub mod folder;
pub mod public_key;
pub mod read;
pub mod signature;
pub mod stamp;
pub mod tell;
pub mod write;

pub use error::AuditError;
pub use folder::{AuditFile, files};
pub use read::last_use::last_uses;
pub use write::config::{Durability, LogConfig, LogUpkeep};
pub use write::log::{Commit, Log};
