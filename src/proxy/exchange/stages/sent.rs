//! The last stage: the upstream's answer, on its way back.

use super::asked::Exchange;
use super::judged::Transfer;
use super::recorded::Recorded;
use super::rewritten::{Decided, Rewritten};
use crate::place::Place;
use crate::policy::Permit;
use crate::proxy::exchange::authorization::{Authorization, Value};
use crate::proxy::exchange::current_scrubber::CurrentScrubber;
use crate::proxy::exchange::outcome::{BodyProgress, HTTP_1_1};
use crate::proxy::exchange::request_body::RequestBody;
use crate::proxy::exchange::response_body::ResponseBody;
use crate::proxy::exchange::response_body::answer::UpstreamAnswer;
use crate::proxy::exchange::response_body::rewrite;
use crate::proxy::exchange::websocket::terms::RelayTerms;
use crate::proxy::recorder;
use crate::proxy::refusal::Refusal;
use crate::proxy::wire::early_hints::EarlyHints;
use crate::proxy::wire::headers;
use crate::proxy::{Ruleset, Shared};
use crate::record::Record;
use crate::rewrite::BodyKey;
use crate::secrets::Keys;
use crate::upstream::UpstreamError;
use crate::upstream::dial::AllowedPeer;
use crate::upstream::head_injection::CarriesKey;
use crate::upstream::pool::{Lease, SendError};
use crate::upstream::protocol::ProtocolPreference;
use http::header::{EXPECT, LINK};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use std::pin::{Pin, pin};
use std::sync::Arc;
use tokio::sync::Notify;

/// A request that has been answered.
pub(crate) struct Sent<'c> {
    exchange: Exchange<'c>,
    transfer: Transfer,
    method: Method,
    decided: Decided,
    scrubber: CurrentScrubber,
    response: Response<Incoming>,
    lease: Lease<RequestBody>,
}

impl<'c> Recorded<'c> {
    /// Sends the request, and waits until its answer begins.
    ///
    /// # Errors
    /// The upstream gives none, or the body goes no further.
    pub async fn send(self) -> Result<Sent<'c>, Refusal> {
        let Rewritten { exchange, transfer, mut request, body_uses, decided, scrubber } = self.0;
        let (method, progress) = (request.method().clone(), &exchange.outcome.progress);
        let in_body = !body_uses.is_empty() || !decided.permit.body().is_empty() && !request.body().is_held();
        let in_messages = transfer.handshake.is_some() && !decided.permit.messages().is_empty();
        if !decided.permit.uses().is_empty() || in_body || in_messages {
            let carries = carries_key(&decided.permit, &decided.authorization, progress);
            request.extensions_mut().insert(carries);
        }
        let mut go = None;
        if transfer.expects_continue && !request.body().is_held() {
            (request, go) = expecting(request, progress);
        }
        // outside a tunnel the connection's next request may be for another host, and there are clients that take a hint for the
        // answer, and the answer for the next one (RFC 8297, section 3)
        let is_of_one_host = exchange.conn.origin.is_some();
        let may_have_hints = is_of_one_host && scrubber.scrubber().is_none() && exchange.outcome.http == HTTP_1_1;
        let hints = may_have_hints.then(|| Hints::of(&exchange, &decided));
        hear_interim(&mut request, go, hints);
        let sent = {
            let (pool, asker) = (&exchange.conn.worker.pool, Some(&exchange.info.agent));
            let sending = pin!(pool.send(&exchange.origin, request, transfer.protocol, asker));
            begun(&exchange, sending).await
        };
        let (response, lease) = match sent {
            Ok(sent) => sent,
            // boxed, as it is rare
            Err(failed) => Box::pin(send_again(&exchange, transfer.protocol, &decided, failed)).await?,
        };
        exchange.outcome.answered(response.status().as_u16(), lease.ip);
        Ok(Sent { exchange, transfer, method, decided, scrubber, response, lease })
    }
}

/// Waits until an answer begins, for as long as that may take.
async fn begun<T, E: From<UpstreamError>>(
    exchange: &Exchange<'_>,
    mut sending: Pin<&mut impl Future<Output = Result<T, E>>>,
) -> Result<T, E> {
    let Some(limit) = exchange.shared().config.limits.first_byte else { return sending.await };
    let in_time = exchange.outcome.progress.patiently(limit, sending.as_mut()).await;
    let silent = || UpstreamError::Silent { origin: exchange.origin.clone(), seconds: limit.as_secs() };
    in_time.unwrap_or_else(|| Err(silent().into()))
}

/// Sends a request that failed again, as often as it may be. Each time its keys leave, they are in the audit first.
async fn send_again(
    exchange: &Exchange<'_>,
    protocol: ProtocolPreference,
    decided: &Decided,
    mut failed: SendError<RequestBody>,
) -> Result<(Response<Incoming>, Lease<RequestBody>), Refusal> {
    while let Some(unanswered) = failed.unanswered.take() {
        record_attempt(exchange, decided, unanswered.attempt()).await?;
        let (pool, asker) = (&exchange.conn.worker.pool, Some(&exchange.info.agent));
        let sending = pin!(pool.send_again(&exchange.origin, *unanswered, protocol, asker));
        match begun(exchange, sending).await {
            Ok(sent) => return Ok(sent),
            Err(error) => failed = error,
        }
    }
    Err(exchange.outcome.progress.fault().unwrap_or_else(|| failed.error.into()))
}

