//! An upstream that records every request as it saw it, and answers by path; what a test must time, the test releases.

mod model;
mod reply;

pub use reply::Feed;

use super::HANGS;
use super::authority::{self, Certificate};
use super::background::Background;
use super::pattern;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use model::model;
use reply::{Reply, Shape};
use rustls::server::Acceptor;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::LazyConfigAcceptor;

/// How much of a body is kept as it came; of more there is the digest.
const KEPT: usize = 1024 * 1024;

/// A request as the upstream saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub version: Version,
    pub method: String,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub length: u64,
    pub sha256: String,
    pub trailers: Option<HeaderMap>,
    /// Which connection it came on, counted from 0.
    pub connection: usize,
    /// Whether the body came to its proper end.
    pub whole: bool,
}

impl Seen {
    /// A header's value, with several joined as they may be.
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<_> = self.headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn to_json(&self) -> Value {
        let pairs = |headers: &HeaderMap| -> Vec<[String; 2]> {
            headers.iter().map(|(n, v)| [n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()]).collect()
        };
        json!({
            "http": format!("{:?}", self.version),
            "method": self.method,
            "target": self.target,
            "headers": pairs(&self.headers),
            "body": self.text(),
            "length": self.length,
            "sha256": self.sha256,
            "trailers": self.trailers.as_ref().map(pairs),
        })
    }
}

#[derive(Default)]
struct State {
    log: Mutex<Log>,
    changed: Condvar,
    connections: AtomicUsize,
    offered_http2: AtomicUsize,
    routes: Mutex<HashMap<String, Route>>,
}

#[derive(Default)]
struct Log {
    /// Heads that arrived.
    begun: usize,
    /// Requests whose body ended, well or badly.
    seen: Vec<Seen>,
    /// What has come of bodies that are recorded, as far as it is kept.
    arrived: Vec<u8>,
}

/// An answer that the test made for one path.
struct Route {
    gate: Option<oneshot::Receiver<()>>,
    response: http::response::Builder,
    body: Reply,
}

/// What an upstream is.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub certificate: Certificate,
    pub alpn: &'static [&'static str],
    pub tls: bool,
    /// The address of this machine that it listens on.
    pub ip: IpAddr,
    /// The streams of HTTP/2 that it allows at once on a connection, where it says so.
    pub streams: Option<u32>,
}

impl Default for Kind {
    fn default() -> Self {
        Self {
            certificate: Certificate::Good,
            alpn: &["h2", "http/1.1"],
            tls: true,
            ip: Ipv4Addr::LOCALHOST.into(),
            streams: None,
        }
    }
}

pub struct Upstream {
    pub address: SocketAddr,
    state: Arc<State>,
    _running: Background,
}

impl Upstream {
    /// A good one that speaks both versions.
    pub fn start() -> Self {
        Self::of(Kind::default())
    }

