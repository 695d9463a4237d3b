//! A relay on loopback that cuts each connection, both ways at once, after so many bytes.

use super::background::Background;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

pub struct Chopper {
    pub address: SocketAddr,
    limit: Arc<AtomicU64>,
    passed: Arc<AtomicU64>,
    _running: Background,
}

impl Chopper {
    pub fn to(target: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let limit = Arc::new(AtomicU64::new(u64::MAX));
        let passed: Arc<AtomicU64> = Arc::default();
        let (of, count) = (limit.clone(), passed.clone());
        let running = Background::start(move || async move {
            listener.set_nonblocking(true).expect("a listener");
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(relay(stream, target, of.load(Ordering::SeqCst), count.clone()));
            }
        });
        Self { address, limit, passed, _running: running }
    }

    /// Connections from now on end after this many bytes, counted in both directions together.
    pub fn cut_after(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::SeqCst);
    }

    /// How many bytes have passed, in all.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }
}

async fn relay(near: TcpStream, target: SocketAddr, limit: u64, passed: Arc<AtomicU64>) {
    let Ok(far) = TcpStream::connect(target).await else { return };
    let (left, cut) = (AtomicU64::new(limit), Notify::new());
    let (near, far) = (near.into_split(), far.into_split());
    let both =
        async { tokio::join!(copy(near.0, far.1, &left, &cut, &passed), copy(far.0, near.1, &left, &cut, &passed)) };
    tokio::select! {
        _ = both => {}
        () = cut.notified() => {}
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    left: &AtomicU64,
    cut: &Notify,
    passed: &AtomicU64,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let before = left.load(Ordering::SeqCst);
        let take = before.min(read as u64);
        left.store(before - take, Ordering::SeqCst);
        passed.fetch_add(take, Ordering::SeqCst);
        let written = to.write_all(&buffer[..usize::try_from(take).unwrap_or(read)]).await;
        if written.is_err() || take < read as u64 || take == before {
            return cut.notify_one();
        }
    }
    let _ = to.shutdown().await;
}
