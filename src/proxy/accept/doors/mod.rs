//! The doors that clients come in by: HTTP or SOCKS5 to the proxy's port, or a connection that was led here on its way elsewhere.
//! Behind each, the same policy and the same records.

pub(super) mod first_bytes;
pub(super) mod first_head;
mod http;
pub mod redirected;
mod socks5;
pub(super) mod transparent;

use super::client::{Client, Door};
use crate::proxy::exchange::worker::Worker;
use crate::proxy::limits::FIRST_HEAD_TIMEOUT;
use crate::proxy::wire::socks5::VERSION;
use std::sync::Arc;
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;

/// Serves one connection to the proxy's port to its end: the first byte tells which protocol is spoken.
pub(super) async fn serve(worker: Arc<Worker>, mut client: Client, stop: watch::Receiver<bool>) {
    let mut stopping = stop.clone();
    let read = tokio::select! {
        read = tokio::time::timeout(FIRST_HEAD_TIMEOUT, client.stream.read_buf(&mut client.read)) => read,
        _ = stopping.wait_for(|stopped| *stopped) => return,
    };
    let Ok(Ok(1..)) = read else { return };
    if client.read.starts_with(&[VERSION]) {
        client.door = Door::Socks5;
        return socks5::connection(worker, client, stop).await;
    }
    http::connection(worker, client, stop).await;
}
