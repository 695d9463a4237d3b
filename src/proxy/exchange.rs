//! One request and its response, top to bottom.

use super::connect::{Admitted, Client};
use super::ending::{Ending, Tally};
use super::framing::Fault as FramingFault;
use super::kin::Relative;
use super::refuse::Refusal;
use super::request_body::{self, Fault, RequestBody};
use super::response_body::{self, ResponseBody};
use super::strict::Strict;
use super::upgrade::{Handshake, Switch};
use super::watched::Watched;
use super::websocket::Relay;
use super::{Live, Shared, Worker, early_scene, headers};
use crate::ca::Leaves;
use crate::name::{AgentName, Host, KeyName, Origin, Scheme};
use crate::place::Place;
use crate::policy::agent::{AuthError, Proof, Turn};
use crate::policy::decide::{Mention, Question};
use crate::policy::{Agent, Denial, Permit};
use crate::record::{Event, Record, Scene};
use crate::rewrite::BodyKey;
use crate::rewrite::head::{self, HeadHits};
use crate::rewrite::scrub::{ScrubKey, Scrubber};
use crate::secrets::Keys;
use crate::upstream::UpstreamError;
use crate::upstream::late::CarriesKey;
use crate::upstream::pool::{BoxError, Wish};
use bytes::Bytes;
use http::header::{EXPECT, HOST, IF_RANGE, PROXY_AUTHORIZATION, RANGE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;

/// How long a client's kept connection may wait for its next request.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long an upstream may think before its response begins. Models think long.
const FIRST_BYTE: Duration = Duration::from_secs(600);

/// How long a client may take to read why it is cut off.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How much is read and dropped of what a client goes on sending meanwhile.
const LAST_BYTES: u64 = 16 * 1024 * 1024;

/// The connection that requests come in on.
pub(super) struct Conn {
    worker: Arc<Worker>,
    /// Who opened the tunnel; without one each request says for itself.
    opener: Option<Opener>,
    /// The tunnel's host; without one each request names its own.
    origin: Option<Origin>,
    /// The host that the TLS handshake named, where it was not the tunnel's.
    misdirected: Option<Host>,
    /// Who asks where a request without a tunnel brings no token.
    relative: Option<Relative>,
    /// The client's process, where it was asked for.
    pid: Option<u32>,
    under_way: Arc<AtomicUsize>,
    /// What comes after HTTP, once a request has asked for it.
    switch: Switch,
}

/// Who opened a tunnel, as known when the rules were last looked at.
struct Opener {
    proof: Proof,
    known: Mutex<(Weak<Live>, Arc<Agent>)>,
}

impl Opener {
    /// The agent as it is now: a revoked token, and a host that may no longer be reached, count for the next request
    /// of an open tunnel to `origin`.
    fn agent(&self, live: &Arc<Live>, origin: Option<&Origin>, now: SystemTime) -> Result<Arc<Agent>, Refusal> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let expired = known.1.expires.is_some_and(|end| end <= now);
        if expired || !std::ptr::eq(known.0.as_ptr(), Arc::as_ptr(live)) {
            let agent = live.agents.again(&self.proof, now).map_err(Refusal::Unauthenticated)?;
            if let Some(origin) = origin {
                live.rules.admit(&agent, &origin.host, origin.port).map_err(Refusal::Denied)?;
            }
            *known = (Arc::downgrade(live), agent);
        }
        Ok(known.1.clone())
    }

    fn name(&self) -> AgentName {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).1.name.clone()
    }
}

/// One exchange of a connection, until its answer has been sent or dropped.
struct UnderWay(Arc<Conn>);

