//! TLS on the proxy's own port, so that tokens cross no network in the clear: it is taken off here, and what is inside comes in by
//! the other doors.

use crate::io::read_ahead::ReadAhead;
use crate::proxy::accept::client::{Client, ClientStream};
use crate::proxy::limits::HANDSHAKE_TIMEOUT;
use crate::proxy::refusal::{Refusal, RefusalKind};
use bytes::BytesMut;
use rustls::ServerConfig;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_util::either::Either;

/// Why a client that speaks in the clear goes no further.
pub(super) const ONLY_TLS: &str = "this port speaks TLS: the proxy is https://, and so is HTTPS_PROXY to be";

/// The same client inside its TLS.
///
/// # Errors
/// The handshake failed, or took too long.
pub(super) async fn unwrapped(client: Client, config: Arc<ServerConfig>) -> Result<Client, Refusal> {
    let Client { stream, read, door, peer, own, user, known, slot } = client;
    let ClientStream::Left(tcp) = stream else {
        return Err(Refusal::malformed("TLS inside the TLS of the proxy's own port, and no tunnel asked for"));
    };
    let handshake = TlsAcceptor::from(config).accept(ReadAhead::with(read, tcp));
    let failed = |why: String| Refusal::new(RefusalKind::HandshakeFailed, why);
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(tls)) => {
            let (stream, read) = (Either::Right(Box::new(tls)), BytesMut::with_capacity(1024));
            Ok(Client { stream, read, door, peer, own, user, known, slot })
        }
        Ok(Err(e)) => Err(failed(format!("the TLS handshake with the proxy's own port failed: {e}"))),
        Err(_) => Err(failed("the TLS handshake with the proxy's own port took too long".into())),
    }
}
