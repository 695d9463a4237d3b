//! A finding: what is unusual, how much that weighs, and in words.

use crate::name::NOBODY;
use std::fmt;

/// The weight of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Worth a look.
    Medium,
    /// Worth acting on.
    High,
}

impl Severity {
    /// The word in records and webhooks.
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
        }
    }
}

/// The kind of an anomaly, which is the rule that found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AnomalyKind {
    /// A key is used more often than it should be.
    Rate,
    /// Exchanges with a key fail: it was revoked, or somebody tries things.
    Errors,
    /// A response is larger than answers of this kind are.
    LargeResponse,
    /// A key goes to a host that it never went to.
    NewHost,
    /// A key is used by an agent that never did.
    NewAgent,
    /// An agent is refused again and again.
    Probing,
    /// An agent asks many different hosts.
    ManyHosts,
    /// Two agents use one key at once.
    TwoAgents,
    /// A host showed a key that the request had not brought: it is stored there, or was guessed.
    Unrequested,
}

impl AnomalyKind {
    /// The word in records and webhooks.
    pub const fn as_str(self) -> &'static str {
        match self {
            AnomalyKind::Rate => "rate",
            AnomalyKind::Errors => "errors",
            AnomalyKind::LargeResponse => "large-response",
            AnomalyKind::NewHost => "new-host",
            AnomalyKind::NewAgent => "new-agent",
            AnomalyKind::Probing => "probing",
            AnomalyKind::ManyHosts => "many-hosts",
            AnomalyKind::TwoAgents => "two-agents",
            AnomalyKind::Unrequested => "unrequested-key",
        }
    }

    /// How much it weighs to have seen so much where the limit is so much.
    pub(super) fn severity(self, seen: u64, limit: u64) -> Severity {
        let far_beyond = seen >= limit.saturating_mul(5);
        match self {
            AnomalyKind::Probing | AnomalyKind::Unrequested => Severity::High,
            AnomalyKind::Rate | AnomalyKind::Errors if far_beyond => Severity::High,
            AnomalyKind::Rate | AnomalyKind::Errors | AnomalyKind::NewAgent | AnomalyKind::ManyHosts => {
                Severity::Medium
            }
            AnomalyKind::LargeResponse if far_beyond => Severity::Medium,
            AnomalyKind::LargeResponse | AnomalyKind::NewHost | AnomalyKind::TwoAgents => Severity::Low,
        }
    }
}

/// Something unusual, told once until it has been calm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule that found it.
    pub kind: AnomalyKind,
    /// Its weight.
    pub severity: Severity,
    /// The key, where one is meant.
    pub key: Option<String>,
    /// The agent.
    pub agent: String,
    /// The host.
    pub host: String,
    /// How much, where that says something.
    pub seen: u64,
    /// The limit that was passed, in the same unit.
    pub limit: u64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { agent, host, seen, limit, .. } = self;
        let key = self.key.as_deref().unwrap_or_default();
        match self.kind {
            AnomalyKind::Rate => write!(f, "key {key} was used {seen} times in a minute, more than {limit}"),
            AnomalyKind::Errors => write!(f, "{seen} exchanges with key {key} failed within a minute"),
            AnomalyKind::LargeResponse => {
                write!(f, "{host} answered a request with key {key} with {seen} bytes, {limit} is large")
            }
            AnomalyKind::NewHost => write!(f, "key {key} went to {host} for the first time"),
            AnomalyKind::NewAgent => write!(f, "agent {agent} used key {key} for the first time"),
            AnomalyKind::Probing if agent == NOBODY => {
                write!(f, "who isn't authenticated was refused {seen} times in a row")
            }
            AnomalyKind::Probing => write!(f, "agent {agent} was refused {seen} times in a row"),
            AnomalyKind::ManyHosts => write!(f, "agent {agent} asked {seen} different hosts within a minute"),
            AnomalyKind::TwoAgents => write!(f, "key {key} is used by agent {agent} and another at once"),
            AnomalyKind::Unrequested => write!(
                f,
                "{host} showed key {key} {seen} times to agent {agent}, whose request had not brought it: it is stored there, or was guessed"
            ),
        }
    }
}
