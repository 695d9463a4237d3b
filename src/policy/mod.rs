//! Who may send which key where.

pub mod decide;

pub use decide::Permit;
