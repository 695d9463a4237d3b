//! A request's body as far as it has come: a short one that a key may go into is gathered before it is judged.

use super::agent_body::AgentBody;
use crate::io::body_buffer::BodyBuffer;
use crate::proxy::limits::KEEP_ALIVE;
use crate::proxy::refusal::{self, Refusal, RefusalKind};
use crate::rewrite::coding::{self, Coding};
use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue};
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::task::coop;

/// A body as far as it has come.
pub(crate) enum Came {
    Whole(Bytes, Option<HeaderMap>),
    Coming(AgentBody),
}

impl Came {
    /// Whether it is short enough to be held, in bytes, and has still to come.
    pub fn is_to_be_held(&self, limit: u64) -> bool {
        let short = |inner: &AgentBody| inner.size_hint().exact().is_some_and(|n| n <= limit);
        matches!(self, Came::Coming(inner) if !inner.is_end_stream() && short(inner))
    }

    /// All of it, once it's there.
    pub async fn whole(self) -> Result<Self, Refusal> {
        match self {
            Came::Coming(inner) => gather(inner).await.map(|(data, trailers)| Came::Whole(data, trailers)),
            whole => Ok(whole),
        }
    }
}

/// The codings of a body that a key may go into.
pub(crate) fn codings(headers: &HeaderMap) -> Result<Vec<Coding>, Refusal> {
    let codings = coding::parse(headers.get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes));
    codings.map_err(|e| {
        let why = format!("a key is bound to bodies at this host, so this one has to be read: {e}");
        Refusal::new(refusal::of_coding(&e), why)
    })
}

/// All of a body that is short enough to be held.
pub(super) async fn gather<B: Body<Data = Bytes, Error: Into<Refusal>> + Unpin>(
    mut inner: B,
) -> Result<(Bytes, Option<HeaderMap>), Refusal> {
    let expected = inner.size_hint().exact().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let (mut pieces, mut trailers) = (BodyBuffer::of(expected), None);
    loop {
        let Ok(frame) = tokio::time::timeout(KEEP_ALIVE, inner.frame()).await else {
            let why = format!("nothing more of the body came for {} s", KEEP_ALIVE.as_secs());
            return Err(Refusal::new(RefusalKind::BodyTimeout, why));
        };
        let Some(frame) = frame else { return Ok((pieces.whole(), trailers)) };
        let frame = frame.map_err(Into::into)?;
        match frame.into_data() {
            Ok(data) => pieces.push(data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
        // there may be a frame for each byte
        coop::consume_budget().await;
    }
}
