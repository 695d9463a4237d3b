//! The far side of the proxy: dialling, verified TLS and kept connections.

pub(crate) mod bypass;
pub(crate) mod dial;
mod error;
pub mod head_injection;
pub(crate) mod link;
mod nat64;
pub(crate) mod outbound;
pub(crate) mod pool;
pub(crate) mod post;
pub(crate) mod protocol;
pub(crate) mod proxy;
pub(crate) mod resolver;
mod through;
pub(crate) mod tls;

pub(crate) use error::DialError;
pub use error::UpstreamError;
