//! Interim heads of an upstream, such as `103 Early Hints` (RFC 9110, section 15.2; RFC 8297), on their way to a client of
//! HTTP/1.1: hyper's server knows none but `100 Continue`, so they go between what it writes.

use bytes::BytesMut;
use http::{HeaderMap, StatusCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// The most that may wait to leave, in bytes: beyond that they are dropped, as hints may be.
const MAX_WAITING: usize = 64 * 1024;

/// The interim heads of one connection, on which one exchange follows another.
#[derive(Debug, Default)]
pub(crate) struct EarlyHints {
    waiting: Mutex<Waiting>,
    /// Whether some are ready to leave.
    any: AtomicBool,
    /// Whether there may be some in the exchange that is under way.
    awaited: AtomicBool,
    task: atomic_waker::AtomicWaker,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Which exchange is under way; 0 where none may have any.
    open: u64,
    /// Which was the last to begin.
    last: u64,
    heads: BytesMut,
}

impl EarlyHints {
    /// Begins to take those of the exchange that is under way, by the number that is given.
    pub fn open(&self) -> u64 {
        let mut waiting = self.waiting();
        waiting.last += 1;
        waiting.open = waiting.last;
        self.awaited.store(true, Ordering::Relaxed);
        waiting.open
    }

    /// The exchange has its answer. What has come before it may still leave.
    pub fn close(&self) {
        if self.awaited.swap(false, Ordering::Relaxed) {
            self.waiting().open = 0;
        }
    }

    /// Takes one of an exchange; none, once that has its answer.
    pub fn send(&self, exchange: u64, status: StatusCode, headers: &HeaderMap) {
        let mut waiting = self.waiting();
        let length = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
        if waiting.open != exchange || waiting.heads.len() + length > MAX_WAITING {
            return;
        }
        let heads = &mut waiting.heads;
        let line = format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or_default());
        heads.extend_from_slice(line.as_bytes());
        for (name, value) in headers {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                heads.extend_from_slice(part);
            }
        }
        heads.extend_from_slice(b"\r\n");
        self.any.store(true, Ordering::Release);
        self.task.wake();
    }

    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    pub(super) fn wake_on_more(&self, waker: &Waker) {
        if self.awaited.load(Ordering::Relaxed) {
            self.task.register(waker);
        }
    }

    /// All that are ready to leave.
    pub(super) fn take(&self) -> BytesMut {
        let mut waiting = self.waiting();
        self.any.store(false, Ordering::Release);
        std::mem::take(&mut waiting.heads)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
