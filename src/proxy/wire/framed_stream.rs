//! A client's stream of which only soundly framed HTTP/1.1 comes out; at the first fault it ends, and says why. Going out, an
//! upstream's interim heads find their place.

use super::early_hints::EarlyHints;
use super::http1_framing::{Framing, FramingFault, Sound};
use crate::io::delegate::delegate_async_write;
use bytes::{Buf as _, BufMut as _, BytesMut};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Why the stream ended, for whoever answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Why(Arc<Mutex<Option<FramingFault>>>);

impl Why {
    pub fn take(&self) -> Option<FramingFault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, fault: FramingFault) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }
}

/// A stream of which only what is soundly framed is read.
pub(crate) struct FramedStream<S> {
    inner: S,
    framing: Framing,
    /// A head that is not whole yet; its bytes wait here.
    partial: Vec<u8>,
    /// Sound bytes that had no room.
    sound: BytesMut,
    why: Why,
    /// Set once the connection is to speak something else.
    switched: Arc<AtomicBool>,
    /// Requests that are not answered yet.
    under_way: Arc<AtomicUsize>,
    /// Running since the client has said all that it will.
    patience: Option<Pin<Box<Sleep>>>,
    /// Something was written since then.
    listens: bool,
    hints: Arc<EarlyHints>,
    /// Of those, what has begun to leave.
    leaving: BytesMut,
    /// All that was written has left: no head or body is half there.
    is_flushed: bool,
}

/// How long a client that has said all is taken to listen still, where nothing is written that would tell. Most clients
/// that end their half are gone, and an upstream that works for nobody may be dear.
const PATIENCE: Duration = Duration::from_secs(5);

impl<S> FramedStream<S> {
    pub fn new(
        inner: S,
        max_head: usize,
        switched: Arc<AtomicBool>,
        under_way: Arc<AtomicUsize>,
        hints: Arc<EarlyHints>,
    ) -> (Self, Why) {
        let why = Why::default();
        let strict = Self {
            inner,
            framing: Framing::new(max_head),
            partial: Vec::new(),
            sound: BytesMut::new(),
            why: why.clone(),
            switched,
            under_way,
            patience: None,
            listens: false,
            hints,
            leaving: BytesMut::new(),
            is_flushed: true,
        };
        (strict, why)
    }

    /// What the end of the client's half comes to: whoever has sent whole requests, and no part of another, may wait for
    /// the answers.
    fn end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let complete = self.framing.between_check() && self.partial.is_empty();
        if !complete || self.under_way.load(Ordering::Relaxed) == 0 {
            return Poll::Ready(Ok(()));
        }
        let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
        ready!(patience.as_mut().poll(cx));
        // a write to who is gone fails, and that ends it
        if self.listens { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    /// The stream, and what was read of it that nobody has taken.
    pub fn into_parts(self) -> (S, Vec<u8>) {
        (self.inner, [&self.sound[..], &self.partial].concat())
    }

    fn fail(&self, fault: FramingFault) -> io::Error {
        self.why.set(fault);
        io::Error::new(io::ErrorKind::InvalidData, "the request's framing is malformed")
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FramedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.switched.load(Ordering::Acquire) {
            this.framing.release();
        }
        loop {
            if !this.sound.is_empty() {
                let n = this.sound.len().min(buf.remaining());
                buf.put_slice(&this.sound[..n]);
                this.sound.advance(n);
                return Poll::Ready(Ok(()));
            }
            if this.patience.is_some() {
                return this.end(cx);
            }
            let start = buf.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
            let new = &buf.filled()[start..];
            if new.is_empty() {
                return this.end(cx);
            }
            if this.partial.is_empty() {
                // the usual case: whole heads and bodies, looked at where they lie
                let sound = this.framing.read(new).map_err(|f| this.fail(f))?;
                if sound.angle_brackets.is_none() {
                    this.partial.extend_from_slice(&new[sound.len..]);
                    buf.set_filled(start + sound.len);
                    if sound.len > 0 {
                        return Poll::Ready(Ok(()));
                    }
                    continue;
                }
                this.admit(new, &sound);
                this.partial.extend_from_slice(&new[sound.len..]);
            } else {
                this.partial.extend_from_slice(new);
            }
            buf.set_filled(start);
            this.read_partial().map_err(|f| this.fail(f))?;
        }
    }
}

impl<S> FramedStream<S> {
    /// Reads what waits, as far as it goes.
    fn read_partial(&mut self) -> Result<(), FramingFault> {
        let partial = std::mem::take(&mut self.partial);
        let mut rest = &partial[..];
        while !rest.is_empty() {
            let sound = self.framing.read(rest)?;
            if sound.len == 0 {
                break;
            }
            self.admit(rest, &sound);
            rest = rest.get(sound.len..).unwrap_or_default();
        }
        if rest.len() == partial.len() {
            // a long head may come byte by byte
            self.partial = partial;
        } else {
            self.partial.extend_from_slice(rest);
        }
        Ok(())
    }

