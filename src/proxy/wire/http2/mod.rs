//! A client's HTTP/2 as the library can serve it. Coming in, fields are written anew, so that what the library would refuse or
//! pass over is served or refused as it should be; going out, faults that it answers are told, and interim answers, of which it
//! knows nothing, find their place.

mod frame;
mod hpack;
pub mod incoming;
mod interim;
mod outgoing;

pub(crate) use incoming::AWAITS_CONTINUE;
pub use interim::Interims;
pub(crate) use outgoing::Outflow;

use bytes::{Buf as _, BytesMut};
use incoming::IncomingFrames;
use outgoing::OutgoingFrames;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A client's stream of HTTP/2: `tell` is called for each fault of its that is answered.
pub(crate) struct Http2Stream<S, F> {
    inner: S,
    incoming: IncomingFrames,
    /// Bytes that had to wait and have no room yet.
    waiting: BytesMut,
    outgoing: OutgoingFrames,
    tell: F,
    outflow: Arc<Outflow>,
    interims: Arc<Interims>,
    /// Interim answers that have begun to leave.
    leaving: BytesMut,
}

impl<S, F> Http2Stream<S, F> {
    /// A stream of which nothing has been read yet. `max_head` is the most that a head may have, in bytes.
    pub fn new(inner: S, max_head: usize, tell: F) -> Self {
        let interims: Arc<Interims> = Arc::default();
        Self {
            inner,
            incoming: IncomingFrames::new(max_head, interims.clone()),
            waiting: BytesMut::new(),
            outgoing: OutgoingFrames::default(),
            tell,
            outflow: Arc::default(),
            interims,
            leaving: BytesMut::new(),
        }
    }

    pub fn outflow(&self) -> Arc<Outflow> {
        self.outflow.clone()
    }

    pub fn interims(&self) -> Arc<Interims> {
        self.interims.clone()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, F: FnMut(&'static str) + Unpin> AsyncRead for Http2Stream<S, F> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // whoever serves always reads, and writes only what it has itself
        this.interims.wake_on_more(cx.waker());
        if this.has_interims()
            && let Poll::Ready(written) = this.poll_interims(cx)
        {
            written?;
            let _ = Pin::new(&mut this.inner).poll_flush(cx)?;
        }
        loop {
            if !this.waiting.is_empty() {
                let n = this.waiting.len().min(buf.remaining());
                buf.put_slice(&this.waiting[..n]);
                this.waiting.advance(n);
                return Poll::Ready(Ok(()));
            }
            let start = buf.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
            let new = &buf.filled()[start..];
            if new.is_empty() {
                return Poll::Ready(Ok(()));
            }
            // the usual case: nothing has to wait
            let passed = this.incoming.pass(new, &mut this.waiting);
            buf.set_filled(start + passed);
            if passed > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin, F: FnMut(&'static str) + Unpin> Http2Stream<S, F> {
    fn has_interims(&self) -> bool {
        !self.leaving.is_empty() || self.interims.any()
    }

    /// Writes interim answers where one frame has ended and the next has not begun.
    fn poll_interims(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.leaving.is_empty() && self.outgoing.is_between_messages() {
            self.interims.take(&mut self.leaving);
        }
        while !self.leaving.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.leaving))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outflow.count(written);
            self.leaving.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn passed(&mut self, bytes: &[u8]) {
        self.outflow.count(bytes.len());
        let Self { outgoing, tell, interims, .. } = self;
        outgoing.pass(bytes, tell, |stream| interims.answered(stream));
    }
}

impl<S: AsyncWrite + Unpin, F: FnMut(&'static str) + Unpin> AsyncWrite for Http2Stream<S, F> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.has_interims() {
            ready!(this.poll_interims(cx))?;
            if this.interims.any() {
                buf = buf.get(..this.outgoing.to_next_step(buf.len())).unwrap_or(buf);
            }
        }
        let polled = Pin::new(&mut this.inner).poll_write(cx, buf);
        this.outflow.note(&polled);
        let written = ready!(polled)?;
        this.passed(buf.get(..written).unwrap_or(buf));
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.has_interims() {
            let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| buf);
            return self.poll_write(cx, first);
        }
        let this = &mut *self;
        let polled = Pin::new(&mut this.inner).poll_write_vectored(cx, bufs);
        this.outflow.note(&polled);
        let written = ready!(polled)?;
        let mut left = written;
        for buf in bufs {
            let passed = left.min(buf.len());
            this.passed(buf.get(..passed).unwrap_or(buf));
            left -= passed;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.has_interims() {
            ready!(this.poll_interims(cx))?;
        }
        let polled = Pin::new(&mut this.inner).poll_flush(cx);
        this.outflow.note(&polled);
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
