//! Inside a tunnel: the first bytes tell TLS from HTTP; TLS is answered with our leaf for the tunnel's host.

use super::client::Client;
use super::doors::first_bytes::{TLS_HANDSHAKE, is_http, is_http2, is_undecided};
use crate::ca::CaError;
use crate::name::{Host, Scheme};
use crate::proxy::exchange::conn::Conn;
use crate::proxy::exchange::serve::serve;
use crate::proxy::limits::HANDSHAKE_TIMEOUT;
use crate::proxy::refusal::{Refusal, RefusalKind};
use crate::proxy::wire::hang_up::idle_at_stop;
use rustls::ServerConfig;
use rustls::server::Acceptor;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;
use tokio_rustls::LazyConfigAcceptor;

/// Serves what comes through the tunnel.
pub(crate) async fn run(mut client: Client, mut conn: Conn, stop: watch::Receiver<bool>) {
    let mut stopping = stop.clone();
    let first = tokio::select! {
        first = tokio::time::timeout(HANDSHAKE_TIMEOUT, first_bytes(&mut client)) => first,
        _ = stopping.wait_for(|stopped| *stopped) => return,
    };
    let Ok(Ok(first)) = first else { return };
    match first {
        [] => {}
        [TLS_HANDSHAKE, ..] => tls(client, conn, stop).await,
        first if is_http(first) => {
            let http2 = is_http2(first);
            conn.set_scheme(Scheme::Http);
            serve(conn, client.into_stream(), http2, stop).await;
        }
        _ => {
            let why = "neither TLS nor HTTP came through the tunnel; [proxy] passthrough lets a host's bytes by unread";
            conn.record_malformed(why.into());
        }
    }
}

/// What came first, without taking it: enough to tell what is spoken, or what there was when the client left.
async fn first_bytes(client: &mut Client) -> io::Result<&[u8]> {
    while is_undecided(&client.read) && client.stream.read_buf(&mut client.read).await? > 0 {}
    Ok(&client.read)
}

async fn tls(client: Client, mut conn: Conn, stop: watch::Receiver<bool>) {
    let mut uncovered = None;
    let handshake = async {
        let start = LazyConfigAcceptor::new(Acceptor::default(), client.into_stream()).await?;
        let hello = start.client_hello();
        // some other host is asked for: it is told so over TLS, in words, and reaches nothing
        let named = hello.server_name().map(str::parse::<Host>).transpose().map_err(io::Error::other)?;
        let answer_as = conn.answer_as(named);
        let known = |wanted: &[u8]| wanted == b"h2" || wanted == b"http/1.1";
        let alpn_unknown = hello.alpn().is_some_and(|mut offered| !offered.any(known));
        let config = match conn.leaves().config(&answer_as, SystemTime::now()) {
            Ok(config) => config,
            Err(CaError::NotCovered(host)) => {
                uncovered = Some(host);
                conn.leaves().nobody()
            }
            Err(e) => return Err(io::Error::other(e)),
        };
        start.into_stream(if alpn_unknown { without_alpn(&config) } else { config }).await
    };
    let mut stopping = stop.clone();
    let handshake = tokio::select! {
        handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake) => handshake,
        () = idle_at_stop(&mut stopping, || 0) => return,
    };
    let why = match handshake {
        Ok(Ok(stream)) => {
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            return serve(conn, stream, http2, stop).await;
        }
        Ok(Err(e)) if is_distrust(&e) => {
            conn.advise_of_distrust();
            "the client's TLS handshake failed: it does not trust locum's CA ('locum ca export' gives the certificate, 'locum env' the variables)"
                .into()
        }
        Ok(Err(e)) => format!("the client's TLS handshake failed: {e}"),
        Err(_) => format!("the client's TLS handshake took over {} s", HANDSHAKE_TIMEOUT.as_secs()),
    };
    match uncovered {
        Some(host) => drop(conn.record(&conn.uncovered(host))),
        None => drop(conn.record(&Refusal::new(RefusalKind::HandshakeFailed, why))),
    }
}

/// For clients that offer protocols we don't name, such as `http/1.0`: they get none, and speak HTTP/1.
fn without_alpn(config: &ServerConfig) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.alpn_protocols.clear();
    Arc::new(config)
}

/// Whether it says that our CA is none of the client's (RFC 8446, section 6.2).
fn is_distrust(e: &io::Error) -> bool {
    use rustls::AlertDescription::{BadCertificate, CertificateUnknown, UnknownCA};
    let error = e.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
    matches!(error, Some(rustls::Error::AlertReceived(UnknownCA | BadCertificate | CertificateUnknown)))
}
