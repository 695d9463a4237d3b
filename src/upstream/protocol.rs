//! The version of HTTP that is spoken with an upstream: what a request prefers, and what is offered in the handshake.

/// The connection that a request prefers, by what its client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolPreference {
    /// HTTP/1.1, as its client speaks.
    Http1,
    /// Its client speaks HTTP/2, and either will do.
    Either,
    /// HTTP/2 only, without which it makes no sense, such as gRPC.
    Http2,
    /// A new HTTP/1.1 connection for this request alone: it may come to speak something else (RFC 9110, section 7.8).
    Dedicated,
}

/// The protocols that are offered to an upstream (ALPN, RFC 7301); of an origin, those that it has not turned down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AlpnOffer {
    /// `http/1.1`.
    Http1,
    /// `h2`.
    Http2,
    /// `h2`, then `http/1.1`.
    #[default]
    Both,
}
