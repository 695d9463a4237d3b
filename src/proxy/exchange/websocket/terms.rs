//! What a WebSocket was opened by, and whether it still holds.

use super::endpoints::RelayEnd;
use crate::name::KeyName;
use crate::policy::Permit;
use crate::proxy::Ruleset;
use crate::proxy::exchange::authorization::{Authorization, Value};
use crate::proxy::refusal::Refusal;
use crate::rewrite::BodyKey;
use crate::rewrite::scrub::Scrubber;
use crate::secrets::SecretError;
use std::sync::Arc;

/// Why a connection is closed that goes on by other rules.
const CHANGED: &str = "a rule or a key has changed";

/// What was decided when the connection was opened.
pub(crate) struct RelayTerms {
    pub authorization: Arc<Authorization>,
    pub ruleset: Arc<Ruleset>,
    pub permit: Permit,
    /// Those that may go into text messages.
    pub keys: Vec<BodyKey>,
    /// All keys bound to the host.
    pub bound: Vec<Value>,
    pub scrubber: Option<Scrubber>,
}

impl RelayTerms {
    /// Records what ended the connection.
    pub fn record(&self, refusal: &Refusal) {
        self.authorization.shared.recorder.refusal(self.authorization.info.clone(), refusal);
    }

    /// Resolves once it holds no longer: also where nothing is said, keys are held for no longer than they may be.
    pub(super) async fn changed(&self) -> RelayEnd {
        let Authorization { shared, caller, .. } = &*self.authorization;
        RelayEnd::Changed(caller.ended(shared, |ruleset| self.is_other_than(ruleset).then_some(CHANGED)).await)
    }

    /// What was decided at the handshake holds as long as nothing that it was decided by has changed.
    pub(super) fn still_holds(&self) -> Result<(), RelayEnd> {
        self.authorization.agent_holds().map_err(|fault| RelayEnd::Changed(fault.to_string()))?;
        let changed = self.is_other_than(&self.authorization.shared.ruleset.load());
        if changed { Err(RelayEnd::Changed(CHANGED.into())) } else { Ok(()) }
    }

    fn is_other_than(&self, ruleset: &Arc<Ruleset>) -> bool {
        let shared = &self.authorization.shared;
        !Arc::ptr_eq(ruleset, &self.ruleset) || !self.bound.iter().all(|value| value.is_the_last(shared))
    }

    /// Whether the value of a key may be used without asking for it again.
    pub(super) fn is_current(&self, key: &KeyName) -> bool {
        let value = self.bound.iter().find(|value| value.key == *key);
        value.is_some_and(|value| self.authorization.shared.secrets.may_be_used(key, value.generation))
    }

    /// The same, where what comes may hold a value that only its source knows yet.
    pub(super) async fn holds_now(&self) -> Result<(), RelayEnd> {
        let secrets = &self.authorization.shared.secrets;
        if !self.bound.iter().all(|value| secrets.is_known(&value.key, value.generation)) {
            let names: Vec<KeyName> = self.bound.iter().map(|value| value.key.clone()).collect();
            let keys = secrets.open_to_hide(&self.ruleset.keys, &names).await;
            if let Some(e) = keys.unhidden() {
                return Err(RelayEnd::Refused(Refusal::key_unavailable(e.to_string())));
            }
        }
        self.still_holds()
    }

    /// Asks the sources again, if it is time to, whether the keys are still what they were.
    pub(super) async fn ask(&self, wanted: &KeyName) -> Result<(), RelayEnd> {
        let unavailable = |e: &SecretError| RelayEnd::Refused(Refusal::key_unavailable(e.to_string()));
        let opened = self.authorization.shared.secrets.open(&self.ruleset.keys, &self.permit).await;
        let keys = opened.map_err(|e| unavailable(&e))?;
        keys.missing(wanted).map_or(Ok(()), |e| Err(unavailable(e)))?;
        self.still_holds()
    }
}
