//! The proxy: from an accepted connection to an exchange with the host that the agent asked for.

pub mod accept;
pub mod exchange;
pub mod refusal;
pub mod wire;

use crate::audit::tell::alerts::Alerts;
use crate::audit::write::log::{Commit, Log};
use crate::ca::Leaves;
use crate::name::{AgentName, Host, KeyName, Origin};
use crate::policy::agent::Meter;
use crate::policy::rule::HostPattern;
use crate::policy::{Agents, Rules};
use crate::record::{Event, ExchangeInfo, KeyRef, Operation, Record};
use crate::rewrite::Vocabulary;
use crate::secrets::{KeyTable, Secrets};
use crate::upstream::pool::Pool;
use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use http::HeaderMap;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use tokio::sync::watch;

pub use exchange::decode_budget::DecodeBudget;
pub use exchange::request_body::{HELD, RequestBody};
pub use exchange::scrub_cache::ScrubCache;

/// What does not change while the proxy runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Open connections of all clients together; those beyond are closed at once.
    pub max_connections: usize,
    /// What the operator does about a host that the CA doesn't cover.
    pub ca_remedy: &'static str,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_connections: 16 * 1024, ca_remedy: "" }
    }
}

/// What a reload replaces, as a whole: each request is judged by one consistent set.
pub struct Ruleset {
    pub rules: Rules,
    pub agents: Agents,
    pub vocabulary: Arc<Vocabulary>,
    /// Hosts that are tunnelled unread.
    pub passthrough: Vec<HostPattern>,
    /// The local users who may do without a token, where none is needed at all.
    pub uids: Vec<u32>,
    /// Only hosts that some key is bound to are read.
    pub intercept_bound_only: bool,
    /// What each key's values are known to begin with: that much of them is no secret.
    pub prefixes: HashMap<KeyName, Vec<String>, RandomState>,
    /// The keys that the rules are about.
    pub keys: KeyTable,
}

impl Ruleset {
    /// Adds what the bindings of this host inject, where the client sends no such header itself.
    pub fn inject(&self, origin: &Origin, headers: &mut HeaderMap) {
        if !self.rules.injects {
            return;
        }
        for rule in self.rules.bound(origin) {
            if let Some(inject) = &rule.inject
                && !headers.contains_key(&inject.name)
            {
                headers.insert(inject.name.clone(), inject.value.clone());
            }
        }
    }

    /// Whether a tunnel to this host is not to be read.
    fn leaves_unread(&self, host: &Host, port: u16) -> bool {
        self.passthrough.iter().any(|p| p.lists(host, port))
            || self.intercept_bound_only && !self.rules.is_bound_host(host)
    }

    /// How many bytes of a value are its well-known prefix.
    fn secret_from(&self, key: &KeyName, value: &[u8]) -> usize {
        let known = self.prefixes.get(key).into_iter().flatten();
        known.filter(|p| value.starts_with(p.as_bytes())).map(String::len).max().unwrap_or(0)
    }
}

/// What all connections share.
pub struct Shared {
    pub config: Config,
    pub ruleset: ArcSwap<Ruleset>,
    /// Tells what is under way that rules or keys have changed.
    pub changes: watch::Sender<()>,
    pub secrets: Secrets,
    pub audit: Log,
    pub alerts: Alerts,
    /// Set when exchanges are cut because the process ends.
    pub cut: AtomicBool,
    pub leaves: Leaves,
    pub open: AtomicUsize,
    pub ids: ExchangeIds,
    pub counters: Counters,
    pub meters: Meters,
    pub decode_budget: Arc<DecodeBudget>,
    /// Those who need no token, where there are any.
    pub descendants: Option<Arc<accept::descendants::Descendants>>,
}

/// What each agent has asked lately: kept over reloads, so that a reload gives nobody a new allowance.
#[derive(Default)]
pub struct Meters(Mutex<HashMap<AgentName, Arc<Meter>, RandomState>>);

impl Meters {
    fn of(&self, agent: &AgentName) -> Arc<Meter> {
        let mut meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match meters.get(agent) {
            Some(meter) => meter.clone(),
            None => meters.entry(agent.clone()).or_default().clone(),
        }
    }
}

