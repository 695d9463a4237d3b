//! The demo's upstream: real TLS, HTTP/1.1 and HTTP/2, and an answer that says what it was sent, key and all.

use crate::ca::{Authority, Leaves, Scope};
use crate::name::Host;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// The demo's host: every machine resolves it to itself.
pub const HOST: &str = "localhost";

/// What the upstream received, the last request of all.
#[derive(Debug, Clone, Default)]
pub struct ReceivedRequest {
    pub protocol: &'static str,
    pub authorization: String,
    pub body: String,
}

pub struct DemoUpstream {
    pub address: SocketAddr,
    pub ca_pem: String,
    last: Arc<Mutex<ReceivedRequest>>,
}

impl DemoUpstream {
    /// Serves on the current runtime, until that ends.
    pub async fn start() -> anyhow::Result<Self> {
        let ca = Arc::new(Authority::generate(SystemTime::now(), "demo upstream", &Scope::Any)?);
        let ca_pem = ca.certificate_pem().to_owned();
        let leaves = Leaves::new(ca, Arc::new(rustls::crypto::aws_lc_rs::default_provider()))?;
        let acceptor = TlsAcceptor::from(leaves.config(&HOST.parse::<Host>()?, SystemTime::now())?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let last = Arc::new(Mutex::new(ReceivedRequest::default()));
        let seen = last.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, acceptor.clone(), seen.clone()));
            }
        });
        Ok(Self { address, ca_pem, last })
    }

    pub fn last(&self) -> ReceivedRequest {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, seen: Arc<Mutex<ReceivedRequest>>) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request| answer(request, seen.clone()));
    let io = TokioIo::new(stream);
    // the demo tells by its own client what went wrong
    if http2 {
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Mutex<ReceivedRequest>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let protocol = if request.version() == http::Version::HTTP_2 { "HTTP/2" } else { "HTTP/1.1" };
    let authorization =
        request.headers().get("authorization").map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    let body = request.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    let received = ReceivedRequest {
        protocol,
        authorization: authorization.unwrap_or_default(),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let sent = if received.authorization.is_empty() { &received.body } else { &received.authorization };
    let text = format!("hello, you sent me {sent}\n");
    *seen.lock().unwrap_or_else(PoisonError::into_inner) = received;
    Ok(Response::new(Full::new(Bytes::from(text))))
}
