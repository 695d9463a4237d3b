//! The doors that clients come in by: HTTP or SOCKS5 to the proxy's port, inside its TLS where it speaks that, or a connection that
//! was led here on its way elsewhere. Behind each, the same policy and the same records.

pub mod enclosed;
pub(super) mod first_bytes;
pub(super) mod first_head;
mod http;
pub mod redirected;
mod socks5;
mod tls;
pub(super) mod transparent;

use super::client::{Client, Door, record};
use crate::name::AgentName;
use crate::proxy::exchange::worker::Worker;
use crate::proxy::limits::FIRST_HEAD_TIMEOUT;
use crate::proxy::refusal::{Refusal, RefusalKind};
use crate::proxy::wire::socks5::{NO_METHOD, VERSION};
use first_bytes::TLS_HANDSHAKE;
use std::sync::Arc;
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;

/// Serves one connection to the proxy's port to its end: the first byte tells which protocol is spoken.
pub(super) async fn serve(worker: Arc<Worker>, mut client: Client, mut stop: watch::Receiver<bool>) {
    let Some(mut first) = first_byte(&mut client, &mut stop).await else { return };
    if let Some(config) = worker.shared.listener_tls.load_full() {
        if first != TLS_HANDSHAKE {
            return in_clear(&worker, client, first).await;
        }
        client = tokio::select! {
            unwrapped = tls::unwrapped(client, config) => match unwrapped {
                Ok(client) => client,
                Err(refusal) => {
                    record(&worker.shared.recorder, &refusal, AgentName::nobody(), None);
                    return;
                }
            },
            _ = stop.wait_for(|stopped| *stopped) => return,
        };
        let Some(inside) = first_byte(&mut client, &mut stop).await else { return };
        first = inside;
    }
    if first == VERSION {
        client.door = Door::Socks5;
        return socks5::connection(worker, client, stop).await;
    }
    http::connection(worker, client, stop).await;
}

/// The first byte, which stays; `None` where none comes in time, or the proxy stops.
async fn first_byte(client: &mut Client, stop: &mut watch::Receiver<bool>) -> Option<u8> {
    let read = tokio::select! {
        read = tokio::time::timeout(FIRST_HEAD_TIMEOUT, client.stream.read_buf(&mut client.read)) => read,
        _ = stop.wait_for(|stopped| *stopped) => return None,
    };
    read.ok()?.ok()?;
    client.read.first().copied()
}

/// Who speaks in the clear where TLS is spoken is told so, but for the question whether the proxy serves, which holds nothing that
/// others may not read.
async fn in_clear(worker: &Worker, mut client: Client, first: u8) {
    let refusal = Refusal::new(RefusalKind::NotForwarded, tls::ONLY_TLS);
    let recorder = &worker.shared.recorder;
    if first == VERSION {
        return client.refuse_by(recorder, &refusal, NO_METHOD).await;
    }
    let asked = tokio::time::timeout(FIRST_HEAD_TIMEOUT, http::is_health(&mut client)).await;
    match asked {
        Ok(true) => client.tell_health().await,
        Ok(false) => client.refuse(recorder, &refusal, AgentName::nobody(), None, true).await,
        Err(_) => {}
    }
}
