//! A connection that was led here on its way elsewhere, by the network and not by its client: nobody asks a proxy for
//! anything, and who calls is known by other means than a token.
//!
//! Which host it is for is found out in this order: the name that the client was given the address for, where a resolver of
//! ours gave it; the name in its ClientHello, or in each request's `Host` over `http://`; the address itself. What comes of it is
//! what CONNECT to that host and port comes to, and over `http://` what a request in absolute form does.
//!
//! The host is dialled by its name, looked up by our own resolver, and never at the address that the client has chosen: a key
//! goes where the certificate is that host's, and a client that says one name and dials another's address gains nothing. Only
//! where there is no name at all is that address dialled, if it may be.

use super::first_bytes::{FirstBytes, Spoken};
use crate::name::{AgentName, Host, Origin, Scheme};
use crate::proxy::accept::admit::may_reach;
use crate::proxy::accept::admitted::Admitted;
use crate::proxy::accept::client::{Client, Door};
use crate::proxy::accept::connect::connected;
use crate::proxy::accept::slots::Standing;
use crate::proxy::exchange::conn::Conn;
use crate::proxy::exchange::serve::serve as serve_http;
use crate::proxy::exchange::worker::Worker;
use crate::proxy::limits::{HANDSHAKE_TIMEOUT, SERVER_SPEAKS_FIRST};
use crate::proxy::refusal::{Refusal, RefusalKind};
use bytes::BytesMut;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::either::Either;

/// A connection that was on its way elsewhere.
pub struct Redirected {
    /// The connection, of which nothing was read.
    pub stream: TcpStream,
    /// The client's address.
    pub peer: SocketAddr,
    /// The address that the client has dialled.
    pub destination: SocketAddr,
    /// The name that it was told has this address.
    pub name: Option<Host>,
    /// Who it is: whoever hands it over has found that out.
    pub by: Admitted,
}

/// Serves it to its end. One that has no place, or was going to this proxy itself, is closed.
pub async fn serve(worker: Arc<Worker>, redirected: Redirected, stop: watch::Receiver<bool>) {
    let Redirected { stream, peer, destination, name, by } = redirected;
    let Some(slot) = worker.shared.slots.take(Standing::Newcomer, None, SystemTime::now()) else { return };
    slot.prove();
    let _ = stream.set_nodelay(true);
    let (read, slot) = (BytesMut::with_capacity(1024), Arc::new(slot));
    let stream = Either::Left(stream);
    let (own, user, known) = (destination, None, None);
    let mut client = Client { stream, read, door: Door::Redirected, peer, own, user, known, slot };
    let destination = Destination::of(destination, name);
    match lead(&worker, &mut client, &destination, by, stop.clone()).await {
        Led::Nowhere => {}
        Led::To(by, host) => connected(worker, client, by, host, destination.port(), stop).await,
        Led::Http { conn, http2 } => serve_http(*conn, client.into_stream(), http2, stop).await,
        Led::Refused(refusal, agent, host) => {
            let target = Some((&host, destination.port()));
            client.refuse(&worker.shared.recorder, &refusal, agent, target, true).await;
        }
    }
}

/// Whom a client has dialled.
struct Destination {
    address: SocketAddr,
    /// Whether the host has a name, which it was looked up by.
    is_named: bool,
    host: Host,
}

impl Destination {
    fn of(address: SocketAddr, name: Option<Host>) -> Self {
        let is_named = name.is_some();
        Self { address, is_named, host: name.unwrap_or(Host::Ip(address.ip().to_canonical())) }
    }

    fn port(&self) -> u16 {
        self.address.port()
    }

    /// The host of what isn't HTTP in the clear; `None` where nobody is there who asks for one.
    fn host_of(&self, heard: Heard, is_unread: bool) -> Result<Option<Host>, Refusal> {
        let is_of_the_web = [Scheme::Http, Scheme::Https].iter().any(|scheme| scheme.default_port() == self.port());
        match heard {
            Heard::Spoken(Spoken::Tls(Some(named))) if !self.is_named => Ok(Some(named)),
            Heard::Spoken(Spoken::Tls(_)) => Ok(Some(self.host.clone())),
            Heard::Spoken(_) | Heard::Nothing if is_unread => Ok(Some(self.host.clone())),
            Heard::Spoken(_) => Err(Refusal::malformed(UNREADABLE)),
            // many connect there in advance, and leave again
            Heard::Nothing if is_of_the_web => Ok(None),
            Heard::Nothing => Err(Refusal::malformed(SILENT)),
            Heard::End => Ok(None),
        }
    }

