//! Kept connections of one worker, by origin: a stack of HTTP/1.1 ones, and HTTP/2 ones where many requests share them.
//!
//! Never coalesced: a connection carries requests for exactly the origin that it was verified for.

mod lease;
mod shared;
#[cfg(test)]
mod tests;

use super::UpstreamError;
use super::dial::{Dialer, Peer};
use super::head_injection::{CarriesKey, HeadInjector, PendingSecrets};
use super::tls::{Offer, Tls, TlsFailure};
use crate::io::read_gate::ReadGate;
use crate::name::{Origin, Scheme};
use foldhash::fast::RandomState;
use http::header::{HOST, TRANSFER_ENCODING};
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use lease::Carrier;
pub use lease::Lease;
use shared::{Shared, Stream};
use std::collections::HashMap;
use std::error::Error as StdError;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};

/// How long a connection may idle: less than the minute or so after which most servers close.
pub const IDLE: Duration = Duration::from_secs(50);
/// How long an HTTP/2 connection may idle that a key went over or came back on: its buffers still hold it.
const IDLE_WITH_KEY: Duration = Duration::from_millis(500);
/// Idle connections kept to one origin.
const IDLE_PER_ORIGIN: usize = 64;
/// Idle connections kept to all origins, once a sweep has passed.
const IDLE_IN_ALL: usize = 256;
/// From so many HTTP/1.1 exchanges under way at once on, an HTTP/2 client's requests share an HTTP/2 connection.
const SHARE_FROM: usize = 8;

pub type BoxError = Box<dyn StdError + Send + Sync>;

/// What the client's request asks of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// The client speaks HTTP/1.1.
    Http1,
    /// The client speaks HTTP/2, and either will do.
    Any,
    /// The request makes sense over HTTP/2 only, such as gRPC.
    Http2,
    /// A new HTTP/1.1 connection, for this request alone: it may come to speak something else.
    Alone,
}

/// The connections of one worker.
pub struct Pool<B> {
    dialer: Dialer,
    tls: Tls,
    origins: Mutex<HashMap<Origin, Kept<B>, RandomState>>,
}

struct Kept<B> {
    idle: Vec<Idle<B>>,
    shared: Vec<Shared<B>>,
    /// HTTP/1.1 exchanges under way.
    busy: usize,
    /// The upstream has turned down one of the protocols.
    only: Option<Only>,
    opening: Arc<Opening>,
    /// Another one once all has been let go of: a connection of an earlier life does not come back.
    life: Arc<()>,
}

/// Held while an HTTP/2 connection is being made: the requests behind it share that one, or the failure.
type Opening = tokio::sync::Mutex<Option<(Instant, UpstreamError)>>;

/// How a request comes by a new connection.
struct Way {
    only: Option<Only>,
    shared: bool,
    opening: Arc<Opening>,
    life: Arc<()>,
}

impl<B> Kept<B> {
    /// Whether a request goes over the HTTP/2 connection rather than one of its own.
    fn wants_shared(&self, wish: Wish) -> bool {
        match (self.only, wish) {
            (_, Wish::Alone) | (Some(Only::Http1), _) | (None, Wish::Http1) => false,
            (Some(Only::Http2), _) | (None, Wish::Http2) => true,
            (None, Wish::Any) => self.busy >= SHARE_FROM,
        }
    }

    fn way(&self, wish: Wish) -> Way {
        let (opening, life) = (self.opening.clone(), self.life.clone());
        Way { only: self.only, shared: self.wants_shared(wish), opening, life }
    }

    /// Since when each connection idles that does.
    fn idle_since(&self) -> impl Iterator<Item = Instant> {
        self.idle.iter().map(|idle| idle.since).chain(self.shared.iter().filter_map(Shared::idle_since))
    }

