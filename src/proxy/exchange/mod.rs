//! One request and its response, top to bottom.

pub mod authorization;
pub mod body_buffer;
pub mod conn;
pub mod current_scrubber;
pub mod decode_budget;
pub mod outcome;
pub mod request_body;
pub mod response_body;
pub mod scrub_cache;
pub mod serve;
pub mod websocket;

use super::refusal::Refusal;
use super::wire::headers;
use super::{Ruleset, Shared};
use crate::name::{AgentName, Host, KeyName, Origin, Scheme};
use crate::place::Place;
use crate::policy::agent::ConcurrencyPermit;
use crate::policy::decide::{Mention, Question};
use crate::policy::overrides;
use crate::policy::{Agent, Denial, Permit};
use crate::record::{Event, ExchangeInfo, KeyRef, Operation, Record};
use crate::rewrite::BodyKey;
use crate::rewrite::head::{self, HeadHits};
use crate::secrets::Keys;
use crate::upstream::UpstreamError;
use crate::upstream::dial::AllowedPeer;
use crate::upstream::head_injection::CarriesKey;
use crate::upstream::protocol::ProtocolPreference;
use authorization::{Authorization, Caller, Value};
use bytes::Bytes;
use conn::Conn;
use current_scrubber::CurrentScrubber;
use http::header::{EXPECT, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use outcome::{BodyProgress, ExchangeOutcome, HTTP_2};
use request_body::{Came, Fault, Plan, RequestBody};
use response_body::{Answer, ResponseBody};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};
use websocket::handshake::Handshake;
use websocket::relay::Relay;

/// How long an upstream may think before its response begins. Models think long.
const FIRST_BYTE: Duration = Duration::from_secs(600);

/// An exchange always has an answer: the upstream's, or locum's own.
pub(crate) async fn exchange(conn: &Conn, request: Request<Incoming>) -> Response<ResponseBody> {
    let start = Instant::now();
    let grpc = headers::grpc(request.headers()).cloned();
    let asked = match Asked::by(conn, &request) {
        Ok(asked) => asked,
        Err((agent, refusal)) => {
            let asked = conn.origin.clone().or_else(|| written_origin(request.uri()));
            let info = info(conn, agent, asked.as_ref(), &request);
            return refuse(conn.shared(), &info, &refusal, asked.as_ref().map(|o| &o.host), grpc);
        }
    };
    let info = info(conn, asked.agent.name.clone(), Some(&asked.origin), &request);
    let host = asked.origin.host.clone();
    match forward(conn, asked, &info, request, start).await {
        Ok(response) => response,
        Err(refusal) => refuse(conn.shared(), &info, &refusal, Some(&host), grpc),
    }
}

/// The host that the agent wrote, so that a refusal tells what was asked for.
fn written_origin(uri: &Uri) -> Option<Origin> {
    Origin::parse(Scheme::Http, uri.authority()?.as_str()).ok()
}

/// Who asks, and whom: what a request depends on before its content counts.
struct Asked {
    ruleset: Arc<Ruleset>,
    caller: Arc<Caller>,
    agent: Arc<Agent>,
    origin: Origin,
    turn: ConcurrencyPermit,
}

impl Asked {
    fn by(conn: &Conn, request: &Request<Incoming>) -> Result<Self, (AgentName, Refusal)> {
        let (ruleset, now) = (conn.shared().ruleset.load_full(), SystemTime::now());
        let (caller, origin) = conn.caller(&ruleset, request, now)?;
        let agent = caller.agent(&ruleset, now).map_err(|refusal| (caller.name(), refusal))?;
        let meter = conn.shared().meters.of(&agent.name);
        let turn = meter.enter(agent.limits, Instant::now());
        let turn = turn.map_err(|wait| (agent.name.clone(), Refusal::Wait(wait)))?;
        Ok(Self { ruleset, caller, agent, origin, turn })
    }
}

/// A head as it was judged by one set of rules.
struct Judged {
    ruleset: Arc<Ruleset>,
    hits: HeadHits,
    permit: Permit,
}

impl Judged {
    fn now(shared: &Shared, caller: &Caller, origin: &Origin, parts: &Parts, has_body: bool) -> Result<Self, Refusal> {
        let ruleset = shared.ruleset.load_full();
        let agent = caller.agent(&ruleset, SystemTime::now())?;
        let hits = head::find(&ruleset.vocabulary, &parts.uri, &parts.headers);
        let permit = decide(&ruleset, &agent, origin, parts, &hits, has_body).map_err(Refusal::Denied)?;
        Ok(Self { ruleset, hits, permit })
    }

