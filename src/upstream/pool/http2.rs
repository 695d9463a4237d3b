//! An HTTP/2 connection that exchanges share, and one exchange's part in it.

use super::kept::Kept;
use super::limits::{
    CONNECTION_WINDOW, IDLE, IDLE_WITH_KEY, MAX_HEADER_LIST, MAX_STREAMS, STREAM_WINDOW, STREAMS_AT_FIRST,
};
use crate::upstream::error::BoxError;
use http_body::Body;
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};

/// The settings of every HTTP/2 connection.
pub(super) fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_max_send_streams(STREAMS_AT_FIRST)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_LIST);
    builder
}

/// An HTTP/2 connection of the pool.
pub(super) struct Http2Connection<B> {
    pub send: SendRequest<B>,
    pub ip: IpAddr,
    pub made: Instant,
    streams: Arc<StreamCounter>,
    _kept: Kept,
}

impl<B> Http2Connection<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    /// A connection that nothing is under way on yet. It is driven until it ends.
    pub fn new<S>(
        send: SendRequest<B>,
        driver: Connection<TokioIo<S>, B, TokioExecutor>,
        ip: IpAddr,
        kept: Kept,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let made = Instant::now();
        let streams = StreamCounts { under_way: 0, had_key: false, idle_since: made };
        let streams = Arc::new(StreamCounter { counts: Mutex::new(streams), allowed: AtomicUsize::new(MAX_STREAMS) });
        tokio::spawn(drive(driver, streams.clone()));
        Self { send, ip, made, streams, _kept: kept }
    }
}

/// Drives a connection, and notes how many streams its upstream allows. How it ends reaches whoever waits on it.
async fn drive<S, B>(mut driver: Connection<TokioIo<S>, B, TokioExecutor>, streams: Arc<StreamCounter>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let _ = poll_fn(|cx| {
        let driven = Pin::new(&mut driver).poll(cx);
        let allowed = driver.current_max_send_streams();
        // until it has said so, it is what we wait with; one that allows no more has its requests in a row
        if allowed != STREAMS_AT_FIRST {
            streams.allowed.store(allowed, Ordering::Relaxed);
        }
        driven
    })
    .await;
}

impl<B> Http2Connection<B> {
    /// Whether new streams can be opened.
    pub fn is_open(&self) -> bool {
        !self.send.is_closed()
    }

    /// Whether one exchange more may share it.
    pub fn has_room(&self) -> bool {
        self.streams.lock().under_way < MAX_STREAMS.min(self.streams.allowed.load(Ordering::Relaxed))
    }

    /// Counts one exchange more.
    pub fn stream(&self) -> Http2Stream {
        self.streams.lock().under_way += 1;
        Http2Stream { streams: self.streams.clone(), ended_well: false }
    }

    /// Since when nothing has been under way.
    pub fn idle_since(&self) -> Option<Instant> {
        let streams = self.streams.lock();
        (streams.under_way == 0).then_some(streams.idle_since)
    }

    /// Whether it has idled for longer than it may.
    pub fn is_over(&self, now: Instant) -> bool {
        let streams = self.streams.lock();
        let limit = if streams.had_key { IDLE_WITH_KEY } else { IDLE };
        streams.under_way == 0 && now.saturating_duration_since(streams.idle_since) >= limit
    }
}

/// The streams of one connection, counted by the connection and by each of them.
struct StreamCounter {
    counts: Mutex<StreamCounts>,
    /// That the upstream allows at once, as far as it has said so.
    allowed: AtomicUsize,
}

struct StreamCounts {
    under_way: usize,
    /// A key went over it, or came back on it.
    had_key: bool,
    /// When the last exchange ended.
    idle_since: Instant,
}

impl StreamCounter {
    fn lock(&self) -> MutexGuard<'_, StreamCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One exchange on an HTTP/2 connection; ends when it is dropped.
pub(super) struct Http2Stream {
    streams: Arc<StreamCounter>,
    ended_well: bool,
}

impl Http2Stream {
    /// Notes that a key goes over the connection.
    pub fn carries_key(&self) {
        self.streams.lock().had_key = true;
    }

    /// Notes that the response has ended well.
    pub fn end_well(&mut self) {
        self.ended_well = true;
    }
}

impl Drop for Http2Stream {
    fn drop(&mut self) {
        let mut streams = self.streams.lock();
        streams.under_way = streams.under_way.saturating_sub(1);
        streams.had_key |= !self.ended_well;
        streams.idle_since = Instant::now();
    }
}