impl UnderWay {
    fn one(conn: &Arc<Conn>) -> Self {
        conn.under_way.fetch_add(1, Ordering::Relaxed);
        Self(conn.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer's body, which tells its connection when it is through.
struct Answer {
    body: ResponseBody,
    _under_way: UnderWay,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Conn {
    /// The requests of a tunnel to `origin`.
    pub fn tunnel(worker: Arc<Worker>, Admitted { agent, proof, pid }: Admitted, origin: Origin) -> Self {
        let opener = Opener { proof, known: Mutex::new((Weak::new(), agent)) };
        Self { opener: Some(opener), origin: Some(origin), pid, ..Self::new(worker) }
    }

    fn new(worker: Arc<Worker>) -> Self {
        let (under_way, switch) = (Arc::default(), Switch::default());
        Self { worker, opener: None, origin: None, misdirected: None, relative: None, pid: None, under_way, switch }
    }

    pub fn set_scheme(&mut self, scheme: Scheme) {
        if let Some(origin) = &mut self.origin {
            origin.scheme = scheme;
        }
    }

    pub fn leaves(&self) -> &Leaves {
        &self.shared().leaves
    }

    /// The host to answer a handshake as, which named `named`: another than the tunnel's is noted.
    pub fn answer_as(&mut self, named: Option<Host>) -> Host {
        let own = self.origin.as_ref().map(|o| o.host.clone());
        match (named, own) {
            (Some(named), Some(own)) if named != own => {
                self.misdirected = Some(named.clone());
                named
            }
            (Some(named), None) => named,
            (_, Some(own)) => own,
            (None, None) => Host::Ip(std::net::Ipv4Addr::UNSPECIFIED.into()),
        }
    }

    /// Records a tunnel that never came to a request.
    pub fn record_malformed(&self, why: String) {
        self.record(&Refusal::Malformed(why));
    }

    fn record(&self, refusal: &Refusal) -> Arc<Scene> {
        let agent = self.opener.as_ref().map_or_else(AgentName::local, Opener::name);
        let scene = early_scene(self.shared(), agent, "", self.origin.as_ref());
        self.shared().record_refusal(scene.clone(), refusal);
        scene
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.worker.shared
    }
}

/// Serves plain `http://` requests, each with its own host and its own credentials.
pub(super) async fn serve_absolute(
    worker: Arc<Worker>,
    client: Client,
    relative: Option<Relative>,
    stop: watch::Receiver<bool>,
) {
    let pid = relative.as_ref().map(|r| r.pid);
    serve(Conn { relative, pid, ..Conn::new(worker) }, client.into_stream(), false, stop).await;
}

/// Serves the requests of one connection until it ends or the proxy drains.
pub(super) async fn serve<S>(conn: Conn, stream: S, http2: bool, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let conn = Arc::new(conn);
    let of = conn.clone();
    let stopping = stop.clone();
    let service = service_fn(move |request| {
        let under_way = UnderWay::one(&of);
        async move {
            let response = exchange(&under_way.0, request).await;
            Ok::<_, Infallible>(response.map(|body| Answer { body, _under_way: under_way }))
        }
    });
    let stopped = async move {
        let _ = stop.wait_for(|stopped| *stopped).await;
    };
    // a connection that ends badly has told its exchanges so, and they the audit
    if http2 {
        let told = conn.clone();
        let stream = Watched::new(stream, move |fault: &'static str| told.record_malformed(fault.into()));
        let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(2 << 20)
            .max_concurrent_streams(256)
            .max_header_list_size(64 * 1024)
            .keep_alive_interval(KEEP_ALIVE)
            .serve_connection(TokioIo::new(stream), service);
        let mut serving = std::pin::pin!(serving);
        tokio::select! {
            _ = serving.as_mut() => return,
            () = stopped => serving.as_mut().graceful_shutdown(),
        }
        // a client that never acknowledges is not waited for once it has its answers
        loop {
            tokio::select! {
                _ = serving.as_mut() => return,
                () = tokio::time::sleep(LAST_WORDS) => {}
            }
            if conn.under_way.load(Ordering::Relaxed) == 0 {
                return;
            }
        }
    }
    let (strict, why) = Strict::new(stream, conn.switch.made.clone(), conn.under_way.clone());
    let mut serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(KEEP_ALIVE)
        .preserve_header_case(true)
        .serve_connection(TokioIo::new(strict), service);
    // hyper takes a fault between two requests for a good end: only `why` tells
    let draining = tokio::select! {
        _ = &mut serving => false,
        () = stopped => {
            Pin::new(&mut serving).graceful_shutdown();
            let _ = (&mut serving).await;
            true
        }
    };
    let parts = serving.into_parts();
    let (mut stream, unread) = parts.io.into_inner().into_parts();
    let early = [&parts.read_buf[..], &unread].concat();
    if let Some(switched) = conn.switch.take() {
        return Box::pin(switched.run(stream, early, stopping)).await;
    }
    let refusal = why.take().map(|fault| match fault {
        FramingFault::Malformed(why) => Refusal::Malformed(why.into()),
        FramingFault::TooLarge(why) => Refusal::TooLarge(why),
    });
    if let Some(refusal) = refusal {
        malformed(&conn, &mut stream, &refusal).await;
    }
    hang_up(stream, draining).await;
}

/// Records what could not be read as a request, and says so to the client where no answer is under way.
async fn malformed<S: AsyncWrite + Unpin>(conn: &Conn, stream: &mut S, refusal: &Refusal) {
    let scene = conn.record(refusal);
    if conn.under_way.load(Ordering::Relaxed) > 0 {
        return;
    }
    let answer = refusal.raw(&scene.exchange, conn.origin.as_ref().map(|o| &o.host), true);
    // the client may be gone: then nobody is left to tell
    let _ = tokio::time::timeout(LAST_WORDS, stream.write_all(&answer)).await;
}

/// Closes so that the last answer still arrives: unread bytes would turn the close into a reset that overtakes it.
async fn hang_up<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, draining: bool) {
    let lingering = async {
        stream.shutdown().await?;
        if !draining {
            tokio::io::copy(&mut stream.take(LAST_BYTES), &mut tokio::io::sink()).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    // whoever stays longer has had the time
    let _ = tokio::time::timeout(LAST_WORDS, lingering).await;
}

/// An exchange always has an answer: the upstream's, or locum's own.
async fn exchange(conn: &Conn, request: Request<Incoming>) -> Response<ResponseBody> {
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
        let now = SystemTime::now();
        let agent = match &conn.opener {
            Some(opener) => opener.agent(&live, conn.origin.as_ref(), now).map_err(|r| (opener.name(), r))?,
            None => {
                let credentials = request.headers().get(PROXY_AUTHORIZATION).map(HeaderValue::as_bytes);
                match (live.agents.authenticate(credentials, now), &conn.relative) {
                    (Ok((agent, _)), _) => agent,
                    (Err(AuthError::Missing), Some(relative)) => relative.agent.clone(),
                    (Err(e), _) => return Err((AgentName::local(), Refusal::Unauthenticated(e))),
                }
            }
        };
        let fail = |refusal| (agent.name.clone(), refusal);
        let origin = one_origin(conn, request).map_err(fail)?;
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
    inject(&asked.live, &asked.origin, &mut parts.headers);

    let hits = head::find(&asked.live.vocabulary, &parts.uri, &parts.headers);
    let permit = decide(&asked, &parts, &hits, !body.is_end_stream()).map_err(Refusal::Denied)?;
    let wanted = permit.uses().iter().map(|u| &u.key).chain(permit.body().iter().map(|grant| &grant.rule.name));
    let rest = shared.alerts.rest(scene.agent.as_str(), wanted.map(KeyName::as_str), SystemTime::now());
    if let Some(rest) = rest {
        return Err(Refusal::Rest(rest));
    }
    let keys = shared.secrets.open(&permit).await.map_err(|e| Refusal::KeyUnavailable(e.to_string()))?;
    let bound = (handshake.is_some() && !permit.scrub().is_empty()).then(|| generations(shared, &permit));
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
    ending.key_ref = permit.uses().first().map(|u| u.key.placeholder());
    let plan = request_body::Plan { shared, scene, permit: &permit, keys: &keys, vocabulary: &live.vocabulary };
    let prepared = plan.prepare(&mut parts.headers, body, chunked, tally.clone()).await;
    let (body, body_uses) = prepared.map_err(|fault| ending.refused(fault.into()))?;

    let uses = permit.uses().iter().chain(&body_uses);
    let records: Vec<Record> =
        uses.map(|u| substitution(scene, u.key.as_str(), &u.key.placeholder(), &u.place, u.count)).collect();
    if !records.is_empty() {
        ending.key_ref.get_or_insert_with(|| records[0].key_ref.clone().unwrap_or_default());
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
    let sending = tokio::time::timeout(FIRST_BYTE, conn.worker.pool.send(&origin, request, wish));
    let sent = match sending.await {
        Ok(sent) => sent,
        Err(_) => Err(UpstreamError::Silent { origin: origin.clone(), seconds: FIRST_BYTE.as_secs() }),
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
    let keys = keys.iter().filter_map(|(name, value)| {
        let rule = permit.scrub().iter().find(|rule| rule.name == *name)?;
        Some(ScrubKey {
            key: name.clone(),
            placeholder: rule.shown_placeholder(),
            secret_from: asked.live.secret_from(name, value.expose()),
            value: value.clone(),
        })
    });
    let keys: Vec<ScrubKey> = keys.collect();
    (!keys.is_empty()).then(|| Arc::new(worker.patterns.scrubber(&asked.origin, keys)))
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

/// The host that a request is for, in which tunnel, `Host`, `:authority` and target agree.
fn one_origin(conn: &Conn, request: &Request<Incoming>) -> Result<Origin, Refusal> {
    let malformed = |why: &str| Refusal::Malformed(why.to_owned());
    if *request.method() == Method::CONNECT {
        return Err(Refusal::NotForwarded("CONNECT comes first on a connection, and not inside a tunnel"));
    }
    let uri = request.uri();
    let scheme = match uri.scheme_str() {
        Some("http") => Some(Scheme::Http),
        Some("https") => Some(Scheme::Https),
        Some(_) => return Err(malformed("the target's scheme is neither http nor https")),
        None => None,
    };
    let origin = match &conn.origin {
        Some(origin) => origin.clone(),
        None => {
            let authority = uri.authority().ok_or_else(|| malformed("the target names no host"))?;
            if scheme != Some(Scheme::Http) {
                return Err(Refusal::NotForwarded("https:// goes through CONNECT"));
            }
            Origin::parse(Scheme::Http, authority.as_str()).map_err(|e| Refusal::Malformed(e.to_string()))?
        }
    };
    if let Some(inside) = &conn.misdirected {
        return Err(Refusal::Misdirected { inside: inside.to_string(), tunnel: origin.to_string() });
    }
    if scheme.is_some_and(|s| s != origin.scheme) {
        return Err(malformed("the target's scheme is not the connection's"));
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(malformed("two Host headers"));
    }
    if host.is_none() && uri.authority().is_none() && request.version() != Version::HTTP_10 {
        return Err(malformed("no Host header"));
    }
    let named = host.map(HeaderValue::as_bytes).into_iter().chain(uri.authority().map(|a| a.as_str().as_bytes()));
    for name in named {
        if !names(name, &origin) {
            let inside = String::from_utf8_lossy(name).into_owned();
            return Err(Refusal::Misdirected { inside, tunnel: origin.to_string() });
        }
    }
    Ok(origin)
}

/// Whether an authority as written is `origin`'s.
fn names(written: &[u8], origin: &Origin) -> bool {
    if let Host::Dns(name) = &origin.host
        && origin.port == origin.scheme.default_port()
        && written.eq_ignore_ascii_case(name.as_bytes())
    {
        return true;
    }
    std::str::from_utf8(written).is_ok_and(|w| Origin::parse(origin.scheme, w).is_ok_and(|o| o == *origin))
}

fn set_host(origin: &Origin, headers: &mut http::HeaderMap) {
    let host = if origin.port == origin.scheme.default_port() {
        origin.host.to_string()
    } else {
        format!("{}:{}", origin.host, origin.port)
    };
    if let Ok(value) = HeaderValue::try_from(host) {
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

/// Adds what the bindings of this host inject, where the client sends no such header itself.
fn inject(live: &Live, origin: &Origin, headers: &mut http::HeaderMap) {
    if !live.rules.injects {
        return;
    }
    for rule in live.rules.bound(origin) {
        if let Some(inject) = &rule.inject
            && !headers.contains_key(&inject.name)
        {
            headers.insert(inject.name.clone(), inject.value.clone());
        }
    }
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

pub(super) fn substitution(
    scene: &Arc<Scene>,
    key: &str,
    placeholder: &str,
    place: &crate::place::Place,
    count: u64,
) -> Record {
    let mut record = Record::new(SystemTime::now(), Event::Substitution, format!("api.{key}"));
    record.scene = Some(scene.clone());
    record.key_ref = Some(placeholder.to_owned());
    record.place = Some(place.to_string());
    record.count = Some(count);
    record
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
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