    /// One that speaks HTTP/1.1 only, or HTTP/2 only.
    pub fn speaking(alpn: &'static [&'static str]) -> Self {
        Self::of(Kind { alpn, ..Kind::default() })
    }

    pub fn of(kind: Kind) -> Self {
        let listener = std::net::TcpListener::bind((kind.ip, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let state: Arc<State> = Arc::default();
        let shared = state.clone();
        let tls = kind.tls.then(|| Arc::new(authority::server(kind.certificate, kind.alpn)));
        let running = Background::start(move || async move {
            listener.set_nonblocking(true).expect("a listener");
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                let number = shared.connections.fetch_add(1, Ordering::SeqCst);
                let _ = stream.set_nodelay(true);
                let (state, tls) = (shared.clone(), tls.clone());
                tokio::spawn(async move {
                    let Some(tls) = tls else { return serve(stream, false, kind.streams, state, number).await };
                    let Ok(begun) = LazyConfigAcceptor::new(Acceptor::default(), stream).await else { return };
                    if begun.client_hello().alpn().is_some_and(|mut offered| offered.any(|name| name == b"h2")) {
                        state.offered_http2.fetch_add(1, Ordering::SeqCst);
                    }
                    // a client that doesn't like the certificate leaves here
                    let Ok(stream) = begun.into_stream(tls).await else { return };
                    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    serve(stream, http2, kind.streams, state, number).await;
                });
            }
        });
        Self { address, state, _running: running }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// As a client under test names it.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port())
    }

    /// The authority of [`Self::url`].
    pub fn authority(&self) -> String {
        format!("localhost:{}", self.port())
    }

    /// How many connections came, in all.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// How many of them offered HTTP/2.
    pub fn offered_http2(&self) -> usize {
        self.state.offered_http2.load(Ordering::SeqCst)
    }

    /// How many requests have begun to arrive.
    pub fn begun(&self) -> usize {
        self.state.log.lock().expect("the log").begun
    }

    /// The requests that have ended.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.log.lock().expect("the log").seen.clone()
    }

    /// The requests, once `count` have ended.
    pub fn await_seen(&self, count: usize) -> Vec<Seen> {
        self.await_log(|log| log.seen.len() >= count).seen.clone()
    }

    /// Returns once the heads of `count` requests have come.
    pub fn await_begun(&self, count: usize) {
        drop(self.await_log(|log| log.begun >= count));
    }

    /// Returns once this much of some body has come.
    pub fn await_arrived(&self, text: &str) {
        drop(self.await_log(|log| memchr::memmem::find(&log.arrived, text.as_bytes()).is_some()));
    }

    /// The only request there has been.
    pub fn only(&self) -> Seen {
        let mut seen = self.await_seen(1);
        assert_eq!(seen.len(), 1, "{seen:#?}");
        seen.remove(0)
    }

    fn await_log(&self, done: impl Fn(&Log) -> bool) -> std::sync::MutexGuard<'_, Log> {
        let until = Instant::now() + HANGS;
        let mut log = self.state.log.lock().expect("the log");
        while !done(&log) {
            let left = until.checked_duration_since(Instant::now()).expect("the upstream saw too little");
            log = self.state.changed.wait_timeout(log, left).expect("the log").0;
        }
        log
    }

    /// The next request for `path` gets this head, and the body that the test feeds.
    pub fn on(&self, path: &str, response: http::response::Builder) -> Feed {
        self.route(path, None, response)
    }

    /// As [`Self::on`], with the head held back until the gate is dropped or sent to.
    pub fn hold(&self, path: &str, response: http::response::Builder) -> (oneshot::Sender<()>, Feed) {
        let (open, gate) = oneshot::channel();
        (open, self.route(path, Some(gate), response))
    }

    fn route(&self, path: &str, gate: Option<oneshot::Receiver<()>>, response: http::response::Builder) -> Feed {
        let (feed, body) = Reply::fed();
        let route = Route { gate, response, body };
        self.state.routes.lock().expect("the routes").insert(path.to_owned(), route);
        feed
    }
}

async fn serve<S>(stream: S, http2: bool, streams: Option<u32>, state: Arc<State>, connection: usize)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(answer(&state, connection, request).await) }
    });
    // how a connection ends is for the client to judge
    let _ = if http2 {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .max_concurrent_streams(streams.unwrap_or(200))
            .serve_connection(TokioIo::new(stream), service)
            .await
    } else {
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
    };
}

/// The answer, without its body where HEAD asks for no more: hyper sends it over HTTP/2 all the same.
async fn answer(state: &State, connection: usize, request: Request<Incoming>) -> Response<Reply> {
    let head = request.method() == http::Method::HEAD;
    let mut response = answer_whole(state, connection, request).await;
    if let Some(length) = response.body().size_hint().exact().filter(|_| head) {
        response.headers_mut().insert("content-length", length.into());
        *response.body_mut() = Reply::empty();
    }
    response
}

