//! The far side of the proxy: dialling, verified TLS and kept connections.

pub(crate) mod dial;
mod error;
pub mod head_injection;
mod nat64;
pub(crate) mod outbound;
pub(crate) mod pool;
pub(crate) mod post;
pub(crate) mod protocol;
pub(crate) mod resolver;
pub(crate) mod tls;

pub use error::UpstreamError;
