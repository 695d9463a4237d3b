//! Whether what was decided when a request began still holds: asked again each time that a key is used, and of what is
//! passed on unread whenever anything has changed.

use crate::name::{AgentName, Host, KeyName, Origin};
use crate::place::Place;
use crate::policy::OverrideLimits;
use crate::policy::decide::{Mention, Question};
use crate::policy::{Agent, Permit, agent::TokenProof};
use crate::proxy::limits::EXPIRY_NAP;
use crate::proxy::recorder::RecordedUses;
use crate::proxy::refusal::{Refusal, RefusalKind};
use crate::proxy::{Ruleset, Shared};
use crate::record::{ExchangeInfo, KeyUse, Record};
use crate::rewrite::BodyKey;
use crate::secrets::Keys;
use http::{HeaderMap, Method};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

/// Who asks for a host, known by what it proved itself with.
pub(crate) struct Caller {
    proof: TokenProof,
    host: Host,
    port: u16,
    /// The agent, and the rules that it was last looked up in.
    known: Mutex<(Weak<Ruleset>, Arc<Agent>)>,
}

impl Caller {
    pub fn new(agent: Arc<Agent>, proof: TokenProof, origin: &Origin) -> Self {
        let known = Mutex::new((Weak::new(), agent));
        Self { proof, host: origin.host.clone(), port: origin.port, known }
    }

    /// The agent as it is now: a token that was revoked or has expired counts at once, and so does a host that may no longer
    /// be reached. As long as the rules are the same this costs next to nothing.
    pub fn agent(&self, ruleset: &Arc<Ruleset>, now: SystemTime) -> Result<Arc<Agent>, Refusal> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let expired = known.1.expires.is_some_and(|end| end <= now);
        if expired || !ruleset.is(&known.0) {
            let agent = ruleset.agents.again(&self.proof, now)?;
            ruleset.rules.admit(&agent, &self.host, self.port)?;
            *known = (Arc::downgrade(ruleset), agent);
        }
        Ok(known.1.clone())
    }

    pub fn name(&self) -> AgentName {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).1.name.clone()
    }

    /// Resolves once the agent may go on no longer, or the rules say so themselves: tells why.
    pub async fn ended(&self, shared: &Shared, over: impl Fn(&Arc<Ruleset>) -> Option<&'static str>) -> String {
        // before the first look, so that no change comes between
        let mut changes = shared.changes.subscribe();
        loop {
            let (ruleset, now) = (shared.ruleset.load_full(), SystemTime::now());
            let agent = match self.agent(&ruleset, now) {
                Ok(agent) => agent,
                Err(refusal) => return refusal.in_full().to_owned(),
            };
            if let Some(why) = over(&ruleset) {
                return why.into();
            }
            let left = agent.expires.map(|end| end.duration_since(now).unwrap_or_default().min(EXPIRY_NAP));
            let expiry = async {
                match left {
                    Some(left) => tokio::time::sleep(left).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = changes.changed() => {}
                () = expiry => {}
            }
        }
    }
}

/// What a request was judged by, and what its head may carry.
pub(crate) struct Authorization {
    pub shared: Arc<Shared>,
    pub info: Arc<ExchangeInfo>,
    pub caller: Arc<Caller>,
    pub origin: Origin,
    pub method: Method,
    pub path: String,
    pub query: String,
    /// Those that stand for another method or path.
    pub overrides: HeaderMap,
    pub has_body: bool,
    pub ruleset: Weak<Ruleset>,
    /// What the head's placeholders have come to,
    pub head: Vec<KeyUse>,
    /// and of which values.
    pub values: Vec<Value>,
    /// What else was decided, which what has been sent relies on.
    pub on_loopback_only: bool,
    pub limits: OverrideLimits,
}

/// Which of a key's values it is.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub key: KeyName,
    pub generation: u64,
}

impl Value {
    pub fn of(key: &KeyName, keys: &Keys) -> Self {
        Self { key: key.clone(), generation: keys.generation(key) }
    }

    pub fn is_the_last(&self, shared: &Shared) -> bool {
        shared.secrets.generation(&self.key) == self.generation
    }

    fn check(&self, shared: &Shared) -> Result<(), Refusal> {
        let changed = || format!("key '{}' was changed or wiped before it was sent; ask again", self.key);
        if self.is_the_last(shared) { Ok(()) } else { Err(Refusal::key_unavailable(changed())) }
    }
}

impl Authorization {
    /// Whether the agent may still ask, and may still reach this host.
    pub fn agent_holds(&self) -> Result<(), Refusal> {
        self.agent(&self.shared.ruleset.load()).map(drop)
    }

    /// Whether the head may be sent as it is. For when it is about to be.
    pub fn head_holds(&self) -> Result<(), Refusal> {
        let ruleset = self.shared.ruleset.load_full();
        let agent = self.agent(&ruleset)?;
        self.judge_head(&ruleset, &agent)?;
        self.values.iter().try_for_each(|value| value.check(&self.shared))
    }