    /// Whether it would be judged by the same rules now.
    fn is_of_now(&self, shared: &Shared) -> bool {
        Arc::ptr_eq(&self.ruleset, &shared.ruleset.load())
    }
}

/// The recipe: find, decide, open, replace, record, send, scrub.
async fn forward(
    conn: &Conn,
    asked: Asked,
    info: &Arc<ExchangeInfo>,
    request: Request<Incoming>,
    start: Instant,
) -> Result<Response<ResponseBody>, Refusal> {
    let shared = conn.shared();
    let Asked { ruleset, caller, origin, turn, .. } = asked;
    let (mut parts, body) = request.into_parts();
    let (http, has_body) = (version(parts.version), !body.is_end_stream());
    let handshake = Handshake::asked(&parts, has_body)?;
    let wish = if handshake.is_some() { ProtocolPreference::Dedicated } else { wish(&parts) };
    let chunked = headers::request(&mut parts.headers);
    parts.headers.remove(headers::LOCUM_TOOL);
    let expects = parts.version == Version::HTTP_11 && has_body && expects_word(&parts.headers);
    parts.headers.remove(EXPECT);
    parts.uri = origin_form(&parts.uri);
    ruleset.inject(&origin, &mut parts.headers);

    let judged = Judged::now(shared, &caller, &origin, &parts, has_body)?;
    let wanted = judged.permit.uses().iter().map(|u| &u.key);
    let wanted = wanted.chain(judged.permit.body().iter().map(|grant| &grant.rule.name));
    let rest = shared.alerts.rest(info.agent.as_str(), wanted.map(KeyName::as_str), SystemTime::now());
    if let Some(rest) = rest {
        return Err(Refusal::Cooldown(rest));
    }
    let progress = Arc::new(BodyProgress::default());
    let mut outcome = ExchangeOutcome::new(shared.clone(), info.clone(), progress.clone(), start, http, turn);
    let judge = |parts: &Parts| Judged::now(shared, &caller, &origin, parts, has_body);
    let opened = opened(shared, judged, judge, &parts, Came::Coming(body)).await;
    let (Judged { ruleset, hits, permit }, keys, came) = opened.map_err(|refusal| outcome.refused(refusal))?;
    let authorization = Arc::new(Authorization {
        shared: shared.clone(),
        info: info.clone(),
        caller: caller.clone(),
        origin: origin.clone(),
        method: parts.method.clone(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        overrides: overrides::named(&parts.headers),
        has_body,
        ruleset: Arc::downgrade(&ruleset),
        head: permit.uses().to_vec(),
        values: permit.keys().iter().map(|key| Value::of(key, &keys)).collect(),
        on_loopback_only: permit.on_loopback_only(),
        limits: permit.limits().clone(),
    });
    head::replace(&mut parts.uri, &mut parts.headers, &hits, |k| keys.get(k).map(|v| v.expose()))
        .map_err(|e| outcome.refused(Refusal::KeyUnavailable(e.to_string())))?;
    let bound = permit.scrub().iter().map(|rule| Value::of(&rule.name, &keys));
    let bound = (handshake.is_some() && !permit.scrub().is_empty()).then(|| bound.collect());
    if !permit.scrub().is_empty() {
        response_body::ask_for_identity(&mut parts.headers);
    }
    if handshake.is_some() {
        Handshake::ask(&mut parts.headers, !permit.scrub().is_empty());
    }

    let generations = permit.scrub().iter().map(|rule| (rule.name.clone(), keys.generation(&rule.name))).collect();
    let mut current = CurrentScrubber::new(&conn.worker, authorization.clone(), ruleset.clone(), generations, &keys);
    outcome.keys = permit.keys().to_vec();
    outcome.hits = current.hits().clone();
    let plan = Plan { authorization: &authorization, permit: &permit, keys: &keys, vocabulary: &ruleset.vocabulary };
    let prepared = plan.prepare(&mut parts.headers, came, chunked, progress.clone()).await;
    let (body, body_uses) = prepared.map_err(|fault| outcome.refused(fault.into()))?;

    let uses = permit.uses().iter().chain(&body_uses);
    let records: Vec<Record> = uses.map(|u| substitution(info, &u.key, &u.place, u.count)).collect();
    if !records.is_empty() {
        outcome.keys.extend(body_uses.iter().map(|u| u.key.clone()));
        let written = shared.commit(&records).await;
        written.map_err(|e| outcome.refused(Refusal::AuditUnavailable(format!("{e}; {}", e.hint()))))?;
    }

    let method = parts.method.clone();
    set_host(&origin, &mut parts.headers);
    let in_body = !body_uses.is_empty() || !permit.body().is_empty() && !body.is_held();
    let in_messages_to_come = handshake.is_some() && !permit.messages().is_empty();
    if !permit.uses().is_empty() || in_body || in_messages_to_come {
        parts.extensions.insert(carries_key(&permit, &authorization, &progress));
    }
    let mut request = Request::from_parts(parts, body);
    if expects && !request.body().is_held() {
        request = expecting(request, &progress);
    }
    let sent = match progress.patiently(FIRST_BYTE, conn.worker.pool.send(&origin, request, wish)).await {
        Some(sent) => sent,
        None => Err(UpstreamError::Silent { origin: origin.clone(), seconds: FIRST_BYTE.as_secs() }),
    };
    let (mut response, lease) =
        sent.map_err(|e| outcome.refused(progress.fault().map_or(Refusal::Upstream(e), Into::into)))?;

    outcome.upstream_ip = Some(lease.ip);
    outcome.status = Some(response.status().as_u16());
    progress.answered.store(true, Ordering::Release);
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let changed = current.renew().await.map_err(|fault| outcome.refused(fault.into()))?;
        if changed {
            let why = "a rule or a key has changed meanwhile; connect again".into();
            return Err(outcome.refused(Refusal::KeyUnavailable(why)));
        }
        let keys = in_messages(&permit, &keys);
        let authorization_of_relay = authorization.clone();
        let relay = bound.map(|bound| Relay {
            authorization: authorization_of_relay,
            keys,
            bound,
            permit,
            scrubber: current.scrubber().cloned(),
            ruleset,
        });
        // boxed, as it is rare, and every request would carry room for it
        return Box::pin(conn.switch.make(handshake, authorization, response, relay, progress, outcome)).await;
    }
    if headers::is_coded_for_transfer(response.headers()) {
        let why = "the upstream's response has a transfer coding that was not asked for".into();
        return Err(outcome.refused(Refusal::Body { status: StatusCode::BAD_GATEWAY, why }));
    }
    headers::response(response.headers_mut());
    response_body::rewrite(response, &method, Answer { current, lease, outcome }).await
}

