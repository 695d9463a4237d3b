//! Content codings, decoded and encoded as a stream: gzip, deflate, br and zstd, stacked in any order. Headers, and what
//! becomes of the bytes, belong to others.
//!
//! Everything is pushed: the caller brings what has arrived, and gets what can be known from it at once, so that an
//! event which the sender has flushed is not held back. Output comes in portions of the caller's size, and memory is
//! bounded by the windows: 32 KiB for gzip and deflate, 16 MiB for br, 8 MiB for zstd (RFC 9659).
//!
//! All four libraries take their memory from Rust's global allocator (zstd by its feature `with-rust-allocator`, flate2
//! by its back end zlib-rs), so a binary whose allocator wipes what is freed wipes their windows too.

mod content_coding;
mod decoder;
mod encoder;
mod limits;

#[cfg(test)]
mod tests;

pub use content_coding::{Coding, CodingError, parse};
pub use decoder::Decoder;
pub use encoder::Encoder;
pub use limits::DecodeLimits;