/// Asks whether the keys in the head may still go, and records that they will.
async fn record_attempt(exchange: &Exchange<'_>, decided: &Decided, number: u8) -> Result<(), Refusal> {
    decided.authorization.head_holds()?;
    let records = decided
        .permit
        .uses()
        .iter()
        .map(|u| Record { attempt: Some(number), ..recorder::substitution(&exchange.info, &u.key, &u.place, u.count) });
    let mut uses = exchange.shared().recorder.uses(records.collect());
    if !decided.permit.uses().is_empty() {
        uses.written().await?;
    }
    exchange.outcome.begin_attempt(number, uses);
    Ok(())
}

impl Sent<'_> {
    /// Readies the answer for the agent, keys hidden in it.
    ///
    /// # Errors
    /// It can't be passed on.
    pub async fn answer(mut self) -> Result<Response<ResponseBody>, Refusal> {
        if self.response.status() == StatusCode::SWITCHING_PROTOCOLS {
            // boxed, as it is rare, and every request would carry room for it
            return Box::pin(self.switch()).await;
        }
        if self.response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            // a proxy's word (RFC 9110, section 15.5.8): clients would take it for ours, and their token for a bad one
            return Err(Refusal::upstream_failed("the upstream answered 407, which is for a proxy to say"));
        }
        if headers::is_coded_for_transfer(self.response.headers()) {
            return Err(Refusal::upstream_failed(
                "the upstream's response has a transfer coding that was not asked for",
            ));
        }
        headers::response(self.response.headers_mut());
        let answer = UpstreamAnswer { scrubber: self.scrubber, lease: self.lease, outcome: self.exchange.outcome };
        rewrite::rewrite(self.response, &self.method, answer).await
    }

    /// Has the connection go on as a WebSocket.
    async fn switch(mut self) -> Result<Response<ResponseBody>, Refusal> {
        if self.scrubber.renew().await? {
            return Err(Refusal::key_unavailable("a rule or a key has changed meanwhile; connect again"));
        }
        let Decided { ruleset, permit, keys, authorization } = self.decided;
        let is_read = self.transfer.handshake.is_some() && !permit.scrub().is_empty();
        let terms = is_read.then(|| RelayTerms {
            authorization: authorization.clone(),
            keys: in_messages(&permit, &keys),
            bound: permit.scrub().iter().map(|rule| Value::of(&rule.name, &keys)).collect(),
            permit,
            scrubber: self.scrubber.scrubber().cloned(),
            ruleset,
        });
        let (switch, outcome) = (&self.exchange.conn.switch, self.exchange.outcome);
        switch.make(self.transfer.handshake, authorization, self.response, terms, outcome).await
    }
}

/// Tells the pool that a key goes with a request, which is asked for again when it is about to be sent.
fn carries_key(permit: &Permit, authorization: &Arc<Authorization>, progress: &Arc<BodyProgress>) -> CarriesKey {
    let may_have_left = &progress.head_may_have_left;
    let (authorization, progress, may_have_left) = (authorization.clone(), progress.clone(), may_have_left.clone());
    CarriesKey {
        peer: if permit.on_loopback_only() { AllowedPeer::Loopback } else { AllowedPeer::Any },
        in_target: permit.uses().iter().any(|u| u.place.in_target()),
        may_go: Arc::new(move || authorization.head_holds().inspect_err(|fault| progress.set_fault(fault)).is_ok()),
        may_have_left,
    }
}

/// Asks the upstream whether it wants the body, as the client does; the client is told once its body is asked for. Who is to
/// be told when the upstream says so.
fn expecting(
    request: Request<RequestBody>,
    progress: &Arc<BodyProgress>,
) -> (Request<RequestBody>, Option<Arc<Notify>>) {
    let (mut head, body) = request.into_parts();
    head.headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
    let (body, go) = body.expecting(progress.clone());
    (Request::from_parts(head, body), Some(go))
}

/// The way of an upstream's hints to the client: only those that can hold no key, while the rules stay as they were.
struct Hints {
    hints: Arc<EarlyHints>,
    exchange: u64,
    shared: Arc<Shared>,
    ruleset: Arc<Ruleset>,
}

impl Hints {
    fn of(exchange: &Exchange<'_>, decided: &Decided) -> Self {
        let hints = exchange.conn.hints.clone();
        Self { exchange: hints.open(), hints, shared: exchange.shared().clone(), ruleset: decided.ruleset.clone() }
    }

    /// Of its fields, that which hints: all others are for the answer to say.
    fn pass(&self, headers: &HeaderMap) {
        if Arc::ptr_eq(&self.shared.ruleset.load(), &self.ruleset) {
            let links = headers.get_all(LINK).iter().map(|link| (LINK, link.clone()));
            self.hints.send(self.exchange, StatusCode::EARLY_HINTS, &links.collect());
        }
    }
}

/// Hears what the upstream says before its answer (RFC 9110, section 15.2).
fn hear_interim(request: &mut Request<RequestBody>, go: Option<Arc<Notify>>, hints: Option<Hints>) {
    if go.is_none() && hints.is_none() {
        return;
    }
    hyper::ext::on_informational(request, move |response| match (response.status(), &go, &hints) {
        (StatusCode::CONTINUE, Some(go), _) => go.notify_one(),
        (StatusCode::EARLY_HINTS, _, Some(hints)) => hints.pass(response.headers()),
        _ => {}
    });
}

/// The keys that may go into the text messages of a WebSocket.
fn in_messages(permit: &Permit, keys: &Keys) -> Vec<BodyKey> {
    let rules = permit.messages().iter();
    rules
        .map(|rule| BodyKey {
            key: rule.name.clone(),
            value: keys.get(&rule.name).cloned(),
            places: vec![Place::Ws],
            max_uses: rule.max_uses,
        })
        .collect()
}
