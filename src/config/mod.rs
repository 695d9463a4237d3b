//! What the user wrote, in a file or in the environment, becomes settings or a list of mistakes; it opens no key.

pub mod audit;
pub mod catalog;
pub mod edit;
pub mod file;
pub mod key_scan;
pub mod keys;
mod mistake;
mod reader;
mod schema;
pub mod settings;
pub mod tokens;

pub use mistake::{ConfigLocation, Mistake, Mistakes};
pub use settings::Settings;
