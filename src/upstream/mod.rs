//! The far side of the proxy: dialling, verified TLS and kept connections.

pub mod dial;
mod error;
pub mod head_injection;
pub mod pool;
pub mod post;
pub mod protocol;
pub mod tls;

pub use error::UpstreamError;
