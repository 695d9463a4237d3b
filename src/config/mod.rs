//! The configuration: what the user wrote, in a file or in the environment, becomes settings or a list of mistakes. It
//! opens no key.

pub(crate) mod audit;
pub mod catalog;
pub(crate) mod edit;
mod file;
pub(crate) mod key_option;
pub(crate) mod key_scan;
pub(crate) mod keys;
mod limits;
mod mistake;
mod reader;
mod schema;
pub mod settings;
pub(crate) mod tokens;
mod units;
mod user_file;

pub(crate) use mistake::nearest;
pub use mistake::{ConfigLocation, Mistake, Mistakes};
pub use settings::Settings;