    /// Judges the head again where the rules have changed: it may go, to the same peers and with the same limits to its body.
    fn judge_head(&self, ruleset: &Arc<Ruleset>, agent: &Agent) -> Result<(), Refusal> {
        if ruleset.is(&self.ruleset) {
            return Ok(());
        }
        let uses = self.head.iter().map(|used| (used.key.placeholder(), used)).collect::<Vec<_>>();
        let mentions = uses.iter().flat_map(|(written, used)| {
            let mention = Mention { written, key: Some(&used.key), place: Some(&used.place) };
            std::iter::repeat_n(mention, usize::try_from(used.count).unwrap_or(usize::MAX))
        });
        let permit = ruleset.rules.decide(self.question(agent), mentions)?;
        if permit.on_loopback_only() && !self.on_loopback_only || self.has_body && *permit.limits() != self.limits {
            return Err(Refusal::key_unavailable("the rules have changed; ask again"));
        }
        Ok(())
    }

    /// Records uses of keys: until they are written, none of these may leave.
    pub fn record_uses(&self, records: Vec<Record>) -> RecordedUses {
        self.shared.recorder.uses(records)
    }

    /// Records why the request's body goes no further, where nobody waits for it any more.
    pub fn record(&self, refusal: &Refusal) {
        if refusal.kind() != RefusalKind::BrokenOff {
            self.shared.recorder.refusal(self.info.clone(), refusal);
        }
    }

    fn agent(&self, ruleset: &Arc<Ruleset>) -> Result<Arc<Agent>, Refusal> {
        self.caller.agent(ruleset, SystemTime::now())
    }

    fn question<'q>(&'q self, agent: &'q Agent) -> Question<'q> {
        let Self { origin, method, path, query, overrides, has_body, .. } = self;
        Question { agent, origin, method, path, query, headers: overrides, has_body: *has_body }
    }

    /// Judges a key of the body by the rules of now.
    fn judge(&self, ruleset: &Arc<Ruleset>, key: &KeyName, places: &[Place]) -> Result<Permit, Refusal> {
        let agent = self.agent(ruleset)?;
        let judged = ruleset.rules.decide_for_body(self.question(&agent), key, places, &self.head)?;
        self.judge_head(ruleset, &agent)?;
        Ok(judged)
    }

    /// What a key of the body is now. Its source is asked if it is time to.
    async fn renew(self: Arc<Self>, key: BodyKey) -> Result<Renewed, Refusal> {
        loop {
            let ruleset = self.shared.ruleset.load_full();
            let permit = self.judge(&ruleset, &key.key, &key.places)?;
            let opened = self.shared.secrets.open(&ruleset.keys, &permit).await;
            let keys = opened.map_err(|e| Refusal::key_unavailable(e.to_string()))?;
            if let Some(e) = keys.missing(&key.key) {
                return Err(Refusal::key_unavailable(e.to_string()));
            }
            // a source may take its time, in which rules change
            if Arc::ptr_eq(&ruleset, &self.shared.ruleset.load()) {
                let value = Value::of(&key.key, &keys);
                let max_uses = permit.body().first().map_or(0, |grant| grant.uses_left);
                let known = AuthorizedKey { value, places: key.places.clone(), ruleset: Arc::downgrade(&ruleset) };
                let body_key = BodyKey { value: keys.get(&key.key).cloned(), max_uses, ..key };
                return Ok(Renewed { body_key, known });
            }
        }
    }
}

/// The keys that a body may use, as they were last asked for.
pub(crate) struct BodyKeys {
    authorization: Arc<Authorization>,
    known: Vec<AuthorizedKey>,
}

/// A value, and the rules by which it might go to these places.
struct AuthorizedKey {
    value: Value,
    places: Vec<Place>,
    ruleset: Weak<Ruleset>,
}

/// A key of a body that was asked for again.
pub(crate) struct Renewed {
    body_key: BodyKey,
    known: AuthorizedKey,
}

impl BodyKeys {
    pub fn new(authorization: Arc<Authorization>, permit: &Permit, keys: &Keys) -> Self {
        let known = permit.body().iter().map(|grant| AuthorizedKey {
            value: Value::of(&grant.rule.name, keys),
            places: grant.rule.body_places().cloned().collect(),
            ruleset: authorization.ruleset.clone(),
        });
        let known = known.collect();
        Self { authorization, known }
    }

    pub fn authorization(&self) -> &Arc<Authorization> {
        &self.authorization
    }

    /// Whether a key may be used as it is known, and nobody has to be asked.
    pub fn is_current(&self, key: &KeyName) -> bool {
        let shared = &self.authorization.shared;
        let ruleset = shared.ruleset.load();
        let known = self.known.iter().find(|known| known.value.key == *key);
        known.is_some_and(|k| ruleset.is(&k.ruleset) && shared.secrets.may_be_used(key, k.value.generation))
    }

    /// Whether what these keys were written into may still leave. For when it is about to.
    pub fn hold(&self, written: &[KeyName]) -> Result<(), Refusal> {
        let shared = &self.authorization.shared;
        let ruleset = shared.ruleset.load_full();
        for key in written {
            let Some(known) = self.known.iter().find(|known| known.value.key == *key) else { continue };
            if !ruleset.is(&known.ruleset) {
                self.authorization.judge(&ruleset, key, &known.places)?;
            }
            known.value.check(shared)?;
        }
        self.authorization.agent(&ruleset).map(drop)
    }

    pub fn ask(&self, key: BodyKey) -> impl Future<Output = Result<Renewed, Refusal>> + Send + use<> {
        self.authorization.clone().renew(key)
    }

    /// Takes what was asked for: the key as the body is to use it.
    pub fn take(&mut self, Renewed { body_key, known }: Renewed) -> BodyKey {
        self.known.retain(|before| before.value.key != known.value.key);
        self.known.push(known);
        body_key
    }
}
