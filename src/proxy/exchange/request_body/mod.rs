//! A request's body on its way out: passed as it is, held and rewritten whole, or rewritten while it streams.

mod limited;
mod rewriting;

use super::authorization::{Authorization, BodyKeys};
use super::body_buffer::BodyBuffer;
use super::decode_budget::{DecodeBudget, Reservation};
use super::outcome::BodyProgress;
use super::serve::KEEP_ALIVE;
use crate::name::{AgentName, KeyName};
use crate::policy::agent::AuthError;
use crate::policy::{Denial, Permit};
use crate::record::KeyUse;
use crate::rewrite::body::BodyRewriter;
use crate::rewrite::coding::{self, Coding, CodingError};
use crate::rewrite::decoded_body::CodedBodyRewriter;
use crate::rewrite::digests::{self, DigestFault};
use crate::rewrite::{BodyFault, BodyKey, Vocabulary};
use crate::secrets::Keys;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use limited::{Cut, LimitedBody};
use rewriting::Rewriting;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::coop;

/// A body of known length up to this is held and rewritten whole, so that its length is exact.
pub const HELD: u64 = 256 * 1024;

/// What a held body may come to when its codings are closed again: the same text can be coded better than we do.
const HELD_AGAIN: usize = 16 * HELD as usize;

/// So many portions of what a few bytes unfold to may be worked on before others on the same thread get their turn.
const TURN: usize = 16;

/// Why a body can't go on, and whose fault it is.
#[derive(Debug, Clone)]
pub enum Fault {
    Body {
        status: StatusCode,
        why: String,
    },
    Key(String),
    /// A key that it uses, or the agent, may no longer go there.
    Denied(Denial),
    Unauthenticated(AuthError),
    Audit(String),
    /// The agent broke off.
    Agent(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Body { why, .. } | Fault::Key(why) | Fault::Audit(why) | Fault::Agent(why) => f.write_str(why),
            Fault::Denied(denial) => denial.fmt(f),
            Fault::Unauthenticated(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for Fault {}

impl From<hyper::Error> for Fault {
    fn from(e: hyper::Error) -> Self {
        Fault::Agent(format!("the agent broke off its body: {e}"))
    }
}

impl From<BodyFault> for Fault {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::Unavailable { .. } | BodyFault::Unwritable(_) => Fault::Key(fault.to_string()),
            BodyFault::TooManyUses { .. } => Fault::Body { status: StatusCode::FORBIDDEN, why: fault.to_string() },
            BodyFault::Coding(ref e) => Fault::Body { status: coding_status(e), why: fault.to_string() },
            _ => Fault::Body { status: StatusCode::BAD_REQUEST, why: fault.to_string() },
        }
    }
}

fn coding_status(e: &CodingError) -> StatusCode {
    match e {
        CodingError::Unknown(_) | CodingError::TooMany => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        CodingError::Ratio { .. } | CodingError::Size(_) => StatusCode::PAYLOAD_TOO_LARGE,
        CodingError::Memory(_) => StatusCode::SERVICE_UNAVAILABLE,
        CodingError::Corrupt(_) | CodingError::Truncated(_) | CodingError::Trailing(_) => StatusCode::BAD_REQUEST,
    }
}

impl From<Cut> for Fault {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::Gone(e) => e.into(),
            Cut::Forbidden(why) => Fault::Body { status: StatusCode::FORBIDDEN, why },
        }
    }
}

impl From<DigestFault> for Fault {
    fn from(fault: DigestFault) -> Self {
        let why = format!("a key is in the body now, and {fault}; leave that header out");
        Fault::Body { status: StatusCode::BAD_REQUEST, why }
    }
}

/// What goes upstream.
pub enum RequestBody {
    Held(Held),
    Passing(Box<Passing>),
    Rewriting(Box<Rewriting>),
    /// One of them, once the upstream wants it.
    Expecting(Box<Expecting>),
}

/// The client waits for the upstream's word before it sends its body (RFC 9110, section 10.1.1), so we wait as well.
pub struct Expecting {
    /// Whether the body is to be sent.
    word: Pin<Box<dyn Future<Output = bool> + Send>>,
    body: RequestBody,
}

/// How long an upstream may take to say that it wants a body: many never do. curl waits as long.
const CONTINUE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct Held {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
    /// Where keys are in it.
    used: Option<Used>,
}

