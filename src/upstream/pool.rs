//! Kept connections of one worker, by origin: a stack of HTTP/1.1 ones, and HTTP/2 ones where many requests share them.
//!
//! Never coalesced: a connection carries requests for exactly the origin that it was verified for.

mod connection;
mod forwarded;
mod http2;
mod kept;
mod lease;
mod limits;
mod origins;
mod retry;
#[cfg(test)]
mod tests;

pub use super::error::{BoxError, chain};
pub use lease::Lease;
pub use retry::{Replay, SendError, Unanswered};

use super::dial::AllowedPeer;
use super::error::Retry;
use super::head_injection::{CarriesKey, HeadInjector, PendingSecrets};
use super::link::peer_addr;
use super::outbound::Outbound;
use super::protocol::{AlpnOffer, ProtocolPreference};
use super::proxy::UpstreamProxy;
use super::tls::TlsFailure;
use super::{DialError, UpstreamError};
use crate::io::read_gate::ReadGate;
use crate::name::{AgentName, Origin, Scheme};
use arc_swap::ArcSwap;
use connection::{Http1Connection, PooledConnection};
use http::header::{HOST, TRANSFER_ENCODING};
use http::{Request, Response, Version};
use http_body::Body;
use http2::{Http2Connection, Http2Stream};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use limits::{DIALS, IDLE_IN_ALL, MAX_HEADERS};
use origins::{ConnectPlan, Origins};
use retry::Attempt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};

/// The connections of one worker to upstreams.
pub struct Pool<B> {
    outbound: ArcSwap<Outbound>,
    origins: Arc<Origins<B>>,
}

/// The route of a request: its origin, the connection and peer that it is for, and the agent whose it is.
#[derive(Clone, Copy)]
struct Route<'a> {
    origin: &'a Origin,
    preference: ProtocolPreference,
    peer: AllowedPeer,
    asker: Option<&'a AgentName>,
    attempt: Attempt,
}

impl<'a> Route<'a> {
    fn of<B>(
        request: &Request<B>,
        origin: &'a Origin,
        preference: ProtocolPreference,
        asker: Option<&'a AgentName>,
    ) -> Self {
        let peer = request.extensions().get::<CarriesKey>().map_or(AllowedPeer::Any, |carries| carries.peer);
        Self { origin, preference: settled(preference, origin.scheme), peer, asker, attempt: Attempt::FIRST }
    }
}

/// A request that got no response: itself where nothing of it was sent, else whether it may be sent once more.
struct SendFailure<B> {
    error: UpstreamError,
    unsent: Option<Request<B>>,
    retry: Retry,
}

impl<B> From<UpstreamError> for SendFailure<B> {
    fn from(error: UpstreamError) -> Self {
        Self { error, unsent: None, retry: Retry::Never }
    }
}

/// A response that has begun, with the lease of its connection.
type Sent<B> = (Response<Incoming>, Lease<B>);

