//! The third stage: the keys that the request may have, in hand; a short body that may take one, all there.

use super::asked::Exchange;
use super::judged::{Judged, Transfer, Verdict};
use crate::policy::overrides;
use crate::proxy::exchange::authorization::{Authorization, Value};
use crate::proxy::exchange::request_body::came::{Came, codings};
use crate::proxy::refusal::Refusal;
use crate::secrets::Keys;
use http::request::Parts;
use std::sync::Arc;

/// A request with its keys.
pub(crate) struct Opened<'c> {
    pub exchange: Exchange<'c>,
    pub transfer: Transfer,
    pub head: Parts,
    pub body: Came,
    pub verdict: Verdict,
    pub keys: Keys,
}

impl<'c> Judged<'c> {
    /// Opens the keys, once there is a place for the request. Whatever is waited for, a place, a body or a source, what was
    /// decided before is decided again if the rules have changed since.
    ///
    /// # Errors
    /// There is no place, a key can't be had, a body that has to be read can't be, or the rules of now say no.
    pub async fn open(self) -> Result<Opened<'c>, Refusal> {
        let Judged { exchange, transfer, head, body, mut verdict } = self;
        let place = exchange.conn.path_to(&exchange.info.agent, &exchange.origin).place().await?;
        exchange.outcome.hold(place);
        let (shared, mut body) = (exchange.shared(), Came::Coming(body));
        let keys = loop {
            if !verdict.permit.body().is_empty() {
                codings(&head.headers)?;
                if body.is_to_be_held(shared.config.limits.held_body) {
                    body = body.whole().await?;
                    verdict = Verdict::of_now(&exchange, &head, transfer.has_body)?;
                    continue;
                }
            }
            let keys = shared.secrets.open(&verdict.ruleset.keys, &verdict.permit).await;
            let keys = keys.map_err(|e| Refusal::key_unavailable(e.to_string()))?;
            if verdict.is_of_now(shared) {
                break keys;
            }
            verdict = Verdict::of_now(&exchange, &head, transfer.has_body)?;
        };
        match keys.unhidden() {
            Some(e) => Err(Refusal::key_unavailable(format!("what answers could show it: {e}"))),
            None => Ok(Opened { exchange, transfer, head, body, verdict, keys }),
        }
    }
}

impl Opened<'_> {
    /// What was decided, in a form in which it can be asked again each time that a key is used.
    pub fn authorization(&self) -> Arc<Authorization> {
        let Self { exchange, transfer, head, verdict: Verdict { ruleset, permit, .. }, keys, .. } = self;
        Arc::new(Authorization {
            shared: exchange.shared().clone(),
            info: exchange.info.clone(),
            caller: exchange.caller.clone(),
            origin: exchange.origin.clone(),
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            overrides: overrides::named(&head.headers),
            has_body: transfer.has_body,
            ruleset: Arc::downgrade(ruleset),
            head: permit.uses().to_vec(),
            values: permit.keys().iter().map(|key| Value::of(key, keys)).collect(),
            on_loopback_only: permit.on_loopback_only(),
            limits: permit.limits().clone(),
        })
    }
}
