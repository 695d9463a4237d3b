//! A connection of the pool in the hands of one exchange, before its request is sent.

use super::http2::{Http2Connection, Http2Stream};
use crate::upstream::head_injection::PendingSecrets;
use crate::upstream::proxy::UpstreamProxy;
use hyper::client::conn::{http1, http2};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Tells the connections of an origin from those that were made before all were let go of: it is another one then.
pub(super) type Epoch = Arc<()>;

/// An HTTP/1.1 connection, which serves one exchange at a time.
pub(super) struct Http1Connection<B> {
    pub send: http1::SendRequest<B>,
    /// The secrets of the head that is about to be written.
    pub pending: PendingSecrets,
    pub ip: IpAddr,
    /// The proxy that it leads to, which is asked for each request whole.
    pub forwarder: Option<Arc<UpstreamProxy>>,
    pub epoch: Epoch,
}

/// A connection that a request may go over.
pub(super) enum PooledConnection<B> {
    Http1(Http1Connection<B>),
    /// A share in an HTTP/2 connection, which stays with the pool.
    Http2 {
        send: http2::SendRequest<B>,
        ip: IpAddr,
        stream: Http2Stream,
        made: Instant,
    },
}

impl<B> PooledConnection<B> {
    /// One stream more of a shared connection.
    pub fn sharing(connection: &Http2Connection<B>) -> Self {
        let (send, stream) = (connection.send.clone(), connection.stream());
        Self::Http2 { send, ip: connection.ip, stream, made: connection.made }
    }

    /// When those were made, and all before them, that another attempt has to stay away from.
    pub fn newer_than(&self) -> Instant {
        match self {
            // one that idles is never used for that
            Self::Http1(_) => Instant::now(),
            Self::Http2 { made, .. } => *made,
        }
    }
}