impl<B> Pool<B>
where
    B: Body + Replay + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    /// An empty pool, whose connections are made as `outbound` says. It keeps so many that idle, and no more than 256.
    pub fn new(outbound: Outbound, idle_in_all: usize) -> Arc<Self> {
        let origins = Arc::new(Origins::keeping(idle_in_all.min(IDLE_IN_ALL)));
        Arc::new(Self { outbound: ArcSwap::from_pointee(outbound), origins })
    }

    /// How connections are made now.
    pub fn outbound(&self) -> Arc<Outbound> {
        self.outbound.load_full()
    }

    /// Makes connections in another way from now on. Those that are there stay until they are closed.
    pub fn reach_by(&self, outbound: Outbound) {
        self.outbound.store(Arc::new(outbound));
    }

    /// Sends one request. A connection that turns out to be gone is replaced, if nothing of the request was sent.
    ///
    /// The request's target is path and query; its `Host` is `origin`'s. It is an agent's, or without one the operator's.
    ///
    /// # Errors
    /// When no connection comes about, it breaks before the response's head is there, or the request may not go any more.
    /// Where it may have left and may be sent once more, the error has it.
    pub async fn send(
        &self,
        origin: &Origin,
        request: Request<B>,
        preference: ProtocolPreference,
        asker: Option<&AgentName>,
    ) -> Result<(Response<Incoming>, Lease<B>), SendError<B>> {
        let route = Route::of(&request, origin, preference, asker);
        self.send_by(route, request).await
    }

    /// Sends a request once more, over a connection that is newer than its last.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_again(
        &self,
        origin: &Origin,
        unanswered: Unanswered<B>,
        preference: ProtocolPreference,
        asker: Option<&AgentName>,
    ) -> Result<(Response<Incoming>, Lease<B>), SendError<B>> {
        let Unanswered { request, attempt } = unanswered;
        let route = Route { attempt, ..Route::of(&request, origin, preference, asker) };
        self.send_by(route, request).await
    }

    async fn send_by(&self, route: Route<'_>, mut request: Request<B>) -> Result<Sent<B>, SendError<B>> {
        let mut dials = 0;
        loop {
            let kept = self.kept(route);
            let was_kept = kept.is_some();
            let connection = match kept {
                Some(connection) => connection,
                // boxed: a new connection is rare and its future large, and every request would carry room for it
                None => Box::pin(self.connect(route)).await?,
            };
            dials += usize::from(!was_kept);
            let is_http2 = matches!(connection, PooledConnection::Http2 { .. });
            let best = if is_http2 { Retry::Unprocessed } else { Retry::Idempotent };
            let may_be_needed = route.attempt.may_follow(best, request.method());
            let copy = if may_be_needed { retry::copy(&request) } else { None };
            let made = connection.newer_than();
            match self.send_over(connection, route, request).await {
                Ok(sent) => return Ok(sent),
                Err(SendFailure { unsent: Some(unsent), .. }) if was_kept || dials < DIALS => request = unsent,
                Err(SendFailure { error, retry, .. }) => {
                    let copy = copy.filter(|request| route.attempt.may_follow(retry, request.method()));
                    let attempt = route.attempt.next(retry, made);
                    let unanswered = copy.map(|request| Box::new(Unanswered { request: *request, attempt }));
                    return Err(SendError { error, unanswered });
                }
            }
        }
    }

    /// A connection that is open and leads where the request may go.
    fn kept(&self, route: Route<'_>) -> Option<PooledConnection<B>> {
        let outbound = self.outbound.load();
        let leads_there = |ip| outbound.dialer.leads_to(route.origin, route.peer, ip);
        self.origins.lock().get_mut(route.origin)?.take(route.preference, route.attempt.newer_than, leads_there)
    }

    async fn send_over(
        &self,
        connection: PooledConnection<B>,
        route: Route<'_>,
        request: Request<B>,
    ) -> Result<Sent<B>, SendFailure<B>> {
        match connection {
            PooledConnection::Http1(connection) => self.send_http1(connection, route, request).await,
            PooledConnection::Http2 { send, ip, stream, .. } => {
                let lease = |stream| Lease::http2(self.origins.clone(), route.origin.clone(), ip, stream);
                send_http2(send, stream, route.origin, request)
                    .await
                    .map(|(response, stream)| (response, lease(stream)))
            }
        }
    }

    async fn send_http1(
        &self,
        mut connection: Http1Connection<B>,
        route: Route<'_>,
        mut request: Request<B>,
    ) -> Result<Sent<B>, SendFailure<B>> {
        let dedicated = route.preference == ProtocolPreference::Dedicated;
        let mut lease = Lease::http1(self.origins.clone(), route.origin.clone(), connection.ip, dedicated);
        if let Err(withdrawn) = may_go(&request, route.origin) {
            lease.hold(connection);
            lease.finish();
            return Err(withdrawn.into());
        }
        *request.version_mut() = Version::HTTP_11;
        if let Some(proxy) = &connection.forwarder {
            forwarded::address(&mut request, route.origin, proxy);
        }
        connection.pending.keep_back(&mut request);
        CarriesKey::note(&request, true);
        match connection.send.try_send_request(request).await {
            Ok(response) => {
                let refused = connection.forwarder.as_ref().and_then(|proxy| forwarded::refused(&response, proxy));
                lease.hold(connection);
                match refused {
                    Some(why) => {
                        Err(UpstreamError::from(DialError::Proxy { origin: route.origin.clone(), why }).into())
                    }
                    None => Ok((response, lease)),
                }
            }
            Err(mut e) => {
                let unsent = e.take_message().map(|mut request| {
                    connection.pending.give_back(&mut request);
                    forwarded::take_back(&mut request);
                    CarriesKey::note(&request, false);
                    request
                });
                let retry = if connection.pending.is_heard() { Retry::Never } else { Retry::after(e.error()) };
                Err(SendFailure { error: broken(route.origin, e.error()), unsent, retry })
            }
        }
    }

    async fn connect(&self, route: Route<'_>) -> Result<PooledConnection<B>, UpstreamError> {
        let mut plan = self.plan(route);
        loop {
            if plan.shared {
                match self.connect_in_turn(route, plan).await? {
                    Some(connection) => return Ok(connection),
                    None => plan = self.plan(route),
                }
                continue;
            }
            match self.open(route, &plan).await {
                Err(failure) if failure.no_protocol && route.preference != ProtocolPreference::Dedicated => {
                    plan = self.learn(route, AlpnOffer::Http2);
                }
                opened => return opened.map_err(|failure| failure.error),
            }
        }
    }

    /// Of many requests that come at once to an upstream that is down or slow, one tries: the others wait for what it
    /// gets, learns or fails of. `None` where a connection is not to be shared any more.
    async fn connect_in_turn(
        &self,
        route: Route<'_>,
        plan: ConnectPlan,
    ) -> Result<Option<PooledConnection<B>>, UpstreamError> {
        let asked = Instant::now();
        let mut last_failure = plan.connecting.lock().await;
        if let Some((failed, error)) = &*last_failure
            && *failed >= asked
        {
            return Err(error.clone());
        }
        if let Some(connection) = self.kept(route) {
            return Ok(Some(connection));
        }
        let now = self.plan(route);
        if !now.shared {
            return Ok(None);
        }
        let opened = self.open(route, &now).await.map_err(|failure| failure.error);
        // what is no failure of the upstream's is none of the others' either
        let failure = opened.as_ref().err().filter(|error| !error.is_of_cleartext());
        *last_failure = failure.map(|error| (Instant::now(), error.clone()));
        opened.map(Some)
    }

    fn plan(&self, route: Route<'_>) -> ConnectPlan {
        self.origins.plan(route.origin, route.preference)
    }

    fn learn(&self, route: Route<'_>, speaks: AlpnOffer) -> ConnectPlan {
        self.origins.learn(route.origin, route.preference, speaks)
    }

    /// A new connection.
    async fn open(&self, route: Route<'_>, plan: &ConnectPlan) -> Result<PooledConnection<B>, TlsFailure> {
        let Route { origin, preference, peer, asker, .. } = route;
        // after the plan: one that is made by what was replaced meanwhile is of an epoch that has been closed
        let outbound = self.outbound();
        // only of HTTP/1.1 can a proxy be asked for a whole request, and what comes to speak something else needs a tunnel
        let forwarder = outbound.dialer.forwarder(origin).filter(|_| preference == ProtocolPreference::Http1).cloned();
        let dialled = match &forwarder {
            Some(_) => outbound.dialer.dial_forwarder(origin, peer, asker).await,
            None => outbound.dialer.dial(origin, peer, asker).await,
        };
        let link = dialled.map_err(UpstreamError::from)?;
        let ip = peer_addr(&link).map_or(IpAddr::from([0, 0, 0, 0]), |a| a.ip());
        if origin.scheme == Scheme::Http {
            return Ok(if preference == ProtocolPreference::Http2 {
                self.open_http2(origin, link, ip, plan).await?
            } else {
                self.open_http1(origin, link, (ip, forwarder), plan).await?
            });
        }
        let offer = offer(preference, plan);
        let stream = outbound.tls.connect(origin, link, offer).await?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            return Ok(self.open_http2(origin, stream, ip, plan).await?);
        }
        if offer == AlpnOffer::Both {
            self.learn(route, AlpnOffer::Http1);
        }
        Ok(self.open_http1(origin, stream, (ip, None), plan).await?)
    }

    async fn open_http1<S>(
        &self,
        origin: &Origin,
        stream: S,
        (ip, forwarder): (IpAddr, Option<Arc<UpstreamProxy>>),
        plan: &ConnectPlan,
    ) -> Result<PooledConnection<B>, UpstreamError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let pending = PendingSecrets::new().map_err(|e| broken(origin, &e))?;
        let stream = TokioIo::new(HeadInjector::new(ReadGate::new(stream), pending.clone()));
        // scripts look for names as the upstream spells them
        let handshake =
            http1::Builder::new().preserve_header_case(true).max_headers(MAX_HEADERS).handshake(stream).await;
        let (send, connection) = handshake.map_err(|e| broken(origin, &e))?;
        tokio::spawn(async move {
            // how it ended reaches whoever waits on it
            let _ = connection.with_upgrades().await;
        });
        self.origins.begin(origin);
        Ok(PooledConnection::Http1(Http1Connection { send, pending, ip, forwarder, epoch: plan.epoch.clone() }))
    }

    async fn open_http2<S>(
        &self,
        origin: &Origin,
        stream: S,
        ip: IpAddr,
        plan: &ConnectPlan,
    ) -> Result<PooledConnection<B>, UpstreamError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = http2::builder().handshake(TokioIo::new(stream)).await;
        let (send, driver) = handshake.map_err(|e| broken(origin, &e))?;
        let connection = Http2Connection::new(send, driver, ip, self.origins.keep());
        let sharing = PooledConnection::sharing(&connection);
        self.origins.share(origin, connection, &plan.epoch);
        Ok(sharing)
    }

    /// Closes what has idled for over 50 seconds, or for half a second with a key in its buffers, and the oldest where it
    /// is too much in all. Forgets origins that nothing is kept of.
    pub fn sweep(&self, now: Instant) {
        self.origins.sweep(now);
    }

    /// Lets go of everything that is kept to some origins: what is under way ends as it began, and does not come back.
    pub fn close(&self, which: impl Fn(&Origin) -> bool) {
        self.origins.close(which);
    }
}