async fn answer_whole(state: &State, connection: usize, request: Request<Incoming>) -> Response<Reply> {
    let path = request.uri().path().to_owned();
    let route = {
        let mut log = state.log.lock().expect("the log");
        log.begun += 1;
        state.changed.notify_all();
        state.routes.lock().expect("the routes").remove(&path)
    };
    if let Some(route) = route {
        return routed(state, connection, request, route).await;
    }
    if path == "/mirror" {
        return Response::new(Reply::mirror(request.into_body()));
    }
    let query: HashMap<String, String> =
        url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
    let number = |name: &str| query.get(name).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    let seen = record(state, connection, request).await;
    match path.as_str() {
        "/blob" => Response::new(Reply::pattern(number("n"))),
        "/upload" => reply(&json!({ "length": seen.length, "sha256": seen.sha256 }), Shape::Sized),
        "/chunked" => reply(&seen.to_json(), Shape::Streamed),
        "/trailers" => {
            let mut response = reply(&seen.to_json(), Shape::WithTrailers);
            response.headers_mut().insert("trailer", "x-checksum".parse().expect("a value"));
            response
        }
        "/cut" => {
            let mut response = Response::new(Reply::cut(Bytes::from_static(b"the first half, ")));
            response.headers_mut().insert("content-length", "64".parse().expect("a value"));
            response
        }
        "/cut-chunked" => Response::new(Reply::cut(Bytes::from_static(b"the first half, "))),
        "/redirect" => {
            let to = query.get("to").map_or("/echo", String::as_str);
            let response = Response::builder().status(302).header("location", to);
            response.body(Reply::empty()).expect("an answer")
        }
        "/v1/chat/completions" | "/v1/responses" => model(&path, &seen),
        _ => match path.strip_prefix("/status/").and_then(|s| s.parse::<u16>().ok()) {
            Some(status) => with_status(status),
            None => reply(&seen.to_json(), Shape::Sized),
        },
    }
}

/// Statuses without a body have none; others say their number.
fn with_status(status: u16) -> Response<Reply> {
    let status = StatusCode::from_u16(status).expect("a status");
    let bare = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    let body = if bare { Reply::empty() } else { Reply::of(status.as_str().to_owned(), Shape::Sized) };
    let response = Response::builder().status(status).header("etag", "\"as-it-was\"");
    response.body(body).expect("an answer")
}

async fn routed(state: &State, connection: usize, request: Request<Incoming>, route: Route) -> Response<Reply> {
    record(state, connection, request).await;
    if let Some(gate) = route.gate {
        let _ = gate.await;
    }
    route.response.body(route.body).expect("an answer")
}

/// Reads the request to its end, and notes it.
async fn record(state: &State, connection: usize, request: Request<Incoming>) -> Seen {
    let (parts, mut body) = request.into_parts();
    let (mut kept, mut length, mut hash) = (Vec::new(), 0, pattern::Hash::default());
    let (mut trailers, mut whole) = (None, true);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            whole = false;
            break;
        };
        match frame.into_data() {
            Ok(data) => {
                length += data.len() as u64;
                hash.update(&data);
                let kept_of_it = &data[..data.len().min(KEPT - kept.len())];
                kept.extend_from_slice(kept_of_it);
                state.log.lock().expect("the log").arrived.extend_from_slice(kept_of_it);
                state.changed.notify_all();
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let seen = Seen {
        version: parts.version,
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        headers: parts.headers,
        body: kept,
        length,
        sha256: hash.finish(),
        trailers,
        connection,
        whole,
    };
    state.log.lock().expect("the log").seen.push(seen.clone());
    state.changed.notify_all();
    seen
}

fn reply(value: &Value, shape: Shape) -> Response<Reply> {
    let mut response = Response::new(Reply::of(value.to_string(), shape));
    response.headers_mut().insert("content-type", "application/json".parse().expect("a value"));
    response
}
