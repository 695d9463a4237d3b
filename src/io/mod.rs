//! Streams around streams: what one adds to reading, while writing only passes through.

pub(crate) mod delegate;
pub mod read_ahead;
pub mod read_gate;
