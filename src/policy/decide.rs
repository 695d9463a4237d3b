//! Judges a request against the bindings: a permit, or a denial that says why. The one place that makes permits.

use super::agent::Agent;
use super::rule::{HostPattern, KeyRule, canonical_path};
use crate::name::{AgentName, Host, KeyName, Origin, Scheme};
use crate::place::Place;
use foldhash::fast::RandomState;
use http::Method;
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

/// What is asked: everything that a decision depends on, and nothing that an agent merely claims.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub agent: &'a Agent,
    /// The host that is dialled and verified.
    pub origin: &'a Origin,
    pub method: &'a Method,
    /// As it stands in the request, without the query.
    pub path: &'a str,
    pub has_body: bool,
}

/// A key that goes to one place, so many times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    pub key: KeyName,
    pub place: Place,
    pub count: u64,
}

/// A key that this request's body may hold.
#[derive(Debug, Clone)]
pub struct BodyGrant {
    pub rule: Arc<KeyRule>,
    /// What `max_uses` leaves after the head.
    pub uses_left: u32,
}

/// Proof that a request was judged and may have these keys.
#[derive(Debug, Default)]
pub struct Permit {
    keys: Vec<KeyName>,
    uses: Vec<Use>,
    body: Vec<BodyGrant>,
    messages: Vec<Arc<KeyRule>>,
    scrub: Vec<Arc<KeyRule>>,
}

impl Permit {
    /// The keys that the head needs: without their values the request can't be sent.
    pub fn keys(&self) -> &[KeyName] {
        &self.keys
    }

    /// What the head's placeholders come to, for the audit.
    pub fn uses(&self) -> &[Use] {
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

    /// All keys bound to the answering host: none of them may come back.
    pub fn scrub(&self) -> &[Arc<KeyRule>] {
        &self.scrub
    }
}

/// Why a request is refused; the text is for the operator and names what would have to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    #[error("{written}: there is no key of that name")]
    UnknownKey { written: String },
    #[error("{written}: its host is not bound: {origin} is none of {bound} in [key.{key}] hosts")]
    HostNotBound { written: String, key: KeyName, origin: Origin, bound: String },
    #[error("{written}: keys travel over TLS only; for {origin} the binding would have to say \"{origin}\" itself")]
    Cleartext { written: String, key: KeyName, origin: Origin },
    #[error("{written}: its place is not bound: {place} is none of {bound} in [key.{key}] where")]
    PlaceNotBound { written: String, key: KeyName, place: String, bound: String },
    #[error("{written}: {method} is not among [key.{key}] methods")]
    MethodNotBound { written: String, key: KeyName, method: String },
    #[error("{written}: the path is not among [key.{key}] paths")]
    PathNotBound { written: String, key: KeyName },
    #[error("{written}: the path can be read in two ways, so [key.{key}] paths can't be checked; write it plainly")]
    PathAmbiguous { written: String, key: KeyName },
    #[error("{written}: {count} uses in one request, [key.{key}] max_uses is {max}")]
    TooManyUses { written: String, key: KeyName, count: u64, max: u32 },
    #[error("{written}: agent {agent} may not use it; [agent.{agent}] keys lists those it may")]
    AgentMayNot { written: String, key: KeyName, agent: AgentName },
    #[error("{written}: TRACE would send the key straight back")]
    Trace { written: String },
    #[error("{host}:{port} is on [proxy] deny")]
    HostDenied { host: Host, port: u16 },
    #[error("{host}:{port} is not listed: [proxy] egress = \"listed\" allows bound hosts and [proxy] allow")]
    HostNotListed { host: Host, port: u16 },
    #[error("port {port} is not among [proxy] connect_ports, and no binding names it")]
    PortNotListed { port: u16 },
    #[error("{host} is not among [agent.{agent}] hosts")]
    AgentHost { host: Host, agent: AgentName },
    #[error("{method} is not among [agent.{agent}] methods")]
    AgentMethod { method: String, agent: AgentName },
}

impl Denial {
    /// The placeholder that was refused, where one was.
    pub fn written(&self) -> Option<&str> {
        use Denial::*;
        match self {
            UnknownKey { written } | Trace { written } => Some(written),
            HostNotBound { written, .. }
            | Cleartext { written, .. }
            | PlaceNotBound { written, .. }
            | MethodNotBound { written, .. }
            | PathNotBound { written, .. }
            | PathAmbiguous { written, .. }
            | TooManyUses { written, .. }
            | AgentMayNot { written, .. } => Some(written),
            HostDenied { .. } | HostNotListed { .. } | PortNotListed { .. } | AgentHost { .. } | AgentMethod { .. } => {
                None
            }
        }
    }

