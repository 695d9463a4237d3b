//! A name becomes a connection to an address that may be dialled: checked after resolution, at the dial.

use super::nat64::{IPV4_ONLY, Nat64Discovery};
use super::resolver::{ResolveError, Resolver};
use crate::name::{AgentName, Host, Origin};
use crate::policy::egress::{AddressPolicy, is_loopback};
use base64::Engine as _;
use http::HeaderValue;
use rustix::net::sockopt;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long the next address waits for the one before it (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// How long a connection may take, resolution included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the kernel asks a silent upstream whether it is still there.
#[cfg(any(target_os = "linux", target_os = "android"))]
const PROBE: Duration = Duration::from_secs(15);
/// After so long without an answer to that, or to what was sent, it isn't; nor if it takes nothing of an upload for that
/// long, hence the patience.
#[cfg(any(target_os = "linux", target_os = "android"))]
const GONE_MS: u32 = 120_000;
/// The largest head that an upstream proxy may answer CONNECT with.
const MAX_PROXY_HEAD: usize = 16 * 1024;

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
    #[error("{origin} did not answer the connection within {} s", CONNECT_TIMEOUT.as_secs())]
    Timeout { origin: Origin },
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

/// Whom a connection may lead to, of those that may be dialled at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AllowedPeer {
    #[default]
    Any,
    /// This machine, by its address and not by a name that says so: what is sent is secret, and not encrypted.
    Loopback,
}

/// The proxy on the way out (`upstream_proxy`): `http://[user:password@]host:port`.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamProxy {
    pub host: Host,
    pub port: u16,
    pub authorization: Option<HeaderValue>,
}

/// A text that is no URL of an upstream proxy. It is not repeated, since it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an upstream proxy is http://[user:password@]host:port")]
pub struct ProxyUrlError;

impl fmt::Debug for UpstreamProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

impl FromStr for UpstreamProxy {
    type Err = ProxyUrlError;

    fn from_str(s: &str) -> Result<Self, ProxyUrlError> {
        let url = url::Url::parse(s).map_err(|_| ProxyUrlError)?;
        if url.scheme() != "http" {
            return Err(ProxyUrlError);
        }
        let decode = |s: &str| percent_encoding::percent_decode_str(s).decode_utf8_lossy().into_owned();
        let authorization = (!url.username().is_empty()).then(|| {
            let pair = format!("{}:{}", decode(url.username()), decode(url.password().unwrap_or_default()));
            HeaderValue::from_str(&format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
        });
        let authorization = authorization.transpose().map_err(|_| ProxyUrlError)?.map(|mut v| {
            v.set_sensitive(true);
            v
        });
        let host = url.host_str().ok_or(ProxyUrlError)?.parse().map_err(|_| ProxyUrlError)?;
        Ok(Self { host, port: url.port().unwrap_or(80), authorization })
    }
}

/// Which addresses may be dialled, and through what; and how names become addresses.
#[derive(Debug, Clone, Default)]
pub struct Dialer {
    pub addresses: AddressPolicy,
    pub proxy: Option<Arc<UpstreamProxy>>,
    pub resolver: Resolver,
    pub nat64: Nat64Discovery,
}

impl Dialer {
    /// Connects to `origin`, or to the upstream proxy and through it, for an agent or, without one, for the operator.
    ///
    /// Without an upstream proxy every resolved address is judged, and those that are admitted are the ones dialled.
    pub async fn dial(
        &self,
        origin: &Origin,
        peer: AllowedPeer,
        asker: Option<&AgentName>,
    ) -> Result<TcpStream, DialError> {
        let attempt = async {
            self.judge_unasked(origin, peer)?;
            match &self.proxy {
                None => self.direct(origin, peer, asker).await,
                Some(proxy) => self.through(proxy, origin, asker).await,
            }
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(result) => result,
            Err(_) => Err(DialError::Timeout { origin: origin.clone() }),
        }
    }

    /// What can be said of a dial before anything is asked or sent: an address that is written out is judged as one that a
    /// name leads to.
    ///
    /// # Errors
    /// [`Self::dial`] would fail for this reason.
    pub fn judge_unasked(&self, origin: &Origin, peer: AllowedPeer) -> Result<(), DialError> {
        if self.proxy.is_some() && peer == AllowedPeer::Loopback {
            return Err(DialError::CleartextBeyond { origin: origin.clone() });
        }
        let Some(literal) = origin.literal() else { return Ok(()) };
        self.admitted(&origin.host, &[literal])?;
        if peer == AllowedPeer::Loopback { on_loopback(origin, &[literal]) } else { Ok(()) }
    }

    /// Whether a connection to this address leads to `peer`: not where it is the upstream proxy's, whoever is behind that.
    pub fn leads_to(&self, peer: AllowedPeer, address: IpAddr) -> bool {
        peer == AllowedPeer::Any || self.proxy.is_none() && is_loopback(address)
    }

    /// Whether the connection to `address` that `before` made for `origin` could be made now: in the same way, and to an
    /// address that may be dialled.
    pub fn would_dial(&self, before: &Self, origin: &Origin, address: SocketAddr) -> bool {
        let judged = if self.proxy.is_some() { origin.literal() } else { Some(address) };
        self.proxy == before.proxy && judged.is_none_or(|address| self.addresses.admits(address))
    }

