//! Interim answers (RFC 9110, section 15.2) that a client of HTTP/2 waits for.

use super::frame::{END_HEADERS, FrameHead, HEADERS};
use super::hpack::Field;
use bytes::BytesMut;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// The interim answers of one connection.
#[derive(Debug, Default)]
pub struct Interims {
    streams: Mutex<Streams>,
    /// Whether some are ready to leave.
    any: AtomicBool,
    /// Whether a client waits for any.
    awaited: AtomicBool,
    task: atomic_waker::AtomicWaker,
}

#[derive(Debug, Default)]
struct Streams {
    /// Those that wait for `100 Continue`.
    awaiting: BTreeSet<u32>,
    /// Those of which it is to be told.
    ready: BTreeSet<u32>,
}

impl Interims {
    /// Has the client send the body for which it waits to be asked; nothing, once it has an answer.
    pub fn go_on(&self, stream: u32) {
        let mut streams = self.streams();
        if streams.awaiting.remove(&stream) {
            streams.ready.insert(stream);
            self.settle(&streams);
            self.task.wake();
        }
    }

    /// A client waits to be asked for a body.
    pub(super) fn awaits(&self, stream: u32) {
        let mut streams = self.streams();
        streams.awaiting.insert(stream);
        self.settle(&streams);
    }

    /// A stream has its answer, or has ended: there can be no interim answer any more.
    pub(super) fn answered(&self, stream: u32) {
        if self.is_awaited() {
            let mut streams = self.streams();
            streams.awaiting.remove(&stream);
            streams.ready.remove(&stream);
            self.settle(&streams);
        }
    }

    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed)
    }

    pub(super) fn wake_on_more(&self, waker: &Waker) {
        if self.is_awaited() {
            self.task.register(waker);
        }
    }

    /// The frames to send.
    pub(super) fn take(&self, out: &mut BytesMut) {
        let mut streams = self.streams();
        let mut block = Vec::new();
        Field::new(b":status", b"100").write(&mut block);
        for stream in std::mem::take(&mut streams.ready) {
            let head = FrameHead { length: block.len(), kind: HEADERS, flags: END_HEADERS, stream };
            out.extend_from_slice(&head.written());
            out.extend_from_slice(&block);
        }
        self.settle(&streams);
    }

    fn settle(&self, streams: &Streams) {
        self.any.store(!streams.ready.is_empty(), Ordering::Release);
        self.awaited.store(!streams.ready.is_empty() || !streams.awaiting.is_empty(), Ordering::Relaxed);
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
