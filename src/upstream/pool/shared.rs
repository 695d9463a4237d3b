//! An HTTP/2 connection, what goes on on it, and one exchange's part in that.

use super::{IDLE, IDLE_WITH_KEY, Line};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How much an upstream may send of one body that nobody reads.
const STREAM_WINDOW: u32 = 1 << 20;
/// Exchanges that share one connection. Their windows all fit into the connection's: bodies that nobody reads must not
/// hold up the others.
const SHARERS: usize = 32;
const WINDOW: u32 = STREAM_WINDOW * SHARERS as u32;

pub(super) fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(64 * 1024);
    builder
}

pub(super) struct Shared<B> {
    send: SendRequest<B>,
    pub ip: IpAddr,
    load: Arc<Load>,
}

impl<B> Shared<B> {
    pub fn new(send: SendRequest<B>, ip: IpAddr) -> Self {
        let streams = Streams { under_way: 0, had_key: false, idle_since: Instant::now() };
        Self { send, ip, load: Arc::new(Load(Mutex::new(streams))) }
    }

    pub fn is_open(&self) -> bool {
        !self.send.is_closed()
    }

    pub fn has_room(&self) -> bool {
        self.load.streams().under_way < SHARERS
    }

    /// For one exchange more.
    pub fn line(&self) -> Line<B> {
        self.load.streams().under_way += 1;
        let stream = Stream { load: self.load.clone(), ended_well: false };
        Line::Http2(self.send.clone(), self.ip, stream)
    }

    /// Since when nothing has been under way.
    pub fn idle_since(&self) -> Option<Instant> {
        let streams = self.load.streams();
        (streams.under_way == 0).then_some(streams.idle_since)
    }

    /// Whether it has idled for longer than it may.
    pub fn is_over(&self, now: Instant) -> bool {
        let streams = self.load.streams();
        let limit = if streams.had_key { IDLE_WITH_KEY } else { IDLE };
        streams.under_way == 0 && now.saturating_duration_since(streams.idle_since) >= limit
    }
}

struct Load(Mutex<Streams>);

struct Streams {
    under_way: usize,
    /// A key went over it, or came back on it.
    had_key: bool,
    /// When the last exchange ended.
    idle_since: Instant,
}

impl Load {
    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One exchange on an HTTP/2 connection.
pub(super) struct Stream {
    load: Arc<Load>,
    ended_well: bool,
}

impl Stream {
    pub fn carries_key(&self) {
        self.load.streams().had_key = true;
    }

    pub fn end_well(&mut self) {
        self.ended_well = true;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut streams = self.load.streams();
        streams.under_way = streams.under_way.saturating_sub(1);
        streams.had_key |= !self.ended_well;
        streams.idle_since = Instant::now();
    }
}
