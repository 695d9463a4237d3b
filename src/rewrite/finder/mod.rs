//! Finds placeholders in bytes, whichever way their letters are written. Where one may be replaced is not decided here.

mod extent;
mod letters;
mod lookalike;
mod needles;
mod vocabulary;

#[cfg(test)]
mod tests;

pub(super) use extent::Reach;
pub(super) use letters::{Lookbehind, Spelling, decode, decode_bytes};
pub use lookalike::{LookalikeError, check_lookalike};
pub use vocabulary::Vocabulary;
pub(super) use vocabulary::{PlaceholderHit, PlaceholderScan, Recognition};