/// The keys of a request that is all there, but for a long body: whatever was waited for, a body or a source, what was decided
/// before is decided again if the rules have changed since.
async fn opened(
    shared: &Shared,
    mut judged: Judged,
    judge: impl Fn(&Parts) -> Result<Judged, Refusal>,
    parts: &Parts,
    mut came: Came,
) -> Result<(Judged, Keys, Came), Refusal> {
    loop {
        if !judged.permit.body().is_empty() {
            request_body::codings(&parts.headers)?;
            if came.is_to_be_held() {
                came = came.whole().await?;
                judged = judge(parts)?;
                continue;
            }
        }
        let keys = shared.secrets.open(&judged.ruleset.keys, &judged.permit).await;
        let keys = keys.map_err(|e| Refusal::KeyUnavailable(e.to_string()))?;
        if !judged.is_of_now(shared) {
            judged = judge(parts)?;
            continue;
        }
        return match keys.unhidden() {
            Some(e) => Err(Refusal::KeyUnavailable(format!("what answers could show it: {e}"))),
            None => Ok((judged, keys, came)),
        };
    }
}

/// Tells the pool that a key goes with a request, which is asked for again when it is about to be sent.
fn carries_key(permit: &Permit, authorization: &Arc<Authorization>, progress: &Arc<BodyProgress>) -> CarriesKey {
    let (authorization, progress) = (authorization.clone(), progress.clone());
    CarriesKey {
        peer: if permit.on_loopback_only() { AllowedPeer::Loopback } else { AllowedPeer::Any },
        in_target: permit.uses().iter().any(|u| u.place.in_target()),
        may_go: Arc::new(move || authorization.head_holds().inspect_err(|fault| progress.set_fault(fault)).is_ok()),
    }
}

