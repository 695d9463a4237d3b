//! Closing a connection so that its last words arrive, or so that nobody takes them for the last.

use crate::io::abortive_close::AbortiveClose;
use crate::proxy::limits::{LINGER, LINGER_BYTES};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;

/// Resolves once the proxy stops, and nothing has passed for a while: who only stays connected is not waited for.
pub async fn idle_at_stop(stop: &mut watch::Receiver<bool>, passed: impl Fn() -> u64) {
    // a proxy that is gone has stopped
    let _ = stop.wait_for(|stopped| *stopped).await;
    loop {
        let before = passed();
        tokio::time::sleep(LINGER).await;
        if passed() == before {
            return;
        }
    }
}

/// Closes so that the last answer still arrives: unread bytes would turn the close into a reset that overtakes it.
pub async fn hang_up<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, draining: bool) {
    let lingering = async {
        stream.shutdown().await?;
        if !draining {
            tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    // whoever stays longer has had the time
    let _ = tokio::time::timeout(LINGER, lingering).await;
}

/// Closes in the middle of an answer: what was cut here is cut for the client too, and doesn't pass for whole.
pub async fn cut_off<S: AsyncWrite + AbortiveClose + Unpin>(mut stream: S) {
    // what was cut may be of use all the same
    let _ = tokio::time::timeout(LINGER, stream.flush()).await;
    stream.reset_on_drop();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    /// Time stands still but where all wait.
    #[tokio::test(start_paused = true)]
    async fn who_says_something_is_waited_for_and_who_idles_is_not() {
        let (stop, mut stopped) = watch::channel(false);
        let passed = AtomicU64::new(0);
        let ends = async |stopped: &mut watch::Receiver<bool>| {
            let idle = idle_at_stop(stopped, || passed.load(Ordering::Relaxed));
            tokio::time::timeout(LINGER * 10, idle).await.is_ok()
        };
        assert!(!ends(&mut stopped).await, "it serves");
        stop.send_replace(true);
        assert!(ends(&mut stopped).await);
        let talk = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                passed.fetch_add(1, Ordering::Relaxed);
            }
        };
        let waited = tokio::select! { ended = ends(&mut stopped) => ended, () = talk => true };
        assert!(!waited, "something passes");
    }
}