    /// Lets sound bytes through, with the brackets of a target in the form that URIs have for them.
    fn admit(&mut self, data: &[u8], sound: &Sound) {
        let Some(line) = sound.angle_brackets.clone() else { return self.sound.extend_from_slice(&data[..sound.len]) };
        self.sound.extend_from_slice(&data[..line.start]);
        for byte in &data[line.clone()] {
            match byte {
                b'<' => self.sound.extend_from_slice(b"%3C"),
                b'>' => self.sound.extend_from_slice(b"%3E"),
                _ => self.sound.put_u8(*byte),
            }
        }
        self.sound.extend_from_slice(&data[line.end..sound.len]);
    }
}

impl<S: AsyncWrite + Unpin> FramedStream<S> {
    fn has_hints(&self) -> bool {
        !self.leaving.is_empty() || self.hints.any()
    }

    /// Writes the interim heads that are ready. Whoever serves the stream flushes once it has nothing more to write, so that
    /// what comes after that begins a head, or goes on with a body, before whose head these had to leave.
    fn poll_hints(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.hints.any() {
            let heads = self.hints.take();
            if self.is_flushed {
                self.leaving.unsplit(heads);
            }
        }
        while !self.leaving.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.leaving))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.leaving.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Readies the stream for what is written to it.
    fn poll_begin_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.listens |= self.patience.is_some();
        if self.has_hints() {
            ready!(self.poll_hints(cx))?;
        }
        self.is_flushed = false;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FramedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_begin_write(cx))?;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_begin_write(cx))?;
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.hints.wake_on_more(cx.waker());
        this.is_flushed = true;
        if this.has_hints() {
            ready!(this.poll_hints(cx))?;
        }
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    delegate_async_write!(inner: is_write_vectored);

    /// Only flushes: who serves the stream has the last word, and closes what [`Self::into_parts`] gives.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::wire::http1_framing::MAX_HEAD;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// What comes out of a stream that arrives in pieces, read in steps.
    fn through(stream: &[u8], cuts: &[usize], step: usize) -> Result<Vec<u8>, Option<FramingFault>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut near, far) = tokio::io::duplex(64);
            let (stream, cuts) = (stream.to_vec(), cuts.to_vec());
            let writer = tokio::spawn(async move {
                let mut rest = &stream[..];
                for cut in cuts.iter().cycle() {
                    let n = (*cut).min(rest.len());
                    // a reader that has seen a fault no longer reads
                    if n == 0 || near.write_all(&rest[..n]).await.is_err() {
                        break;
                    }
                    rest = &rest[n..];
                    tokio::task::yield_now().await;
                }
            });
            let (mut strict, why) = FramedStream::new(far, MAX_HEAD, Arc::default(), Arc::default(), Arc::default());
            let (mut out, mut buf) = (Vec::new(), vec![0; step]);
            let end = loop {
                match strict.read(&mut buf).await {
                    Ok(0) => break Ok(out),
                    Ok(n) => out.extend_from_slice(&buf[..n]),
                    Err(_) => break Err(why.take()),
                }
            };
            drop(strict);
            writer.await.unwrap();
            end
        })
    }

    #[tokio::test]
    async fn a_head_that_comes_byte_by_byte_is_not_copied_for_each() {
        let (mut near, far) = tokio::io::duplex(64);
        let (mut strict, _) = FramedStream::new(far, MAX_HEAD, Arc::default(), Arc::default(), Arc::default());
        let mut buffers = Vec::new();
        for byte in format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(4000)).bytes() {
            near.write_all(&[byte]).await.unwrap();
            let (mut room, mut cx) = ([0; 64], Context::from_waker(std::task::Waker::noop()));
            let mut room = ReadBuf::new(&mut room);
            assert!(Pin::new(&mut strict).poll_read(&mut cx, &mut room).is_pending(), "no part of a head comes out");
            buffers.push(strict.partial.as_ptr());
        }
        buffers.dedup();
        assert!(buffers.len() < 20, "{}", buffers.len());
    }

    #[tokio::test]
    async fn hints_go_where_nothing_is_half_written_or_not_at_all() {
        let (mut near, far) = tokio::io::duplex(1024);
        let hints = Arc::<EarlyHints>::default();
        let (mut stream, _) = FramedStream::new(far, MAX_HEAD, Arc::default(), Arc::default(), hints.clone());
        let hint = |exchange| hints.send(exchange, http::StatusCode::EARLY_HINTS, &http::HeaderMap::new());
        let before = hints.open();
        let exchange = hints.open();
        stream.write_all(b"one ").await.unwrap();
        hint(exchange);
        stream.write_all(b"two ").await.unwrap();
        stream.flush().await.unwrap();
        hint(before);
        hint(exchange);
        stream.flush().await.unwrap();
        hint(exchange);
        hints.close();
        hint(exchange);
        stream.write_all(b"three").await.unwrap();
        drop(stream);
        let mut written = String::new();
        near.read_to_string(&mut written).await.unwrap();
        assert_eq!(written, "one two HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nthree");
    }

    proptest! {
        #[test]
        fn sound_streams_pass_whole_however_they_are_cut(
            bodies in proptest::collection::vec("[a-z<>]{0,40}", 1..6),
            cuts in proptest::collection::vec(1usize..60, 1..20),
            step in 1usize..100,
        ) {
            let stream: String = bodies.iter().map(|b| format!("POST /?a=<{b}> HTTP/1.1\r\nX: <\r\nContent-Length: {}\r\n\r\n{b}", b.len())).collect();
            let wanted: String = bodies.iter().map(|b| {
                let target = format!("<{b}>").replace('<', "%3C").replace('>', "%3E");
                format!("POST /?a={target} HTTP/1.1\r\nX: <\r\nContent-Length: {}\r\n\r\n{b}", b.len())
            }).collect();
            prop_assert_eq!(through(stream.as_bytes(), &cuts, step), Ok(wanted.into_bytes()));
        }

        #[test]
        fn many_heads_at_once_pass(count in 1usize..400, step in 1usize..9000) {
            let stream = "GET /<a> HTTP/1.1\r\n\r\n".repeat(count);
            let wanted = "GET /%3Ca%3E HTTP/1.1\r\n\r\n".repeat(count);
            prop_assert_eq!(through(stream.as_bytes(), &[4096], step), Ok(wanted.into_bytes()));
        }

        #[test]
        fn a_fault_ends_the_stream(cuts in proptest::collection::vec(1usize..60, 1..20), step in 1usize..100) {
            let stream = b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nX : 1\r\n\r\nGET /never HTTP/1.1\r\n\r\n";
            prop_assert!(matches!(through(stream, &cuts, step), Err(Some(FramingFault::Malformed(_)))));
        }
    }
}
