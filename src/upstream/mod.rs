//! The far side of the proxy: dialling, verified TLS and kept connections.

pub mod dial;
pub mod head_injection;
pub mod pool;
pub mod post;
pub mod tls;

use crate::name::Origin;

/// Why an upstream gave no response, and whose fault that is.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UpstreamError {
    #[error(transparent)]
    Dial(#[from] dial::DialError),
    #[error("{origin}: {why}")]
    Tls { origin: Origin, why: String },
    #[error("{origin} did not finish the TLS handshake within {} s", tls::HANDSHAKE_TIMEOUT.as_secs())]
    TlsTimeout { origin: Origin },
    #[error("{origin}: {why}")]
    Exchange { origin: Origin, why: String },
    #[error("{origin} did not begin to answer within {seconds} s")]
    Silent { origin: Origin, seconds: u64 },
    #[error("the request was withdrawn before it was sent to {origin}")]
    Withdrawn { origin: Origin },
}

impl UpstreamError {
    /// It is for its address that the host was not asked.
    pub fn is_of_address(&self) -> bool {
        matches!(self, Self::Dial(error) if error.is_of_address())
    }

    /// It was not asked because a key would have gone to it unencrypted.
    pub fn is_of_cleartext(&self) -> bool {
        matches!(self, Self::Dial(error) if error.is_of_cleartext())
    }
}
