//! Alerts on what is unusual in the records of this process, while they are made: a record, a line in the log, a notice for
//! the webhook, and where the operator wants it rest for a key or an agent. What is unusual, `anomaly` decides.

use super::webhook::{Notice, Outbox};
use crate::anomaly::{self, AnomalyDetector, AnomalyLimits, Fact, Finding, HANDSHAKE_FAILED, Severity, UNREQUESTED};
use crate::audit::read::lines::{MemberValue, members};
use crate::audit::stamp::seconds;
use crate::record::{Event, KeyRef, Record, key_of};
use foldhash::fast::RandomState;
use std::hash::BuildHasher as _;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Parts of the watch, each with its own lock: two requests rarely have names in the same one.
const PARTS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(15);

/// Watches the records of one process.
#[derive(Debug)]
pub struct Alerts {
    /// [`PARTS`] of them, among which keys and agents are divided by their names.
    parts: Box<[Mutex<AnomalyDetector>]>,
    hasher: RandomState,
    /// It was said that something had to be forgotten.
    told_forgotten: AtomicBool,
    /// Whether what is unusual has to rest.
    refuse: AtomicBool,
    outbox: Option<Outbox>,
}

/// A cooldown: a key or an agent that has to rest for some seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cooldown {
    /// `key openai` or `agent researcher`.
    pub who: String,
    /// How long it still has to rest.
    pub seconds: u64,
}

impl Alerts {
    /// Watches from now on; `refuse` has what is unusual rest, and `outbox` leads to the webhook.
    pub fn new(config: AnomalyLimits, refuse: bool, outbox: Option<Outbox>) -> Self {
        let part = |_| Mutex::new(AnomalyDetector::part(config.clone(), PARTS));
        let (parts, hasher) = ((0..PARTS.get()).map(part).collect(), RandomState::default());
        Alerts { parts, hasher, told_forgotten: false.into(), refuse: refuse.into(), outbox }
    }

    /// Takes other limits over; what was seen so far counts on.
    pub fn set(&self, config: AnomalyLimits, refuse: bool) {
        self.parts.iter().for_each(|part| locked(part).set(config.clone()));
        self.refuse.store(refuse, Ordering::Relaxed);
    }

    /// Takes a record that goes into the audit: the records of what is unusual about it go there too.
    pub fn note(&self, record: &Record) -> Vec<Record> {
        let fact = Fact::from(record);
        let mut found = Vec::new();
        if let Some(key) = fact.key {
            let mut part = self.part_of(key);
            found.extend(part.take_key(&fact));
            self.tell_forgotten(&part);
        }
        let mut part = self.part_of(anomaly::subject(&fact));
        found.extend(part.take_agent(&fact));
        self.tell_forgotten(&part);
        drop(part);
        found.into_iter().map(|finding| self.tell(record, finding)).collect()
    }

    /// Says once that from now on something is forgotten.
    fn tell_forgotten(&self, part: &AnomalyDetector) {
        if part.has_forgotten() && !self.told_forgotten.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "more keys, agents and hosts than anomaly detection remembers: what was not seen for longest is forgotten, and \
                 counts as new when it comes again"
            );
        }
    }

    /// Whether a request by this agent with one of these keys has to wait.
    pub fn cooldown<'k>(
        &self,
        agent: &str,
        keys: impl IntoIterator<Item = &'k str>,
        now: SystemTime,
    ) -> Option<Cooldown> {
        if !self.refuse.load(Ordering::Relaxed) {
            return None;
        }
        let mut keys = keys.into_iter().peekable();
        keys.peek()?;
        let keys = keys.map(|key| (self.part_of(key).key_rests(key, now), "key", key));
        let agent_rests = self.part_of(agent).agent_rests(agent, now);
        let (seconds, what, name) = keys.chain([(agent_rests, "agent", agent)]).max()?;
        (seconds > 0).then(|| Cooldown { who: format!("{what} {name}"), seconds })
    }

    /// Sends where the audit ended, and nothing more.
    pub fn finish(&self) {
        if let Some(outbox) = &self.outbox {
            outbox.finish();
        }
    }

    /// The part that knows of a key or an agent of this name.
    fn part_of(&self, name: &str) -> MutexGuard<'_, AnomalyDetector> {
        let at = self.hasher.hash_one(name) as usize % PARTS;
        locked(&self.parts[at])
    }

    fn tell(&self, cause: &Record, finding: Finding) -> Record {
        let severity = finding.severity.as_str();
        match finding.severity {
            Severity::Low => tracing::info!(severity, "unusual: {finding}"),
            Severity::Medium => tracing::warn!(severity, "unusual: {finding}"),
            Severity::High => tracing::error!(severity, "unusual: {finding}"),
        }
        let mut record = Record::new(cause.at, Event::Anomaly, cause.operation.clone());
        record.info = cause.info.clone();
        record.key_ref = finding.key.as_ref().map(|key| KeyRef::Written(format!("<<{key}_key>>")));
        record.count = Some(finding.seen);
        record.reason = Some(format!("{}, {severity}: {finding}", finding.kind.as_str()));
        if let Some(outbox) = &self.outbox {
            let exchange = cause.info.as_ref().map(|info| info.exchange.clone()).unwrap_or_default();
            outbox.send(Notice { at: cause.at, exchange, finding });
        }
        record
    }
}

