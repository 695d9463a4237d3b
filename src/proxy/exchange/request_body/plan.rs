//! The way of a request's body: passed on as it is, held and rewritten whole, or rewritten while it streams.

use super::body::RequestBody;
use super::came::{Came, codings};
use super::held::{Held, Used};
use super::limited::{self, LimitedBody};
use super::passing::Passing;
use super::rewriting::Rewriting;
use crate::name::AgentName;
use crate::policy::Permit;
use crate::proxy::exchange::authorization::{Authorization, BodyKeys};
use crate::proxy::exchange::decode_budget::{DecodeBudget, Reservation};
use crate::proxy::exchange::outcome::BodyProgress;
use crate::proxy::limits::{HELD_AGAIN, PORTIONS_A_TURN};
use crate::proxy::refusal::{Refusal, RefusalKind};
use crate::record::KeyUse;
use crate::rewrite::body::BodyRewriter;
use crate::rewrite::coding::Coding;
use crate::rewrite::decoded_body::CodedBodyRewriter;
use crate::rewrite::digests;
use crate::rewrite::{BodyFault, BodyKey, Vocabulary};
use crate::secrets::Keys;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, TRANSFER_ENCODING};
use http_body::Body as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a body's way depends on.
pub(crate) struct Plan<'a> {
    pub authorization: &'a Arc<Authorization>,
    pub permit: &'a Permit,
    pub keys: &'a Keys,
    pub vocabulary: &'a Arc<Vocabulary>,
    pub decode_budget: &'a Arc<DecodeBudget>,
    /// Bytes up to which a body of declared length is held.
    pub held_body: u64,
}

impl Plan<'_> {
    /// Chooses the way, and rewrites what is held. Tells the uses of a held body; a streamed one records its own.
    pub async fn prepare(
        &self,
        headers: &mut HeaderMap,
        came: Came,
        chunked: bool,
        progress: Arc<BodyProgress>,
    ) -> Result<(RequestBody, Vec<KeyUse>), Refusal> {
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
            return Err(Refusal::new(RefusalKind::BodyMalformed, why));
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
    ) -> Result<(RequestBody, Vec<KeyUse>), Refusal> {
        let codings = if self.permit.body().is_empty() { Vec::new() } else { codings(headers)? };
        let (mut held, uses) = hold(headers, data, trailers, self.opening(engine, codings), progress).await?;
        if !uses.is_empty() {
            let keys = BodyKeys::new(self.authorization.clone(), self.permit, self.keys);
            let names = uses.iter().map(|used| used.key.clone()).collect();
            held.used = Some(Box::new(Used { keys, names, progress: progress.clone(), recorded: None }));
        }
        Ok((RequestBody::Held(held), uses))
    }

    fn opening(&self, engine: BodyRewriter, codings: Vec<Coding>) -> Opening<'_> {
        let (decode_budget, agent) = (self.decode_budget, &self.authorization.info.agent);
        Opening { engine, codings, decode_budget, agent, most: HELD_AGAIN * self.held_body }
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
    /// Bytes that a held body may come to.
    most: u64,
}

impl Opening<'_> {
    fn open(
        self,
        open: impl FnOnce(BodyRewriter, &[Coding]) -> Result<CodedBodyRewriter, BodyFault>,
    ) -> Result<(CodedBodyRewriter, Option<Reservation>), Refusal> {
        let reservation = if self.codings.is_empty() { None } else { Some(self.reservation()?) };
        Ok((open(self.engine, &self.codings)?, reservation))
    }

    fn reservation(&self) -> Result<Reservation, Refusal> {
        self.decode_budget.take(self.agent, &self.codings).ok_or_else(|| {
            let why = "too many coded bodies are being read at once; try again, or send it without its coding";
            Refusal::new(RefusalKind::BodyBudget, why)
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
) -> Result<(Held, Vec<KeyUse>), Refusal> {
    let most = opening.most;
    let (engine, _reservation) = opening.open(CodedBodyRewriter::of_whole)?;
    let (engine, out) = rewritten(engine, came.clone(), most).await?;
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

/// What a body comes to, in pieces, and what was done in it.
async fn rewritten(
    mut engine: CodedBodyRewriter,
    body: Bytes,
    most: u64,
) -> Result<(CodedBodyRewriter, Vec<Bytes>), Refusal> {
    let (mut out, mut length) = (Vec::new(), 0);
    engine.push(body, &mut out)?;
    for turn in 1.. {
        let before = out.len();
        if !engine.step(&mut out)? {
            break;
        }
        length += out.iter().skip(before).map(Bytes::len).sum::<usize>();
        if length as u64 > most {
            let why = "it unfolds to more than can be held; send it without a Content-Length";
            return Err(Refusal::new(RefusalKind::BodyTooLarge, why));
        }
        if turn % PORTIONS_A_TURN == 0 {
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

#[cfg(test)]
mod tests;
