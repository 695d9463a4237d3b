//! Kept connections of one worker, by origin: a stack of HTTP/1.1 ones, and one HTTP/2 one where many requests share it.
//!
//! Never coalesced: a connection carries requests for exactly the origin that it was verified for.

use super::UpstreamError;
use super::dial::Dialer;
use super::tls::{Offer, Tls};
use crate::name::{Origin, Scheme};
use foldhash::fast::RandomState;
use http::header::{HOST, TRANSFER_ENCODING};
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::collections::HashMap;
use std::error::Error as StdError;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};

/// How long a connection may idle: less than the minute or so after which most servers close.
pub const IDLE: Duration = Duration::from_secs(50);
/// Idle connections kept to one origin.
const IDLE_PER_ORIGIN: usize = 64;
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
    shared: Option<(http2::SendRequest<B>, IpAddr)>,
    /// HTTP/1.1 exchanges under way.
    busy: usize,
    /// The upstream has turned down one of the protocols.
    only: Option<Only>,
    /// Held while an HTTP/2 connection is being made: the requests behind it share that one.
    opening: Arc<tokio::sync::Mutex<()>>,
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
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Only {
    Http1,
    Http2,
}

struct Idle<B> {
    send: http1::SendRequest<B>,
    ip: IpAddr,
    since: Instant,
}

impl<B> Default for Kept<B> {
    fn default() -> Self {
        Self { idle: Vec::new(), shared: None, busy: 0, only: None, opening: Arc::default() }
    }
}

/// What an exchange holds of its connection until the response has ended.
pub struct Lease<B: Body + Send + Unpin + 'static>
where
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    pool: Arc<Pool<B>>,
    origin: Origin,
    pub ip: IpAddr,
    /// The HTTP/1.1 connection; HTTP/2 ones stay with the pool.
    send: Option<http1::SendRequest<B>>,
    alone: bool,
    reuse: bool,
}

impl<B> Lease<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    /// The response has ended well: the connection may serve again.
    pub fn finish(&mut self) {
        self.reuse = !self.alone;
    }
}

impl<B> Drop for Lease<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    fn drop(&mut self) {
        let Some(send) = self.send.take() else { return };
        let mut origins = self.pool.lock();
        let Some(kept) = origins.get_mut(&self.origin) else { return };
        kept.busy = kept.busy.saturating_sub(1);
        if self.reuse && !send.is_closed() && kept.idle.len() < IDLE_PER_ORIGIN {
            kept.idle.push(Idle { send, ip: self.ip, since: Instant::now() });
        }
    }
}

