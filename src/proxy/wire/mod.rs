//! What the protocols look like in bytes, read more strictly than libraries must.

pub mod early_hints;
pub mod framed_stream;
pub mod hang_up;
pub mod headers;
pub mod http1_framing;
pub mod http2;
pub mod socks5;
pub mod ws_frames;
