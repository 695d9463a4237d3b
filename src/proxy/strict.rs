//! A client's stream of which only soundly framed HTTP/1.1 comes out; at the first fault it ends, and says why.

use super::framing::{Fault, Framing};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Why the stream ended, for whoever answers.
#[derive(Debug, Clone, Default)]
pub(super) struct Why(Arc<Mutex<Option<Fault>>>);

impl Why {
    pub fn take(&self) -> Option<Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, fault: Fault) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }
}

pub(super) struct Strict<S> {
    inner: S,
    framing: Framing,
    /// A head that is not whole yet; its bytes wait here.
    partial: Vec<u8>,
    /// Sound bytes that had no room.
    sound: Vec<u8>,
    why: Why,
}

impl<S> Strict<S> {
    pub fn new(inner: S) -> (Self, Why) {
        let why = Why::default();
        let strict =
            Self { inner, framing: Framing::default(), partial: Vec::new(), sound: Vec::new(), why: why.clone() };
        (strict, why)
    }

    pub fn into_inner(self) -> S {
        self.inner
    }

    fn fail(&self, fault: Fault) -> io::Error {
        self.why.set(fault);
        io::Error::new(io::ErrorKind::InvalidData, "the request's framing is malformed")
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Strict<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.sound.is_empty() {
                let n = this.sound.len().min(buf.remaining());
                buf.put_slice(&this.sound[..n]);
                this.sound.drain(..n);
                return Poll::Ready(Ok(()));
            }
            let start = buf.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
            let new = &buf.filled()[start..];
            if new.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if this.partial.is_empty() {
                // the usual case: whole heads and bodies, looked at where they lie
                let sound = this.framing.read(new).map_err(|f| this.fail(f))?;
                this.partial.extend_from_slice(&new[sound..]);
                buf.set_filled(start + sound);
                if sound > 0 {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            this.partial.extend_from_slice(new);
            buf.set_filled(start);
            let sound = this.framing.read(&this.partial).map_err(|f| this.fail(f))?;
            if sound > 0 {
                let rest = this.partial.split_off(sound);
                this.sound = std::mem::replace(&mut this.partial, rest);
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Strict<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
