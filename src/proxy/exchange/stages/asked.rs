//! The first stage: a request, the agent that asks with it, and the host that it asks for.

use crate::name::{AgentName, Host, Origin};
use crate::proxy::exchange::authorization::Caller;
use crate::proxy::exchange::conn::{Conn, written_origin};
use crate::proxy::exchange::outcome::{ExchangeOutcome, HTTP_1_1, HTTP_2};
use crate::proxy::exchange::request_body::AgentBody;
use crate::proxy::exchange::response_body::ResponseBody;
use crate::proxy::refusal::Refusal;
use crate::proxy::wire::headers;
use crate::proxy::{Recorder, Ruleset, Shared};
use crate::record::ExchangeInfo;
use http::{HeaderValue, Request, Response, Version};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// An exchange from its first stage to its last.
pub(crate) struct Exchange<'c> {
    pub conn: &'c Conn,
    pub caller: Arc<Caller>,
    pub origin: Origin,
    pub info: Arc<ExchangeInfo>,
    pub outcome: Arc<ExchangeOutcome>,
}

impl Exchange<'_> {
    pub fn shared(&self) -> &Arc<Shared> {
        self.conn.shared()
    }
}

/// A request before anything of it was judged.
pub(crate) struct Asked<'c> {
    pub(super) exchange: Exchange<'c>,
    pub(super) ruleset: Arc<Ruleset>,
    pub(super) request: Request<AgentBody>,
    refuser: Refuser,
}

impl<'c> Asked<'c> {
    /// Finds out who asks, and for which host.
    ///
    /// # Errors
    /// The answer to one that may not ask, or asks for nothing that can be found out.
    pub fn by(conn: &'c Conn, request: Request<AgentBody>) -> Result<Self, Box<Response<ResponseBody>>> {
        let (start, shared, now) = (Instant::now(), conn.shared(), SystemTime::now());
        let ruleset = shared.ruleset.load_full();
        let grpc = headers::grpc(request.headers()).cloned();
        let refuser = |agent, origin: Option<&Origin>| Refuser {
            recorder: shared.recorder.clone(),
            info: info(conn, agent, origin, &request),
            host: origin.map(|origin| origin.host.clone()),
            grpc,
        };
        let (caller, origin) = match conn.caller(&ruleset, &request, now) {
            Ok(known) => known,
            Err((agent, refusal)) => {
                let asked = conn.origin.clone().or_else(|| written_origin(request.uri()));
                return Err(Box::new(refuser(agent, asked.as_ref()).refuse(&refusal)));
            }
        };
        let agent = caller.agent(&ruleset, now);
        let entered = agent.and_then(|agent| {
            let meter = agent.meter.get_or_init(|| shared.meters.of(&agent.name));
            let permit = meter.enter(agent.limits, Instant::now());
            Ok((agent.name.clone(), permit?))
        });
        let (agent, permit) = match entered {
            Ok(entered) => entered,
            Err(refusal) => {
                let asked = conn.origin.clone().or_else(|| written_origin(request.uri()));
                return Err(Box::new(refuser(caller.name(), asked.as_ref()).refuse(&refusal)));
            }
        };
        let refuser = refuser(agent, Some(&origin));
        let (info, http) = (refuser.info.clone(), version(request.version()));
        let outcome = ExchangeOutcome::new(shared.recorder.clone(), info.clone(), start, http, permit);
        Ok(Self { exchange: Exchange { conn, caller, origin, info, outcome }, ruleset, request, refuser })
    }

    /// Where the exchange's outcome is noted, whichever stage it comes to, and what refuses it.
    pub fn at_the_end(&self) -> (Arc<ExchangeOutcome>, Refuser) {
        (self.exchange.outcome.clone(), self.refuser.clone())
    }
}

/// Answers a request with a refusal.
#[derive(Clone)]
pub(crate) struct Refuser {
    recorder: Arc<Recorder>,
    info: Arc<ExchangeInfo>,
    host: Option<Host>,
    /// The type of a gRPC call, which is answered in its own way.
    grpc: Option<HeaderValue>,
}

impl Refuser {
    /// Records the refusal, and makes an answer of it.
    pub fn refuse(self, refusal: &Refusal) -> Response<ResponseBody> {
        self.recorder.refusal(self.info.clone(), refusal);
        self.answer(refusal)
    }

    /// Makes an answer of it, and records nothing.
    pub fn answer(self, refusal: &Refusal) -> Response<ResponseBody> {
        let (exchange, host) = (&self.info.exchange, self.host.as_ref());
        let answer = match self.grpc {
            Some(content_type) => refusal.grpc(content_type, exchange, host),
            None => refusal.answer(exchange, host),
        };
        answer.map(ResponseBody::answer)
    }
}

fn info(conn: &Conn, agent: AgentName, origin: Option<&Origin>, request: &Request<AgentBody>) -> Arc<ExchangeInfo> {
    let tool = request.headers().get(headers::LOCUM_TOOL).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    Arc::new(ExchangeInfo {
        pid: conn.pid,
        tool,
        scheme: origin.map_or("http", |o| o.scheme.as_str()),
        path: request.uri().path().to_owned(),
        ..conn.shared().recorder.exchange(agent, request.method().as_str(), origin)
    })
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => HTTP_2,
        Version::HTTP_10 => "1.0",
        _ => HTTP_1_1,
    }
}
