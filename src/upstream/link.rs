//! A connection on its way to an upstream, below what is spoken with that.

use crate::io::read_ahead::ReadAhead;
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

/// What bytes to an upstream are written to: TCP, or the TLS of a proxy that leads there.
pub type Link = Either<TcpStream, Box<TlsStream<ReadAhead<TcpStream>>>>;

/// The address that was dialled: the proxy's where there is one.
pub fn peer_addr(link: &Link) -> io::Result<SocketAddr> {
    match link {
        Either::Left(tcp) => tcp.peer_addr(),
        Either::Right(tls) => tls.get_ref().0.inner().peer_addr(),
    }
}
