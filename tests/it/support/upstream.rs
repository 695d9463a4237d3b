//! An upstream that records every request as it saw it, and answers by path; what a test must time, the test releases.

use super::HANGS;
use super::authority::{self, Certificate};
use super::background::Background;
use super::pattern;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::server::Acceptor;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
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
}

/// An answer that the test made for one path.
struct Route {
    gate: Option<oneshot::Receiver<()>>,
    response: http::response::Builder,
    feed: mpsc::UnboundedReceiver<Step>,
}

enum Step {
    Frame(Frame<Bytes>),
    Cut,
}

/// The body of an answer, in the hands of the test. It ends when this is dropped.
pub struct Feed(mpsc::UnboundedSender<Step>);

impl Feed {
    pub fn send(&self, bytes: impl Into<Bytes>) {
        let _ = self.0.send(Step::Frame(Frame::data(bytes.into())));
    }

    pub fn trailers(self, trailers: HeaderMap) {
        let _ = self.0.send(Step::Frame(Frame::trailers(trailers)));
    }

    /// Breaks off: no proper end will come.
    pub fn cut(self) {
        let _ = self.0.send(Step::Cut);
    }

    /// Resolves once nobody reads it any more.
    pub async fn abandoned(&self) {
        self.0.closed().await;
    }
}

/// What an upstream is.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub certificate: Certificate,
    pub alpn: &'static [&'static str],
    pub tls: bool,
}

impl Default for Kind {
    fn default() -> Self {
        Self { certificate: Certificate::Good, alpn: &["h2", "http/1.1"], tls: true }
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
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
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
                    let Some(tls) = tls else { return serve(stream, false, state, number).await };
                    let Ok(begun) = LazyConfigAcceptor::new(Acceptor::default(), stream).await else { return };
                    if begun.client_hello().alpn().is_some_and(|mut offered| offered.any(|name| name == b"h2")) {
                        state.offered_http2.fetch_add(1, Ordering::SeqCst);
                    }
                    // a client that doesn't like the certificate leaves here
                    let Ok(stream) = begun.into_stream(tls).await else { return };
                    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    serve(stream, http2, state, number).await;
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
        let (feed, steps) = mpsc::unbounded_channel();
        let route = Route { gate, response, feed: steps };
        self.state.routes.lock().expect("the routes").insert(path.to_owned(), route);
        Feed(feed)
    }
}

async fn serve<S>(stream: S, http2: bool, state: Arc<State>, connection: usize)
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
        return Response::new(Reply { source: Source::Mirror(request.into_body()) });
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
    route.response.body(Reply::fed(route.feed)).expect("an answer")
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
                kept.extend_from_slice(&data[..data.len().min(KEPT - kept.len())]);
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

/// A model provider as the SDKs know it: it says back what it was asked, whole or word by word.
fn model(path: &str, seen: &Seen) -> Response<Reply> {
    let Some(key) = seen.header("authorization").and_then(|v| v.strip_prefix("Bearer ").map(str::to_owned)) else {
        return with_status(401);
    };
    let asked: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    let said = if path.ends_with("completions") { &asked["messages"][0]["content"] } else { &asked["input"] };
    // the key is in the answer, as careless providers have it in their error messages
    let text = format!("{} with {key}", said.as_str().unwrap_or("?"));
    if !asked["stream"].as_bool().unwrap_or(false) {
        return reply(&if path.ends_with("completions") { completion(&text) } else { done(&text) }, Shape::Sized);
    }
    let events = if path.ends_with("completions") { completion_events(&text) } else { response_events(&text) };
    let mut response = Response::new(Reply::of(events, Shape::Streamed));
    response.headers_mut().insert("content-type", "text/event-stream".parse().expect("a value"));
    response
}

fn completion(text: &str) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "test",
        "choices": [{ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": text } }],
        "usage": { "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 },
    })
}

fn completion_events(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_inclusive(' ') {
        let chunk = json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "test",
            "choices": [{ "index": 0, "delta": { "content": word } }],
        });
        out.push_str(&format!("data: {chunk}\n\n"));
    }
    out + "data: [DONE]\n\n"
}

