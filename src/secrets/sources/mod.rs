//! Sources: variables, files, programs and stores that the value of a key can be read from.

pub mod auto;
pub mod env;
pub mod exec;
pub mod file;
pub mod lifetime;
pub mod store;
