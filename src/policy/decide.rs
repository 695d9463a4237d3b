//! Judges a request against the bindings: a permit, or a denial that says why. The one place that makes permits.

use super::agent::Agent;
use super::denial::Denial;
use super::egress::EgressPolicy;
use super::overrides::{self, OverrideLimits};
use super::rule::{HostPattern, KeyRule, MAX_JUDGED_PATH, canonical_path};
use crate::name::{Host, KeyName, Origin, Scheme};
use crate::place::Place;
use crate::record::KeyUse;
use foldhash::fast::RandomState;
use http::{HeaderMap, Method};
use std::collections::HashMap;
use std::sync::Arc;

/// A placeholder that was found in a request's head.
#[derive(Debug, Clone, Copy)]
pub struct Mention<'a> {
    /// As the agent wrote it, decoded.
    pub written: &'a str,
    /// `None` where no key can have that name.
    pub key: Option<&'a KeyName>,
    /// `None` where no binding can cover the place, such as a parameter's name.
    pub place: Option<&'a Place>,
}

/// A request as policy sees it: everything that a decision depends on, and nothing that an agent merely claims.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The agent that asks.
    pub agent: &'a Agent,
    /// The host that is dialled and verified.
    pub origin: &'a Origin,
    /// The method of the request line.
    pub method: &'a Method,
    /// As it stands in the request, without the query.
    pub path: &'a str,
    /// What follows the `?`, without it.
    pub query: &'a str,
    /// The headers, of which only those count that name another method or path.
    pub headers: &'a HeaderMap,
    /// Whether there is a body that keys could go into.
    pub has_body: bool,
}

impl Question<'_> {
    /// What in the request may stand for another method, where only some are `allowed`.
    fn other_method(&self, allowed: &[Method]) -> Option<String> {
        if allowed.is_empty() { None } else { overrides::of_method(self.headers, self.query, allowed) }
    }
}

/// A key that this request's body may hold.
#[derive(Debug, Clone)]
pub struct BodyGrant {
    /// Its binding.
    pub rule: Arc<KeyRule>,
    /// What `max_uses` leaves after the head.
    pub uses_left: u32,
}

/// Proof that a request was judged and may have these keys.
#[derive(Debug, Default)]
pub struct Permit {
    keys: Vec<KeyName>,
    uses: Vec<KeyUse>,
    body: Vec<BodyGrant>,
    messages: Vec<Arc<KeyRule>>,
    scrub: Vec<Arc<KeyRule>>,
    on_loopback_only: bool,
    limits: OverrideLimits,
}

impl Permit {
    /// The keys that the head needs: without their values the request can't be sent.
    pub fn keys(&self) -> &[KeyName] {
        &self.keys
    }

    /// What the head's placeholders come to, for the audit.
    pub fn uses(&self) -> &[KeyUse] {
        &self.uses
    }

    /// The keys that the body could need.
    pub fn body(&self) -> &[BodyGrant] {
        &self.body
    }

    /// The keys that the text messages of a WebSocket may hold, should this request open one.
    pub fn messages(&self) -> &[Arc<KeyRule>] {
        &self.messages
    }

    /// Its keys travel unencrypted, so they go to a peer whose address is loopback, or not at all. What the host's name
    /// says of that counts for nothing: DNS may answer what it likes.
    pub fn on_loopback_only(&self) -> bool {
        self.on_loopback_only
    }

    /// What the body's fields may not get around.
    pub fn limits(&self) -> &OverrideLimits {
        &self.limits
    }

    /// All keys bound to the answering host, on whatever port and scheme: none of them may come back.
    pub fn scrub(&self) -> &[Arc<KeyRule>] {
        &self.scrub
    }
}

/// All bindings, arranged for two questions: what may go to this origin, and what may not come back from this host.
#[derive(Debug, Default)]
pub struct Rules {
    by_name: HashMap<KeyName, Arc<KeyRule>, RandomState>,
    /// Those that name a host, whatever else they name.
    by_host: HashMap<Host, Vec<Arc<KeyRule>>, RandomState>,
    /// Those that name a host and port, whatever else they name.
    by_origin: HashMap<Origin, Vec<Arc<KeyRule>>, RandomState>,
    wildcards: Vec<Arc<KeyRule>>,
    egress: EgressPolicy,
    /// Some key is put into a header by the proxy itself.
    pub injects: bool,
}