fn locked(part: &Mutex<AnomalyDetector>) -> MutexGuard<'_, AnomalyDetector> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an old record says, for a watch over what has been.
pub fn fact(line: &[u8]) -> Option<Fact<'_>> {
    let mut fact = Fact::default();
    let mut stamped = false;
    for (name, value) in members(line) {
        match (name, value) {
            (b"timestamp", MemberValue::Text(text)) => {
                fact.second = seconds(text)?;
                stamped = true;
            }
            (b"event", MemberValue::Text(text)) => {
                fact.event = Event::ALL.into_iter().find(|event| event.as_str().as_bytes() == text);
            }
            (b"key_ref", MemberValue::Text(text)) => fact.key = key_of(text_of(text)),
            (b"exchange", MemberValue::Text(text)) => fact.exchange = text_of(text),
            (b"agent", MemberValue::Text(text)) => fact.agent = text_of(text),
            (b"host", MemberValue::Text(text)) => fact.host = text_of(text),
            (b"status", value) => fact.status = value.number(),
            (b"success", MemberValue::Bare(bare)) => fact.success = Some(bare == b"true"),
            (b"bytes_in", value) => fact.bytes_in = value.number().unwrap_or(0),
            (b"count", value) => fact.count = value.number().unwrap_or(0),
            (b"error", MemberValue::Text(text)) => {
                fact.unrequested = text == UNREQUESTED.as_bytes();
                fact.handshake = text == HANDSHAKE_FAILED.as_bytes();
            }
            _ => {}
        }
    }
    stamped.then_some(fact)
}

/// Names hold nothing that is escaped; a text that isn't one only has to be told from others.
fn text_of(raw: &[u8]) -> &str {
    std::str::from_utf8(raw).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anomaly::AnomalyKind;
    use crate::audit::read::lines::member;
    use crate::audit::read::query::Merge;
    use crate::audit::tell::webhook::tests::{config, log, used};
    use std::time::{Duration, UNIX_EPOCH};

    #[tokio::test]
    async fn a_finding_is_recorded_and_makes_others_wait_where_that_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(dir.path());
        let alerts = Alerts::new(config(), false, None);
        let at = |second| UNIX_EPOCH + Duration::from_secs(second);
        (0..3).for_each(|second| alerts.note(&used(second)).iter().for_each(|found| log.append(found)));
        assert_eq!(alerts.cooldown("local", ["openai"], at(3)), None);
        alerts.set(config(), true);
        let rest = |seconds| Some(Cooldown { who: "key openai".into(), seconds });
        assert_eq!(alerts.cooldown("local", ["openai"], at(3)), rest(59));
        assert_eq!(alerts.cooldown("other", ["brave", "openai"], at(61)), rest(1));
        assert_eq!(alerts.cooldown("local", ["openai"], at(62)), None);
        assert_eq!(alerts.cooldown("local", ["brave"], at(3)), None);
        assert_eq!(alerts.cooldown("local", [], at(3)), None);
        log.flush().await.unwrap();
        let mut reasons = Vec::new();
        let each = |line: &[u8]| {
            let event = member(line, "event").unwrap().text().into_owned();
            reasons.push((event, member(line, "reason").unwrap().text().into_owned()));
            Ok(())
        };
        Merge::new(&dir.path().join("audit"), Default::default()).unwrap().run(each).unwrap();
        let text = "rate, medium: key openai was used 3 times in a minute, more than 2";
        assert_eq!(reasons.last().unwrap(), &("anomaly".into(), text.into()));
    }

    #[test]
    fn an_old_record_says_what_the_live_one_did() {
        let mut record = used(1000);
        record.event = Event::Exchange;
        (record.status, record.success, record.bytes_in) = (Some(500), Some(true), Some(20_000_000));
        let (mut members, mut line) = (Vec::new(), Vec::new());
        record.write_members(&mut members);
        crate::chain::link(&crate::chain::ChainHead::ZERO, 0, &members, &mut line);
        let (live, old) = (Fact::from(&record), fact(&line).unwrap());
        assert_eq!(format!("{live:?}"), format!("{old:?}"));
        let kinds: Vec<AnomalyKind> =
            AnomalyDetector::new(AnomalyLimits::default()).take(&old).iter().map(|f| f.kind).collect();
        assert_eq!(kinds, [AnomalyKind::LargeResponse]);
        assert!(fact(b"nonsense").is_none());
        // a host may be called as operations of keys are
        (record.operation, record.key_ref) = ("api.example".into(), None);
        assert_eq!(Fact::from(&record).key, None);
    }
}