fn done(text: &str) -> Value {
    json!({
        "id": "resp_1", "object": "response", "created_at": 1, "model": "test", "status": "completed",
        "parallel_tool_calls": false, "tool_choice": "auto", "tools": [],
        "output": [{
            "id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
            "content": [{ "type": "output_text", "text": text, "annotations": [] }],
        }],
    })
}

fn response_events(text: &str) -> String {
    let mut out = String::new();
    for (number, word) in text.split_inclusive(' ').enumerate() {
        let event = json!({
            "type": "response.output_text.delta", "sequence_number": number, "item_id": "msg_1", "output_index": 0,
            "content_index": 0, "delta": word, "logprobs": [],
        });
        out.push_str(&format!("event: response.output_text.delta\ndata: {event}\n\n"));
    }
    let event = json!({ "type": "response.completed", "sequence_number": 9999, "response": done(text) });
    out + &format!("event: response.completed\ndata: {event}\n\n")
}

/// How a body that is there as a whole goes out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// With its length.
    Sized,
    /// In pieces, without one.
    Streamed,
    /// In pieces, with its digest in a trailer.
    WithTrailers,
}

/// The body of an answer.
pub struct Reply {
    source: Source,
}

enum Source {
    Whole {
        bytes: Bytes,
        shape: Shape,
        trailers: Option<HeaderMap>,
    },
    Pattern {
        at: u64,
        total: u64,
    },
    /// Some bytes, a moment for them to leave, and no more.
    Cut(Option<Bytes>, bool),
    Fed(mpsc::UnboundedReceiver<Step>),
    /// The request's own body, frame by frame as it comes.
    Mirror(Incoming),
}

impl Reply {
    fn empty() -> Self {
        Self::of(String::new(), Shape::Sized)
    }

    fn of(text: String, shape: Shape) -> Self {
        let mut trailers = HeaderMap::new();
        if shape == Shape::WithTrailers {
            trailers.insert("x-checksum", pattern::sha256(text.as_bytes()).parse().expect("a value"));
        }
        let trailers = (!trailers.is_empty()).then_some(trailers);
        Self { source: Source::Whole { bytes: text.into(), shape, trailers } }
    }

    fn pattern(total: u64) -> Self {
        Self { source: Source::Pattern { at: 0, total } }
    }

    fn cut(first: Bytes) -> Self {
        Self { source: Source::Cut(Some(first), false) }
    }

    fn fed(steps: mpsc::UnboundedReceiver<Step>) -> Self {
        Self { source: Source::Fed(steps) }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let broken = || Poll::Ready(Some(Err(io::Error::other("cut by the test"))));
        match &mut self.source {
            Source::Whole { bytes, shape: Shape::Sized, .. } if !bytes.is_empty() => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes)))))
            }
            Source::Whole { bytes, .. } if !bytes.is_empty() => {
                let piece = bytes.split_to(bytes.len().min(100));
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Source::Whole { trailers, .. } => Poll::Ready(trailers.take().map(|t| Ok(Frame::trailers(t)))),
            Source::Pattern { at, total } if at == total => Poll::Ready(None),
            Source::Pattern { at, total } => {
                let bytes = pattern::chunk(*at, *total);
                *at += bytes.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Source::Cut(first, waited) => match (first.take(), std::mem::replace(waited, true)) {
                (Some(first), _) => {
                    *waited = false;
                    Poll::Ready(Some(Ok(Frame::data(first))))
                }
                (None, true) => broken(),
                (None, false) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            },
            Source::Fed(steps) => match ready!(steps.poll_recv(cx)) {
                Some(Step::Frame(frame)) => Poll::Ready(Some(Ok(frame))),
                Some(Step::Cut) => broken(),
                None => Poll::Ready(None),
            },
            Source::Mirror(body) => Pin::new(body).poll_frame(cx).map_err(io::Error::other),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.source, Source::Whole { bytes, trailers: None, .. } if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole { bytes, shape: Shape::Sized, .. } => SizeHint::with_exact(bytes.len() as u64),
            Source::Pattern { at, total } => SizeHint::with_exact(total - at),
            _ => SizeHint::default(),
        }
    }
}
