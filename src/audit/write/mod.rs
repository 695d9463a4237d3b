//! The audit as it is written: one file after the other, each line bound to those before it.

mod batch;
pub mod file;
pub mod log;
pub mod sign;
pub mod tidy;
pub mod writer;
