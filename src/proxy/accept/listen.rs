//! Accepts connections, bounds how many there are, hands them over, and drains.

use super::admit;
use super::client::{Client, Door};
use super::doors;
use super::slots::Standing;
use crate::proxy::Shared;
use crate::proxy::exchange::worker::Worker;
use bytes::BytesMut;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::either::Either;

/// How often a worker looks at what idles.
const SWEEP: Duration = Duration::from_secs(1);

/// Where clients come in.
pub struct Listeners {
    /// Those that ask a proxy.
    pub proxy: TcpListener,
    /// Those that were redirected on their way elsewhere.
    pub transparent: Option<TcpListener>,
}

impl Listeners {
    /// The next client that was redirected.
    async fn redirected(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match &self.transparent {
            Some(listener) => listener.accept().await,
            None => std::future::pending().await,
        }
    }
}

/// Serves until `stop` turns true, then no longer accepts; returns when this worker's last connection has ended.
pub async fn serve(worker: Arc<Worker>, listeners: Listeners, stop: watch::Receiver<bool>) {
    let connections = Open(watch::Sender::new(()));
    let mut stopping = stop.clone();
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            accepted = listeners.proxy.accept() => {
                // whoever finds no place is told so by the closed connection
                if let Some((stream, peer)) = worker.shared.slots.made(accepted).await
                    && let Some(client) = place(&worker.shared, stream, peer)
                {
                    tokio::spawn(served(worker.clone(), client, stop.clone(), connections.clone()));
                }
            },
            accepted = listeners.redirected() => {
                if let Some((stream, peer)) = worker.shared.slots.made(accepted).await {
                    let serving = doors::transparent::serve(worker.clone(), stream, peer, stop.clone());
                    tokio::spawn(until_end(serving, connections.clone()));
                }
            },
            _ = sweep.tick() => {
                worker.pool.sweep(Instant::now());
                worker.scrub_cache.sweep();
                tell_turned_away(&worker.shared, false);
            }
            _ = stopping.wait_for(|stopped| *stopped) => break,
        }
    }
    drop(listeners);
    tell_turned_away(&worker.shared, true);
    connections.closed().await;
}

async fn until_end(serving: impl Future<Output = ()>, open: watch::Receiver<()>) {
    serving.await;
    drop(open);
}

/// A connection that was just accepted, if there is a place for it: whose it is is asked before it counts.
fn place(shared: &Shared, stream: TcpStream, peer: SocketAddr) -> Option<Client> {
    let own = stream.local_addr().ok()?;
    let user = admit::user(peer, own);
    let is_local = admit::may_be_local(&shared.ruleset.load(), user);
    let standing = if is_local { Standing::Newcomer } else { Standing::Stranger };
    let slot = Arc::new(shared.slots.take(standing, user, SystemTime::now())?);
    let _ = stream.set_nodelay(true);
    let (stream, read, door) = (Either::Left(stream), BytesMut::with_capacity(1024), Door::Http);
    Some(Client { stream, read, door, peer, own, user, known: None, slot })
}

/// Serves a connection to its end, or until its place is needed and it has proved nothing.
async fn served(worker: Arc<Worker>, client: Client, stop: watch::Receiver<bool>, open: watch::Receiver<()>) {
    let slot = client.slot.clone();
    tokio::select! {
        () = doors::serve(worker, client, stop) => {}
        () = slot.evicted() => {}
    }
    drop((slot, open));
}

/// Records the connections that were closed for want of places, and says so.
fn tell_turned_away(shared: &Shared, at_last: bool) {
    for turned_away in shared.slots.turned_away(SystemTime::now(), at_last) {
        tracing::warn!("{turned_away}");
        shared.recorder.turned_away(&turned_away);
    }
}

/// A sender that every connection listens to: it is closed when the last of them is gone.
struct Open(watch::Sender<()>);

impl Open {
    fn clone(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }

    async fn closed(&self) {
        self.0.closed().await;
    }
}
