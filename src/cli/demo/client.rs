//! The demo's agent: a client that goes through the proxy as any other does, with CONNECT and verified TLS.

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What the agent sends, and where.
pub struct DemoRequest<'a> {
    pub proxy: SocketAddr,
    pub ca: &'a CertificateDer<'static>,
    pub host: &'a str,
    pub port: u16,
    pub http2: bool,
    pub authorization: &'a str,
    pub body: &'static str,
}

/// Sends one POST and reads the answer whole.
pub async fn call(call: DemoRequest<'_>) -> anyhow::Result<Response<Bytes>> {
    let authority = format!("{}:{}", call.host, call.port);
    let mut stream = TcpStream::connect(call.proxy).await.context("the proxy can't be reached")?;
    stream.write_all(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.context("the proxy hung up")?);
    }
    anyhow::ensure!(head.starts_with(b"HTTP/1.1 200"), "the proxy refused the tunnel");

    let mut roots = rustls::RootCertStore::empty();
    roots.add(call.ca.clone())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![if call.http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    let name = rustls::pki_types::ServerName::try_from(call.host.to_owned())?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;

    let target = if call.http2 { format!("https://{authority}/v1/greet") } else { "/v1/greet".to_owned() };
    let mut request =
        Request::post(target).header("authorization", call.authorization).header("content-type", "application/json");
    if !call.http2 {
        request = request.header("host", &authority);
    }
    let request = request.body(Full::new(Bytes::from_static(call.body.as_bytes())))?;
    let io = TokioIo::new(stream);
    let response = if call.http2 {
        let (mut send, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        send.send_request(request).await?
    } else {
        let (mut send, connection) = hyper::client::conn::http1::handshake(io).await?;
        tokio::spawn(connection);
        send.send_request(request).await?
    };
    let (parts, body) = response.into_parts();
    Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
}
