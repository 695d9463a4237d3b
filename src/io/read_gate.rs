//! Reads from a stream again only once it has something: an HTTP library looks several times a message whether more has
//! come, and each look in vain goes through all of TLS.

use super::delegate::delegate_async_write;
use atomic_waker::AtomicWaker;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream wrapper that does not poll for reading again until the waker of the last empty read was called.
pub struct ReadGate<S> {
    inner: S,
    bell: Arc<Bell>,
    /// Rings the bell.
    rope: Waker,
    /// The stream had nothing, and rings when it has.
    waiting: bool,
}

#[derive(Default)]
struct Bell {
    rung: AtomicBool,
    sleeper: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.sleeper.wake();
    }
}

impl<S> ReadGate<S> {
    /// Wraps a stream of which nothing has been read yet.
    pub fn new(inner: S) -> Self {
        let bell = Arc::<Bell>::default();
        Self { inner, rope: bell.clone().into(), bell, waiting: false }
    }

    /// The stream inside.
    pub fn inner(&self) -> &S {
        &self.inner
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadGate<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // first, so that a ring between the two is not missed
        this.bell.sleeper.register(cx.waker());
        if this.waiting && !this.bell.rung.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        this.bell.rung.store(false, Ordering::Relaxed);
        let polled = Pin::new(&mut this.inner).poll_read(&mut Context::from_waker(&this.rope), buf);
        this.waiting = polled.is_pending();
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadGate<S> {
    delegate_async_write!(inner: poll_write, poll_write_vectored, is_write_vectored, poll_flush, poll_shutdown);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    /// Counts how often it is asked.
    struct Asked(DuplexStream, Arc<std::sync::atomic::AtomicUsize>);

    impl AsyncRead for Asked {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    #[tokio::test]
    async fn who_has_nothing_is_asked_once_until_something_comes() {
        let (mut near, far) = tokio::io::duplex(64);
        let asked = Arc::<std::sync::atomic::AtomicUsize>::default();
        let mut stream = ReadGate::new(Asked(far, asked.clone()));
        let mut room = [0; 8];
        let mut look = async || {
            let mut buf = ReadBuf::new(&mut room);
            let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut stream).poll_read(cx, &mut buf))).await;
            polled.is_ready().then(|| buf.filled().to_vec())
        };
        for _ in 0..10 {
            assert_eq!(look().await, None);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        near.write_all(b"come").await.unwrap();
        assert_eq!(look().await.as_deref(), Some(&b"come"[..]));
        assert_eq!(look().await, None);
        assert_eq!(asked.load(Ordering::Relaxed), 3);
        drop(near);
        assert_eq!(look().await.as_deref(), Some(&b""[..]), "the end rings too");
    }

    proptest! {
        #[test]
        fn what_comes_out_is_what_went_in(sizes in proptest::collection::vec(1usize..300, 1..40), step in 1usize..200) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let got = runtime.block_on(async {
                let (mut near, far) = tokio::io::duplex(100);
                let sent = sizes.clone();
                let writer = tokio::spawn(async move {
                    for size in sent {
                        near.write_all(&vec![size as u8; size]).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                });
                let (mut stream, mut got, mut buf) = (ReadGate::new(far), Vec::new(), vec![0; step]);
                loop {
                    // whoever polls may be another task each time
                    let read = async { stream.read(&mut buf).await };
                    match tokio::select! { biased; n = read => n, () = tokio::task::yield_now() => continue }.unwrap() {
                        0 => break,
                        n => got.extend_from_slice(&buf[..n]),
                    }
                }
                writer.await.unwrap();
                got
            });
            let wanted: Vec<u8> = sizes.iter().flat_map(|size| vec![*size as u8; *size]).collect();
            prop_assert_eq!(got, wanted);
        }
    }
}