/// The keys that are in a held body.
struct Used {
    keys: BodyKeys,
    names: Vec<KeyName>,
    progress: Arc<BodyProgress>,
}

/// Passed on as it comes; placeholders in it are counted and stay.
pub struct Passing {
    inner: LimitedBody,
    counter: BodyRewriter,
    authorization: Arc<Authorization>,
    progress: Arc<BodyProgress>,
}

/// A body as far as it has come.
pub(crate) enum Came {
    Whole(Bytes, Option<HeaderMap>),
    Coming(Incoming),
}

impl Came {
    /// Whether it is short enough to be held, and has still to come.
    pub fn is_to_be_held(&self) -> bool {
        let short = |inner: &Incoming| inner.size_hint().exact().is_some_and(|n| n <= HELD);
        matches!(self, Came::Coming(inner) if !inner.is_end_stream() && short(inner))
    }

    /// All of it, once it's there.
    pub async fn whole(self) -> Result<Self, Fault> {
        match self {
            Came::Coming(inner) => gather(inner).await.map(|(data, trailers)| Came::Whole(data, trailers)),
            whole => Ok(whole),
        }
    }
}

/// The codings of a body that a key may go into.
pub(crate) fn codings(headers: &HeaderMap) -> Result<Vec<Coding>, Fault> {
    let codings = coding::parse(headers.get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes));
    codings.map_err(|e| Fault::Body {
        status: coding_status(&e),
        why: format!("a key is bound to bodies at this host, so this one has to be read: {e}"),
    })
}

/// What a body's way depends on.
pub(crate) struct Plan<'a> {
    pub authorization: &'a Arc<Authorization>,
    pub permit: &'a Permit,
    pub keys: &'a Keys,
    pub vocabulary: &'a Arc<Vocabulary>,
}

impl Plan<'_> {
    /// Chooses the way, and rewrites what is held. Tells the uses of a held body; a streamed one records its own.
    pub async fn prepare(
        &self,
        headers: &mut HeaderMap,
        came: Came,
        chunked: bool,
        progress: Arc<BodyProgress>,
    ) -> Result<(RequestBody, Vec<KeyUse>), Fault> {
        let engine = BodyRewriter::new(self.vocabulary.clone(), headers.get(CONTENT_TYPE), self.body_keys());
        let inner = match came {
            Came::Whole(data, trailers) => {
                limited::check(&data, self.permit.limits(), headers)?;
                return self.hold(headers, data, trailers, engine, &progress).await;
            }
            Came::Coming(inner) => inner,
        };
        if inner.is_end_stream() {
            return Ok((RequestBody::Held(Held::default()), Vec::new()));
        }
        let inner = LimitedBody::new(inner, self.permit.limits(), headers)?;
        if chunked || inner.size_hint().exact().is_none() {
            // a body without a length goes chunked, even where the method rarely has a body
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let authorization = self.authorization.clone();
        if self.permit.body().is_empty() {
            let passing = Box::new(Passing { inner, counter: engine, authorization, progress });
            return Ok((RequestBody::Passing(passing), Vec::new()));
        }
        let (engine, reservation) = self.opening(engine, codings(headers)?).open(CodedBodyRewriter::new)?;
        headers.remove(CONTENT_LENGTH);
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        if let Some(name) = digests::first(headers) {
            let why = format!("{name} can't be kept right for a long body that may take a key; leave it out");
            return Err(Fault::Body { status: StatusCode::BAD_REQUEST, why });
        }
        let keys = BodyKeys::new(authorization, self.permit, self.keys);
        Ok((RequestBody::Rewriting(Box::new(Rewriting::new(inner, engine, keys, progress, reservation))), Vec::new()))
    }

    async fn hold(
        &self,
        headers: &mut HeaderMap,
        data: Bytes,
        trailers: Option<HeaderMap>,
        engine: BodyRewriter,
        progress: &Arc<BodyProgress>,
    ) -> Result<(RequestBody, Vec<KeyUse>), Fault> {
        let codings = if self.permit.body().is_empty() { Vec::new() } else { codings(headers)? };
        let (mut held, uses) = hold(headers, data, trailers, self.opening(engine, codings), progress).await?;
        if !uses.is_empty() {
            let keys = BodyKeys::new(self.authorization.clone(), self.permit, self.keys);
            let names = uses.iter().map(|used| used.key.clone()).collect();
            held.used = Some(Used { keys, names, progress: progress.clone() });
        }
        Ok((RequestBody::Held(held), uses))
    }

    fn opening(&self, engine: BodyRewriter, codings: Vec<Coding>) -> Opening<'_> {
        let Authorization { shared, info, .. } = &**self.authorization;
        Opening { engine, codings, decode_budget: &shared.decode_budget, agent: &info.agent }
    }

    fn body_keys(&self) -> Vec<BodyKey> {
        let grants = self.permit.body().iter();
        grants
            .map(|grant| BodyKey {
                key: grant.rule.name.clone(),
                value: self.keys.get(&grant.rule.name).cloned(),
                places: grant.rule.body_places().cloned().collect(),
                max_uses: grant.uses_left,
            })
            .collect()
    }
}

