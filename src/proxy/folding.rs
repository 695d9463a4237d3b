//! Refusals on their way to the audit: whoever is refused again and again fills no disk. Of each kind the first is written as
//! it is; those that follow are counted, and written as one when a window ends. Counts nothing for others.

use crate::audit::Log;
use crate::name::AgentName;
use crate::record::{CountedSpan, ExchangeInfo, KeyRef, Record, is_upstreams_fault};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;

/// How long refusals are counted before they are written as one.
const WINDOW: Duration = Duration::from_secs(60);
/// Refusals of one agent that are written each by itself though more of their kind came before: whoever tries a request again
/// finds each by its exchange. The allowance is given anew after a window in which nothing had to be folded.
const REPEATS_IN_FULL: u32 = 32;
/// Kinds of one agent's refusals that are told apart at a time. Agents choose hosts, so there is an end to it.
const KINDS_OF_AGENT: usize = 64;
/// The same for all agents together: a few KiB each.
const KINDS: usize = 4096;

/// The way of refusals into the audit.
pub(super) struct RefusalLog {
    audit: Log,
    state: Mutex<FoldState>,
}

#[derive(Default)]
struct FoldState {
    folds: FoldedRefusals,
    /// A task waits for the window's end.
    window_is_open: bool,
}

impl RefusalLog {
    pub fn new(audit: Log) -> Arc<Self> {
        Arc::new(Self { audit, state: Mutex::default() })
    }

    /// Queues a refusal, or counts it with others of its kind.
    pub fn append(self: &Arc<Self>, refusal: &Record) {
        let mut state = self.state();
        let in_full = state.folds.take(refusal);
        let opens = !std::mem::replace(&mut state.window_is_open, true);
        drop(state);
        if in_full {
            self.audit.append(refusal);
        }
        if opens {
            FoldWindow(self.clone()).open();
        }
    }

    /// Queues what was counted so far. Whether others may follow it.
    pub fn write_folded(&self, now: SystemTime) -> bool {
        let mut state = self.state();
        let folded = state.folds.end_window(now);
        drop(state);
        folded.iter().for_each(|record| self.audit.append(record));
        !folded.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, FoldState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A window that is open. What is counted in it is written when it ends, or its runtime does before that.
struct FoldWindow(Arc<RefusalLog>);

impl FoldWindow {
    fn open(self) {
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                loop {
                    tokio::time::sleep(WINDOW).await;
                    if !self.0.write_folded(SystemTime::now()) {
                        return;
                    }
                }
            });
        }
    }
}

impl Drop for FoldWindow {
    fn drop(&mut self) {
        self.0.state().window_is_open = false;
        self.0.write_folded(SystemTime::now());
    }
}

/// Refusals that are counted, by agent and kind. Knows no clock.
#[derive(Default)]
struct FoldedRefusals {
    agents: HashMap<AgentName, AgentRefusals, RandomState>,
    kinds: usize,
}

#[derive(Default)]
struct AgentRefusals {
    repeats_in_full: u32,
    /// Without a fold: the first was written, and none has followed.
    kinds: HashMap<FoldKey, Option<Fold>, RandomState>,
}

/// What refusals of one kind have in common: all but the request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct FoldKey {
    word: Option<String>,
    /// `None` for those that are not told apart but by their word.
    subject: Option<FoldSubject>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct FoldSubject {
    host: String,
    port: u16,
    key_ref: Option<KeyRef>,
}

struct Fold {
    newest: Record,
    count: u64,
    first: SystemTime,
}

impl FoldedRefusals {
    /// Takes a refusal. Whether it is to be written by itself.
    fn take(&mut self, refusal: &Record) -> bool {
        // an upstream's failure is how an exchange ended, of which each has its record
        let Some(info) = refusal.info.as_ref().filter(|_| !refusal.status.is_some_and(is_upstreams_fault)) else {
            return true;
        };
        if !self.agents.contains_key(&info.agent) {
            self.agents.insert(info.agent.clone(), AgentRefusals::default());
        }
        let Some(agent) = self.agents.get_mut(&info.agent) else { return true };
        let mut key = FoldKey::of(refusal, info);
        let is_known = agent.kinds.contains_key(&key);
        let has_room = agent.kinds.len() < KINDS_OF_AGENT && self.kinds < KINDS;
        if !is_known && has_room {
            agent.kinds.insert(key, None);
            self.kinds += 1;
            return true;
        }
        if agent.repeats_in_full < REPEATS_IN_FULL {
            agent.repeats_in_full += 1;
            return true;
        }
        if !is_known {
            key.subject = None;
        }
        let is_various = key.subject.is_none();
        let fold = agent.kinds.entry(key).or_default();
        let fold = fold.get_or_insert_with(|| Fold { newest: refusal.clone(), count: 0, first: refusal.at });
        fold.count += refusal.count.unwrap_or(1);
        fold.newest = if is_various { various(refusal, info) } else { refusal.clone().bounded() };
        false
    }

    /// What was counted, in the order of its beginnings. Kinds of which none has followed are forgotten.
    fn end_window(&mut self, now: SystemTime) -> Vec<Record> {
        let mut folds = Vec::new();
        self.agents.retain(|_, agent| {
            agent.kinds.retain(|_, fold| fold.take().map(|fold| folds.push(fold)).is_some());
            !agent.kinds.is_empty()
        });
        self.kinds = self.agents.values().map(|agent| agent.kinds.len()).sum();
        folds.sort_by_key(|fold| fold.first);
        folds.into_iter().map(|fold| fold.into_record(now)).collect()
    }
}

