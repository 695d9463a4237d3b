//! An upstream on this machine: real TLS, HTTP/1.1 and HTTP/2, and an answer that says what it was sent, key and all. It also
//! answers CONNECT, as a proxy that leads to it whatever host is asked for.

use crate::ca::{Authority, Leaves, Scope};
use crate::name::Host;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Its host, where none is asked for by CONNECT: every machine resolves it to itself.
pub const HOST: &str = "localhost";

/// The longest head of a CONNECT that is read, in bytes.
const MAX_HEAD: usize = 8 * 1024;

/// What it received.
#[derive(Debug, Clone, Default)]
pub struct ReceivedRequest {
    /// The host that its certificate was shown for.
    pub host: String,
    pub protocol: &'static str,
    pub authorization: String,
    pub body: String,
}

pub struct LocalUpstream {
    pub address: SocketAddr,
    pub ca_pem: String,
}

/// Whoever is told of each request before it is answered.
type Listener = Arc<dyn Fn(ReceivedRequest) + Send + Sync>;

impl LocalUpstream {
    /// Serves on the current runtime, until that ends, and tells `received` of each request.
    pub async fn start(received: impl Fn(ReceivedRequest) + Send + Sync + 'static) -> anyhow::Result<Self> {
        let ca = Arc::new(Authority::generate(SystemTime::now(), "local upstream", &Scope::Any)?);
        let ca_pem = ca.certificate_pem().to_owned();
        let leaves = Arc::new(Leaves::new(ca, Arc::new(rustls::crypto::aws_lc_rs::default_provider()))?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let received: Listener = Arc::new(received);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, leaves.clone(), received.clone()));
            }
        });
        Ok(Self { address, ca_pem })
    }
}

async fn serve(mut stream: TcpStream, leaves: Arc<Leaves>, received: Listener) {
    let Ok(host) = asked_host(&mut stream).await else { return };
    let Ok(name) = host.parse::<Host>() else { return };
    let Ok(config) = leaves.config(&name, SystemTime::now()) else { return };
    let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else { return };
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request| answer(request, host.clone(), received.clone()));
    let io = TokioIo::new(stream);
    // whoever asked tells what went wrong
    if http2 {
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
    }
}

/// The host of a CONNECT, once that is answered; what begins with TLS is for [`HOST`].
async fn asked_host(stream: &mut TcpStream) -> io::Result<String> {
    let mut first = [0];
    stream.peek(&mut first).await?;
    if first != *b"C" {
        return Ok(HOST.to_owned());
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < MAX_HEAD {
        head.push(stream.read_u8().await?);
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    let head = String::from_utf8_lossy(&head);
    let authority = head.split(' ').nth(1).unwrap_or_default();
    Ok(authority.rsplit_once(':').map_or(authority, |(host, _)| host).to_owned())
}

async fn answer(
    request: Request<Incoming>,
    host: String,
    listener: Listener,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let protocol = if request.version() == http::Version::HTTP_2 { "HTTP/2" } else { "HTTP/1.1" };
    let authorization =
        request.headers().get("authorization").map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    let body = request.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    let received = ReceivedRequest {
        host,
        protocol,
        authorization: authorization.unwrap_or_default(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let sent = if received.authorization.is_empty() { &received.body } else { &received.authorization };
    let text = format!("hello, you sent me {sent}\n");
    listener(received);
    Ok(Response::new(Full::new(Bytes::from(text))))
}