/// What a body is opened with.
struct Opening<'a> {
    engine: BodyRewriter,
    codings: Vec<Coding>,
    decode_budget: &'a Arc<DecodeBudget>,
    agent: &'a AgentName,
}

impl Opening<'_> {
    fn open(
        self,
        open: impl FnOnce(BodyRewriter, &[Coding]) -> Result<CodedBodyRewriter, BodyFault>,
    ) -> Result<(CodedBodyRewriter, Option<Reservation>), Fault> {
        let reservation = if self.codings.is_empty() { None } else { Some(self.reservation()?) };
        Ok((open(self.engine, &self.codings)?, reservation))
    }

    fn reservation(&self) -> Result<Reservation, Fault> {
        self.decode_budget.take(self.agent, &self.codings).ok_or_else(|| Fault::Body {
            status: StatusCode::SERVICE_UNAVAILABLE,
            why: "too many coded bodies are being read at once; try again, or send it without its coding".into(),
        })
    }
}

/// Works on a body all of which is there. Until then it has taken as much memory as it is long, however it came, and no room
/// for its codings.
async fn hold(
    headers: &mut HeaderMap,
    came: Bytes,
    mut trailers: Option<HeaderMap>,
    opening: Opening<'_>,
    progress: &BodyProgress,
) -> Result<(Held, Vec<KeyUse>), Fault> {
    let (engine, _room) = opening.open(CodedBodyRewriter::of_whole)?;
    let (engine, out) = rewritten(engine, came.clone()).await?;
    progress.kept.store(engine.kept(), Ordering::Relaxed);
    let uses = engine.uses().to_vec();
    let data = if uses.is_empty() { came.clone() } else { whole(out) };
    if !uses.is_empty() {
        for headers in [Some(&mut *headers), trailers.as_mut()].into_iter().flatten() {
            digests::renew(headers, &[&came], &data)?;
        }
        headers.insert(CONTENT_LENGTH, HeaderValue::from(data.len()));
    }
    progress.bytes_out.store(data.len() as u64, Ordering::Relaxed);
    Ok((Held { data: Some(data).filter(|d| !d.is_empty()), trailers, used: None }, uses))
}

