//! Reads more at once than TLS asks for, while data comes in fast; holds no memory when it doesn't.
//!
//! rustls reads 4 KiB a call. Under a download that is four times the system calls that are needed.

use super::delegate::delegate_async_write;
use bytes::{Buf, BytesMut};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much is read at once, in bytes: four TLS records.
const SIZE: usize = 64 * 1024;

/// A stream wrapper with a read buffer of 64 KiB, which it has only while reads come back full.
pub struct ReadAhead<S> {
    inner: S,
    ahead: BytesMut,
    /// The last read filled what it was given, so that more is likely there.
    full: bool,
}

impl<S> ReadAhead<S> {
    /// Wraps a stream of which nothing has been read yet.
    pub fn new(inner: S) -> Self {
        Self { inner, ahead: BytesMut::new(), full: false }
    }

    /// A stream of which `first` has been read already.
    pub fn with(first: BytesMut, inner: S) -> Self {
        Self { inner, ahead: first, full: false }
    }

    /// The stream inside.
    pub fn inner(&self) -> &S {
        &self.inner
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ahead.is_empty() {
            if !this.full {
                let before = buf.remaining();
                ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
                this.full = buf.remaining() == 0 && before > 0;
                return Poll::Ready(Ok(()));
            }
            // what was read before is over, and its room is used again
            this.ahead.reserve(SIZE);
            let read = tokio_util::io::poll_read_buf(Pin::new(&mut this.inner), cx, &mut this.ahead);
            let Poll::Ready(read) = read else {
                // nothing more for now: a connection that waits holds no buffer
                (this.ahead, this.full) = (BytesMut::new(), false);
                return Poll::Pending;
            };
            this.full = read? >= SIZE / 4;
        }
        let n = this.ahead.len().min(buf.remaining());
        buf.put_slice(&this.ahead[..n]);
        this.ahead.advance(n);
        if this.ahead.is_empty() && !this.full {
            this.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    delegate_async_write!(inner: poll_write, is_write_vectored, poll_flush, poll_shutdown);

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // a TLS record is one piece, and one piece takes a shorter way through the kernel
        match bufs {
            [only] => Pin::new(&mut self.inner).poll_write(cx, only),
            many => Pin::new(&mut self.inner).poll_write_vectored(cx, many),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt as _;

    /// A stream that has all that is asked for.
    struct Flood;

    impl AsyncRead for Flood {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            buf.put_slice(&vec![7; buf.remaining()]);
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_download_reads_into_one_buffer_over_and_over() {
        let (mut ahead, mut piece) = (ReadAhead::new(Flood), [0; SIZE / 4]);
        ahead.read_exact(&mut piece).await.unwrap();
        let mut buffers = Vec::new();
        for _ in 0..5 {
            ahead.read_exact(&mut piece).await.unwrap();
            assert_eq!(ahead.ahead.len(), SIZE * 3 / 4, "it has run ahead");
            buffers.push(ahead.ahead.as_ptr());
            for _ in 0..3 {
                ahead.read_exact(&mut piece).await.unwrap();
            }
        }
        assert!(buffers.iter().all(|buffer| *buffer == buffers[0]), "{buffers:?}");
    }

    proptest! {
        #[test]
        fn what_comes_out_is_what_went_in(sizes in proptest::collection::vec(1usize..80_000, 1..12), step in 1usize..20_000) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let total: usize = sizes.iter().sum();
                let data: Vec<u8> = (0..total).map(|i| (i % 251) as u8).collect();
                let (mut near, far) = tokio::io::duplex(50_000);
                let sent = data.clone();
                let writer = tokio::spawn(async move {
                    let mut rest = &sent[..];
                    for size in sizes {
                        tokio::io::AsyncWriteExt::write_all(&mut near, &rest[..size]).await.unwrap();
                        rest = &rest[size..];
                        tokio::task::yield_now().await;
                    }
                });
                let (mut ahead, mut got) = (ReadAhead::new(far), Vec::new());
                let mut buf = vec![0; step];
                loop {
                    let n = ahead.read(&mut buf).await.unwrap();
                    if n == 0 { break }
                    got.extend_from_slice(&buf[..n]);
                }
                writer.await.unwrap();
                assert!(got == data);
                assert_eq!(ahead.ahead.capacity(), 0, "an idle stream holds no buffer");
            });
        }
    }
}
