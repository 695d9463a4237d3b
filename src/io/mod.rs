//! Buffers and streams: bodies in pieces, and what is put around a stream to change how it is read.

pub(crate) mod abortive_close;
pub mod body_buffer;
pub(crate) mod delegate;
pub(crate) mod read_ahead;
pub(crate) mod read_gate;
