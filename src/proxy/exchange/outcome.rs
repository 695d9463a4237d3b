//! The outcome of an exchange: told once to the audit, be it an end, an error, or an agent that hung up.

use super::client_signature::ClientSignature;
use crate::anomaly::UNREQUESTED;
use crate::name::KeyName;
use crate::policy::agent::ConcurrencyPermit;
use crate::proxy::Recorder;
use crate::proxy::ceilings::UpstreamPlace;
use crate::proxy::recorder::RecordedUses;
use crate::proxy::refusal::{Refusal, RefusalKind};
use crate::record::{Event, ExchangeInfo, KeyRef, Operation, Record};
use crate::rewrite::near_miss::NearMiss;
use crate::rewrite::scrub::ScrubHits;
use std::borrow::Cow;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;

/// The progress of a request's body; it may outlive the response's.
#[derive(Default)]
pub(crate) struct BodyProgress {
    pub bytes_out: AtomicU64,
    pub kept: AtomicU64,
    /// The response has begun.
    pub answered: AtomicBool,
    /// The head was handed to a connection, so that it may have left.
    pub head_may_have_left: Arc<AtomicBool>,
    /// The exchange has ended: who still waits to send a body need not.
    pub over: Notify,
    /// As above, for whoever still sends one.
    pub ended: AtomicBool,
    /// The keys that went into it, in the order of their first use.
    used: Mutex<Vec<KeyName>>,
    fault: Mutex<Option<Refusal>>,
}

