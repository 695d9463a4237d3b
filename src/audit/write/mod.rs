//! The audit as it is written: one file after the other, each line bound to those before it.

mod batch;
pub mod config;
pub mod file;
pub mod log;
pub mod tidy;
mod writer;
