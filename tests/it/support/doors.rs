//! The doors of the proxy, as a client that speaks with its host uses them: each gives a connection to that.

use super::client::tunnel;
use super::{Home, Serve, namespace};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Where connections lead that a test's rules redirect: an address that nobody answers at.
pub const ELSEWHERE: [u8; 4] = [192, 0, 2, 7];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Connect,
    Socks5,
    /// In a namespace of [`super::namespace`], where it is redirected.
    Transparent,
}

pub const DOORS: [Door; 3] = [Door::Connect, Door::Socks5, Door::Transparent];

impl Door {
    /// Runs `work` where this door is.
    pub fn with(self, work: impl FnOnce() + Send + 'static) {
        if self == Self::Transparent { namespace::inside(work) } else { work() }
    }

    /// Lines of `[proxy]` for it.
    pub fn settings(self) -> String {
        if self == Self::Transparent { namespace::transparent() } else { String::new() }
    }

    /// A service whose `[proxy]` has these lines.
    pub fn serve(self, home: Home) -> Serve {
        if self == Self::Transparent { namespace::serve(home) } else { home.serve() }
    }

    /// An address at which no name is known of the upstreams on this machine.
    pub fn address(self) -> IpAddr {
        if self == Self::Transparent { ELSEWHERE.into() } else { Ipv4Addr::LOCALHOST.into() }
    }

    /// A connection to `authority` by this door of the proxy at `proxy`, of no agent.
    ///
    /// # Errors
    /// It is refused.
    pub async fn enter(self, proxy: SocketAddr, authority: &str) -> io::Result<TcpStream> {
        match self {
            Self::Connect => tunnel(proxy, authority, "").await,
            Self::Socks5 => socks5(proxy, authority, None).await,
            Self::Transparent => {
                let port = authority.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
                TcpStream::connect(SocketAddr::from((ELSEWHERE, port))).await
            }
        }
    }
}

/// A connection by SOCKS5 (RFC 1928), with a user and a password or without; an IPv4 address is sent as one.
///
/// # Errors
/// It is refused, with the bytes that said so.
pub async fn socks5(proxy: SocketAddr, authority: &str, login: Option<(&str, &str)>) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(proxy).await?;
    stream.set_nodelay(true)?;
    stream.write_all(if login.is_some() { b"\x05\x02\0\x02" } else { b"\x05\x01\0" }).await?;
    let said = |bytes: &[u8]| io::Error::other(bytes.escape_ascii().to_string());
    let mut method = [0; 2];
    stream.read_exact(&mut method).await?;
    if method == [5, 2] {
        let (user, password) = login.expect("a login that was offered");
        let login = [&[1], &counted(user)[..], &counted(password)].concat();
        stream.write_all(&login).await?;
        let mut good = [0; 2];
        stream.read_exact(&mut good).await?;
        if good != [1, 0] {
            return Err(said(&good));
        }
    } else if method != [5, 0] {
        return Err(said(&method));
    }
    stream.write_all(&request(authority)).await?;
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).await?;
    if reply == *b"\x05\0\0\x01\0\0\0\0\0\0" { Ok(stream) } else { Err(said(&reply)) }
}

/// CONNECT to `authority`.
pub fn request(authority: &str) -> Vec<u8> {
    let (host, port) = authority.rsplit_once(':').expect("a port");
    let port: u16 = port.parse().expect("a port");
    let host = match host.parse::<std::net::Ipv4Addr>() {
        Ok(ip) => [&[1], &ip.octets()[..]].concat(),
        Err(_) => [&[3], &counted(host)[..]].concat(),
    };
    [b"\x05\x01\0", &host[..], &port.to_be_bytes()].concat()
}

fn counted(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).expect("a short text")], text.as_bytes()].concat()
}
