//! The upstream side's error: why there was no response; and errors in words with all their causes.

use super::resolver::ResolveError;
use crate::name::{Host, Origin};
use http::Method;
use std::error::Error as StdError;
use std::io;
use std::net::IpAddr;

/// Any error of a body.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Why no connection came about.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DialError {
    #[error("{host} is at {address}, which is not public")]
    Address { host: Host, address: IpAddr },
    #[error("{origin} is at {address}, not on loopback: nothing secret goes there unencrypted ([proxy] cleartext)")]
    Cleartext { origin: Origin, address: IpAddr },
    #[error(
        "{origin} is asked through the upstream proxy, so it is not known to be on loopback: nothing secret goes there \
         unencrypted ([proxy] cleartext)"
    )]
    CleartextBeyond { origin: Origin },
    #[error("{host} can't be resolved: {why}")]
    Resolve { host: Host, why: ResolveError },
    #[error("{origin} can't be reached: {why}")]
    Connect { origin: Origin, why: String },
    #[error("{origin} did not answer the connection within {seconds} s")]
    Timeout { origin: Origin, seconds: u64 },
    #[error("the upstream proxy refused {origin}: {why}")]
    Proxy { origin: Origin, why: String },
}

impl DialError {
    /// It is for its address that the host is not dialled.
    pub fn is_of_address(&self) -> bool {
        matches!(self, Self::Address { .. }) || self.is_of_cleartext()
    }

    /// Who has no key to send may be let where this one wasn't.
    pub fn is_of_cleartext(&self) -> bool {
        matches!(self, Self::Cleartext { .. } | Self::CleartextBeyond { .. })
    }
}

/// An error of the upstream side: why there was no response, and whose fault that is.
#[derive(Debug, Clone, thiserror::Error)]
pub enum UpstreamError {
    /// No connection came about.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The TLS handshake failed, or the certificate is not the host's.
    #[error("{origin}: {why}")]
    Tls {
        /// Who was asked.
        origin: Origin,
        /// What is wrong, for whoever has to mend it.
        why: String,
    },
    /// The TLS handshake took too long.
    #[error("{origin} did not finish the TLS handshake within {seconds} s")]
    TlsTimeout {
        /// Who was asked.
        origin: Origin,
        /// The limit.
        seconds: u64,
    },
    /// The connection broke, or what came over it was not HTTP.
    #[error("{origin}: {why}")]
    Exchange {
        /// Who was asked.
        origin: Origin,
        /// The HTTP library's reason, with its causes.
        why: String,
    },
    /// No response began in time.
    #[error("{origin} did not begin to answer within {seconds} s")]
    Silent {
        /// Who was asked.
        origin: Origin,
        /// The limit.
        seconds: u64,
    },
    /// What the request was to carry may not go any more.
    #[error("the request was withdrawn before it was sent to {origin}")]
    Withdrawn {
        /// Who would have been asked.
        origin: Origin,
    },
}

impl UpstreamError {
    /// Whether it is for its address that the host was not asked.
    pub fn is_of_address(&self) -> bool {
        matches!(self, Self::Dial(error) if error.is_of_address())
    }

    /// Whether it was not asked because a key would have gone to it unencrypted.
    pub fn is_of_cleartext(&self) -> bool {
        matches!(self, Self::Dial(error) if error.is_of_cleartext())
    }
}

/// Whether a request that got no answer may be sent once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// The upstream may have acted on it.
    Never,
    /// It may have acted on it, and to do so twice is as good as once (RFC 9110, section 9.2.2).
    Idempotent,
    /// The upstream says that it has not (RFC 9113, sections 6.8 and 8.7).
    Unprocessed,
}

impl Retry {
    /// What an error allows that ended a connection before anything of the answer came.
    pub fn after(error: &hyper::Error) -> Self {
        let cause = error.source();
        if let Some(error) = cause.and_then(|cause| cause.downcast_ref::<h2::Error>()) {
            // of those that the other side's GOAWAY ends, each is above its last id: the others end with the connection
            let unprocessed = error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM);
            return if error.is_remote() && unprocessed { Self::Unprocessed } else { Self::Never };
        }
        let is_cut = cause.and_then(|cause| cause.downcast_ref::<io::Error>()).is_some_and(is_cut);
        match is_cut || error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
            true => Self::Idempotent,
            false => Self::Never,
        }
    }

    /// The same of a connection of HTTP/2, where a request can wait for its stream: hyper drops it there as the connection
    /// ends, and calls that a fault of its user. A fault of the body's resets its stream, and never comes as one.
    pub fn after_http2(error: &hyper::Error) -> Self {
        // the stream may have been opened as it ended
        if error.is_user() { Self::Idempotent } else { Self::after(error) }
    }

    /// Whether it allows that for a request of this method, which an earlier attempt may have had processed. A new connection
    /// may be lost as well as a kept one: an origin that restarts closes those, too, that it has just taken in.
    pub fn allows(self, method: &Method, may_have_been_processed: bool) -> bool {
        match self {
            Self::Never => false,
            Self::Idempotent => method.is_idempotent() && !may_have_been_processed,
            Self::Unprocessed => true,
        }
    }
}

/// The connection is gone, and it isn't its contents that were wrong.
fn is_cut(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
}

/// An error with its causes: hyper's own text leaves them out.
pub fn chain(error: &dyn StdError) -> String {
    let mut out = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let mut text = cause.to_string();
        if text.contains("close_notify") {
            // rustls explains itself to programmers here
            text = "the connection was cut".into();
        }
        if !out.contains(&text) {
            out.push_str(": ");
            out.push_str(&text);
        }
        next = cause.source();
    }
    out
}