impl Rules {
    /// Arranges the bindings of all active keys.
    pub fn new(keys: impl IntoIterator<Item = KeyRule>, egress: EgressPolicy) -> Self {
        let mut rules = Self { egress, ..Self::default() };
        for rule in keys.into_iter().map(Arc::new) {
            for origin in rule.hosts.iter().filter_map(HostPattern::origin) {
                add(rules.by_host.entry(origin.host.clone()).or_default(), &rule);
                add(rules.by_origin.entry(origin).or_default(), &rule);
            }
            if rule.hosts.iter().any(|h| h.exact().is_none()) {
                rules.wildcards.push(rule.clone());
            }
            rules.injects |= rule.inject.is_some();
            rules.by_name.insert(rule.name.clone(), rule);
        }
        rules
    }

    /// The binding of a key.
    pub fn key(&self, name: &KeyName) -> Option<&Arc<KeyRule>> {
        self.by_name.get(name)
    }

    /// All bindings, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<KeyRule>> {
        self.by_name.values()
    }

    /// The keys that may go to `origin`, each once.
    pub fn bound(&self, origin: &Origin) -> Vec<&Arc<KeyRule>> {
        let wildcards = self.wildcards.iter().filter(|rule| rule.covers(origin));
        each_once(self.by_origin.get(origin), wildcards)
    }

    /// The keys bound to `host` on some port and scheme, each once. A host that was given a key can show it on any other
    /// port as well.
    pub fn bound_to_host(&self, host: &Host) -> Vec<&Arc<KeyRule>> {
        let wildcards = self.wildcards.iter().filter(|rule| rule.covers_host(host));
        each_once(self.by_host.get(host), wildcards)
    }

    /// Whether answers of `host` have to be read, on whatever port they come.
    pub fn is_bound_host(&self, host: &Host) -> bool {
        self.by_host.contains_key(host) || self.wildcards.iter().any(|rule| rule.covers_host(host))
    }

    /// Whether `rule` lets its key go to `origin`: by look-up, since a rule may name many hosts.
    fn covers(&self, rule: &KeyRule, origin: &Origin) -> bool {
        let same = |bound: &Arc<KeyRule>| bound.name == rule.name;
        self.by_origin.get(origin).is_some_and(|bound| bound.iter().any(same))
            || self.wildcards.iter().any(|bound| same(bound) && bound.covers(origin))
    }

    /// Whether a key may go to this port of `host`: that lets agents reach it.
    fn is_bound_port(&self, host: &Host, port: u16) -> bool {
        [Scheme::Https, Scheme::Http]
            .into_iter()
            .any(|scheme| !self.bound(&Origin { scheme, host: host.clone(), port }).is_empty())
    }

    /// Lets `agent` reach `host` at all, keys or not.
    ///
    /// # Errors
    /// As [`EgressPolicy::admit`].
    pub fn admit(&self, agent: &Agent, host: &Host, port: u16) -> Result<(), Denial> {
        self.egress.admit(agent, host, port, self.is_bound_port(host, port))
    }

    /// Judges the whole head: one placeholder that may not go refuses the request before any key is opened.
    ///
    /// # Errors
    /// The first reason to refuse it.
    pub fn decide<'m>(
        &self,
        question: Question<'_>,
        mentions: impl Iterator<Item = Mention<'m>>,
    ) -> Result<Permit, Denial> {
        let Question { agent, origin, method, .. } = question;
        if !agent.methods.is_empty() && !agent.methods.contains(method) {
            return Err(Denial::AgentMethod { method: method.to_string(), agent: agent.name.clone() });
        }
        if let Some(by) = question.other_method(&agent.methods) {
            return Err(Denial::AgentMethodOverridden { method: method.to_string(), agent: agent.name.clone(), by });
        }
        let on_loopback_only = origin.scheme == Scheme::Http && !self.egress.cleartext;
        let mut permit = Permit { on_loopback_only, ..Permit::default() };
        for mention in mentions {
            self.grant(question, mention, &mut permit)?;
        }
        permit.scrub = self.bound_to_host(&origin.host).into_iter().cloned().collect();
        let in_messages =
            |rule: &&Arc<KeyRule>| rule.places.contains(&Place::Ws) && self.judge(question, rule, "").is_ok();
        permit.messages = permit.scrub.iter().filter(in_messages).cloned().collect();
        if question.has_body && !is_trace(method) {
            permit.body =
                permit.scrub.iter().filter_map(|rule| self.body_grant(question, rule, &permit.uses)).collect();
        }
        if question.has_body {
            permit.limits = self.limits(agent, &permit);
        }
        Ok(permit)
    }

    /// Those of the agent, and of each key that goes or may go with the request.
    fn limits(&self, agent: &Agent, permit: &Permit) -> OverrideLimits {
        let mut limits = OverrideLimits::default();
        limits.methods(&agent.methods);
        let used = permit.keys.iter().filter_map(|key| self.key(key));
        for rule in used.chain(permit.body.iter().map(|grant| &grant.rule)) {
            limits.methods(&rule.methods);
            limits.paths(!rule.paths.is_empty());
        }
        limits
    }

    fn grant(&self, question: Question<'_>, mention: Mention<'_>, permit: &mut Permit) -> Result<(), Denial> {
        let written = || mention.written.to_owned();
        let Some(rule) = mention.key.and_then(|k| self.by_name.get(k)) else {
            return Err(Denial::UnknownKey { written: written() });
        };
        if is_trace(question.method) {
            return Err(Denial::Trace { written: written() });
        }
        self.judge(question, rule, mention.written)?;
        let place = mention.place.filter(|found| rule.places.iter().any(|p| p.covers(found))).ok_or_else(|| {
            let place = mention.place.map_or_else(|| "a name or an odd spot".to_owned(), Place::to_string);
            Denial::PlaceNotBound { written: written(), key: rule.name.clone(), place, bound: list(&rule.places) }
        })?;
        match permit.uses.iter_mut().find(|u| u.key == rule.name && u.place == *place) {
            Some(u) => u.count += 1,
            None => permit.uses.push(KeyUse { key: rule.name.clone(), place: place.clone(), count: 1 }),
        }
        let count = uses_of(&rule.name, &permit.uses);
        if count > rule.max_uses.into() {
            let (key, max) = (rule.name.clone(), rule.max_uses);
            return Err(Denial::TooManyUses { written: written(), key, count, max });
        }
        if !permit.keys.contains(&rule.name) {
            permit.keys.push(rule.name.clone());
        }
        Ok(())
    }

    /// Judges again one key that was granted to these places of a body. The head has been judged before, with these uses.
    ///
    /// # Errors
    /// The reason why it may go there no longer.
    pub fn decide_for_body(
        &self,
        question: Question<'_>,
        key: &KeyName,
        places: &[Place],
        head: &[KeyUse],
    ) -> Result<Permit, Denial> {
        let Question { agent, method, .. } = question;
        if !agent.methods.is_empty() && !agent.methods.contains(method) {
            return Err(Denial::AgentMethod { method: method.to_string(), agent: agent.name.clone() });
        }
        let written = || key.placeholder();
        let rule = self.by_name.get(key).ok_or_else(|| Denial::UnknownKey { written: written() })?;
        self.judge(question, rule, &written())?;
        if let Some(place) = places.iter().find(|place| !rule.places.contains(place)) {
            let (place, bound) = (place.to_string(), list(&rule.places));
            return Err(Denial::PlaceNotBound { written: written(), key: key.clone(), place, bound });
        }
        let body = self.body_grant(question, rule, head).into_iter().collect();
        Ok(Permit { body, ..Permit::default() })
    }

    /// Whether this rule is about such requests at all: then what else it says against one refuses it.
    pub(super) fn applies(&self, question: Question<'_>, rule: &KeyRule) -> bool {
        let path = || canonical_path(question.path.get(..MAX_JUDGED_PATH).unwrap_or(question.path));
        question.agent.may_use(&rule.name)
            && self.covers(rule, question.origin)
            && (rule.methods.is_empty() || rule.methods.contains(question.method))
            && (rule.paths.is_empty() || path().is_some_and(|path| rule.paths.iter().any(|glob| glob.covers(&path))))
    }

    /// Whether this rule lets its key go with this request, whatever the place.
    fn judge(&self, question: Question<'_>, rule: &KeyRule, written: &str) -> Result<(), Denial> {
        let Question { agent, origin, method, path, .. } = question;
        let (written, key) = (|| written.to_owned(), || rule.name.clone());
        if !agent.may_use(&rule.name) {
            return Err(Denial::AgentMayNot { written: written(), key: key(), agent: agent.name.clone() });
        }
        if !self.covers(rule, origin) {
            let over_tls = Origin { scheme: Scheme::Https, ..origin.clone() };
            if origin.scheme == Scheme::Http
                && (self.covers(rule, &over_tls) || self.covers(rule, &Origin { port: 443, ..over_tls.clone() }))
            {
                return Err(Denial::Cleartext { written: written(), key: key(), origin: origin.clone() });
            }
            let bound = list(&rule.hosts);
            return Err(Denial::HostNotBound { written: written(), key: key(), origin: origin.clone(), bound });
        }
        if !rule.methods.is_empty() && !rule.methods.contains(method) {
            return Err(Denial::MethodNotBound { written: written(), key: key(), method: method.to_string() });
        }
        if let Some(by) = question.other_method(&rule.methods) {
            return Err(Denial::MethodOverridden { written: written(), key: key(), method: method.to_string(), by });
        }
        if rule.paths.is_empty() {
            return Ok(());
        }
        if let Some(by) = overrides::of_path(question.headers, question.query) {
            return Err(Denial::PathOverridden { written: written(), key: key(), by });
        }
        if path.len() > MAX_JUDGED_PATH {
            return Err(Denial::PathTooLong { written: written(), key: key(), bytes: path.len() });
        }
        match canonical_path(path) {
            None => Err(Denial::PathAmbiguous { written: written(), key: key() }),
            Some(path) if rule.paths.iter().any(|glob| glob.covers(&path)) => Ok(()),
            Some(_) => Err(Denial::PathNotBound { written: written(), key: key() }),
        }
    }

    fn body_grant(&self, question: Question<'_>, rule: &Arc<KeyRule>, uses: &[KeyUse]) -> Option<BodyGrant> {
        let wanted = rule.body_places().next().is_some() && self.judge(question, rule, "").is_ok();
        let used = u32::try_from(uses_of(&rule.name, uses)).unwrap_or(u32::MAX);
        wanted.then(|| BodyGrant { rule: rule.clone(), uses_left: rule.max_uses.saturating_sub(used) })
    }
}

fn add(rules: &mut Vec<Arc<KeyRule>>, rule: &Arc<KeyRule>) {
    if !rules.iter().any(|known| known.name == rule.name) {
        rules.push(rule.clone());
    }
}

fn each_once<'r>(
    exact: Option<&'r Vec<Arc<KeyRule>>>,
    wildcards: impl Iterator<Item = &'r Arc<KeyRule>>,
) -> Vec<&'r Arc<KeyRule>> {
    let mut found: Vec<&Arc<KeyRule>> = exact.into_iter().flatten().collect();
    for rule in wildcards {
        if !found.iter().any(|known| known.name == rule.name) {
            found.push(rule);
        }
    }
    found
}

/// In any case: a server that does not tell methods apart by it would send the key back all the same.
fn is_trace(method: &Method) -> bool {
    method.as_str().eq_ignore_ascii_case("TRACE")
}

fn uses_of(key: &KeyName, uses: &[KeyUse]) -> u64 {
    uses.iter().filter(|u| u.key == *key).map(|u| u.count).sum()
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
