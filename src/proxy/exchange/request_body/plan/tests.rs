//! Bodies that are held, however they come.

use super::super::came::gather;
use super::*;
use http_body::{Body, Frame, SizeHint};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A body of one-byte frames, which stays open after the last where it has no end.
struct Tiny {
    left: usize,
    ends: bool,
    /// Held by each frame that is kept.
    frames: Arc<()>,
}

struct Piece(#[expect(dead_code, reason = "counts")] Arc<()>);

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        b"x"
    }
}

impl Body for Tiny {
    type Data = Bytes;
    type Error = Refusal;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.left.checked_sub(1) {
            None if self.ends => Poll::Ready(None),
            None => Poll::Pending,
            Some(left) => {
                self.left = left;
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(Piece(self.frames.clone()))))))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left as u64)
    }
}

async fn held(body: Tiny) -> Result<Bytes, Refusal> {
    let vocabulary = Arc::new(Vocabulary::new(false, []).unwrap());
    let engine = BodyRewriter::new(vocabulary, None, Vec::new());
    let opening = Opening {
        engine,
        codings: Vec::new(),
        decode_budget: &Arc::default(),
        agent: &AgentName::local(),
        most: 1 << 20,
    };
    let (came, trailers) = gather(body).await?;
    let held = hold(&mut HeaderMap::new(), came, trailers, opening, &BodyProgress::default()).await;
    held.map(|(held, _)| held.data.unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn what_comes_in_the_smallest_pieces_takes_no_more_memory_than_its_length() {
    let frames = Arc::new(());
    let body = Tiny { left: 1000, ends: false, frames: frames.clone() };
    let holding = tokio::spawn(held(body));
    // longer than it takes to wait for more
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!holding.is_finished());
    assert!(Arc::strong_count(&frames) <= 3, "{} frames are kept", Arc::strong_count(&frames) - 2);
    holding.abort();
}

#[tokio::test(start_paused = true)]
async fn who_promises_a_body_and_is_silent_is_not_waited_for_for_ever() {
    for left in [0, 5] {
        let (body, start) = (Tiny { left, ends: false, frames: Arc::default() }, tokio::time::Instant::now());
        let waited = tokio::time::timeout(Duration::from_secs(3600), held(body)).await;
        match waited.expect("an hour is too long") {
            Err(refusal) => {
                assert!(refusal.kind() == RefusalKind::BodyTimeout && refusal.in_full().contains("75 s"), "{refusal}")
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(start.elapsed().as_secs(), 75);
    }
}

#[tokio::test]
async fn others_get_their_turn_between_the_frames() {
    let (mut turns, mut held) = (0, Box::pin(held(Tiny { left: 10_000, ends: true, frames: Arc::default() })));
    let whole = poll_fn(|cx| {
        turns += 1;
        held.as_mut().poll(cx)
    });
    assert_eq!(whole.await.unwrap().len(), 10_000);
    assert!(turns > 10, "{turns}");
}