/// What is left of a preference: in cleartext nothing tells whether an upstream speaks HTTP/2.
fn settled(preference: ProtocolPreference, scheme: Scheme) -> ProtocolPreference {
    match (preference, scheme) {
        (ProtocolPreference::Either, Scheme::Http) => ProtocolPreference::Http1,
        _ => preference,
    }
}

/// What a new connection offers: HTTP/2 only where it will be shared, and nothing that was turned down before.
fn offer(preference: ProtocolPreference, plan: &ConnectPlan) -> AlpnOffer {
    match plan.speaks {
        _ if preference == ProtocolPreference::Dedicated => AlpnOffer::Http1,
        AlpnOffer::Both if !plan.shared => AlpnOffer::Http1,
        speaks => speaks,
    }
}

async fn send_http2<B>(
    mut send: hyper::client::conn::http2::SendRequest<B>,
    mut stream: Http2Stream,
    origin: &Origin,
    mut request: Request<B>,
) -> Result<(Response<Incoming>, Http2Stream), SendFailure<B>>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    may_go(&request, origin).inspect_err(|_| stream.end_well())?;
    let target = forwarded::absolute(origin, request.uri());
    let path = std::mem::replace(request.uri_mut(), target);
    let host = request.headers_mut().remove(HOST);
    request.headers_mut().remove(TRANSFER_ENCODING);
    *request.version_mut() = Version::HTTP_2;
    if request.extensions().get::<CarriesKey>().is_some() {
        stream.carries_key();
    }
    CarriesKey::note(&request, true);
    match send.try_send_request(request).await {
        Ok(response) => Ok((response, stream)),
        Err(mut e) => {
            let unsent = e.take_message().map(|mut request| {
                CarriesKey::note(&request, false);
                *request.uri_mut() = path;
                request.headers_mut().extend(host.map(|host| (HOST, host)));
                request
            });
            Err(SendFailure { error: broken(origin, e.error()), unsent, retry: Retry::after_http2(e.error()) })
        }
    }
}

/// Asks whoever put a key into the request whether it may still be sent: the connection may have been long in coming.
fn may_go<B>(request: &Request<B>, origin: &Origin) -> Result<(), UpstreamError> {
    match request.extensions().get::<CarriesKey>() {
        Some(carries) if !(carries.may_go)() => Err(UpstreamError::Withdrawn { origin: origin.clone() }),
        _ => Ok(()),
    }
}

fn broken(origin: &Origin, error: &dyn std::error::Error) -> UpstreamError {
    UpstreamError::Exchange { origin: origin.clone(), why: chain(error) }
}
