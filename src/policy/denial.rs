//! Denials: the reasons why policy refuses a request. The operator reads all of one, the agent its own words.

use super::rule::MAX_JUDGED_PATH;
use crate::name::{AgentName, Host, KeyName, Origin};

/// The reason why policy refuses a request; the text is for the operator and names what would have to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "what a field is, the text of its variant says")]
pub enum Denial {
    /// No key has the name, or no key can.
    #[error("{written}: there is no key of that name")]
    UnknownKey { written: String },
    /// The key is bound to other origins.
    #[error("{written}: its host is not bound: {origin} is none of {bound} in [key.{key}] hosts")]
    HostNotBound { written: String, key: KeyName, origin: Origin, bound: String },
    /// The binding is for TLS, and this request is not.
    #[error("{written}: keys travel over TLS only; for {origin} the binding would have to say \"{origin}\" itself")]
    Cleartext { written: String, key: KeyName, origin: Origin },
    /// The key is bound to other places in a request.
    #[error("{written}: its place is not bound: {place} is none of {bound} in [key.{key}] where")]
    PlaceNotBound { written: String, key: KeyName, place: String, bound: String },
    /// The binding is limited to other methods.
    #[error("{written}: {method} is not among [key.{key}] methods")]
    MethodNotBound { written: String, key: KeyName, method: String },
    /// The binding is limited to other paths.
    #[error("{written}: the path is not among [key.{key}] paths")]
    PathNotBound { written: String, key: KeyName },
    /// Servers read the path in different ways ([`canonical_path`](super::rule::canonical_path)).
    #[error("{written}: the path can be read in two ways, so [key.{key}] paths can't be checked; write it plainly")]
    PathAmbiguous { written: String, key: KeyName },
    /// The path is longer than those that are judged ([`MAX_JUDGED_PATH`]).
    #[error(
        "{written}: the path has {bytes} bytes, and [key.{key}] paths is checked on {MAX_JUDGED_PATH} at most; shorten it"
    )]
    PathTooLong { written: String, key: KeyName, bytes: usize },
    /// A header or field names a method, which the binding limits.
    #[error("{written}: {by} may stand for another method than {method}, and [key.{key}] methods limits those")]
    MethodOverridden { written: String, key: KeyName, method: String, by: String },
    /// A header or field names a path, which the binding limits.
    #[error("{written}: {by} may stand for another path, and [key.{key}] paths limits those")]
    PathOverridden { written: String, key: KeyName, by: String },
    /// The request holds more placeholders of the key than `max_uses`.
    #[error("{written}: {count} uses in one request, [key.{key}] max_uses is {max}")]
    TooManyUses { written: String, key: KeyName, count: u64, max: u32 },
    /// The agent's keys are others.
    #[error("{written}: agent {agent} may not use it; [agent.{agent}] keys lists those it may")]
    AgentMayNot { written: String, key: KeyName, agent: AgentName },
    /// TRACE sends a request back (RFC 9110, section 9.3.8).
    #[error("{written}: TRACE would send the key straight back")]
    Trace { written: String },
    /// The host is on `deny`.
    #[error("{host}:{port} is on [proxy] deny")]
    HostDenied { host: Host, port: u16 },
    /// Egress is limited to listed hosts, and this is none.
    #[error("{host}:{port} is not listed: [proxy] egress = \"listed\" allows bound hosts and [proxy] allow")]
    HostNotListed { host: Host, port: u16 },
    /// Neither `connect_ports` nor a binding names the port.
    #[error("port {port} is not among [proxy] connect_ports, and no binding names it")]
    PortNotListed { port: u16 },
    /// The agent's hosts are others.
    #[error("{host} is not among [agent.{agent}] hosts")]
    AgentHost { host: Host, agent: AgentName },
    /// The agent's methods are others.
    #[error("{method} is not among [agent.{agent}] methods")]
    AgentMethod { method: String, agent: AgentName },
    /// A header or field names a method, which the agent's limits cover.
    #[error("{by} may stand for another method than {method}, and [agent.{agent}] methods limits those")]
    AgentMethodOverridden { method: String, agent: AgentName, by: String },
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
            | PathTooLong { written, .. }
            | MethodOverridden { written, .. }
            | PathOverridden { written, .. }
            | TooManyUses { written, .. }
            | AgentMayNot { written, .. } => Some(written),
            HostDenied { .. }
            | HostNotListed { .. }
            | PortNotListed { .. }
            | AgentHost { .. }
            | AgentMethod { .. }
            | AgentMethodOverridden { .. } => None,
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
            | PathTooLong { key, .. }
            | MethodOverridden { key, .. }
            | PathOverridden { key, .. }
            | TooManyUses { key, .. }
            | AgentMayNot { key, .. } => Some(key),
            _ => None,
        }
    }
}
