//! How an exchange ends: told once to the audit, be it an end, an error, or an agent that hung up.

use super::request_body::Fault;
use crate::anomaly::UNREQUESTED;
use crate::name::KeyName;
use crate::policy::agent::ConcurrencyPermit;
use crate::proxy::Shared;
use crate::proxy::refusal::Refusal;
use crate::record::{Event, ExchangeInfo, KeyRef, Operation, Record};
use crate::rewrite::scrub::ScrubHits;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;

/// What the request's body has come to so far; it may outlive the response's.
#[derive(Default)]
pub(crate) struct BodyProgress {
    pub bytes_out: AtomicU64,
    pub kept: AtomicU64,
    /// The response has begun.
    pub answered: AtomicBool,
    /// The exchange has ended: who still waits to send a body need not.
    pub over: Notify,
    /// As above, for whoever still sends one.
    pub ended: AtomicBool,
    /// The keys that went into it, in the order of their first use.
    used: Mutex<Vec<KeyName>>,
    fault: Mutex<Option<Fault>>,
}

impl BodyProgress {
    /// Why the body broke off: hyper tells the sender only that it did.
    pub fn fault(&self) -> Option<Fault> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that a key went into it.
    pub fn use_key(&self, key: &KeyName) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if !used.contains(key) {
            used.push(key.clone());
        }
    }

    fn has_used(&self, key: &KeyName) -> bool {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    fn first_used(&self) -> Option<KeyName> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).first().cloned()
    }

    pub fn set_fault(&self, fault: &Fault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault.clone());
    }

    /// Waits for an answer until nothing of the body has left for `silence`, or a little longer: a large upload may take
    /// its time. `None` if no answer came.
    pub async fn patiently<T>(&self, silence: Duration, answer: impl Future<Output = T>) -> Option<T> {
        let mut answer = pin!(answer);
        loop {
            let before = self.bytes_out.load(Ordering::Relaxed);
            match tokio::time::timeout(silence, &mut answer).await {
                Ok(answer) => return Some(answer),
                Err(_) if self.bytes_out.load(Ordering::Relaxed) > before => {}
                Err(_) => return None,
            }
        }
    }
}

/// HTTP/2, as records name it.
pub(crate) const HTTP_2: &str = "2";

/// Writes the `exchange` record when it is dropped.
pub(crate) struct ExchangeOutcome {
    shared: Arc<Shared>,
    info: Arc<ExchangeInfo>,
    progress: Arc<BodyProgress>,
    start: Instant,
    /// The agent's protocol.
    pub http: &'static str,
    /// The keys that the head and a held body had placeholders of. The exchange is about the first of them.
    pub keys: Vec<KeyName>,
    pub status: Option<u16>,
    pub upstream_ip: Option<IpAddr>,
    pub bytes_in: u64,
    /// How often each key was hidden in the answer.
    pub hits: Arc<ScrubHits>,
    outcome: Outcome,
    /// Given back when all is over.
    _turn: ConcurrencyPermit,
}

enum Outcome {
    /// Nothing has been heard of the end: the agent left.
    Open,
    Complete,
    Broken(String),
    /// A `refusal` record tells it all.
    Refused,
}

impl ExchangeOutcome {
    pub fn new(
        shared: Arc<Shared>,
        info: Arc<ExchangeInfo>,
        progress: Arc<BodyProgress>,
        start: Instant,
        http: &'static str,
        turn: ConcurrencyPermit,
    ) -> Self {
        Self {
            shared,
            info,
            progress,
            start,
            http,
            keys: Vec::new(),
            status: None,
            upstream_ip: None,
            bytes_in: 0,
            hits: Arc::default(),
            outcome: Outcome::Open,
            _turn: turn,
        }
    }

    pub fn complete(&mut self) {
        self.outcome = Outcome::Complete;
    }

    pub fn broken(&mut self, why: String) {
        self.outcome = Outcome::Broken(why);
    }

    /// Hands the refusal back: its own record is the last word.
    pub fn refused(&mut self, refusal: Refusal) -> Refusal {
        self.outcome = Outcome::Refused;
        refusal
    }

