//! Whether anything listens where a proxy is said to be.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// How long a proxy may take to accept a connection.
const ACCEPTS: Duration = Duration::from_secs(2);

/// Whether something listens at one of the addresses of a name.
pub fn listens(host: &str, port: u16) -> bool {
    let addresses = (host, port).to_socket_addrs();
    addresses.is_ok_and(|mut all| all.any(accepts))
}

/// The host and port of a proxy's URL or `host:port`, as long as no name server has to be asked, where nothing listens.
pub fn dead_address(proxy: &str) -> Option<SocketAddr> {
    let url = if proxy.contains("://") { proxy.to_owned() } else { format!("http://{proxy}") };
    let url = url::Url::parse(&url).ok()?;
    let ip = match url.host()? {
        url::Host::Ipv4(ip) => IpAddr::V4(ip),
        url::Host::Ipv6(ip) => IpAddr::V6(ip),
        url::Host::Domain("localhost") => Ipv4Addr::LOCALHOST.into(),
        url::Host::Domain(_) => return None,
    };
    let address = SocketAddr::new(ip, url.port_or_known_default().unwrap_or(1080));
    (!accepts(address)).then_some(address)
}

fn accepts(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, ACCEPTS).is_ok()
}