    /// Whether anything is there that somebody could still want.
    fn is_of_use(&self) -> bool {
        // who has or makes a connection holds on to its life
        self.busy > 0 || !self.shared.is_empty() || Arc::strong_count(&self.life) > 1
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Only {
    Http1,
    Http2,
}

struct Idle<B> {
    line: One<B>,
    since: Instant,
}

/// An HTTP/1.1 connection.
struct One<B> {
    send: http1::SendRequest<B>,
    due: PendingSecrets,
    ip: IpAddr,
    life: Arc<()>,
}

impl<B> Default for Kept<B> {
    fn default() -> Self {
        let (opening, life) = Default::default();
        Self { idle: Vec::new(), shared: Vec::new(), busy: 0, only: None, opening, life }
    }
}

enum Line<B> {
    Http1(One<B>),
    Http2(http2::SendRequest<B>, IpAddr, Stream),
}

impl<B> Pool<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    pub fn new(dialer: Dialer, tls: Tls) -> Arc<Self> {
        Arc::new(Self { dialer, tls, origins: Mutex::default() })
    }

    pub fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Origin, Kept<B>, RandomState>> {
        self.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one request. A kept connection that turns out to be gone is replaced once, if nothing of the request was sent.
    ///
    /// The request's target is path and query; its `Host` is `origin`'s.
    pub async fn send(
        self: &Arc<Self>,
        origin: &Origin,
        mut request: Request<B>,
        wish: Wish,
    ) -> Result<(Response<Incoming>, Lease<B>), UpstreamError> {
        // in cleartext nothing tells whether an upstream speaks HTTP/2
        let wish = if wish == Wish::Any && origin.scheme == Scheme::Http { Wish::Http1 } else { wish };
        let peer = request.extensions().get::<CarriesKey>().map_or(Peer::Any, |carries| carries.peer);
        loop {
            let Some(line) = self.kept(origin, wish, peer) else { break };
            match self.over(origin, line, request, wish).await {
                Ok(done) => return Ok(done),
                Err((_, Some(unsent))) => request = unsent,
                Err((error, None)) => return Err(error),
            }
        }
        // boxed: a new connection is rare and its future large, and every request would carry room for it
        let line = Box::pin(self.connect(origin, wish, peer)).await?;
        self.over(origin, line, request, wish).await.map_err(|(error, _)| error)
    }

    /// A connection that is open, from the top of the stack: the one used last is the least likely to be stale.
    fn kept(&self, origin: &Origin, wish: Wish, peer: Peer) -> Option<Line<B>> {
        let mut origins = self.lock();
        let kept = origins.get_mut(origin)?;
        kept.shared.retain(Shared::is_open);
        if wish == Wish::Alone {
            return None;
        }
        if kept.wants_shared(wish) {
            return kept
                .shared
                .iter()
                .find(|shared| shared.has_room() && self.dialer.leads_to(peer, shared.ip))
                .map(Shared::line);
        }
        let mut not_yet = Vec::new();
        let mut found = None;
        while let Some(idle) = kept.idle.pop() {
            if idle.line.send.is_closed() {
                continue;
            }
            if idle.line.send.is_ready() && self.dialer.leads_to(peer, idle.line.ip) {
                found = Some(idle);
                break;
            }
            not_yet.push(idle);
        }
        kept.idle.extend(not_yet);
        let idle = found?;
        kept.busy += 1;
        Some(Line::Http1(idle.line))
    }

    async fn over(
        self: &Arc<Self>,
        origin: &Origin,
        line: Line<B>,
        mut request: Request<B>,
        wish: Wish,
    ) -> Result<(Response<Incoming>, Lease<B>), (UpstreamError, Option<Request<B>>)> {
        let fail = |e: &hyper::Error| UpstreamError::Exchange { origin: origin.clone(), why: chain(e) };
        let alone = wish == Wish::Alone;
        let carries_key = request.extensions().get::<CarriesKey>();
        let withdrawn = carries_key.is_some_and(|carries| !(carries.may_go)());
        let withdrawn = withdrawn.then(|| UpstreamError::Withdrawn { origin: origin.clone() });
        match line {
            Line::Http1(line) => {
                let (ip, due) = (line.ip, line.due.clone());
                // busy was counted when the line was taken; the lease gives it back, whatever happens
                let carrier = Carrier::Http1(Some(line), false);
                let mut lease = Lease { pool: self.clone(), origin: origin.clone(), ip, alone, carrier };
                let Carrier::Http1(Some(One { send, .. }), _) = &mut lease.carrier else {
                    return Err((
                        UpstreamError::Exchange { origin: origin.clone(), why: "no connection".into() },
                        None,
                    ));
                };
                if let Some(withdrawn) = withdrawn {
                    lease.finish();
                    return Err((withdrawn, None));
                }
                *request.version_mut() = http::Version::HTTP_11;
                due.keep_back(&mut request);
                match send.try_send_request(request).await {
                    Ok(response) => Ok((response, lease)),
                    Err(mut e) => {
                        let unsent = e.take_message().map(|mut request| {
                            due.give_back(&mut request);
                            request
                        });
                        Err((fail(e.error()), unsent))
                    }
                }
            }
            Line::Http2(mut send, ip, mut stream) => {
                if let Some(withdrawn) = withdrawn {
                    stream.end_well();
                    return Err((withdrawn, None));
                }
                let target = absolute(origin, request.uri());
                let path = std::mem::replace(request.uri_mut(), target);
                let host = request.headers_mut().remove(HOST);
                request.headers_mut().remove(TRANSFER_ENCODING);
                *request.version_mut() = http::Version::HTTP_2;
                if request.extensions().get::<CarriesKey>().is_some() {
                    stream.carries_key();
                }
                let carrier = Carrier::Http2(stream);
                let lease = Lease { pool: self.clone(), origin: origin.clone(), ip, alone, carrier };
                match send.try_send_request(request).await {
                    Ok(response) => Ok((response, lease)),
                    Err(mut e) => {
                        let unsent = e.take_message().map(|mut r| {
                            *r.uri_mut() = path;
                            r.headers_mut().extend(host.map(|h| (HOST, h)));
                            r
                        });
                        Err((fail(e.error()), unsent))
                    }
                }
            }
        }
    }

    async fn connect(self: &Arc<Self>, origin: &Origin, wish: Wish, peer: Peer) -> Result<Line<B>, UpstreamError> {
        let mut way = self.way(origin, wish);
        loop {
            if way.shared {
                match self.connect_in_turn(origin, wish, peer, way).await? {
                    Some(line) => return Ok(line),
                    None => way = self.way(origin, wish),
                }
                continue;
            }
            match self.open(origin, wish, peer, &way).await {
                Err(failure) if failure.no_protocol && wish != Wish::Alone => {
                    way = self.learn(origin, wish, Only::Http2);
                }
                opened => return opened.map_err(|failure| failure.error),
            }
        }
    }

    /// Of many requests that come at once to an upstream that is down or slow, one tries: the others wait for what it
    /// gets, learns or fails of. `None` where a connection is not to be shared any more.
    async fn connect_in_turn(
        &self,
        origin: &Origin,
        wish: Wish,
        peer: Peer,
        way: Way,
    ) -> Result<Option<Line<B>>, UpstreamError> {
        let asked = Instant::now();
        let mut turn = way.opening.lock().await;
        if let Some((failed, error)) = &*turn
            && *failed >= asked
        {
            return Err(error.clone());
        }
        if let Some(line) = self.kept(origin, wish, peer) {
            return Ok(Some(line));
        }
        let now = self.way(origin, wish);
        if !now.shared {
            return Ok(None);
        }
        let opened = self.open(origin, wish, peer, &now).await.map_err(|failure| failure.error);
        // what is no failure of the upstream's is none of the others' either
        let failure = opened.as_ref().err().filter(|error| !error.is_of_cleartext());
        *turn = failure.map(|error| (Instant::now(), error.clone()));
        opened.map(Some)
    }

    fn way(&self, origin: &Origin, wish: Wish) -> Way {
        self.lock().entry(origin.clone()).or_default().way(wish)
    }

    fn learn(&self, origin: &Origin, wish: Wish, only: Only) -> Way {
        let mut origins = self.lock();
        let kept = origins.entry(origin.clone()).or_default();
        kept.only = Some(only);
        kept.way(wish)
    }

    /// A new connection.
    async fn open(&self, origin: &Origin, wish: Wish, peer: Peer, way: &Way) -> Result<Line<B>, TlsFailure> {
        let offer = match way.only {
            _ if wish == Wish::Alone => Offer::Http1,
            Some(Only::Http1) => Offer::Http1,
            Some(Only::Http2) => Offer::Http2,
            None if way.shared => Offer::Both,
            None => Offer::Http1,
        };
        let tcp = self.dialer.dial(origin, peer).await.map_err(UpstreamError::from)?;
        let ip = tcp.peer_addr().map_or(IpAddr::from([0, 0, 0, 0]), |a| a.ip());
        if origin.scheme == Scheme::Http {
            return Ok(if wish == Wish::Http2 {
                self.http2(origin, tcp, ip, way).await?
            } else {
                self.http1(origin, tcp, ip, way).await?
            });
        }
        let stream = self.tls.connect(origin, tcp, offer).await?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            return Ok(self.http2(origin, stream, ip, way).await?);
        }
        if offer == Offer::Both {
            self.learn(origin, wish, Only::Http1);
        }
        Ok(self.http1(origin, stream, ip, way).await?)
    }

    async fn http1<S>(&self, origin: &Origin, stream: S, ip: IpAddr, way: &Way) -> Result<Line<B>, UpstreamError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let failed = |e: &dyn StdError| UpstreamError::Exchange { origin: origin.clone(), why: chain(e) };
        let due = PendingSecrets::new().map_err(|e| failed(&e))?;
        let stream = TokioIo::new(HeadInjector::new(ReadGate::new(stream), due.clone()));
        let (send, connection) = http1::Builder::new().handshake(stream).await.map_err(|e| failed(&e))?;
        tokio::spawn(async move {
            // how it ended reaches whoever waits on it
            let _ = connection.with_upgrades().await;
        });
        self.lock().entry(origin.clone()).or_default().busy += 1;
        Ok(Line::Http1(One { send, due, ip, life: way.life.clone() }))
    }

