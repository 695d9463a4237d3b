//! Who may send which key where.

pub mod decide;
pub mod rule;

pub use decide::Permit;
