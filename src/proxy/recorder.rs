//! The one way into the audit, the counters and the alerts: whoever has something to record hands it over here.

use super::accept::slots::TurnedAway;
use super::folding::RefusalLog;
use super::refusal::{Problem, Refusal};
use super::told_refusals::ToldRefusals;
use crate::anomaly;
use crate::audit::AuditError;
use crate::audit::tell::alerts::{Alerts, Cooldown};
use crate::audit::write::log::{Commit, Log};
use crate::metrics::{Counters, Counts};
use crate::name::{AgentName, KeyName, Origin};
use crate::place::Place;
use crate::record::{
    CountedSpan, Event, ExchangeInfo, KeyRef, KeyUse, Operation, PreviousFile, Record, is_upstreams_fault,
};
use crate::rewrite::near_miss::{NearMiss, NearMissKind};
use arc_swap::ArcSwapOption;
use std::collections::HashSet;
use std::fmt;
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

/// So many different advices are said.
const MAX_ADVISED: usize = 64;

/// Writes records, counts them, has them watched for what is unusual, and names exchanges.
pub struct Recorder {
    audit: Log,
    refusals: Arc<RefusalLog>,
    told: ToldRefusals,
    alerts: Alerts,
    counters: Counters,
    ids: ExchangeIds,
    /// For whoever watches, and not for agents.
    last_refusal: ArcSwapOption<LastRefusal>,
    /// What was last said of requests that can't succeed as they are.
    last_advice: ArcSwapOption<String>,
    /// All that was said so, each once.
    advised: Mutex<HashSet<Arc<String>>>,
    /// The near misses of placeholders that were told of: whose key, of what kind, and whether the upstream refused one.
    near_misses: Mutex<HashSet<(KeyName, NearMissKind, bool)>>,
    /// Exchanges are cut because the process ends.
    stopping: AtomicBool,
}

/// A request that was refused. It repeats what the agent wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRefusal {
    /// Why, in full.
    pub reason: String,
    /// The key whose placeholder was refused, where it was for one. There may be no such key.
    pub key: Option<KeyName>,
    /// Whom it was for, as the agent has named it: host, and the port where that is not TLS's own.
    pub host: String,
}

impl LastRefusal {
    fn of(record: &Record) -> Option<Self> {
        let key = match (&record.operation, &record.key_ref) {
            (Operation::Key(key), _) => Some(key.clone()),
            (_, Some(KeyRef::Written(written))) => KeyName::of_placeholder(written.as_bytes()),
            _ => None,
        };
        let info = record.info.as_ref()?;
        let port = if info.port == 443 { String::new() } else { format!(":{}", info.port) };
        let scheme = if info.scheme == "http" { "http://" } else { "" };
        Some(Self { reason: record.reason.clone()?, key, host: format!("{scheme}{}{port}", info.host) })
    }
}

impl Recorder {
    /// `random` begins the ids of this process's exchanges.
    pub fn new(audit: Log, alerts: Alerts, random: u64) -> Self {
        let (counters, ids) = (Counters::default(), ExchangeIds::new(random));
        let refusals = RefusalLog::new(audit.clone());
        let (told, last_refusal, last_advice, advised, near_misses, stopping) = Default::default();
        Self { audit, refusals, told, alerts, counters, ids, last_refusal, last_advice, advised, near_misses, stopping }
    }

    /// Queues a record that nothing waits for.
    pub fn append(&self, record: &Record) {
        self.audit.append(record);
        self.note(record);
    }

    /// Queues the records of keys that are about to leave: before they are written, none may.
    pub fn uses(self: &Arc<Self>, records: Vec<Record>) -> RecordedUses {
        let commit = Some(self.audit.commit(&records));
        RecordedUses { recorder: self.clone(), records, commit }
    }

    /// Counts a record, and records what is unusual about it.
    fn note(&self, record: &Record) {
        self.counters.note(record);
        if record.event == Event::Refusal && !record.status.is_some_and(is_upstreams_fault) {
            self.last_refusal.store(LastRefusal::of(record).map(Arc::new));
        }
        for finding in self.alerts.note(record) {
            self.audit.append(&finding);
        }
    }