fn wish(parts: &Parts) -> ProtocolPreference {
    match parts.version {
        Version::HTTP_2 if headers::grpc(&parts.headers).is_some() => ProtocolPreference::Http2,
        Version::HTTP_2 => ProtocolPreference::Either,
        _ => ProtocolPreference::Http1,
    }
}

fn expects_word(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Asks the upstream whether it wants the body, as the client does; the client is told once its body is asked for.
fn expecting(request: Request<RequestBody>, progress: &Arc<BodyProgress>) -> Request<RequestBody> {
    let (mut parts, body) = request.into_parts();
    parts.headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
    let (body, go) = body.expecting(progress.clone());
    let mut request = Request::from_parts(parts, body);
    hyper::ext::on_informational(&mut request, move |response| {
        if response.status() == StatusCode::CONTINUE {
            go.notify_one();
        }
    });
    request
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

fn decide(
    ruleset: &Ruleset,
    agent: &Agent,
    origin: &Origin,
    parts: &Parts,
    hits: &HeadHits,
    has_body: bool,
) -> Result<Permit, Denial> {
    let question = Question {
        agent,
        origin,
        method: &parts.method,
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
        has_body,
    };
    let mentions = hits.iter().map(|h| Mention { written: &h.written, key: h.key.as_ref(), place: h.place.as_ref() });
    ruleset.rules.decide(question, mentions)
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

/// Just path and query; the host is the origin's and not the agent's to say.
fn origin_form(uri: &Uri) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = uri.path_and_query().cloned();
    if parts.path_and_query.is_none() {
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
    }
    Uri::from_parts(parts).unwrap_or_default()
}

fn info(conn: &Conn, agent: AgentName, origin: Option<&Origin>, request: &Request<Incoming>) -> Arc<ExchangeInfo> {
    let tool = request.headers().get(headers::LOCUM_TOOL).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    Arc::new(ExchangeInfo {
        exchange: conn.shared().ids.next(),
        agent,
        pid: conn.pid,
        tool,
        method: request.method().as_str().to_owned(),
        scheme: origin.map_or("http", |o| o.scheme.as_str()),
        host: origin.map_or_else(String::new, |o| o.host.to_string()),
        port: origin.map_or(0, |o| o.port),
        path: request.uri().path().to_owned(),
    })
}

fn substitution(info: &Arc<ExchangeInfo>, key: &KeyName, place: &Place, count: u64) -> Record {
    let mut record = Record::new(SystemTime::now(), Event::Substitution, Operation::Key(key.clone()));
    record.info = Some(info.clone());
    record.key_ref = Some(KeyRef::Key(key.clone()));
    record.place = Some(place.clone());
    record.count = Some(count);
    record
}

/// A record for what each key and place was used for since the last call, which `recorded` remembers.
pub(crate) fn substitutions(
    info: &Arc<ExchangeInfo>,
    uses: &[crate::rewrite::Use],
    recorded: &mut Vec<u64>,
) -> Vec<Record> {
    recorded.resize(uses.len(), 0);
    let news = uses.iter().zip(recorded).map(|(used, known)| (used, used.count - std::mem::replace(known, used.count)));
    let news = news.filter(|(_, new)| *new > 0);
    news.map(|(used, new)| substitution(info, &used.key, &used.place, new)).collect()
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => HTTP_2,
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

fn refuse(
    shared: &Shared,
    info: &Arc<ExchangeInfo>,
    refusal: &Refusal,
    host: Option<&Host>,
    grpc: Option<HeaderValue>,
) -> Response<ResponseBody> {
    shared.record_refusal(info.clone(), refusal);
    let answer = match grpc {
        Some(content_type) => refusal.grpc(content_type, &info.exchange, host),
        None => refusal.answer(&info.exchange, host),
    };
    answer.map(|b: Bytes| ResponseBody::answer(b))
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Body { status, why } => Refusal::Body { status, why },
            Fault::Key(why) => Refusal::KeyUnavailable(why),
            Fault::Denied(denial) => Refusal::Denied(denial),
            Fault::Unauthenticated(e) => Refusal::Unauthenticated(e),
            Fault::Audit(why) => Refusal::AuditUnavailable(why),
            Fault::Agent(why) => Refusal::Malformed(why),
        }
    }
}
