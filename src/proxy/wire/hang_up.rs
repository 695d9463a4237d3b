//! Closing a connection so that its last words arrive.

use crate::proxy::limits::{LINGER, LINGER_BYTES};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

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