    /// The key that was meant, where there is one.
    pub fn key(&self) -> Option<&KeyName> {
        use Denial::*;
        match self {
            HostNotBound { key, .. }
            | Cleartext { key, .. }
            | PlaceNotBound { key, .. }
            | MethodNotBound { key, .. }
            | PathNotBound { key, .. }
            | PathAmbiguous { key, .. }
            | TooManyUses { key, .. }
            | AgentMayNot { key, .. } => Some(key),
            _ => None,
        }
    }
}

/// Which hosts may be asked at all.
#[derive(Debug, Clone)]
pub struct Egress {
    /// Only bound hosts and `allow`.
    pub listed: bool,
    pub allow: Vec<HostPattern>,
    pub deny: Vec<HostPattern>,
    pub connect_ports: Vec<u16>,
}

impl Default for Egress {
    fn default() -> Self {
        Self { listed: false, allow: Vec::new(), deny: Vec::new(), connect_ports: vec![80, 443] }
    }
}

/// All bindings, arranged for the question «what may go to this host?».
#[derive(Debug, Default)]
pub struct Rules {
    by_name: HashMap<KeyName, Arc<KeyRule>, RandomState>,
    /// Those that name a host and port, whatever else they name.
    by_origin: HashMap<Origin, Vec<Arc<KeyRule>>, RandomState>,
    wildcards: Vec<Arc<KeyRule>>,
    egress: Egress,
    /// Some key is put into a header by the proxy itself.
    pub injects: bool,
}

impl Rules {
    pub fn new(keys: impl IntoIterator<Item = KeyRule>, egress: Egress) -> Self {
        let mut rules = Self { egress, ..Self::default() };
        for rule in keys.into_iter().map(Arc::new) {
            for origin in rule.hosts.iter().filter_map(HostPattern::origin) {
                let bound = rules.by_origin.entry(origin).or_default();
                if !bound.iter().any(|b| b.name == rule.name) {
                    bound.push(rule.clone());
                }
            }
            if rule.hosts.iter().any(|h| h.exact().is_none()) {
                rules.wildcards.push(rule.clone());
            }
            rules.injects |= rule.inject.is_some();
            rules.by_name.insert(rule.name.clone(), rule);
        }
        rules
    }

    pub fn key(&self, name: &KeyName) -> Option<&Arc<KeyRule>> {
        self.by_name.get(name)
    }

    pub fn keys(&self) -> impl Iterator<Item = &Arc<KeyRule>> {
        self.by_name.values()
    }

    /// The keys bound to `origin`, each once.
    pub fn bound(&self, origin: &Origin) -> Vec<&Arc<KeyRule>> {
        let mut found: Vec<&Arc<KeyRule>> = self.by_origin.get(origin).into_iter().flatten().collect();
        for rule in self.wildcards.iter().filter(|r| r.covers(origin)) {
            if !found.iter().any(|f| f.name == rule.name) {
                found.push(rule);
            }
        }
        found
    }

    /// Whether `rule` lets its key go to `origin`: by look-up, since a rule may name many hosts.
    fn covers(&self, rule: &KeyRule, origin: &Origin) -> bool {
        let same = |bound: &Arc<KeyRule>| bound.name == rule.name;
        self.by_origin.get(origin).is_some_and(|bound| bound.iter().any(same))
            || self.wildcards.iter().any(|bound| same(bound) && bound.covers(origin))
    }

    pub fn is_bound(&self, host: &Host, port: u16) -> bool {
        [Scheme::Https, Scheme::Http]
            .into_iter()
            .any(|scheme| !self.bound(&Origin { scheme, host: host.clone(), port }).is_empty())
    }

    /// Whether `agent` may reach `host` at all, keys or not.
    pub fn admit(&self, agent: &Agent, host: &Host, port: u16) -> Result<(), Denial> {
        let named = |list: &[HostPattern]| list.iter().any(|p| p.lists(host, port));
        if named(&self.egress.deny) {
            return Err(Denial::HostDenied { host: host.clone(), port });
        }
        if !agent.hosts.is_empty() && !named(&agent.hosts) {
            return Err(Denial::AgentHost { host: host.clone(), agent: agent.name.clone() });
        }
        let bound = self.is_bound(host, port);
        if !bound && !self.egress.connect_ports.contains(&port) {
            return Err(Denial::PortNotListed { port });
        }
        if self.egress.listed && !bound && !named(&self.egress.allow) {
            return Err(Denial::HostNotListed { host: host.clone(), port });
        }
        Ok(())
    }