    /// Whether any key has gone out with the request.
    pub fn has_carried_a_key(&self) -> bool {
        !self.keys.is_empty() || self.progress.first_used().is_some()
    }

    /// Whether the request had a placeholder of this key in it.
    fn brought(&self, key: &KeyName) -> bool {
        self.keys.contains(key) || self.progress.has_used(key)
    }

    fn record(&mut self) {
        let now = SystemTime::now();
        let mut hidden = 0;
        for (key, count) in self.hits.all() {
            hidden += count;
            let mut record = Record::new(now, Event::Scrub, Operation::Key(key.clone()));
            record.info = Some(self.info.clone());
            record.count = Some(count);
            record.key_ref = Some(KeyRef::Key(key.clone()));
            if !self.brought(&key) {
                record.error = Some(UNREQUESTED.into());
            }
            self.shared.append(&record);
        }
        let key = self.keys.first().cloned().or_else(|| self.progress.first_used());
        let operation = key.clone().map_or_else(|| self.info.host.clone().into(), Operation::Key);
        let mut record = Record::new(now, Event::Exchange, operation);
        record.info = Some(self.info.clone());
        record.key_ref = key.map(KeyRef::Key);
        record.status = self.status;
        record.duration_ms = Some(self.start.elapsed().as_secs_f64() * 1e3);
        record.bytes_out = Some(self.progress.bytes_out.load(Ordering::Relaxed));
        record.bytes_in = Some(self.bytes_in);
        record.upstream_ip = self.upstream_ip;
        record.http = Some(self.http);
        let kept = self.progress.kept.load(Ordering::Relaxed);
        record.kept = (kept > 0).then_some(kept);
        record.scrubbed = (hidden > 0).then_some(hidden);
        let fault = self.progress.fault().filter(|fault| !matches!(fault, Fault::Agent(_)));
        if let Some(fault) = &fault {
            self.shared.record_refusal(self.info.clone(), &fault.clone().into());
        }
        record.error = match std::mem::replace(&mut self.outcome, Outcome::Refused) {
            Outcome::Open | Outcome::Broken(_) if fault.is_some() => fault.map(|fault| fault.to_string()),
            Outcome::Open if self.shared.cut.load(Ordering::Relaxed) => Some("locum was stopped".into()),
            Outcome::Open => Some("the agent hung up".into()),
            Outcome::Broken(why) => Some(why),
            Outcome::Complete | Outcome::Refused => None,
        };
        record.success = Some(record.error.is_none());
        self.shared.append(&record);
    }
}

impl Drop for ExchangeOutcome {
    fn drop(&mut self) {
        self.progress.over.notify_one();
        self.progress.ended.store(true, Ordering::Release);
        if matches!(self.outcome, Outcome::Refused) {
            return;
        }
        self.record();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    const SILENCE: Duration = Duration::from_secs(600);

    /// Time stands still but where all wait.
    #[tokio::test(start_paused = true)]
    async fn who_is_silent_is_given_up_and_who_still_takes_a_body_is_not() {
        let start = tokio::time::Instant::now();
        let progress = BodyProgress::default();
        assert_eq!(progress.patiently(SILENCE, pending::<()>()).await, None);
        assert_eq!(start.elapsed().as_secs(), SILENCE.as_secs());

        let upload = async {
            for _ in 0..30 {
                tokio::time::sleep(SILENCE / 10).await;
                progress.bytes_out.fetch_add(1, Ordering::Relaxed);
            }
            "done"
        };
        assert_eq!(progress.patiently(SILENCE, upload).await, Some("done"));

        // and where it stalls in the middle
        let start = tokio::time::Instant::now();
        let stalled = async {
            progress.bytes_out.fetch_add(1, Ordering::Relaxed);
            pending::<()>().await;
        };
        assert_eq!(progress.patiently(SILENCE, stalled).await, None);
        assert!(start.elapsed() <= SILENCE * 2, "{:?}", start.elapsed());
    }
}
