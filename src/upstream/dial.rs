//! A name becomes a connection to an address that may be dialled: checked after resolution, at the dial.

use super::bypass::BypassRule;
use super::error::DialError;
use super::link::Link;
use super::nat64::{IPV4_ONLY, Nat64Discovery};
use super::protocol::AlpnOffer;
use super::proxy::{ProxyProtocol, UpstreamProxy};
use super::resolver::Resolver;
use super::through;
use super::tls::Tls;
use crate::name::{AgentName, Host, Origin, Scheme};
use crate::policy::egress::{AddressPolicy, is_loopback};
use rustix::net::sockopt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
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

/// Whom a connection may lead to, of those that may be dialled at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AllowedPeer {
    #[default]
    Any,
    /// This machine, by its address and not by a name that says so: what is sent is secret, and not encrypted.
    Loopback,
}

/// Which addresses may be dialled, and through what; and how names become addresses.
#[derive(Debug, Clone, Default)]
pub struct Dialer {
    pub addresses: AddressPolicy,
    pub proxy: Option<Arc<UpstreamProxy>>,
    /// Which hosts go without it.
    pub bypass: Arc<[BypassRule]>,
    /// What it is verified by, where it speaks TLS.
    pub proxy_tls: Option<Tls>,
    pub resolver: Resolver,
    pub nat64: Nat64Discovery,
}

/// What a connection is for.
#[derive(Clone, Copy)]
struct Destination<'a> {
    origin: &'a Origin,
    peer: AllowedPeer,
    asker: Option<&'a AgentName>,
    /// Where a proxy is gone through, that is asked for each request.
    forwarded: bool,
}

impl Dialer {
    /// Connects to `origin`, or to the upstream proxy and through it, for an agent or, without one, for the operator.
    ///
    /// Without an upstream proxy every resolved address is judged, and those that are admitted are the ones dialled.
    pub async fn dial(&self, origin: &Origin, peer: AllowedPeer, asker: Option<&AgentName>) -> Result<Link, DialError> {
        self.dial_to(Destination { origin, peer, asker, forwarded: false }).await
    }

    /// Connects as [`Self::dial`] does, but for [`Self::forwarder`] to the upstream proxy alone.
    pub async fn dial_forwarder(
        &self,
        origin: &Origin,
        peer: AllowedPeer,
        asker: Option<&AgentName>,
    ) -> Result<Link, DialError> {
        self.dial_to(Destination { origin, peer, asker, forwarded: true }).await
    }

    /// The proxy that takes requests for `origin` whole, in absolute form (RFC 9112, section 3.2.2): many that lead to other
    /// ports by CONNECT don't to port 80.
    pub fn forwarder(&self, origin: &Origin) -> Option<&Arc<UpstreamProxy>> {
        self.proxy_for(origin).filter(|proxy| origin.scheme == Scheme::Http && proxy.protocol != ProxyProtocol::Socks5)
    }

    /// The upstream proxy, where it is gone through for `origin`.
    fn proxy_for(&self, origin: &Origin) -> Option<&Arc<UpstreamProxy>> {
        self.proxy.as_ref().filter(|_| !self.bypass.iter().any(|rule| rule.covers(origin)))
    }

    async fn dial_to(&self, destination: Destination<'_>) -> Result<Link, DialError> {
        let origin = destination.origin;
        let attempt = async {
            self.judge_unasked(origin, destination.peer)?;
            match self.proxy_for(origin) {
                None => self.direct(destination).await.map(Link::Left),
                Some(proxy) => self.through(proxy, destination).await,
            }
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
            Ok(result) => result,
            Err(_) => Err(DialError::Timeout { origin: origin.clone(), seconds: CONNECT_TIMEOUT.as_secs() }),
        }
    }

    /// What can be said of a dial before anything is asked or sent: an address that is written out is judged as one that a
    /// name leads to.
    ///
    /// # Errors
    /// [`Self::dial`] would fail for this reason.
    pub fn judge_unasked(&self, origin: &Origin, peer: AllowedPeer) -> Result<(), DialError> {
        if self.proxy_for(origin).is_some() && peer == AllowedPeer::Loopback {
            return Err(DialError::CleartextBeyond { origin: origin.clone() });
        }
        let Some(literal) = origin.literal() else { return Ok(()) };
        self.admitted(&origin.host, &[literal])?;
        if peer == AllowedPeer::Loopback { on_loopback(origin, &[literal]) } else { Ok(()) }
    }

    /// Whether a connection for `origin` to this address leads to `peer`: not where it is the upstream proxy's, whoever is
    /// behind that.
    pub fn leads_to(&self, origin: &Origin, peer: AllowedPeer, address: IpAddr) -> bool {
        peer == AllowedPeer::Any || self.proxy_for(origin).is_none() && is_loopback(address)
    }

    /// Whether the connection to `address` that `before` made for `origin` could be made now: in the same way, and to an
    /// address that may be dialled.
    pub fn would_dial(&self, before: &Self, origin: &Origin, address: SocketAddr) -> bool {
        let proxy = self.proxy_for(origin);
        let judged = if proxy.is_some() { origin.literal() } else { Some(address) };
        proxy == before.proxy_for(origin) && judged.is_none_or(|address| self.addresses.admits(address))
    }

    async fn direct(&self, Destination { origin, peer, asker, .. }: Destination<'_>) -> Result<TcpStream, DialError> {
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

    /// Through the proxy, or only to it where it is to be asked for each request itself.
    async fn through(
        &self,
        proxy: &UpstreamProxy,
        Destination { origin, asker, forwarded, .. }: Destination<'_>,
    ) -> Result<Link, DialError> {
        let fail = |why: String| DialError::Proxy { origin: origin.clone(), why };
        let addresses = self.resolve(&proxy.host, proxy.port, asker).await?;
        let tcp = connect_first(&addresses).await.map_err(|e| fail(e.to_string()))?;
        let link = match (proxy.protocol, &self.proxy_tls) {
            (ProxyProtocol::Http | ProxyProtocol::Socks5, _) => Link::Left(tcp),
            (ProxyProtocol::Https, None) => return Err(fail("there is no TLS to verify it by".into())),
            (ProxyProtocol::Https, Some(tls)) => {
                let itself = Origin { scheme: Scheme::Https, host: proxy.host.clone(), port: proxy.port };
                let verified = tls.connect(&itself, tcp, AlpnOffer::Http1).await;
                Link::Right(Box::new(verified.map_err(|failed| fail(failed.error.to_string()))?))
            }
        };
        if forwarded { Ok(link) } else { through::lead(proxy, link, origin).await.map_err(fail) }
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
