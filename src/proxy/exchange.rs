//! One request and its response, top to bottom.

use super::conn::Conn;
use super::ending::{Ending, HTTP_2, Tally};
use super::refuse::Refusal;
use super::request_body::{self, Fault, RequestBody};
use super::response_body::{self, ResponseBody};
use super::upgrade::Handshake;
use super::websocket::Relay;
use super::{Live, Shared, Worker, headers};
use crate::memory::Opened;
use crate::name::{AgentName, Host, KeyName, Origin, Scheme};
use crate::place::Place;
use crate::policy::agent::Turn;
use crate::policy::decide::{Mention, Question};
use crate::policy::{Agent, Denial, Permit};
use crate::record::{Event, KeyRef, Operation, Record, Scene};
use crate::rewrite::BodyKey;
use crate::rewrite::head::{self, HeadHits};
use crate::rewrite::scrub::{ScrubKey, Scrubber};
use crate::secrets::Keys;
use crate::upstream::UpstreamError;
use crate::upstream::late::CarriesKey;
use crate::upstream::pool::Wish;
use bytes::Bytes;
use http::header::{ACCEPT_RANGES, EXPECT, HOST, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

/// How long an upstream may think before its response begins. Models think long.
const FIRST_BYTE: Duration = Duration::from_secs(600);

/// An exchange always has an answer: the upstream's, or locum's own.
pub(super) async fn exchange(conn: &Conn, request: Request<Incoming>) -> Response<ResponseBody> {
    let start = Instant::now();
    let grpc = headers::grpc(request.headers()).cloned();
    let asked = match Asked::by(conn, &request) {
        Ok(asked) => asked,
        Err((agent, refusal)) => {
            let asked = conn.origin.clone().or_else(|| written_origin(request.uri()));
            let scene = scene(conn, agent, asked.as_ref(), &request);
            return refuse(conn.shared(), &scene, &refusal, asked.as_ref().map(|o| &o.host), grpc);
        }
    };
    let scene = scene(conn, asked.agent.name.clone(), Some(&asked.origin), &request);
    let host = asked.origin.host.clone();
    match forward(conn, asked, &scene, request, start).await {
        Ok(response) => response,
        Err(refusal) => refuse(conn.shared(), &scene, &refusal, Some(&host), grpc),
    }
}

/// The host that the agent wrote, so that a refusal tells what was asked for.
fn written_origin(uri: &Uri) -> Option<Origin> {
    Origin::parse(Scheme::Http, uri.authority()?.as_str()).ok()
}

/// Who asks, and whom: what a request depends on before its content counts.
struct Asked {
    live: Arc<Live>,
    agent: Arc<Agent>,
    origin: Origin,
    turn: Turn,
}

impl Asked {
    fn by(conn: &Conn, request: &Request<Incoming>) -> Result<Self, (AgentName, Refusal)> {
        let live = conn.shared().live.load_full();
        let agent = conn.agent(&live, request.headers(), SystemTime::now())?;
        let fail = |refusal| (agent.name.clone(), refusal);
        let origin = conn.origin_of(request).map_err(fail)?;
        if conn.origin.is_none() {
            live.rules.admit(&agent, &origin.host, origin.port).map_err(|d| fail(Refusal::Denied(d)))?;
        }
        let meter = conn.shared().meters.of(&agent.name);
        let turn = meter.enter(agent.limits, Instant::now()).map_err(|wait| fail(Refusal::Wait(wait)))?;
        Ok(Self { live, agent, origin, turn })
    }
}

/// The recipe: find, decide, open, replace, record, send, scrub.
async fn forward(
    conn: &Conn,
    asked: Asked,
    scene: &Arc<Scene>,
    request: Request<Incoming>,
    start: Instant,
) -> Result<Response<ResponseBody>, Refusal> {
    let shared = conn.shared();
    let (mut parts, body) = request.into_parts();
    let http = version(parts.version);
    let wish = match parts.version {
        Version::HTTP_2 if headers::grpc(&parts.headers).is_some() => Wish::Http2,
        Version::HTTP_2 => Wish::Any,
        _ => Wish::Http1,
    };
    let handshake = Handshake::asked(&parts, !body.is_end_stream())?;
    let wish = if handshake.is_some() { Wish::Alone } else { wish };
    let chunked = headers::request(&mut parts.headers);
    parts.headers.remove(headers::LOCUM_TOOL);
    let expects = parts.version == Version::HTTP_11 && !body.is_end_stream() && expects_word(&parts.headers);
    parts.headers.remove(EXPECT);
    parts.uri = origin_form(&parts.uri);
    asked.live.inject(&asked.origin, &mut parts.headers);

    let hits = head::find(&asked.live.vocabulary, &parts.uri, &parts.headers);
    let permit = decide(&asked, &parts, &hits, !body.is_end_stream()).map_err(Refusal::Denied)?;
    let wanted = permit.uses().iter().map(|u| &u.key).chain(permit.body().iter().map(|grant| &grant.rule.name));
    let rest = shared.alerts.rest(scene.agent.as_str(), wanted.map(KeyName::as_str), SystemTime::now());
    if let Some(rest) = rest {
        return Err(Refusal::Rest(rest));
    }
    // before the values are had, so that one which changes meanwhile is not taken for the one it changed to
    let bound = (handshake.is_some() && !permit.scrub().is_empty()).then(|| generations(shared, &permit));
    let keys =
        shared.secrets.open(&asked.live.keys, &permit).await.map_err(|e| Refusal::KeyUnavailable(e.to_string()))?;
    if let Some(e) = keys.unhidden() {
        return Err(Refusal::KeyUnavailable(format!("what answers could show it: {e}")));
    }
    head::replace(&mut parts.uri, &mut parts.headers, &hits, |k| keys.get(k).map(|v| v.expose()))
        .map_err(|e| Refusal::KeyUnavailable(e.to_string()))?;
    if !permit.scrub().is_empty() {
        // slices defeat a scrubber
        parts.headers.remove(RANGE);
        parts.headers.remove(IF_RANGE);
        response_body::accept_what_can_be_read(&mut parts.headers);
    }
    if handshake.is_some() {
        Handshake::ask(&mut parts.headers, bound.is_some());
    }

    let tally = Arc::new(Tally::default());
    let scrub_with = scrubber(&conn.worker, &asked, &permit, &keys);
    let Asked { live, agent, origin, turn } = asked;
    let mut ending = Ending::new(shared.clone(), scene.clone(), tally.clone(), start, http, turn);
    ending.key = permit.uses().first().map(|u| u.key.clone());
    ending.scrubber = scrub_with.clone();
    let plan = request_body::Plan { shared, scene, permit: &permit, keys: &keys, vocabulary: &live.vocabulary };
    let prepared = plan.prepare(&mut parts.headers, body, chunked, tally.clone()).await;
    let (body, body_uses) = prepared.map_err(|fault| ending.refused(fault.into()))?;

    let uses = permit.uses().iter().chain(&body_uses);
    let records: Vec<Record> = uses.map(|u| substitution(scene, &u.key, &u.place, u.count)).collect();
    if !records.is_empty() {
        ending.key = ending.key.take().or_else(|| body_uses.first().map(|u| u.key.clone()));
        let written = shared.commit(&records).await;
        written.map_err(|e| ending.refused(Refusal::AuditUnavailable(format!("{e}; {}", e.hint()))))?;
    }

    let method = parts.method.clone();
    set_host(&origin, &mut parts.headers);
    if !permit.uses().is_empty() || !permit.body().is_empty() {
        let in_target = permit.uses().iter().any(|u| u.place.in_target());
        parts.extensions.insert(CarriesKey { in_target });
    }
    let mut request = Request::from_parts(parts, body);
    if expects && !request.body().is_held() {
        request = expecting(request, &tally);
    }
    let sent = match tally.patiently(FIRST_BYTE, conn.worker.pool.send(&origin, request, wish)).await {
        Some(sent) => sent,
        None => Err(UpstreamError::Silent { origin: origin.clone(), seconds: FIRST_BYTE.as_secs() }),
    };
    let (mut response, lease) =
        sent.map_err(|e| ending.refused(tally.fault().map_or(Refusal::Upstream(e), Into::into)))?;

    ending.upstream_ip = Some(lease.ip);
    ending.status = Some(response.status().as_u16());
    tally.answered.store(true, Ordering::Release);
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let relay = bound.map(|bound| Relay {
            shared: shared.clone(),
            scene: scene.clone(),
            agent,
            keys: in_messages(&permit, &keys),
            bound,
            scrubber: scrub_with,
            live,
        });
        // boxed, as it is rare, and every request would carry room for it
        return Box::pin(conn.switch.make(handshake, &origin, response, relay, tally, ending)).await;
    }
    if !permit.scrub().is_empty() {
        response.headers_mut().remove(ACCEPT_RANGES);
    }
    if headers::is_coded_for_transfer(response.headers()) {
        let why = "the upstream's response has a transfer coding that was not asked for".into();
        return Err(ending.refused(Refusal::Body { status: StatusCode::BAD_GATEWAY, why }));
    }
    headers::response(response.headers_mut());
    response_body::rewrite(response, &method, scrub_with, lease, ending).await
}