    /// Judges the whole head: one placeholder that may not go refuses the request before any key is opened.
    pub fn decide<'m>(
        &self,
        question: Question<'_>,
        mentions: impl Iterator<Item = Mention<'m>>,
    ) -> Result<Permit, Denial> {
        let Question { agent, origin, method, .. } = question;
        if !agent.methods.is_empty() && !agent.methods.contains(method) {
            return Err(Denial::AgentMethod { method: method.to_string(), agent: agent.name.clone() });
        }
        let mut permit = Permit::default();
        for mention in mentions {
            self.grant(question, mention, &mut permit)?;
        }
        permit.scrub = self.bound(origin).into_iter().cloned().collect();
        let in_messages =
            |rule: &&Arc<KeyRule>| rule.places.contains(&Place::Ws) && self.judge(question, rule, "").is_ok();
        permit.messages = permit.scrub.iter().filter(in_messages).cloned().collect();
        if question.has_body && !is_trace(method) {
            permit.body =
                permit.scrub.iter().filter_map(|rule| self.body_grant(question, rule, &permit.uses)).collect();
        }
        Ok(permit)
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
            None => permit.uses.push(Use { key: rule.name.clone(), place: place.clone(), count: 1 }),
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
    pub fn decide_for_body(
        &self,
        question: Question<'_>,
        key: &KeyName,
        places: &[Place],
        head: &[Use],
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
        if rule.paths.is_empty() {
            return Ok(());
        }
        match canonical_path(path) {
            None => Err(Denial::PathAmbiguous { written: written(), key: key() }),
            Some(path) if rule.paths.iter().any(|glob| glob.covers(&path)) => Ok(()),
            Some(_) => Err(Denial::PathNotBound { written: written(), key: key() }),
        }
    }

    fn body_grant(&self, question: Question<'_>, rule: &Arc<KeyRule>, uses: &[Use]) -> Option<BodyGrant> {
        let wanted = rule.body_places().next().is_some() && self.judge(question, rule, "").is_ok();
        let used = u32::try_from(uses_of(&rule.name, uses)).unwrap_or(u32::MAX);
        wanted.then(|| BodyGrant { rule: rule.clone(), uses_left: rule.max_uses.saturating_sub(used) })
    }
}

/// In any case: a server that does not tell methods apart by it would send the key back all the same.
fn is_trace(method: &Method) -> bool {
    method.as_str().eq_ignore_ascii_case("TRACE")
}

fn uses_of(key: &KeyName, uses: &[Use]) -> u64 {
    uses.iter().filter(|u| u.key == *key).map(|u| u.count).sum()
}

