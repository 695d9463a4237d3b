//! What HTTP/2 answers by itself: a stream reset, or the connection ended, for a client's fault. The library tells
//! nobody, so the frames that leave are watched for it (RFC 9113, sections 4.1, 6.4 and 6.8). Nothing is changed.

use crate::io::delegate::delegate_async_write;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Length of a frame's head, in bytes.
const HEAD: usize = 9;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;

/// A client's stream whose outgoing frames are watched: `tell` is called for each fault that they answer.
pub(crate) struct FaultWatch<S, F> {
    inner: S,
    frames: Frames,
    tell: F,
    outflow: Arc<Outflow>,
}

/// How what is written to a client leaves.
#[derive(Debug, Default)]
pub(crate) struct Outflow {
    written: AtomicU64,
    stuck: AtomicBool,
}

impl Outflow {
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// There is more, and the client does not take it now.
    pub fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }

    fn note<T>(&self, polled: &Poll<T>) {
        self.stuck.store(polled.is_pending(), Ordering::Relaxed);
    }
}

impl<S, F> FaultWatch<S, F> {
    pub fn new(inner: S, tell: F) -> (Self, Arc<Outflow>) {
        let outflow: Arc<Outflow> = Arc::default();
        (Self { inner, frames: Frames::default(), tell, outflow: outflow.clone() }, outflow)
    }
}

impl<S, F: FnMut(&'static str)> FaultWatch<S, F> {
    fn pass(&mut self, bytes: &[u8]) {
        self.outflow.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.frames.pass(bytes, &mut self.tell);
    }
}

impl<S: AsyncRead + Unpin, F: Unpin> AsyncRead for FaultWatch<S, F> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin, F: FnMut(&'static str) + Unpin> AsyncWrite for FaultWatch<S, F> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.outflow.note(&polled);
        let written = ready!(polled)?;
        this.pass(buf.get(..written).unwrap_or(buf));
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        this.outflow.note(&polled);
        let written = ready!(polled)?;
        let mut left = written;
        for buf in bufs {
            let passed = left.min(buf.len());
            this.pass(buf.get(..passed).unwrap_or(buf));
            left -= passed;
        }
        Poll::Ready(Ok(written))
    }

    delegate_async_write!(inner: is_write_vectored, poll_shutdown);

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.outflow.note(&polled);
        polled
    }
}

/// Follows frames through a stream that is cut anywhere.
#[derive(Debug, Default)]
struct Frames {
    /// The head of a frame, and of those that tell a fault all that comes before and with its code.
    start: [u8; HEAD + 8],
    have: usize,
    /// What is left of a frame whose beginning was read.
    rest: usize,
}

impl Frames {
    fn pass(&mut self, mut bytes: &[u8], tell: &mut impl FnMut(&'static str)) {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let skipped = self.rest.min(bytes.len());
                self.rest -= skipped;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            let wanted = self.wanted();
            let taken = (wanted - self.have).min(bytes.len());
            let (now, later) = bytes.split_at(taken);
            self.start[self.have..self.have + taken].copy_from_slice(now);
            self.have += taken;
            bytes = later;
            // a head that is whole may ask for more
            if self.have == wanted && wanted == self.wanted() {
                self.fault().into_iter().for_each(&mut *tell);
                self.rest = self.length().saturating_sub(self.have - HEAD);
                self.have = 0;
            }
        }
    }

    fn length(&self) -> usize {
        let [a, b, c, ..] = self.start;
        usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)
    }

    /// How much of the frame at hand has to be read.
    fn wanted(&self) -> usize {
        let code_ends_at = match self.start[3] {
            RST_STREAM => 4,
            GOAWAY => 8,
            _ => 0,
        };
        if self.have < HEAD { HEAD } else { HEAD + self.length().min(code_ends_at) }
    }

    fn fault(&self) -> Option<&'static str> {
        let code = match (self.start[3], self.have) {
            (RST_STREAM, 13) => self.start.get(9..13)?,
            (GOAWAY, 17) => self.start.get(13..17)?,
            _ => return None,
        };
        blamed(u32::from_be_bytes(code.try_into().ok()?))
    }
}

/// The codes that blame the client (RFC 9113, section 7); the others end what went wrong here or upstream, and whose
/// exchange tells so itself.
fn blamed(code: u32) -> Option<&'static str> {
    Some(match code {
        1 => "HTTP/2 that is malformed: PROTOCOL_ERROR",
        3 => "HTTP/2 beyond its window: FLOW_CONTROL_ERROR",
        4 => "HTTP/2 whose settings were never acknowledged: SETTINGS_TIMEOUT",
        5 => "HTTP/2 on a stream that is closed: STREAM_CLOSED",
        6 => "an HTTP/2 frame of a wrong size: FRAME_SIZE_ERROR",
        7 => "an HTTP/2 stream too many: REFUSED_STREAM",
        9 => "HTTP/2 headers that can't be decompressed: COMPRESSION_ERROR",
        11 => "HTTP/2 that asks for too much work: ENHANCE_YOUR_CALM",
        12 => "HTTP/2 over inadequate TLS: INADEQUATE_SECURITY",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 1], payload].concat()
    }

    fn told(stream: &[u8], cut: usize) -> Vec<&'static str> {
        let (mut frames, mut told) = (Frames::default(), Vec::new());
        stream.chunks(cut).for_each(|piece| frames.pass(piece, &mut |fault| told.push(fault)));
        told
    }

    #[test]
    fn faults_that_blame_the_client_are_told() {
        let cases: &[(Vec<u8>, Option<&str>)] = &[
            (frame(RST_STREAM, &[0, 0, 0, 1]), Some("PROTOCOL_ERROR")),
            (frame(GOAWAY, &[0, 0, 0, 9, 0, 0, 0, 11]), Some("ENHANCE_YOUR_CALM")),
            (frame(GOAWAY, &[&[0, 0, 0, 9, 0, 0, 0, 9], &b"why"[..]].concat()), Some("COMPRESSION_ERROR")),
            (frame(RST_STREAM, &[0, 0, 0, 0]), None),
            (frame(RST_STREAM, &[0, 0, 0, 8]), None),
            (frame(RST_STREAM, &[0, 0, 0, 2]), None),
            (frame(GOAWAY, &[0; 8]), None),
            (frame(RST_STREAM, &[1, 2]), None),
            (frame(0, &[RST_STREAM; 40]), None),
            (frame(4, &[]), None),
        ];
        for (bytes, fault) in cases {
            let told = told(bytes, 100);
            assert_eq!(told.len(), usize::from(fault.is_some()), "{bytes:?}");
            assert!(told.iter().all(|t| fault.is_some_and(|f| t.ends_with(f))), "{told:?}");
        }
    }

    proptest! {
        #[test]
        fn no_cut_hides_a_fault(
            payloads in proptest::collection::vec((0u8..10, proptest::collection::vec(0u8..12, 0..40)), 0..12),
            cut in 1usize..50,
        ) {
            let stream: Vec<u8> = payloads.iter().flat_map(|(kind, payload)| frame(*kind, payload)).collect();
            let whole: Vec<_> = payloads.iter().flat_map(|(kind, payload)| told(&frame(*kind, payload), 1000)).collect();
            prop_assert_eq!(told(&stream, cut), whole);
        }
    }
}