impl FoldKey {
    fn of(refusal: &Record, info: &ExchangeInfo) -> Self {
        let subject = FoldSubject { host: info.host.clone(), port: info.port, key_ref: refusal.key_ref.clone() };
        Self { word: refusal.error.clone(), subject: Some(subject) }
    }
}

impl Fold {
    fn into_record(self, now: SystemTime) -> Record {
        let counted = CountedSpan { first: self.first, last: self.newest.at };
        Record { at: now, count: Some(self.count), counted: Some(counted), ..self.newest }
    }
}

/// One for refusals that have nothing in common but the agent and the word.
fn various(newest: &Record, info: &ExchangeInfo) -> Record {
    let mut record = Record::new(newest.at, newest.event, "various");
    record.info = Some(Arc::new(ExchangeInfo::unasked(info.exchange.clone(), info.agent.clone())));
    (record.status, record.success, record.error) = (newest.status, newest.success, newest.error.clone());
    record.reason = Some(format!("of more kinds than the {KINDS_OF_AGENT} that are told apart at a time"));
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Event;
    use std::time::UNIX_EPOCH;

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(second)
    }

    fn refused(second: u64, host: &str, path: &str) -> Record {
        let mut info = ExchangeInfo::unasked(format!("{second:016}"), AgentName::nobody());
        (info.host, info.port, info.path) = (host.into(), 443, path.into());
        let mut record = Record::new(at(second), Event::Refusal, host.to_owned());
        record.info = Some(Arc::new(info));
        record.error = Some("authentication-required".into());
        record
    }

    fn size(record: &Record) -> usize {
        let mut members = Vec::new();
        record.write_members(&mut members);
        members.len()
    }

    #[test]
    fn equal_ones_are_one_record_whatever_their_paths_and_a_flood_goes_on_as_one() {
        let mut folds = FoldedRefusals::default();
        let in_full = (0..1000).filter(|n| folds.take(&refused(*n, "a.example", &format!("/{n}")))).count();
        assert_eq!(in_full, 1 + REPEATS_IN_FULL as usize);
        let folded = folds.end_window(at(2000));
        let of = |record: &Record| (record.count, record.counted.as_ref().map(|c| (c.first, c.last)), record.at);
        let [record] = &folded[..] else { panic!("{folded:?}") };
        assert_eq!(of(record), (Some(1000 - 33), Some((at(33), at(999))), at(2000)));
        assert_eq!(record.info.as_ref().map(|info| info.path.as_str()), Some("/999"), "it is of the newest");
        // the next minute of the same flood is one record
        assert!((2001..2100).all(|n| !folds.take(&refused(n, "a.example", "/"))));
        assert_eq!(of(&folds.end_window(at(2100))[0]).0, Some(99));
        // a minute of calm ends it
        assert!(folds.end_window(at(2200)).is_empty() && folds.agents.is_empty());
        assert!(folds.take(&refused(2201, "a.example", "/")));
        assert!(folds.take(&refused(2202, "a.example", "/")));
    }

    #[test]
    fn whatever_the_agent_varies_memory_and_records_are_bounded() {
        let mut folds = FoldedRefusals::default();
        let long = "/p".repeat(30_000);
        let (mut written, mut bytes) = (0, 0);
        for n in 0..10_000 {
            let record = refused(n, &format!("h{n}.example"), &long);
            if folds.take(&record) {
                written += 1;
                bytes += size(&record);
            }
        }
        let held: usize =
            folds.agents.values().flat_map(|agent| agent.kinds.values().flatten()).map(|f| size(&f.newest)).sum();
        assert!(folds.kinds <= KINDS_OF_AGENT && held < 10_000, "{} kinds, {held} bytes", folds.kinds);
        let folded = folds.end_window(at(10_000));
        bytes += folded.iter().map(size).sum::<usize>();
        let counted: u64 = folded.iter().filter_map(|record| record.count).sum();
        assert_eq!((written + counted, folded.len()), (10_000, 1), "{folded:?}");
        assert!(folded[0].info.as_ref().is_some_and(|info| info.host.is_empty() && info.path.is_empty()));
        assert!(bytes < 300_000, "{bytes}");
    }

    #[test]
    fn a_record_that_waits_keeps_no_more_of_its_texts_than_is_written() {
        let mut folds = FoldedRefusals::default();
        let long = "/é".repeat(30_000);
        (0..100).for_each(|n| {
            folds.take(&refused(n, "a.example", &long));
        });
        let folded = &folds.end_window(at(100))[0];
        let info = folded.info.as_ref().unwrap();
        assert!(info.path.len() < 2100, "{}", info.path.len());
        assert_eq!(size(folded), size(&Record { info: refused(99, "a.example", &long).info, ..folded.clone() }));
    }

    #[test]
    fn what_an_upstream_did_has_a_record_each() {
        let mut folds = FoldedRefusals::default();
        let failed = |n| Record { status: Some(502), ..refused(n, "a.example", "/") };
        assert!((0..1000).all(|n| folds.take(&failed(n))) && folds.end_window(at(1000)).is_empty());
    }

    #[test]
    fn agents_are_kept_apart() {
        let mut folds = FoldedRefusals::default();
        for n in 0..200 {
            let mut other = refused(n, "a.example", "/");
            let info = ExchangeInfo { agent: AgentName::local(), ..ExchangeInfo::clone(other.info.as_ref().unwrap()) };
            other.info = Some(Arc::new(info));
            folds.take(&other);
            folds.take(&refused(n, "a.example", "/"));
        }
        let counts: Vec<_> = folds.end_window(at(200)).iter().map(|record| record.count).collect();
        assert_eq!(counts, [Some(167), Some(167)]);
    }
}
