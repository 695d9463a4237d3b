//! A client that holds one connection through the proxy, so that a test sees versions, frames, trailers and their ends.

use super::HANGS;
use super::pattern;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Which version a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http {
    One,
    Two,
}

pub const BOTH: [Http; 2] = [Http::One, Http::Two];

pub type Sent = UnsyncBoxBody<Bytes, Infallible>;

enum Sender {
    One(hyper::client::conn::http1::SendRequest<Sent>),
    Two(hyper::client::conn::http2::SendRequest<Sent>),
}

pub struct Client {
    sender: Sender,
    authority: String,
    http: Http,
    /// How long an answer may take before it hangs: with a long upload before it, longer.
    pub patience: Duration,
}

/// An answer with all of its body.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.to_str().expect("a header of text"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }
}

impl Client {
    /// A tunnel through the proxy at `proxy` to `authority`, and TLS in it, with nobody trusted but `ca`.
    pub async fn open(proxy: SocketAddr, ca: &str, authority: &str, http: Http) -> Self {
        let stream = tunnel(proxy, authority, "").await.expect("a tunnel");
        Self::over(stream, ca, authority, http).await
    }

    pub async fn over(stream: TcpStream, ca: &str, authority: &str, http: Http) -> Self {
        let stream = tls(stream, ca, authority, if http == Http::Two { b"h2" } else { b"http/1.1" }).await;
        let sender = match http {
            Http::One => {
                let io = TokioIo::new(stream);
                let (sender, connection) = hyper::client::conn::http1::handshake(io).await.expect("HTTP/1.1");
                tokio::spawn(connection);
                Sender::One(sender)
            }
            Http::Two => {
                let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
                    .initial_stream_window_size(1 << 20)
                    // so that what a test leaves unread holds up nothing else on this side
                    .initial_connection_window_size(256 << 20)
                    .handshake(TokioIo::new(stream))
                    .await
                    .expect("HTTP/2");
                tokio::spawn(connection);
                Sender::Two(sender)
            }
        };
        Self { sender, authority: authority.to_owned(), http, patience: HANGS }
    }

    /// A request for `path` at this connection's host.
    pub fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let builder = Request::builder().method(method);
        match self.http {
            Http::One => builder.uri(path).header("host", &self.authority),
            Http::Two => builder.uri(format!("https://{}{path}", self.authority).parse::<Uri>().expect("a URL")),
        }
    }

    /// The answer's head; its body comes as it comes.
    pub async fn send(&mut self, request: Request<Sent>) -> hyper::Result<Response<Incoming>> {
        let sent = async {
            match &mut self.sender {
                Sender::One(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
                Sender::Two(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
            }
        };
        tokio::time::timeout(self.patience, sent).await.expect("an answer")
    }

    /// Sends now, and waits for the answer when the future is awaited.
    pub async fn begin(
        &mut self,
        request: Request<Sent>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        let Sender::Two(sender) = &mut self.sender else { panic!("HTTP/1.1 takes one at a time") };
        sender.ready().await.expect("a connection");
        sender.send_request(request)
    }

    /// The whole answer.
    pub async fn ask(&mut self, request: Request<Sent>) -> Answer {
        let asked = format!("{} {}", request.method(), request.uri());
        let response = self.send(request).await.unwrap_or_else(|e| panic!("{asked}: {e:?}"));
        whole(response).await.unwrap_or_else(|e| panic!("{asked}: {e:?}"))
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        let request = self.request("GET", path).body(none()).expect("a request");
        self.ask(request).await
    }
}

/// Reads an answer to its end, which may be a bad one.
pub async fn whole(response: Response<Incoming>) -> hyper::Result<Answer> {
    let (parts, body) = response.into_parts();
    let collected = tokio::time::timeout(HANGS, body.collect()).await.expect("the end of a body")?;
    let trailers = collected.trailers().cloned();
    let body = collected.to_bytes().to_vec();
    Ok(Answer { status: parts.status, headers: parts.headers, body, trailers })
}

/// The connection after a CONNECT that was granted. `token` is the agent's; without agents it is empty.
pub async fn tunnel(proxy: SocketAddr, authority: &str, token: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(proxy).await?;
    stream.set_nodelay(true)?;
    let mut head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
    if !token.is_empty() {
        head.push_str(&format!("Proxy-Authorization: Bearer {token}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await?);
    }
    match answer.starts_with(b"HTTP/1.1 200 ") {
        true => Ok(stream),
        false => Err(std::io::Error::other(String::from_utf8_lossy(&answer).into_owned())),
    }
}

/// TLS inside a tunnel of its own, for bytes that no client library would send.
pub async fn secured(proxy: SocketAddr, ca: &str, authority: &str, alpn: &[u8]) -> TlsStream<TcpStream> {
    tls(tunnel(proxy, authority, "").await.expect("a tunnel"), ca, authority, alpn).await
}

async fn tls(stream: TcpStream, ca: &str, authority: &str, alpn: &[u8]) -> TlsStream<TcpStream> {
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host).to_owned();
    let connector = TlsConnector::from(Arc::new(trusting(ca, alpn)));
    let name = ServerName::try_from(host).expect("a name");
    let stream = connector.connect(name, stream).await.expect("TLS with the proxy's own leaf");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn));
    stream
}

pub fn trusting(ca: &str, alpn: &[u8]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(certificate.expect("a certificate")).expect("a root");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}

pub fn none() -> Sent {
    http_body_util::Empty::new().boxed_unsync()
}

/// A body with its length.
pub fn full(bytes: impl Into<Bytes>) -> Sent {
    http_body_util::Full::new(bytes.into()).boxed_unsync()
}

/// A body of unknown length, in the hands of the test; it ends when the sender is dropped.
pub fn fed() -> (mpsc::UnboundedSender<Frame<Bytes>>, Sent) {
    let (feed, frames) = mpsc::unbounded_channel();
    (feed, Fed(frames).boxed_unsync())
}

/// All of `pieces`, each in a frame of its own, without a length.
pub fn pieces(pieces: &[&str], trailers: Option<HeaderMap>) -> Sent {
    let (feed, body) = fed();
    for piece in pieces {
        let _ = feed.send(Frame::data(Bytes::copy_from_slice(piece.as_bytes())));
    }
    if let Some(trailers) = trailers {
        let _ = feed.send(Frame::trailers(trailers));
    }
    body
}

/// Bytes of unknown length, each piece made when it is asked for.
pub fn generated(pieces: impl Iterator<Item = Bytes> + Send + 'static) -> Sent {
    Generated(Box::new(pieces)).boxed_unsync()
}

/// `total` bytes of the pattern, with their length said or not.
pub fn patterned(total: u64, sized: bool) -> Sent {
    Patterned { at: 0, total, sized }.boxed_unsync()
}

struct Fed(mpsc::UnboundedReceiver<Frame<Bytes>>);

impl Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

struct Generated(Box<dyn Iterator<Item = Bytes> + Send>);

impl Body for Generated {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(|bytes| Ok(Frame::data(bytes))))
    }
}

struct Patterned {
    at: u64,
    total: u64,
    sized: bool,
}

impl Body for Patterned {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.at == self.total {
            return Poll::Ready(None);
        }
        let bytes = pattern::chunk(self.at, self.total);
        self.at += bytes.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        if self.sized { SizeHint::with_exact(self.total - self.at) } else { SizeHint::default() }
    }
}
