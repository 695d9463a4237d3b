//! Streams around streams: what one adds to reading, while writing only passes through.

pub(crate) mod delegate;
pub(crate) mod read_ahead;
pub(crate) mod read_gate;
