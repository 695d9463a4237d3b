//! What happened, as the audit writes it: facts only, never a key's bytes.

use crate::name::AgentName;
use serde::Serialize;
use std::sync::Arc;
use std::time::SystemTime;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    Substitution,
    Refusal,
    Exchange,
    Scrub,
    Tunnel,
    Key,
    Agent,
    Config,
    Admin,
    Anomaly,
    Start,
    Stop,
}

/// What all records of one exchange share.
#[derive(Debug, Clone)]
pub struct Scene {
    /// 16 characters of lower-case base32, unique.
    pub exchange: String,
    pub agent: AgentName,
    /// The local client's process, where the system tells it.
    pub pid: Option<u32>,
    /// What the agent says of itself in the header `locum-tool`: a claim.
    pub tool: Option<String>,
    pub method: String,
    pub scheme: &'static str,
    pub host: String,
    pub port: u16,
    /// Without the query; a placeholder in it as the agent wrote it.
    pub path: String,
}

/// One line of the audit, before it is chained.
#[derive(Debug, Clone)]
pub struct Record {
    pub at: SystemTime,
    pub event: Event,
    /// `api.KEY`, or the host where no key is meant.
    pub operation: String,
    pub scene: Option<Arc<Scene>>,
    /// The placeholder.
    pub key_ref: Option<String>,
    pub place: Option<String>,
    pub count: Option<u64>,
    pub status: Option<u16>,
    pub success: Option<bool>,
    pub duration_ms: Option<f64>,
    /// Bytes of the request's body that went upstream.
    pub bytes_out: Option<u64>,
    /// Bytes of the response's body that reached the agent.
    pub bytes_in: Option<u64>,
    pub upstream_ip: Option<std::net::IpAddr>,
    /// `1.0`, `1.1` or `2`: the agent's protocol.
    pub http: Option<&'static str>,
    pub error: Option<String>,
    /// Placeholders left as they were in a body.
    pub kept: Option<u64>,
    /// Keys hidden in a response.
    pub scrubbed: Option<u64>,
    pub reason: Option<String>,
}

impl Record {
    pub fn new(at: SystemTime, event: Event, operation: impl Into<String>) -> Self {
        Self {
            at,
            event,
            operation: operation.into(),
            scene: None,
            key_ref: None,
            place: None,
            count: None,
            status: None,
            success: None,
            duration_ms: None,
            bytes_out: None,
            bytes_in: None,
            upstream_ip: None,
            http: None,
            error: None,
            kept: None,
            scrubbed: None,
            reason: None,
        }
    }
}
