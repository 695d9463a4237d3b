//! The fourth stage: keys where placeholders were, in the final head and in a body that is held.

use super::asked::Exchange;
use super::judged::{Transfer, Verdict};
use super::opened::Opened;
use crate::name::{Host, Origin};
use crate::policy::Permit;
use crate::proxy::Ruleset;
use crate::proxy::exchange::authorization::Authorization;
use crate::proxy::exchange::client_signature::ClientSignature;
use crate::proxy::exchange::current_scrubber::CurrentScrubber;
use crate::proxy::exchange::request_body::RequestBody;
use crate::proxy::exchange::request_body::plan::Plan;
use crate::proxy::exchange::response_body;
use crate::proxy::refusal::Refusal;
use crate::record::KeyUse;
use crate::rewrite::{head, near_miss};
use crate::secrets::Keys;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Request};
use std::sync::Arc;

/// A request as it leaves, but for what a streamed body still brings.
pub(crate) struct Rewritten<'c> {
    pub exchange: Exchange<'c>,
    pub transfer: Transfer,
    /// With the final head.
    pub request: Request<RequestBody>,
    /// The uses of keys in a body that was held.
    pub body_uses: Vec<KeyUse>,
    pub decided: Decided,
    pub scrubber: CurrentScrubber,
}

/// What the request goes by, as it was decided.
pub(crate) struct Decided {
    pub ruleset: Arc<Ruleset>,
    pub permit: Permit,
    pub keys: Keys,
    pub authorization: Arc<Authorization>,
}

impl<'c> Opened<'c> {
    /// Writes the keys where their placeholders are.
    ///
    /// # Errors
    /// A value can't stand where its placeholder does, or the body can't be read as it has to be.
    pub async fn rewrite(self) -> Result<Rewritten<'c>, Refusal> {
        let authorization = self.authorization();
        let Opened { exchange, transfer, mut head, body, verdict, keys } = self;
        let is_searched = !verdict.permit.scrub().is_empty();
        if is_searched {
            exchange.outcome.signed_by_client(ClientSignature::of(&head));
        }
        head::replace(&mut head.uri, &mut head.headers, &verdict.hits, |k| keys.get(k).map(|v| v.expose()))
            .map_err(|e| Refusal::key_unavailable(e.to_string()))?;
        if is_searched && response_body::head::ask_for_identity(&mut head.headers) {
            exchange
                .outcome
                .note("Range was left out: keys are bound to the host, and answers of such hosts come whole");
        }
        // only where no key goes along: nobody looks twice at a head that has its placeholder
        if is_searched
            && verdict.hits.is_empty()
            && let Some(miss) = near_miss::find(&head.uri, &head.headers, verdict.hidden())
        {
            exchange.outcome.near_miss(miss);
        }
        if let Some(handshake) = &transfer.handshake {
            handshake.ask(&mut head.headers, is_searched);
        }
        let scrubber = scrubber(&exchange, &authorization, &verdict, &keys);
        exchange.outcome.use_keys(verdict.permit.keys().iter().cloned());
        exchange.outcome.hide_by(scrubber.hits());
        let Verdict { ruleset, permit, .. } = verdict;
        let shared = exchange.shared();
        let plan = Plan {
            authorization: &authorization,
            permit: &permit,
            keys: &keys,
            vocabulary: &ruleset.vocabulary,
            decode_budget: &shared.decode_budget,
            held_body: shared.config.limits.held_body,
        };
        let progress = exchange.outcome.progress.clone();
        let (body, body_uses) = plan.prepare(&mut head.headers, body, transfer.chunked, progress).await?;
        set_host(&exchange.origin, &mut head.headers);
        let request = Request::from_parts(head, body);
        let decided = Decided { ruleset, permit, keys, authorization };
        Ok(Rewritten { exchange, transfer, request, body_uses, decided, scrubber })
    }
}

/// What hides the host's keys in the answer, as they are now.
fn scrubber(
    exchange: &Exchange<'_>,
    authorization: &Arc<Authorization>,
    verdict: &Verdict,
    keys: &Keys,
) -> CurrentScrubber {
    let generations = verdict.hidden().map(|name| (name.clone(), keys.generation(name))).collect();
    let worker = &exchange.conn.worker;
    CurrentScrubber::new(worker, authorization.clone(), verdict.ruleset.clone(), generations, keys)
}

fn set_host(origin: &Origin, headers: &mut HeaderMap) {
    if let Host::Dns(name) = &origin.host
        && origin.port == origin.scheme.default_port()
        && headers.get(HOST).is_some_and(|host| host.as_bytes() == name.as_bytes())
    {
        return;
    }
    if let Ok(value) = HeaderValue::try_from(origin.authority()) {
        headers.insert(HOST, value);
    }
}