/// All of a body that is no longer than [`HELD`].
async fn gather<B: Body<Data = Bytes, Error: Into<Fault>> + Unpin>(
    mut inner: B,
) -> Result<(Bytes, Option<HeaderMap>), Fault> {
    let expected = inner.size_hint().exact().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    let (mut pieces, mut trailers) = (BodyBuffer::of(expected), None);
    loop {
        let Ok(frame) = tokio::time::timeout(KEEP_ALIVE, inner.frame()).await else {
            let why = format!("nothing more of the body came for {} s", KEEP_ALIVE.as_secs());
            return Err(Fault::Body { status: StatusCode::REQUEST_TIMEOUT, why });
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

/// What a body comes to, in pieces, and what was done in it.
async fn rewritten(mut engine: CodedBodyRewriter, body: Bytes) -> Result<(CodedBodyRewriter, Vec<Bytes>), Fault> {
    let (mut out, mut length) = (Vec::new(), 0);
    engine.push(body, &mut out)?;
    for turn in 1.. {
        let before = out.len();
        if !engine.step(&mut out)? {
            break;
        }
        length += out.iter().skip(before).map(Bytes::len).sum::<usize>();
        if length > HELD_AGAIN {
            let why = "it unfolds to more than can be held; send it without a Content-Length".into();
            return Err(Fault::Body { status: StatusCode::PAYLOAD_TOO_LARGE, why });
        }
        if turn % TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    engine.finish(&mut out)?;
    Ok((engine, out))
}

fn whole(mut chunks: Vec<Bytes>) -> Bytes {
    if chunks.len() == 1 {
        return chunks.pop().unwrap_or_default();
    }
    let mut all = Vec::with_capacity(chunks.iter().map(Bytes::len).sum());
    chunks.iter().for_each(|c| all.extend_from_slice(c));
    all.into()
}

impl RequestBody {
    /// Holds back until the upstream's 100, which `go` tells of, or for as long as it may take to send one. After a
    /// final status it never goes.
    pub(crate) fn expecting(self, progress: Arc<BodyProgress>) -> (Self, Arc<Notify>) {
        let go = Arc::new(Notify::new());
        let told = go.clone();
        let word = Box::pin(async move {
            if tokio::time::timeout(CONTINUE, told.notified()).await.is_ok()
                || !progress.answered.load(Ordering::Acquire)
            {
                return true;
            }
            progress.over.notified().await;
            false
        });
        (RequestBody::Expecting(Box::new(Expecting { word, body: self })), go)
    }

    /// Tells whoever waits for the answer why there is none; where nobody does, the audit alone.
    fn note(&self, fault: &Fault) {
        let (authorization, progress) = match self {
            RequestBody::Held(_) | RequestBody::Expecting(_) => return,
            RequestBody::Passing(passing) => (&passing.authorization, &passing.progress),
            RequestBody::Rewriting(rewriting) => (rewriting.authorization(), &rewriting.progress),
        };
        progress.set_fault(fault);
        if progress.ended.load(Ordering::Acquire) {
            authorization.record(fault);
        }
    }

    pub fn is_held(&self) -> bool {
        matches!(self, RequestBody::Held(_))
    }
}

impl Held {
    fn next(&mut self) -> Option<Result<Frame<Bytes>, Fault>> {
        let Some(data) = self.data.take() else { return self.trailers.take().map(|t| Ok(Frame::trailers(t))) };
        let Some(Used { keys, names, progress }) = self.used.take() else { return Some(Ok(Frame::data(data))) };
        let may_leave = keys.hold(&names).inspect_err(|fault| progress.set_fault(fault));
        Some(may_leave.map(|()| Frame::data(data)))
    }
}

impl Expecting {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<RequestBody, Fault>> {
        let wanted = ready!(self.word.as_mut().poll(cx));
        let body = std::mem::replace(&mut self.body, RequestBody::Held(Held::default()));
        let unwanted = || Fault::Agent("the upstream answered before the body, which was not sent then".into());
        Poll::Ready(if wanted { Ok(body) } else { Err(unwanted()) })
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if let RequestBody::Expecting(expecting) = &mut *self {
            let body = ready!(expecting.poll(cx))?;
            *self = body;
        }
        let polled = match &mut *self {
            RequestBody::Expecting(_) => Poll::Ready(None),
            RequestBody::Held(held) => Poll::Ready(held.next()),
            RequestBody::Passing(passing) => passing.poll(cx),
            RequestBody::Rewriting(rewriting) => rewriting.poll(cx),
        };
        let polled = ready!(polled);
        if let Some(Err(fault)) = &polled {
            self.note(fault);
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            RequestBody::Held(held) => held.data.is_none() && held.trailers.is_none(),
            RequestBody::Passing(passing) => passing.inner.is_end_stream(),
            RequestBody::Rewriting(_) => false,
            RequestBody::Expecting(expecting) => expecting.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Held(held) => SizeHint::with_exact(held.data.as_ref().map_or(0, |d| d.len() as u64)),
            RequestBody::Passing(passing) => passing.inner.size_hint(),
            RequestBody::Rewriting(_) => SizeHint::default(),
            RequestBody::Expecting(expecting) => expecting.body.size_hint(),
        }
    }
}

impl Passing {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
            Some(Ok(frame)) => {
                self.authorization.agent_holds()?;
                if let Some(data) = frame.data_ref() {
                    self.progress.bytes_out.fetch_add(data.len() as u64, Ordering::Relaxed);
                    self.count(data.clone());
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(cut)) => Poll::Ready(Some(Err(cut.into()))),
            None => Poll::Ready(None),
        }
    }

    /// What has no key bound to it is only counted, and a count can't fail the request.
    fn count(&mut self, data: Bytes) {
        let _ = self.counter.push(data, &mut Vec::new());
        self.progress.kept.store(self.counter.kept(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
