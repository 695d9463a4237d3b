//! The second stage: a head that has been made the proxy's own, and what one set of rules says of it.

use super::asked::{Asked, Exchange};
use crate::name::{KeyName, Origin};
use crate::policy::decide::{Mention, Question};
use crate::policy::rule::Inject;
use crate::policy::{Agent, Denial, Permit};
use crate::proxy::exchange::authorization::Caller;
use crate::proxy::exchange::request_body::AgentBody;
use crate::proxy::exchange::websocket::handshake::Handshake;
use crate::proxy::refusal::{Refusal, RefusalKind};
use crate::proxy::wire::headers;
use crate::proxy::{Ruleset, Shared};
use crate::rewrite::head::{self, HeadHits};
use crate::upstream::protocol::ProtocolPreference;
use http::header::EXPECT;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Uri, Version};
use http_body::Body as _;
use std::sync::Arc;
use std::time::SystemTime;

/// A request whose head may go on by the rules of one moment.
pub(crate) struct Judged<'c> {
    pub exchange: Exchange<'c>,
    pub transfer: Transfer,
    pub head: Parts,
    pub body: AgentBody,
    pub verdict: Verdict,
}

/// How a request came, as far as that decides how it goes on.
pub(crate) struct Transfer {
    /// It asks for a WebSocket.
    pub handshake: Option<Handshake>,
    pub protocol: ProtocolPreference,
    pub has_body: bool,
    /// Its body has no length.
    pub chunked: bool,
    /// The client waits for a word before it sends its body (RFC 9110, section 10.1.1).
    pub expects_continue: bool,
}

/// What a set of rules says of a head.
pub(crate) struct Verdict {
    pub ruleset: Arc<Ruleset>,
    pub hits: HeadHits,
    pub permit: Permit,
}

impl<'c> Asked<'c> {
    /// Makes the head the proxy's own, and judges it.
    ///
    /// # Errors
    /// The agent, a placeholder in the head, or the host may not.
    pub fn judge(self) -> Result<Judged<'c>, Refusal> {
        let Asked { exchange, ruleset, request, .. } = self;
        let (mut head, body) = request.into_parts();
        refuse_to_drop_keys(&ruleset, &head.headers)?;
        let transfer = Transfer::of(&mut head, &body)?;
        if ruleset.rules.injects {
            let agent = Caller::agent(&exchange.caller, &ruleset, SystemTime::now())?;
            let asked = question(&agent, &exchange.origin, &head, transfer.has_body);
            let added: Vec<Inject> = ruleset.rules.injected(asked).into_iter().cloned().collect();
            head.headers.extend(added.into_iter().map(|inject| (inject.name, inject.value)));
        }
        let verdict = Verdict::of_now(&exchange, &head, transfer.has_body)?;
        if let Some(protocol) = transfer.handshake.as_ref().and_then(Handshake::unread_protocol)
            && verdict.hidden().next().is_some()
        {
            return Err(Refusal::unread(protocol, &exchange.origin.host));
        }
        let wanted = verdict.permit.uses().iter().map(|u| &u.key);
        let wanted = wanted.chain(verdict.permit.body().iter().map(|grant| &grant.rule.name));
        match exchange.shared().recorder.cooldown(&exchange.info.agent, wanted) {
            Some(cooldown) => Err(cooldown.into()),
            None => Ok(Judged { exchange, transfer, head, body, verdict }),
        }
    }
}

/// What `Connection` names is for the next hop alone, and goes no further (RFC 9110, section 7.6.1): a placeholder in it would
/// be dropped with it, and the request go on without its key.
fn refuse_to_drop_keys(ruleset: &Ruleset, headers: &HeaderMap) -> Result<(), Refusal> {
    for name in headers::named_by_connection(headers) {
        let values = headers.get_all(&name).iter().map(|value| (name.clone(), value.clone()));
        if let Some(hit) = head::find(&ruleset.vocabulary, &Uri::default(), &values.collect()).iter().next() {
            let written = &hit.written;
            return Err(Refusal::malformed(format!(
                "Connection names {name}, which would not reach the host, and {written} is in it; leave it out of Connection"
            )));
        }
    }
    Ok(())
}

impl Transfer {
    /// Reads off a head what belongs to the client's connection, and takes it off.
    fn of(head: &mut Parts, body: &AgentBody) -> Result<Self, Refusal> {
        let has_body = !body.is_end_stream();
        let handshake = Handshake::asked(head, has_body)?;
        let protocol = if handshake.is_some() { ProtocolPreference::Dedicated } else { protocol(head) };
        let chunked = headers::request(&mut head.headers);
        if head.version == Version::HTTP_2 {
            headers::join_cookies(&mut head.headers);
        }
        // an HTTP/2 upstream's word never comes through the library, and whoever speaks HTTP/2 can be stopped by a reset
        let expects_continue = head.version == Version::HTTP_11 && has_body && expects_continue(&head.headers);
        if !headers::count_down_forwards(&head.method, &mut head.headers) {
            return Err(Refusal::new(
                RefusalKind::NotForwarded,
                "Max-Forwards is 0, so the request ends at this proxy",
            ));
        }
        head.headers.remove(headers::LOCUM_TOOL);
        head.headers.remove(EXPECT);
        head.uri = origin_form(&head.uri);
        Ok(Self { handshake, protocol, has_body, chunked, expects_continue })
    }
}

impl Verdict {
    /// Judges a head by the rules of now.
    pub fn of_now(exchange: &Exchange<'_>, head: &Parts, has_body: bool) -> Result<Self, Refusal> {
        let Exchange { caller, origin, .. } = exchange;
        let ruleset = exchange.shared().ruleset.load_full();
        let agent = Caller::agent(caller, &ruleset, SystemTime::now())?;
        let hits = head::find(&ruleset.vocabulary, &head.uri, &head.headers);
        let permit = decide(&ruleset, &agent, origin, head, &hits, has_body)?;
        Ok(Self { ruleset, hits, permit })
    }

    /// Whether it would be judged by the same rules now.
    pub fn is_of_now(&self, shared: &Shared) -> bool {
        Arc::ptr_eq(&self.ruleset, &shared.ruleset.load())
    }

    /// The keys that an answer may show.
    pub fn hidden(&self) -> impl Iterator<Item = &KeyName> + Clone {
        self.permit.scrub().iter().map(|rule| &rule.name)
    }
}

fn decide(
    ruleset: &Ruleset,
    agent: &Agent,
    origin: &Origin,
    head: &Parts,
    hits: &HeadHits,
    has_body: bool,
) -> Result<Permit, Denial> {
    let mentions = hits.iter().map(|h| Mention { written: &h.written, key: h.key.as_ref(), place: h.place.as_ref() });
    ruleset.rules.decide(question(agent, origin, head, has_body), mentions)
}

fn question<'a>(agent: &'a Agent, origin: &'a Origin, head: &'a Parts, has_body: bool) -> Question<'a> {
    Question {
        agent,
        origin,
        method: &head.method,
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
        has_body,
    }
}

fn protocol(head: &Parts) -> ProtocolPreference {
    match head.version {
        Version::HTTP_2 if headers::grpc(&head.headers).is_some() => ProtocolPreference::Http2,
        Version::HTTP_2 => ProtocolPreference::Either,
        _ => ProtocolPreference::Http1,
    }
}

fn expects_continue(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Just path and query (RFC 9112, section 3.2.1); the host is the origin's and not the agent's to say.
fn origin_form(uri: &Uri) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = uri.path_and_query().cloned().or(Some(PathAndQuery::from_static("/")));
    Uri::from_parts(parts).unwrap_or_default()
}