/// What has come about since the start, for a line of summary.
#[derive(Debug, Default)]
pub struct Counters {
    substitutions: AtomicU64,
    refusals: AtomicU64,
    scrubs: AtomicU64,
}

/// [`Counters`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub substitutions: u64,
    pub refusals: u64,
    pub scrubs: u64,
}

impl Counters {
    /// Counts what the audit is told, and nothing else, so that the two never differ.
    fn note(&self, record: &Record) {
        let counter = match record.event {
            Event::Substitution => &self.substitutions,
            Event::Refusal => &self.refusals,
            Event::Scrub => &self.scrubs,
            _ => return,
        };
        counter.fetch_add(record.count.unwrap_or(1), Ordering::Relaxed);
    }

    pub fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts { substitutions: read(&self.substitutions), refusals: read(&self.refusals), scrubs: read(&self.scrubs) }
    }
}

/// What the connections of one thread share.
pub struct Worker {
    pub shared: Arc<Shared>,
    pub pool: Arc<Pool<RequestBody>>,
    pub patterns: ScrubCache,
}

impl Shared {
    /// Has what is under way look again at what it was allowed.
    pub fn note_change(&self) {
        self.changes.send_replace(());
    }

    /// Judges by new rules from now on.
    pub fn take_over(&self, ruleset: Ruleset) {
        self.ruleset.store(Arc::new(ruleset));
        self.note_change();
    }

    /// Queues a record that nothing waits for.
    fn append(&self, record: &Record) {
        self.counters.note(record);
        self.audit.append(record);
        self.alerts.note(record);
    }

    /// Resolves once the records are written: before that, no key may leave.
    fn commit(&self, records: &[Record]) -> Commit {
        let commit = self.audit.commit(records);
        for record in records {
            self.counters.note(record);
            self.alerts.note(record);
        }
        commit
    }

    /// Writes a refusal that belongs to no exchange with a key: nothing waits for it.
    fn record_refusal(&self, info: Arc<ExchangeInfo>, refusal: &refusal::Refusal) {
        let mut record = Record::new(SystemTime::now(), Event::Refusal, info.host.clone());
        if let refusal::Refusal::Denied(denial) = refusal {
            record.key_ref = denial.written().map(|text| KeyRef::Written(text.to_owned()));
            if let Some(key) = denial.key() {
                record.operation = Operation::Key(key.clone());
            }
        }
        record.status = Some(refusal.status().as_u16());
        record.success = Some(false);
        record.error = Some(refusal.reason().into());
        record.reason = Some(refusal.in_full());
        record.info = Some(info);
        self.append(&record);
    }
}

/// Names exchanges: 16 characters of base32, 40 random bits of this process and 40 that count.
pub struct ExchangeIds {
    process: u64,
    next: AtomicU64,
}

impl ExchangeIds {
    pub fn new(random: u64) -> Self {
        Self { process: random & ((1 << 40) - 1), next: AtomicU64::new(0) }
    }

    fn next(&self) -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        let mut id = String::with_capacity(16);
        for bits in [self.process, count] {
            id.extend((0..8).rev().map(|i| char::from(ALPHABET[(bits >> (5 * i)) as usize & 31])));
        }
        id
    }
}

/// The scene of a connection that never became a request: what is not known of it is empty.
fn early_info(shared: &Shared, agent: AgentName, method: &str, origin: Option<&Origin>) -> Arc<ExchangeInfo> {
    Arc::new(ExchangeInfo {
        exchange: shared.ids.next(),
        agent,
        pid: None,
        tool: None,
        method: method.to_owned(),
        scheme: origin.map_or("", |o| o.scheme.as_str()),
        host: origin.map_or_else(String::new, |o| o.host.to_string()),
        port: origin.map_or(0, |o| o.port),
        path: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchange_ids_are_unique_words_of_sixteen() {
        let ids = ExchangeIds::new(u64::MAX);
        let many: std::collections::HashSet<String> = (0..1000).map(|_| ids.next()).collect();
        assert_eq!(many.len(), 1000);
        assert!(many.iter().all(|id| id.len() == 16 && id.starts_with("77777777")));
    }
}
