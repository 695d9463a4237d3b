//! A finding: what is unusual, how much that weighs, and in words.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Low,
    Medium,
    High,
}

impl Severity {
    pub const fn as_str(self) -> &'static str {
        match self {
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
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

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Rate => "rate",
            Kind::Errors => "errors",
            Kind::LargeResponse => "large-response",
            Kind::NewHost => "new-host",
            Kind::NewAgent => "new-agent",
            Kind::Probing => "probing",
            Kind::ManyHosts => "many-hosts",
            Kind::TwoAgents => "two-agents",
            Kind::Unrequested => "unrequested-key",
        }
    }

    pub(super) fn severity(self, seen: u64, limit: u64) -> Severity {
        let far_beyond = seen >= limit.saturating_mul(5);
        match self {
            Kind::Probing | Kind::Unrequested => Severity::High,
            Kind::Rate | Kind::Errors if far_beyond => Severity::High,
            Kind::Rate | Kind::Errors | Kind::NewAgent | Kind::ManyHosts => Severity::Medium,
            Kind::LargeResponse if far_beyond => Severity::Medium,
            Kind::LargeResponse | Kind::NewHost | Kind::TwoAgents => Severity::Low,
        }
    }
}

/// Something unusual, told once until it has been calm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub kind: Kind,
    pub severity: Severity,
    pub key: Option<String>,
    pub agent: String,
    pub host: String,
    /// How much, where that says something.
    pub seen: u64,
    pub limit: u64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { agent, host, seen, limit, .. } = self;
        let key = self.key.as_deref().unwrap_or_default();
        match self.kind {
            Kind::Rate => write!(f, "key {key} was used {seen} times in a minute, more than {limit}"),
            Kind::Errors => write!(f, "{seen} exchanges with key {key} failed within a minute"),
            Kind::LargeResponse => {
                write!(f, "{host} answered a request with key {key} with {seen} bytes, {limit} is large")
            }
            Kind::NewHost => write!(f, "key {key} went to {host} for the first time"),
            Kind::NewAgent => write!(f, "agent {agent} used key {key} for the first time"),
            Kind::Probing => write!(f, "agent {agent} was refused {seen} times in a row"),
            Kind::ManyHosts => write!(f, "agent {agent} asked {seen} different hosts within a minute"),
            Kind::TwoAgents => write!(f, "key {key} is used by agent {agent} and another at once"),
            Kind::Unrequested => write!(
                f,
                "{host} showed key {key} {seen} times to agent {agent}, whose request had not brought it: it is stored there, or was guessed"
            ),
        }
    }
}