    /// Writes a refusal that belongs to no exchange with a key, or counts it with those of its kind: nothing waits for it.
    pub fn refusal(&self, info: Arc<ExchangeInfo>, refusal: &Refusal) {
        let now = SystemTime::now();
        let host = Some(&info.host as &dyn fmt::Display).filter(|_| !info.host.is_empty());
        self.told.remember(&info.agent, refusal.problem(&info.exchange, host), now);
        let mut record = Record::new(now, Event::Refusal, info.host.clone());
        if let Some(subject) = refusal.subject() {
            record.key_ref = Some(KeyRef::Written(subject.written.clone()));
            if let Some(key) = &subject.key {
                record.operation = Operation::Key(key.clone());
            }
        }
        record.status = Some(refusal.status().as_u16());
        record.success = Some(false);
        record.error = Some(refusal.word().into());
        record.reason = Some(refusal.in_full().to_owned());
        record.info = Some(info);
        self.refusals.append(&record);
        self.note(&record);
    }

    /// What this agent was told of an exchange of its own that was refused.
    pub fn told(&self, agent: &AgentName, exchange: &str) -> Option<Problem> {
        self.told.of(agent, exchange, SystemTime::now())
    }

    /// Writes that connections were closed for want of places: one record for many.
    pub(crate) fn turned_away(&self, turned_away: &TurnedAway) {
        let mut record = Record::new(turned_away.last, Event::Refusal, "connections");
        record.info = Some(Arc::new(self.exchange(AgentName::nobody(), "", None)));
        record.count = Some(turned_away.count);
        record.counted = Some(CountedSpan { first: turned_away.first, last: turned_away.last });
        // nobody was answered; as of all that is short here it is no probing
        record.status = Some(503);
        record.success = Some(false);
        record.error = Some("connections-full".into());
        record.reason = Some(turned_away.to_string());
        self.append(&record);
    }

    /// Describes an exchange that is just beginning, under an id of its own: what isn't known of it is empty.
    pub fn exchange(&self, agent: AgentName, method: &str, origin: Option<&Origin>) -> ExchangeInfo {
        ExchangeInfo {
            method: method.to_owned(),
            scheme: origin.map_or("", |o| o.scheme.as_str()),
            host: origin.map_or_else(String::new, |o| o.host.to_string()),
            port: origin.map_or(0, |o| o.port),
            ..ExchangeInfo::unasked(self.ids.next(), agent)
        }
    }

