//! Accepts connections, bounds how many there are, hands them over, and drains.

use super::connect;
use crate::proxy::exchange::worker::Worker;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// How often a worker looks at what idles.
const SWEEP: Duration = Duration::from_secs(1);
/// How long to wait when the system has no descriptor left.
const RESPITE: Duration = Duration::from_millis(50);

/// Serves until `stop` turns true, then no longer accepts; returns when this worker's last connection has ended.
pub async fn serve(worker: Arc<Worker>, listener: TcpListener, stop: watch::Receiver<bool>) {
    let connections = Open(watch::Sender::new(()));
    let mut stopping = stop.clone();
    let mut sweep = tokio::time::interval(SWEEP);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let Some(place) = ConnectionSlot::take(&worker) else {
                        // the bound is the same for all: who comes late is told by the closed connection
                        continue;
                    };
                    let _ = stream.set_nodelay(true);
                    let (worker, stop, open) = (worker.clone(), stop.clone(), connections.clone());
                    tokio::spawn(async move {
                        connect::connection(worker, stream, peer, stop).await;
                        drop((place, open));
                    });
                }
                Err(e) if is_of_one_connection(&e) => {}
                Err(_) => tokio::time::sleep(RESPITE).await,
            },
            _ = sweep.tick() => {
                worker.pool.sweep(Instant::now());
                worker.scrub_cache.sweep();
            }
            _ = stopping.wait_for(|stopped| *stopped) => break,
        }
    }
    drop(listener);
    connections.closed().await;
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

/// One of the places that connections share; given back when dropped.
struct ConnectionSlot(Arc<Worker>);

impl ConnectionSlot {
    fn take(worker: &Arc<Worker>) -> Option<Self> {
        let open = &worker.shared.open;
        if open.fetch_add(1, Ordering::Relaxed) >= worker.shared.config.limits.connections {
            open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Self(worker.clone()))
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.0.shared.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn is_of_one_connection(e: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(e.kind(), ConnectionAborted | ConnectionReset | ConnectionRefused | Interrupted)
}