impl BodyProgress {
    /// Why the body broke off: hyper tells the sender only that it did.
    pub fn fault(&self) -> Option<Refusal> {
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

    pub fn set_fault(&self, fault: &Refusal) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault.clone());
    }

    /// Waits for an answer until nothing of the body has left for `silence`, or a little longer: a large upload may take
    /// its time. `None` if no answer came.
    pub async fn patiently<F: Future>(&self, silence: Duration, mut answer: Pin<&mut F>) -> Option<F::Output> {
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
pub(crate) const HTTP_1_1: &str = "1.1";
pub(crate) const HTTP_2: &str = "2";

/// Writes the `exchange` record when the last who holds it is through with it.
pub(crate) struct ExchangeOutcome {
    recorder: Arc<Recorder>,
    info: Arc<ExchangeInfo>,
    /// Of the request's body.
    pub progress: Arc<BodyProgress>,
    start: Instant,
    /// The agent's protocol.
    pub http: &'static str,
    /// Bytes of the answer's body that have been passed on.
    pub bytes_in: AtomicU64,
    facts: Mutex<Facts>,
    /// Given back when all is over, as is the place among what is under way to upstreams.
    _permit: ConcurrencyPermit,
    place: OnceLock<UpstreamPlace>,
}

/// What comes to be known while the exchange runs.
#[derive(Default)]
struct Facts {
    /// The keys that the head and a held body had placeholders of. The exchange is about the first of them.
    keys: Vec<KeyName>,
    status: Option<u16>,
    upstream_ip: Option<IpAddr>,
    /// The keys in the head.
    head_uses: Option<RecordedUses>,
    /// How often the request was sent, where that is more than once.
    attempt: Option<u8>,
    /// How often each key was hidden in the answer.
    hits: Arc<ScrubHits>,
    /// How the client has signed the request, where a key is bound to the host.
    signature: Option<ClientSignature>,
    /// What stands in the head where a placeholder of a key of the host was meant.
    near_miss: Option<NearMiss>,
    /// What was changed on the way that somebody may wonder about.
    note: Option<Cow<'static, str>>,
    end: End,
}

#[derive(Default)]
enum End {
    /// Nothing has been heard of the end: the agent left.
    #[default]
    Open,
    Complete,
    Broken(String),
    /// A `refusal` record tells it all.
    Refused,
}

impl ExchangeOutcome {
    /// Of an exchange that began at `start`, over this protocol of the agent's.
    pub fn new(
        recorder: Arc<Recorder>,
        info: Arc<ExchangeInfo>,
        start: Instant,
        http: &'static str,
        permit: ConcurrencyPermit,
    ) -> Arc<Self> {
        let (progress, bytes_in, facts, place) = Default::default();
        Arc::new(Self { recorder, info, progress, start, http, bytes_in, facts, _permit: permit, place })
    }

    /// Keeps the exchange's place until all is over.
    pub fn hold(&self, place: UpstreamPlace) {
        // it takes one alone
        let _ = self.place.set(place);
    }

    /// Notes the keys that the head and a held body have placeholders of.
    pub fn use_keys(&self, keys: impl IntoIterator<Item = KeyName>) {
        self.facts().keys.extend(keys);
    }

    /// Takes the recorded uses of keys in the head, which are taken back where it doesn't leave.
    pub fn head_uses(&self, uses: RecordedUses) {
        self.facts().head_uses = Some(uses);
    }

    /// The request is about to be sent for the second time or a later one, with these uses of keys in its head: what was
    /// recorded for the attempts before may have left, and stays.
    pub fn begin_attempt(&self, number: u8, uses: RecordedUses) {
        let mut facts = self.facts();
        facts.attempt = Some(number);
        facts.head_uses.take().into_iter().for_each(RecordedUses::may_have_left);
        self.progress.head_may_have_left.store(false, Ordering::Release);
        facts.head_uses = Some(uses);
    }

    /// Notes what counts the keys that are hidden in the answer.
    pub fn hide_by(&self, hits: &Arc<ScrubHits>) {
        self.facts().hits = hits.clone();
    }

    /// Says in the record what somebody may wonder about.
    pub fn note(&self, note: &'static str) {
        self.facts().note = Some(note.into());
    }

    /// Notes how the client has signed the request: no key makes that right.
    pub fn signed_by_client(&self, signature: Option<ClientSignature>) {
        self.facts().signature = signature;
    }

    /// Notes and tells what goes out in place of a placeholder.
    pub fn near_miss(&self, miss: NearMiss) {
        let advice = format!("{} is sent {miss}", self.info.host);
        self.recorder.advise_of_near_miss(&miss, false, &advice);
        let mut facts = self.facts();
        (facts.note, facts.near_miss) = (Some(advice.into()), Some(miss));
    }

    /// Notes that the upstream at this address answered.
    pub fn answered(&self, status: u16, upstream_ip: IpAddr) {
        self.progress.answered.store(true, Ordering::Release);
        let mut facts = self.facts();
        (facts.status, facts.upstream_ip) = (Some(status), Some(upstream_ip));
        if let (401 | 403, Some(signature)) = (status, facts.signature) {
            facts.note = Some(signature.advice().into());
            self.recorder.advise(format!("{} answered {status}: {}", self.info.host, signature.advice()));
        }
        if let (401 | 403, Some(miss)) = (status, &facts.near_miss) {
            let advice = format!("{} answered {status} to {miss}", self.info.host);
            self.recorder.advise_of_near_miss(miss, true, &advice);
            facts.note = Some(advice.into());
        }
    }

    /// Notes that locum itself has answered, with so many bytes, and that nothing else will be.
    pub fn answered_by_locum(&self, status: u16, bytes: u64) {
        self.bytes_in.store(bytes, Ordering::Relaxed);
        let mut facts = self.facts();
        (facts.status, facts.end) = (Some(status), End::Complete);
    }

    /// The status of the upstream's answer, once there is one.
    pub fn status(&self) -> Option<u16> {
        self.facts().status
    }

    /// The answer has been passed on to its end.
    pub fn complete(&self) {
        self.facts().end = End::Complete;
    }

    /// The exchange ends before its end.
    pub fn broken(&self, why: String) {
        self.facts().end = End::Broken(why);
    }

    /// The record of a refusal is the last word.
    pub fn refused(&self) {
        self.facts().end = End::Refused;
    }

    /// Whether any key has gone out with the request.
    pub fn has_carried_a_key(&self) -> bool {
        !self.facts().keys.is_empty() || self.progress.first_used().is_some()
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, facts: &Facts) {
        let now = SystemTime::now();
        let hidden = self.record_hits(facts, now);
        let key = facts.keys.first().cloned().or_else(|| self.progress.first_used());
        let operation = key.clone().map_or_else(|| self.info.host.clone().into(), Operation::Key);
        let mut record = Record::new(now, Event::Exchange, operation);
        record.info = Some(self.info.clone());
        record.key_ref = key.map(KeyRef::Key);
        record.status = facts.status;
        record.duration_ms = Some(self.start.elapsed().as_secs_f64() * 1e3);
        record.bytes_out = Some(self.progress.bytes_out.load(Ordering::Relaxed));
        record.bytes_in = Some(self.bytes_in.load(Ordering::Relaxed));
        record.upstream_ip = facts.upstream_ip;
        record.http = Some(self.http);
        record.attempt = facts.attempt;
        let kept = self.progress.kept.load(Ordering::Relaxed);
        record.kept = (kept > 0).then_some(kept);
        record.scrubbed = (hidden > 0).then_some(hidden);
        let fault = self.progress.fault().filter(|fault| fault.kind() != RefusalKind::BrokenOff);
        if let Some(fault) = &fault {
            self.recorder.refusal(self.info.clone(), fault);
        }
        record.error = match (&facts.end, fault) {
            (End::Open | End::Broken(_), Some(fault)) => Some(fault.to_string()),
            (End::Open, None) if self.recorder.is_cut() => Some("locum was stopped".into()),
            (End::Open, None) => Some("the agent hung up".into()),
            (End::Broken(why), None) => Some(why.clone()),
            (End::Complete | End::Refused, _) => None,
        };
        record.success = Some(record.error.is_none());
        record.reason = facts.note.as_deref().map(str::to_owned);
        self.recorder.append(&record);
    }

    /// A record for each key that was hidden in the answer; how often all of them were.
    fn record_hits(&self, facts: &Facts, now: SystemTime) -> u64 {
        let hits = facts.hits.all();
        for (key, count) in &hits {
            let mut record = Record::new(now, Event::Scrub, Operation::Key(key.clone()));
            record.info = Some(self.info.clone());
            record.count = Some(*count);
            record.key_ref = Some(KeyRef::Key(key.clone()));
            if !facts.keys.contains(key) && !self.progress.has_used(key) {
                // no placeholder of it was in the request
                record.error = Some(UNREQUESTED.into());
            }
            self.recorder.append(&record);
        }
        hits.iter().map(|(_, count)| count).sum()
    }
}

impl Drop for ExchangeOutcome {
    fn drop(&mut self) {
        self.progress.over.notify_one();
        self.progress.ended.store(true, Ordering::Release);
        let mut facts = self.facts();
        let head_uses = facts.head_uses.take();
        if self.progress.head_may_have_left.load(Ordering::Acquire) {
            head_uses.into_iter().for_each(RecordedUses::may_have_left);
        }
        if !matches!(facts.end, End::Refused) {
            self.record(&facts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::pin::pin;

    const SILENCE: Duration = Duration::from_secs(600);

    /// Time stands still but where all wait.
    #[tokio::test(start_paused = true)]
    async fn who_is_silent_is_given_up_and_who_still_takes_a_body_is_not() {
        let start = tokio::time::Instant::now();
        let progress = BodyProgress::default();
        assert_eq!(progress.patiently(SILENCE, pin!(pending::<()>())).await, None);
        assert_eq!(start.elapsed().as_secs(), SILENCE.as_secs());

        let upload = async {
            for _ in 0..30 {
                tokio::time::sleep(SILENCE / 10).await;
                progress.bytes_out.fetch_add(1, Ordering::Relaxed);
            }
            "done"
        };
        assert_eq!(progress.patiently(SILENCE, pin!(upload)).await, Some("done"));

        // and where it stalls in the middle
        let start = tokio::time::Instant::now();
        let stalled = async {
            progress.bytes_out.fetch_add(1, Ordering::Relaxed);
            pending::<()>().await;
        };
        assert_eq!(progress.patiently(SILENCE, pin!(stalled)).await, None);
        assert!(start.elapsed() <= SILENCE * 2, "{:?}", start.elapsed());
    }
}