    async fn direct(
        &self,
        origin: &Origin,
        peer: AllowedPeer,
        asker: Option<&AgentName>,
    ) -> Result<TcpStream, DialError> {
        let addresses = self.resolve(&origin.host, origin.port, asker).await?;
        let ipv4_only = async { self.resolve(&Host::Dns(IPV4_ONLY.into()), 0, None).await.ok() };
        self.nat64.refresh(&self.addresses, &addresses, ipv4_only).await;
        let addresses = self.admitted(&origin.host, &addresses)?;
        if peer == AllowedPeer::Loopback {
            on_loopback(origin, &addresses)?;
        }
        let stream = connect_first(&addresses).await;
        let stream = stream.map_err(|e| DialError::Connect { origin: origin.clone(), why: e.to_string() })?;
        match self.called_ourselves(&stream) {
            Some(address) => Err(DialError::Address { host: origin.host.clone(), address }),
            None => Ok(stream),
        }
    }

    /// The address of a connection that has come back to this proxy.
    fn called_ourselves(&self, stream: &TcpStream) -> Option<IpAddr> {
        let (from, to) = (stream.local_addr().ok()?, stream.peer_addr().ok()?);
        self.addresses.is_to_itself(from, to).then_some(to.ip())
    }

    fn admitted(&self, host: &Host, addresses: &[SocketAddr]) -> Result<Vec<SocketAddr>, DialError> {
        self.addresses.admitted(addresses).map_err(|address| DialError::Address { host: host.clone(), address })
    }

    async fn through(
        &self,
        proxy: &UpstreamProxy,
        origin: &Origin,
        asker: Option<&AgentName>,
    ) -> Result<TcpStream, DialError> {
        let fail = |why: String| DialError::Proxy { origin: origin.clone(), why };
        let addresses = self.resolve(&proxy.host, proxy.port, asker).await?;
        let mut stream = connect_first(&addresses).await.map_err(|e| fail(e.to_string()))?;
        let authority = format!("{}:{}", origin.host, origin.port);
        let mut head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n").into_bytes();
        if let Some(value) = &proxy.authorization {
            head.extend_from_slice(b"Proxy-Authorization: ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        stream.write_all(&head).await.map_err(|e| fail(e.to_string()))?;
        let status = proxy_status(&mut stream).await.map_err(|e| fail(e.to_string()))?;
        if (200..300).contains(&status) { Ok(stream) } else { Err(fail(format!("it answered {status}"))) }
    }

    async fn resolve(&self, host: &Host, port: u16, asker: Option<&AgentName>) -> Result<Vec<SocketAddr>, DialError> {
        let name = match host {
            Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, port)]),
            Host::Dns(name) => name,
        };
        let found = self.resolver.resolve(name, asker).await;
        let found = found.map_err(|why| DialError::Resolve { host: host.clone(), why })?;
        Ok(interleave(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()))
    }
}

/// All addresses together: which of them is connected to is for the network to say.
fn on_loopback(origin: &Origin, addresses: &[SocketAddr]) -> Result<(), DialError> {
    match addresses.iter().find(|address| !is_loopback(address.ip())) {
        Some(beyond) => Err(DialError::Cleartext { origin: origin.clone(), address: beyond.ip() }),
        None => Ok(()),
    }
}

/// Reads the answer to CONNECT byte by byte, so that nothing of the tunnel is taken with it.
async fn proxy_status(stream: &mut TcpStream) -> io::Result<u16> {
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_PROXY_HEAD {
            return Err(io::Error::other("its answer is too long"));
        }
        head.push(stream.read_u8().await?);
    }
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(&head).map_err(|e| io::Error::other(format!("its answer is malformed: {e}")))?;
    response.code.ok_or_else(|| io::Error::other("its answer has no status"))
}

/// Alternates the families, the resolver's first choice first (RFC 8305, section 4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (same, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|a| a.is_ipv4() == first_is_v4);
    let mut out = Vec::with_capacity(same.len() + other.len());
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    loop {
        let pair = [same.next(), other.next()];
        if pair == [None, None] {
            return out;
        }
        out.extend(pair.into_iter().flatten());
    }
}

/// The first connection that comes about; each address gets a head start over the next (RFC 8305).
async fn connect_first(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut running: Vec<std::pin::Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>> = Vec::new();
    let mut waiting = addresses.iter().copied();
    let mut last = io::Error::other("no address");
    loop {
        match waiting.next() {
            Some(address) => running.push(Box::pin(connect(address))),
            None if running.is_empty() => return Err(last),
            None => {}
        }
        let more = waiting.len() > 0;
        let any = std::future::poll_fn(|cx| {
            for (i, attempt) in running.iter_mut().enumerate() {
                if let std::task::Poll::Ready(result) = attempt.as_mut().poll(cx) {
                    return std::task::Poll::Ready((i, result));
                }
            }
            std::task::Poll::Pending
        });
        tokio::select! {
            (i, result) = any => match result {
                Ok(stream) => return Ok(stream),
                Err(e) => {
                    last = e;
                    drop(running.swap_remove(i));
                }
            },
            () = tokio::time::sleep(ATTEMPT_DELAY), if more => {}
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // a system that can't do this is no reason not to connect
    let _ = watch(&stream);
    Ok(stream)
}

/// Has the kernel find out when the other end is gone without a word: a router that has forgotten the connection, or a
/// machine that is on another network now. HTTP/2 has pings for it, but servers of gRPC take those for an attack.
fn watch(stream: &TcpStream) -> rustix::io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        sockopt::set_tcp_keepidle(stream, PROBE)?;
        sockopt::set_tcp_keepintvl(stream, PROBE)?;
        sockopt::set_tcp_user_timeout(stream, GONE_MS)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