    /// What serves HTTP in the clear.
    fn http(&self, worker: Arc<Worker>, by: Admitted) -> Conn {
        if !self.is_named {
            return Conn::redirected(worker, by, self.address);
        }
        let origin = Origin { scheme: Scheme::Http, host: self.host.clone(), port: self.port() };
        Conn::tunnel(worker, by, origin)
    }
}

/// What a connection comes to.
enum Led {
    /// The client left, or the proxy stops.
    Nowhere,
    To(Admitted, Host),
    Http {
        conn: Box<Conn>,
        http2: bool,
    },
    Refused(Refusal, AgentName, Host),
}

/// Finds out where it is to go, and whether it may.
async fn lead(
    worker: &Arc<Worker>,
    client: &mut Client,
    to: &Destination,
    by: Admitted,
    mut stop: watch::Receiver<bool>,
) -> Led {
    let ruleset = worker.shared.ruleset.load_full();
    let by = match ruleset.agents.again(&by.proof, SystemTime::now()) {
        Ok(agent) => Admitted { agent, ..by },
        Err(e) => return Led::Refused(e.into(), AgentName::nobody(), to.host.clone()),
    };
    if worker.pool.outbound().dialer.addresses.is_own(to.address) {
        return Led::Refused(itself(), by.agent.name.clone(), to.host.clone());
    }
    let is_unread = ruleset.leaves_unread(&to.host, to.port());
    // an address that nobody has listed may stand for a host that is read
    let is_decided = is_unread && to.is_named || ruleset.is_passthrough(&to.host, to.port());
    let heard = tokio::select! {
        () = std::future::ready(()), if is_decided => Ok(Heard::Nothing),
        heard = hear(client, is_unread), if !is_decided => heard,
        _ = stop.wait_for(|stopped| *stopped) => return Led::Nowhere,
    };
    if let Ok(Heard::Spoken(Spoken::Http { http2 })) = heard {
        return Led::Http { conn: Box::new(to.http(worker.clone(), by)), http2 };
    }
    let judge = |host: Host| {
        // what is read is told in words why it goes no further, request by request
        let is_unread = host.is_own() || ruleset.leaves_unread(&host, to.port());
        match may_reach(&ruleset, &by.agent, &host, to.port()) {
            Err(refusal) if is_unread => Led::Refused(refusal, by.agent.name.clone(), host),
            _ => Led::To(by.clone(), host),
        }
    };
    match heard.and_then(|heard| to.host_of(heard, is_unread)) {
        Ok(host) => host.map_or(Led::Nowhere, judge),
        Err(refusal) => Led::Refused(refusal, by.agent.name.clone(), to.host.clone()),
    }
}

const UNREADABLE: &str = "neither TLS nor HTTP came; [proxy] passthrough lets the bytes of a host by unread";
const SILENT: &str =
    "nothing came; where the server is to speak first, [proxy] passthrough lets the bytes of a host by unread";

fn itself() -> Refusal {
    Refusal::new(RefusalKind::AddressRefused, "it was going to this proxy itself, which would go round for ever")
}

/// What came of a client.
enum Heard {
    Spoken(Spoken),
    /// Nothing in all the time that it had.
    Nothing,
    /// It left.
    End,
}

/// What the client speaks, found without taking it. Where it may go on unread it is not waited for long: a server that is to
/// speak first would have to wait too.
async fn hear(client: &mut Client, may_be_unread: bool) -> Result<Heard, Refusal> {
    let patience = if may_be_unread { SERVER_SPEAKS_FIRST } else { HANDSHAKE_TIMEOUT };
    match tokio::time::timeout(patience, client.stream.read_buf(&mut client.read)).await {
        Err(_) => return Ok(Heard::Nothing),
        Ok(Ok(0) | Err(_)) => return Ok(Heard::End),
        Ok(Ok(_)) => {}
    }
    let mut first = FirstBytes::default();
    let telling = async {
        loop {
            if let Some(spoken) = first.tell(&client.read)? {
                return Ok(Heard::Spoken(spoken));
            }
            if matches!(client.stream.read_buf(&mut client.read).await, Ok(0) | Err(_)) {
                return Ok(Heard::End);
            }
        }
    };
    let slow = || format!("the client's first TLS message took over {} s", HANDSHAKE_TIMEOUT.as_secs());
    let told = tokio::time::timeout(HANDSHAKE_TIMEOUT, telling).await;
    told.unwrap_or_else(|_| Err(Refusal::new(RefusalKind::HandshakeFailed, slow())))
}
