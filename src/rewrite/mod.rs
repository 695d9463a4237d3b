//! Puts keys in the place of placeholders, and takes them out again: bytes in, bytes out.

pub mod coding;
pub mod scrub;
