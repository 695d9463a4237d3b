//! The rules, agents and keys that requests are judged by: a reload replaces all of them at once.

use crate::name::{AgentName, Host, KeyName};
use crate::policy::rule::HostPattern;
use crate::policy::{Agents, Rules};
use crate::rewrite::Vocabulary;
use crate::secrets::KeyTable;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// One consistent set of rules: each request is judged by one, and again by another once a reload has replaced it.
pub struct Ruleset {
    /// Which key may go where, and which hosts may be reached.
    pub rules: Rules,
    /// Who may ask.
    pub agents: Agents,
    /// The placeholders that are searched for.
    pub vocabulary: Arc<Vocabulary>,
    /// Hosts that are tunnelled unread.
    pub passthrough: Vec<HostPattern>,
    /// The local users who may do without a token, where none is needed at all.
    pub uids: Vec<u32>,
    /// Whose a redirected connection is, where agents have tokens.
    pub transparent_agent: Option<AgentName>,
    /// Only hosts that some key is bound to are read.
    pub intercept_bound_only: bool,
    /// The beginnings that all values of a key's kind share: that much of a value is no secret.
    pub prefixes: HashMap<KeyName, Vec<String>, RandomState>,
    /// The keys that the rules are about.
    pub keys: KeyTable,
}

impl Ruleset {
    /// Whether a tunnel to this host is not to be read.
    pub fn leaves_unread(&self, host: &Host, port: u16) -> bool {
        self.is_passthrough(host, port) || self.intercept_bound_only && !self.rules.is_bound_host(host)
    }

    /// Whether the operator has listed this very host as one that is never read.
    pub fn is_passthrough(&self, host: &Host, port: u16) -> bool {
        self.passthrough.iter().any(|p| p.lists(host, port))
    }

    /// The length of a value's well-known beginning, in bytes.
    pub fn secret_from(&self, key: &KeyName, value: &[u8]) -> usize {
        let known = self.prefixes.get(key).into_iter().flatten();
        known.filter(|p| value.starts_with(p.as_bytes())).map(String::len).max().unwrap_or(0)
    }

    /// Whether `before` is this very set. A weakly held one keeps its place in memory, so that no other can have it.
    pub fn is(self: &Arc<Self>, before: &Weak<Self>) -> bool {
        std::ptr::eq(before.as_ptr(), Arc::as_ptr(self))
    }
}
