//! What locum answers an agent by itself, at its own host: which keys the agent has, and why it was refused. Of other agents
//! it says nothing, and of values neither; nothing is dialled.

use super::asked::Asked;
use crate::name::{OWN_HOST, Origin, Scheme};
use crate::policy::Agent;
use crate::policy::agent_placeholders::AgentPlaceholders;
use crate::proxy::exchange::authorization::Caller;
use crate::proxy::exchange::response_body::ResponseBody;
use crate::proxy::refusal::Refusal;
use crate::proxy::{Recorder, Ruleset};
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Response, StatusCode};
use serde_json::json;
use std::time::SystemTime;

/// A page of another site in an agent's browser may neither run nor embed what is answered here (Fetch standard, section 3.8).
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

impl Asked<'_> {
    /// Goes on with what is asked of others.
    ///
    /// # Errors
    /// The answer to what is asked of locum itself: nobody is dialled for that, whatever becomes of it.
    pub fn unless_of_locum(self) -> Result<Self, Box<Response<ResponseBody>>> {
        if !self.exchange.origin.host.is_own() {
            return Ok(self);
        }
        let (outcome, refuser) = self.at_the_end();
        Err(Box::new(self.answer_as_locum().unwrap_or_else(|refusal| {
            outcome.refused();
            refuser.refuse(&refusal)
        })))
    }

    /// The answer. It is recorded as any other exchange is.
    fn answer_as_locum(self) -> Result<Response<ResponseBody>, Refusal> {
        let Asked { exchange, ruleset, request, .. } = self;
        let Origin { scheme, port, .. } = exchange.origin;
        if scheme != Scheme::Http || port != Scheme::Http.default_port() {
            return Err(Refusal::own_host());
        }
        let agent = Caller::agent(&exchange.caller, &ruleset, SystemTime::now())?;
        let is_read = [Method::GET, Method::HEAD].contains(request.method());
        let (status, body) = match is_read {
            true => found(request.uri().path(), &agent, &ruleset, &exchange.shared().recorder),
            false => (StatusCode::METHOD_NOT_ALLOWED, problem(StatusCode::METHOD_NOT_ALLOWED, "it is read by GET")),
        };
        exchange.outcome.answered_by_locum(status.as_u16(), body.len() as u64);
        let mut response = Response::new(ResponseBody::answer(body));
        *response.status_mut() = status;
        let media_type = if status == StatusCode::OK { "application/json" } else { "application/problem+json" };
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        Ok(response)
    }
}

/// What is at a path. Refusals that there never were and those of others are not told apart.
fn found(path: &str, agent: &Agent, ruleset: &Ruleset, recorder: &Recorder) -> (StatusCode, Bytes) {
    if path == "/placeholders" {
        let own = AgentPlaceholders::of(agent, &ruleset.rules);
        return match serde_json::to_string(&own) {
            Ok(json) => (StatusCode::OK, Bytes::from(json + "\n")),
            Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, problem(StatusCode::INTERNAL_SERVER_ERROR, &e.to_string())),
        };
    }
    let told = path.strip_prefix("/refusals/").map(|exchange| recorder.told(&agent.name, exchange));
    match told {
        Some(Some(told)) => (StatusCode::OK, told.body()),
        Some(None) => (StatusCode::NOT_FOUND, problem(StatusCode::NOT_FOUND, "no refusal of yours has this id")),
        None => {
            let there_is = format!("there is http://{OWN_HOST}/placeholders, and http://{OWN_HOST}/refusals/ID");
            (StatusCode::NOT_FOUND, problem(StatusCode::NOT_FOUND, &there_is))
        }
    }
}

/// A problem of a question to locum (RFC 9457), which is no refusal of a request.
fn problem(status: StatusCode, detail: &str) -> Bytes {
    let title = status.canonical_reason().unwrap_or_default();
    let json = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    Bytes::from(format!("{json}\n"))
}