fn expects_word(headers: &HeaderMap) -> bool {
    headers.get(EXPECT).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Asks the upstream whether it wants the body, as the client does; the client is told once its body is asked for.
fn expecting(request: Request<RequestBody>, tally: &Arc<Tally>) -> Request<RequestBody> {
    let (mut parts, body) = request.into_parts();
    parts.headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
    let (body, go) = body.expecting(tally.clone());
    let mut request = Request::from_parts(parts, body);
    hyper::ext::on_informational(&mut request, move |response| {
        if response.status() == StatusCode::CONTINUE {
            go.notify_one();
        }
    });
    request
}

/// What tells later whether the keys of this host are still those that were opened just now.
fn generations(shared: &Shared, permit: &Permit) -> Vec<(KeyName, u64)> {
    permit.scrub().iter().map(|rule| (rule.name.clone(), shared.secrets.generation(&rule.name))).collect()
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

/// What hides the keys bound to the host that answers; `None` where there are none.
fn scrubber(worker: &Worker, asked: &Asked, permit: &Permit, keys: &Keys) -> Option<Arc<Scrubber>> {
    if permit.scrub().is_empty() {
        return None;
    }
    let rule = |name: &KeyName| permit.scrub().iter().find(|rule| rule.name == *name);
    let hidden = || keys.iter().filter(|(name, _)| rule(name).is_some());
    hidden().next()?;
    let described = |(name, value): (&KeyName, &Arc<Opened>)| {
        Some(ScrubKey {
            key: name.clone(),
            placeholder: rule(name)?.shown_placeholder(),
            secret_from: asked.live.secret_from(name, value.expose()),
            value: value.clone(),
        })
    };
    let described = || hidden().filter_map(described).collect();
    Some(Arc::new(worker.patterns.scrubber(&asked.origin, &asked.live, hidden(), described)))
}

fn decide(asked: &Asked, parts: &http::request::Parts, hits: &HeadHits, has_body: bool) -> Result<Permit, Denial> {
    let question = Question {
        agent: &asked.agent,
        origin: &asked.origin,
        method: &parts.method,
        path: parts.uri.path(),
        has_body,
    };
    let mentions = hits.iter().map(|h| Mention { written: &h.written, key: h.key.as_ref(), place: h.place.as_ref() });
    asked.live.rules.decide(question, mentions)
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

fn scene(conn: &Conn, agent: AgentName, origin: Option<&Origin>, request: &Request<Incoming>) -> Arc<Scene> {
    let tool = request.headers().get(headers::LOCUM_TOOL).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    Arc::new(Scene {
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

fn substitution(scene: &Arc<Scene>, key: &KeyName, place: &Place, count: u64) -> Record {
    let mut record = Record::new(SystemTime::now(), Event::Substitution, Operation::Key(key.clone()));
    record.scene = Some(scene.clone());
    record.key_ref = Some(KeyRef::Key(key.clone()));
    record.place = Some(place.clone());
    record.count = Some(count);
    record
}

/// A record for what each key and place was used for since the last call, which `recorded` remembers.
pub(super) fn substitutions(scene: &Arc<Scene>, uses: &[crate::rewrite::Use], recorded: &mut Vec<u64>) -> Vec<Record> {
    recorded.resize(uses.len(), 0);
    let news = uses.iter().zip(recorded).map(|(used, known)| (used, used.count - std::mem::replace(known, used.count)));
    let news = news.filter(|(_, new)| *new > 0);
    news.map(|(used, new)| substitution(scene, &used.key, &used.place, new)).collect()
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
    scene: &Arc<Scene>,
    refusal: &Refusal,
    host: Option<&Host>,
    grpc: Option<HeaderValue>,
) -> Response<ResponseBody> {
    shared.record_refusal(scene.clone(), refusal);
    let answer = match grpc {
        Some(content_type) => refusal.grpc(content_type, &scene.exchange, host),
        None => refusal.answer(&scene.exchange, host),
    };
    answer.map(|b: Bytes| ResponseBody::answer(b))
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Body { status, why } => Refusal::Body { status, why },
            Fault::Key(why) => Refusal::KeyUnavailable(why),
            Fault::Audit(why) => Refusal::AuditUnavailable(why),
            Fault::Agent(why) => Refusal::Malformed(why),
        }
    }
}