enum Line<B> {
    Http1(http1::SendRequest<B>, IpAddr),
    Http2(http2::SendRequest<B>, IpAddr),
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
        loop {
            let Some(line) = self.kept(origin, wish) else { break };
            match self.over(origin, line, request, wish).await {
                Ok(done) => return Ok(done),
                Err((_, Some(unsent))) => request = unsent,
                Err((error, None)) => return Err(error),
            }
        }
        // boxed: a new connection is rare and its future large, and every request would carry room for it
        let line = Box::pin(self.connect(origin, wish)).await?;
        self.over(origin, line, request, wish).await.map_err(|(error, _)| error)
    }

    /// A connection that is open, from the top of the stack: the one used last is the least likely to be stale.
    fn kept(&self, origin: &Origin, wish: Wish) -> Option<Line<B>> {
        let mut origins = self.lock();
        let kept = origins.get_mut(origin)?;
        kept.shared.take_if(|(send, _)| send.is_closed());
        if wish == Wish::Alone {
            return None;
        }
        if kept.wants_shared(wish) {
            return kept.shared.as_ref().map(|(send, ip)| Line::Http2(send.clone(), *ip));
        }
        let mut not_yet = Vec::new();
        let mut found = None;
        while let Some(idle) = kept.idle.pop() {
            if idle.send.is_closed() {
                continue;
            }
            if idle.send.is_ready() {
                found = Some(idle);
                break;
            }
            not_yet.push(idle);
        }
        kept.idle.extend(not_yet);
        let idle = found?;
        kept.busy += 1;
        Some(Line::Http1(idle.send, idle.ip))
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
        match line {
            Line::Http1(send, ip) => {
                // busy was counted when the line was taken; the lease gives it back, whatever happens
                let mut lease =
                    Lease { pool: self.clone(), origin: origin.clone(), ip, send: Some(send), alone, reuse: false };
                *request.version_mut() = http::Version::HTTP_11;
                let Some(send) = lease.send.as_mut() else {
                    return Err((
                        UpstreamError::Exchange { origin: origin.clone(), why: "no connection".into() },
                        None,
                    ));
                };
                match send.try_send_request(request).await {
                    Ok(response) => Ok((response, lease)),
                    Err(mut e) => {
                        let unsent = e.take_message();
                        Err((fail(e.error()), unsent))
                    }
                }
            }
            Line::Http2(mut send, ip) => {
                let target = absolute(origin, request.uri());
                let path = std::mem::replace(request.uri_mut(), target);
                let host = request.headers_mut().remove(HOST);
                request.headers_mut().remove(TRANSFER_ENCODING);
                *request.version_mut() = http::Version::HTTP_2;
                let lease = Lease { pool: self.clone(), origin: origin.clone(), ip, send: None, alone, reuse: false };
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

    async fn connect(self: &Arc<Self>, origin: &Origin, wish: Wish) -> Result<Line<B>, UpstreamError> {
        let (only, shared, opening) = {
            let mut origins = self.lock();
            let kept = origins.entry(origin.clone()).or_default();
            (kept.only, kept.wants_shared(wish), kept.opening.clone())
        };
        let _turn = if shared { Some(opening.lock().await) } else { None };
        if shared && let Some(line) = self.kept(origin, wish) {
            return Ok(line);
        }
        let offer = match only {
            _ if wish == Wish::Alone => Offer::Http1,
            Some(Only::Http1) => Offer::Http1,
            Some(Only::Http2) => Offer::Http2,
            None if shared => Offer::Both,
            None => Offer::Http1,
        };
        let tcp = self.dialer.dial(origin).await?;
        let ip = tcp.peer_addr().map_or(IpAddr::from([0, 0, 0, 0]), |a| a.ip());
        if origin.scheme == Scheme::Http {
            return if wish == Wish::Http2 {
                self.http2(origin, tcp, ip).await
            } else {
                self.http1(origin, tcp, ip).await
            };
        }
        let stream = match self.tls.connect(origin, tcp, offer).await {
            Ok(stream) => stream,
            Err(failure) if failure.no_protocol && offer == Offer::Http1 && wish != Wish::Alone => {
                self.learn(origin, Only::Http2);
                let tcp = self.dialer.dial(origin).await?;
                self.tls.connect(origin, tcp, Offer::Http2).await.map_err(|f| f.error)?
            }
            Err(failure) => return Err(failure.error),
        };
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            return self.http2(origin, stream, ip).await;
        }
        if offer == Offer::Both {
            self.learn(origin, Only::Http1);
        }
        self.http1(origin, stream, ip).await
    }

    fn learn(&self, origin: &Origin, only: Only) {
        self.lock().entry(origin.clone()).or_default().only = Some(only);
    }

    async fn http1<S>(&self, origin: &Origin, stream: S, ip: IpAddr) -> Result<Line<B>, UpstreamError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (send, connection) = http1::Builder::new()
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|e| UpstreamError::Exchange { origin: origin.clone(), why: chain(&e) })?;
        tokio::spawn(async move {
            // how it ended reaches whoever waits on it
            let _ = connection.with_upgrades().await;
        });
        self.lock().entry(origin.clone()).or_default().busy += 1;
        Ok(Line::Http1(send, ip))
    }

    async fn http2<S>(&self, origin: &Origin, stream: S, ip: IpAddr) -> Result<Line<B>, UpstreamError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (send, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .max_header_list_size(64 * 1024)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|e| UpstreamError::Exchange { origin: origin.clone(), why: chain(&e) })?;
        tokio::spawn(async move {
            let _ = connection.await;
        });
        let mut origins = self.lock();
        origins.entry(origin.clone()).or_default().shared = Some((send.clone(), ip));
        Ok(Line::Http2(send, ip))
    }

    /// Closes what has idled for over [`IDLE`], and forgets origins that nothing is kept of.
    pub fn sweep(&self, now: Instant) {
        self.lock().retain(|_, kept| {
            kept.idle.retain(|i| !i.send.is_closed() && now.duration_since(i.since) < IDLE);
            kept.shared.take_if(|(send, _)| send.is_closed());
            kept.busy > 0 || !kept.idle.is_empty() || kept.shared.is_some()
        });
    }

    /// Lets go of everything that is kept to `origin`, or to all: what is under way ends as it began.
    pub fn close(&self, origin: Option<&Origin>) {
        self.lock().iter_mut().filter(|(o, _)| origin.is_none_or(|wanted| wanted == *o)).for_each(|(_, kept)| {
            kept.idle.clear();
            kept.shared = None;
        });
    }
}

/// The parts of a target that HTTP/2 sends apart (RFC 9113, section 8.3.1).
fn absolute(origin: &Origin, path: &http::Uri) -> http::Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = http::uri::Scheme::try_from(origin.scheme.as_str()).ok();
    let authority = if origin.port == origin.scheme.default_port() {
        origin.host.to_string()
    } else {
        format!("{}:{}", origin.host, origin.port)
    };
    parts.authority = authority.parse().ok();
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
