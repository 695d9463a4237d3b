//! The audit as it is read: found, filtered, counted, verified.

pub mod filter;
pub(crate) mod last_use;
pub mod lines;
pub mod query;
pub mod stats;
pub mod verify;