fn list<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, hosts: &[&str], places: &[&str]) -> KeyRule {
        KeyRule {
            name: name.parse().unwrap(),
            hosts: hosts.iter().map(|h| h.parse().unwrap()).collect(),
            methods: Vec::new(),
            paths: Vec::new(),
            places: places.iter().map(|p| p.parse().unwrap()).collect(),
            max_uses: 2,
            placeholder: None,
            inject: None,
        }
    }

    fn rules() -> Rules {
        let mut paths = rule("narrow", &["api.b.example"], &["header", "body"]);
        paths.methods = vec![Method::POST];
        paths.paths = vec!["/v1/**".parse().unwrap()];
        Rules::new(
            [
                rule("a", &["api.a.example", "*.wild.example"], &["header"]),
                rule("both", &["api.a.example"], &["header:x-both", "query:k", "body"]),
                rule("plain", &["http://127.0.0.1:80"], &["header"]),
                paths,
            ],
            Egress::default(),
        )
    }

    /// `permit`, or the kind of denial.
    fn ask(method: Method, url: &str, mentions: &[(&str, &str)]) -> String {
        let (scheme, rest) = url.split_once("://").unwrap();
        let scheme = if scheme == "http" { Scheme::Http } else { Scheme::Https };
        let (authority, path) = rest.split_once('/').unwrap();
        let (origin, path) = (Origin::parse(scheme, authority).unwrap(), format!("/{path}"));
        let mentions: Vec<(KeyName, Place)> =
            mentions.iter().map(|(k, p)| (k.parse().unwrap(), p.parse().unwrap())).collect();
        let mut agent = Agent::local();
        agent.keys = Some(["a", "both", "plain", "narrow"].map(|k| k.parse().unwrap()).into());
        let question = Question { agent: &agent, origin: &origin, method: &method, path: &path, has_body: true };
        let mentions = mentions.iter().map(|(k, p)| Mention { written: "<<x>>", key: Some(k), place: Some(p) });
        match rules().decide(question, mentions) {
            Ok(p) => {
                let names = |n: Vec<String>| n.join("+");
                let body = names(p.body().iter().map(|g| format!("{}:{}", g.rule.name, g.uses_left)).collect());
                let scrub = names(p.scrub().iter().map(|r| r.name.to_string()).collect());
                format!("permit body={body} scrub={scrub}")
            }
            Err(d) => format!("{d:?}").split(' ').next().unwrap().to_owned(),
        }
    }

    #[test]
    fn the_head_is_judged_whole() {
        let auth = "header:authorization";
        for (method, url, mentions, outcome) in [
            (Method::GET, "https://api.a.example/", &[("a", auth)][..], "permit body=both:2 scrub=a+both"),
            (Method::GET, "https://api.a.example/", &[("a", "basic")], "permit body=both:2 scrub=a+both"),
            (Method::GET, "https://x.wild.example/", &[("a", auth)], "permit body= scrub=a"),
            (Method::GET, "https://api.a.example/", &[], "permit body=both:2 scrub=a+both"),
            (Method::GET, "https://other.example/", &[], "permit body= scrub="),
            (
                Method::GET,
                "https://api.a.example/",
                &[("both", "header:x-both"), ("both", "query:k")],
                "permit body=both:0 scrub=a+both",
            ),
            (Method::GET, "https://api.a.example/", &[("both", "query:k"); 3], "TooManyUses"),
            (Method::GET, "https://other.example/", &[("a", auth)], "HostNotBound"),
            (Method::GET, "https://api.a.example:8443/", &[("a", auth)], "HostNotBound"),
            (Method::GET, "http://api.a.example/", &[("a", auth)], "Cleartext"),
            (Method::GET, "http://127.0.0.1/", &[("plain", auth)], "permit body= scrub=plain"),
            (Method::GET, "https://127.0.0.1:80/", &[("plain", auth)], "HostNotBound"),
            (Method::GET, "https://api.a.example/", &[("a", "query:q")], "PlaceNotBound"),
            (Method::GET, "https://api.a.example/", &[("a", "header:cookie")], "PlaceNotBound"),
            (Method::GET, "https://api.a.example/", &[("both", auth)], "PlaceNotBound"),
            (Method::GET, "https://api.a.example/", &[("a", auth), ("both", auth)], "PlaceNotBound"),
            (Method::GET, "https://api.a.example/", &[("nosuch", auth)], "UnknownKey"),
            (Method::TRACE, "https://api.a.example/", &[("a", auth)], "Trace"),
            (Method::TRACE, "https://api.a.example/", &[], "permit body= scrub=a+both"),
            (Method::POST, "https://api.b.example/v1/x", &[("narrow", auth)], "permit body=narrow:1 scrub=narrow"),
            (Method::GET, "https://api.b.example/v1/x", &[("narrow", auth)], "MethodNotBound"),
            (Method::POST, "https://api.b.example/v2/x", &[("narrow", auth)], "PathNotBound"),
            (Method::POST, "https://api.b.example/v1/%2e%2e/x", &[("narrow", auth)], "PathAmbiguous"),
            (Method::POST, "https://api.b.example/v2/x", &[], "permit body= scrub=narrow"),
        ] {
            assert_eq!(ask(method.clone(), url, mentions), outcome, "{method} {url} {mentions:?}");
        }
    }

    #[test]
    fn hosts_are_admitted_by_egress() {
        let egress = |listed| Egress {
            listed,
            allow: vec!["docs.example".parse().unwrap()],
            deny: vec!["*.evil.example".parse().unwrap()],
            connect_ports: vec![443],
        };
        let open = Rules::new([rule("a", &["api.a.example:8443"], &["header"])], egress(false));
        let listed = Rules::new([rule("a", &["api.a.example:8443"], &["header"])], egress(true));
        for (host, port, by_open, by_listed) in [
            ("api.a.example", 8443, true, true),
            ("api.a.example", 443, true, false),
            ("docs.example", 443, true, true),
            ("docs.example", 22, false, false),
            ("x.evil.example", 443, false, false),
            ("any.example", 443, true, false),
        ] {
            let admits = |r: &Rules| r.admit(&Agent::local(), &host.parse().unwrap(), port).is_ok();
            assert_eq!((admits(&open), admits(&listed)), (by_open, by_listed), "{host}:{port}");
        }
    }
}
