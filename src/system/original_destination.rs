//! Where a connection was going before a rule of the firewall redirected it here.

use std::io;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// The address that the client has dialled, as conntrack remembers it (`SO_ORIGINAL_DST`); the listener's own where nothing was
/// redirected but something is tracked.
///
/// # Errors
/// When nothing is remembered of this connection.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn of(stream: &TcpStream) -> io::Result<SocketAddr> {
    use rustix::net::sockopt;
    let is_ipv4 = stream.peer_addr()?.ip().to_canonical().is_ipv4();
    Ok(match is_ipv4 {
        true => SocketAddr::V4(sockopt::ip_original_dst(stream)?),
        false => SocketAddr::V6(sockopt::ipv6_original_dst(stream)?),
    })
}

/// Not told on this system.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn of(_: &TcpStream) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}