    async fn http2<S>(&self, origin: &Origin, stream: S, ip: IpAddr, way: &Way) -> Result<Line<B>, UpstreamError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = shared::builder().handshake(TokioIo::new(stream)).await;
        let (send, connection) =
            handshake.map_err(|e| UpstreamError::Exchange { origin: origin.clone(), why: chain(&e) })?;
        tokio::spawn(async move {
            let _ = connection.await;
        });
        let shared = Shared::new(send, ip);
        let line = shared.line();
        let mut origins = self.lock();
        let kept = origins.entry(origin.clone()).or_default();
        if Arc::ptr_eq(&kept.life, &way.life) {
            kept.shared.push(shared);
        }
        Ok(line)
    }

    /// Closes what has idled for over [`IDLE`], or for a moment with a key in its buffers, and the oldest where it is too
    /// much in all. Forgets origins that nothing is kept of.
    pub fn sweep(&self, now: Instant) {
        let mut origins = self.lock();
        let oldest = oldest_to_stay(origins.values().flat_map(Kept::idle_since).collect());
        let stays = |since: Instant| oldest.is_none_or(|oldest| since >= oldest);
        origins.retain(|_, kept| {
            let fresh = |i: &Idle<B>| now.saturating_duration_since(i.since) < IDLE && stays(i.since);
            kept.idle.retain(|i| !i.line.send.is_closed() && fresh(i));
            kept.shared.retain(|s| s.is_open() && !s.is_over(now) && s.idle_since().is_none_or(stays));
            kept.is_of_use()
        });
    }

    /// Lets go of everything that is kept to some origins: what is under way ends as it began, and does not come back.
    pub fn close(&self, which: impl Fn(&Origin) -> bool) {
        self.lock().iter_mut().filter(|(origin, _)| which(origin)).for_each(|(_, kept)| {
            kept.idle.clear();
            kept.shared.clear();
            kept.life = Arc::default();
        });
    }
}

/// When the oldest began to idle of so many that may; all may where there are fewer.
fn oldest_to_stay(mut since: Vec<Instant>) -> Option<Instant> {
    let surplus = since.len().checked_sub(IDLE_IN_ALL).filter(|surplus| *surplus > 0)?;
    Some(*since.select_nth_unstable(surplus).1)
}

/// The parts of a target that HTTP/2 sends apart (RFC 9113, section 8.3.1).
fn absolute(origin: &Origin, path: &http::Uri) -> http::Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = http::uri::Scheme::try_from(origin.scheme.as_str()).ok();
    parts.authority = origin.authority().parse().ok();
    parts.path_and_query = path.path_and_query().cloned();
    http::Uri::from_parts(parts).unwrap_or_default()
}

/// An error with its causes: hyper's own text leaves them out.
pub fn chain(error: &dyn StdError) -> String {
    let mut out = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let mut text = cause.to_string();
        if text.contains("close_notify") {
            // rustls explains itself to programmers here
            text = "the connection was cut".into();
        }
        if !out.contains(&text) {
            out.push_str(": ");
            out.push_str(&text);
        }
        next = cause.source();
    }
    out
}
