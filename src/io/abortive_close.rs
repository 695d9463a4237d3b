//! Closing a connection so that the other end learns of it as an error.

use super::read_ahead::ReadAhead;
use super::read_gate::ReadGate;
use rustix::net::sockopt;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

/// A stream over a socket that can be closed with a reset.
pub trait AbortiveClose {
    /// Has the socket be reset when the stream is dropped (RFC 9293, section 3.10.4): no end of TLS (RFC 8446, section
    /// 6.1) and no end of TCP is sent, which could be taken for the end of a message.
    fn reset_on_drop(&self);
}

impl AbortiveClose for TcpStream {
    fn reset_on_drop(&self) {
        // where the system won't, it is closed as ever
        let _ = sockopt::set_socket_linger(self, Some(Duration::ZERO));
    }
}

impl<S: AbortiveClose> AbortiveClose for Box<S> {
    fn reset_on_drop(&self) {
        S::reset_on_drop(self);
    }
}

impl<L: AbortiveClose, R: AbortiveClose> AbortiveClose for Either<L, R> {
    fn reset_on_drop(&self) {
        match self {
            Self::Left(stream) => stream.reset_on_drop(),
            Self::Right(stream) => stream.reset_on_drop(),
        }
    }
}

impl<S: AbortiveClose> AbortiveClose for ReadAhead<S> {
    fn reset_on_drop(&self) {
        self.inner().reset_on_drop();
    }
}

impl<S: AbortiveClose> AbortiveClose for ReadGate<S> {
    fn reset_on_drop(&self) {
        self.inner().reset_on_drop();
    }
}

impl<S: AbortiveClose> AbortiveClose for TlsStream<S> {
    fn reset_on_drop(&self) {
        self.get_ref().0.reset_on_drop();
    }
}