    /// How long an agent that asks with these keys has to wait after unusual traffic, if it has to.
    pub fn cooldown<'k>(&self, agent: &AgentName, keys: impl Iterator<Item = &'k KeyName>) -> Option<Cooldown> {
        self.alerts.cooldown(agent.as_str(), keys.map(KeyName::as_str), SystemTime::now())
    }

    /// Watches by other limits from now on; what was seen so far counts on.
    pub fn watch_by(&self, limits: anomaly::AnomalyLimits, refuse: bool) {
        self.alerts.set(limits, refuse);
    }

    /// What has been recorded since the start.
    pub fn counts(&self) -> Counts {
        self.counters.read()
    }

    /// The last request that was refused.
    pub fn last_refusal(&self) -> Option<Arc<LastRefusal>> {
        self.last_refusal.load_full()
    }

    /// Says what to do about requests that can't succeed as they are, once. Agents choose the hosts, so there is an end to it.
    pub fn advise(&self, advice: String) {
        if self.last_advice.load().as_deref() == Some(&advice) {
            return;
        }
        let advice = Arc::new(advice);
        let mut advised = self.advised.lock().unwrap_or_else(PoisonError::into_inner);
        if advised.len() < MAX_ADVISED && advised.insert(advice.clone()) {
            tracing::warn!("{advice}");
        }
        self.last_advice.store(Some(advice));
    }

    /// Says what goes out in place of a placeholder: once for each key and kind of mistake, and once more where an upstream
    /// `refused` such a request. Agents choose the words, so there is an end to it.
    pub fn advise_of_near_miss(&self, miss: &NearMiss, refused: bool, advice: &str) {
        let mut told = self.near_misses.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert((miss.key.clone(), miss.kind, refused)) {
            tracing::warn!("{advice}");
        }
        self.last_advice.store(Some(Arc::new(advice.to_owned())));
    }

    /// What was last advised.
    pub fn last_advice(&self) -> Option<Arc<String>> {
        self.last_advice.load_full()
    }

    /// Records of exchanges that end from now on say that locum was stopped.
    pub fn cut(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether exchanges are cut because the process ends.
    pub fn is_cut(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// The file that is written to.
    pub fn path(&self) -> Option<PathBuf> {
        self.audit.path()
    }

    /// Where the chain has come to.
    pub fn head(&self) -> Option<PreviousFile> {
        self.audit.head()
    }

    /// Resolves when all that has happened so far is in the audit.
    ///
    /// # Errors
    /// The audit can't be written.
    pub async fn flush(&self) -> Result<(), AuditError> {
        self.audit.flush().await
    }

    /// Writes the last record and takes no more.
    ///
    /// # Errors
    /// The audit can't be written.
    pub async fn close(&self, last: Record) -> Result<(), AuditError> {
        self.refusals.write_folded(last.at);
        self.audit.close(last).await
    }

    /// Has the webhook told where the audit ended, and nothing more.
    pub fn finish_alerts(&self) {
        self.alerts.finish();
    }
}

/// Uses of keys that are in the audit, or on their way there. Dropped before they may have left, they are taken back by
/// records `unsent`.
pub struct RecordedUses {
    recorder: Arc<Recorder>,
    records: Vec<Record>,
    commit: Option<Commit>,
}

impl RecordedUses {
    /// Resolves once they are in the audit, and counts them.
    ///
    /// # Errors
    /// They can't be written, and won't be later.
    pub fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), AuditError>> {
        let Some(commit) = &mut self.commit else { return Poll::Ready(Ok(())) };
        let written = ready!(Pin::new(commit).poll(cx));
        self.commit = None;
        match &written {
            Ok(()) => self.records.iter().for_each(|record| self.recorder.note(record)),
            Err(_) => self.records.clear(),
        }
        Poll::Ready(written)
    }

    /// The same, to be awaited.
    ///
    /// # Errors
    /// As [`Self::poll_written`].
    pub async fn written(&mut self) -> Result<(), AuditError> {
        poll_fn(|cx| self.poll_written(cx)).await
    }

    /// Parts those behind the first so many, which are written, from these.
    pub fn split_off(&mut self, first: usize) -> Self {
        let records = self.records.split_off(first.min(self.records.len()));
        Self { recorder: self.recorder.clone(), records, commit: None }
    }

    /// They have left, or it can't be known whether they have.
    pub fn may_have_left(mut self) {
        self.records.clear();
    }
}

impl Drop for RecordedUses {
    fn drop(&mut self) {
        for record in self.records.drain(..) {
            let unsent = Record { at: SystemTime::now(), event: Event::Unsent, ..record };
            match &self.commit {
                None => self.recorder.append(&unsent),
                // where what it takes back can't be written, it isn't either; nor was that counted
                Some(_) => drop(self.recorder.audit.commit([unsent])),
            }
        }
    }
}

/// The record of a key's use in one place.
pub fn substitution(info: &Arc<ExchangeInfo>, key: &KeyName, place: &Place, count: u64) -> Record {
    let mut record = Record::new(SystemTime::now(), Event::Substitution, Operation::Key(key.clone()));
    record.info = Some(info.clone());
    record.key_ref = Some(KeyRef::Key(key.clone()));
    record.place = Some(place.clone());
    record.count = Some(count);
    record
}

/// A record for what each key and place was used for since the last call, which `recorded` remembers.
pub fn substitutions(info: &Arc<ExchangeInfo>, uses: &[KeyUse], recorded: &mut Vec<u64>) -> Vec<Record> {
    recorded.resize(uses.len(), 0);
    let news = uses.iter().zip(recorded).map(|(used, known)| (used, used.count - std::mem::replace(known, used.count)));
    let news = news.filter(|(_, new)| *new > 0);
    news.map(|(used, new)| substitution(info, &used.key, &used.place, new)).collect()
}

/// Names exchanges: 16 characters of base32, 40 random bits of this process and 40 that count.
struct ExchangeIds {
    process: u64,
    next: AtomicU64,
}

impl ExchangeIds {
    fn new(random: u64) -> Self {
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
