//! The audit as it is read: found, filtered, counted, verified.

pub mod filter;
pub mod last_use;
pub mod lines;
pub mod query;
pub mod stats;
pub mod verify;
