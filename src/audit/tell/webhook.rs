//! Notices on their way to a webhook: queued within bounds, signed, tried again. A dead webhook delays nobody.

use crate::anomaly::Finding;
use crate::audit::write::log::Log;
use crate::record::PreviousFile;
use aws_lc_rs::hmac;
use serde_json::json;
use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// Findings that may wait for a slow webhook; they are in the audit in any case.
const OUTBOX: usize = 64;

/// The pauses between tries, doubled each time; a minute of outage is bridged.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const TRIES: u32 = 7;

/// How often the audit's head is sent where it has moved: what came before can't be rewritten unseen any more.
const HEADS: Duration = Duration::from_secs(3600);

/// A finding as a webhook receives it.
#[derive(Debug, Clone)]
pub struct Notice {
    /// When it was found.
    pub at: SystemTime,
    /// The id of the exchange that showed it; empty where none did.
    pub exchange: String,
    /// The anomaly.
    pub finding: Finding,
}

#[derive(Debug)]
enum OutboxItem {
    Notice(Notice),
    Finish,
}

/// The queue of notices, as those who leave them have it.
#[derive(Debug)]
pub struct Outbox(mpsc::Sender<OutboxItem>);

impl Outbox {
    /// Leaves a notice, or drops it where too many wait.
    pub fn send(&self, notice: Notice) {
        if self.0.try_send(OutboxItem::Notice(notice)).is_err() {
            tracing::warn!("the webhook is too slow: a finding is in the audit only");
        }
    }

    /// Has the last head sent, and the delivery end.
    pub fn finish(&self) {
        if self.0.try_send(OutboxItem::Finish).is_err() {
            tracing::warn!("the webhook is too slow: it does not get the audit's last head");
        }
    }
}

/// Sends one request, and gives the status of its answer. The room that talks to hosts does it.
pub trait Post {
    /// Sends it once.
    ///
    /// # Errors
    /// Why there was no answer, in words.
    fn post(&self, headers: WebhookHeaders, body: Vec<u8>) -> impl Future<Output = Result<u16, String>>;
}

/// Names and values of the headers of a notice.
pub type WebhookHeaders = Vec<(&'static str, String)>;

/// Sends what is in the outbox, one after the other.
#[derive(Debug)]
pub struct Delivery {
    secret: Option<hmac::Key>,
    inbox: mpsc::Receiver<OutboxItem>,
    log: Log,
    /// The head that was sent last.
    known: Option<String>,
}

impl Delivery {
    /// What `run` sends is signed where there is a secret.
    pub fn new(secret: Option<&[u8]>, log: Log) -> (Outbox, Self) {
        let (outbox, inbox) = mpsc::channel(OUTBOX);
        let secret = secret.map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret));
        (Outbox(outbox), Delivery { secret, inbox, log, known: None })
    }

    /// Sends until there can be no more.
    pub async fn run(mut self, post: impl Post) {
        loop {
            match tokio::time::timeout(HEADS, self.inbox.recv()).await {
                Ok(Some(OutboxItem::Notice(notice))) => {
                    let head = self.log.head();
                    self.deliver(notice.at, finding(&notice, head.as_ref()), &post).await;
                    self.known = head.map(|at| at.head);
                }
                Err(_) => self.send_head(&post).await,
                Ok(Some(OutboxItem::Finish) | None) => return self.send_head(&post).await,
            }
        }
    }

    async fn send_head(&mut self, post: &impl Post) {
        let Some(at) = self.log.head().filter(|at| self.known.as_ref() != Some(&at.head)) else { return };
        let now = SystemTime::now();
        let body = json!({ "timestamp": timestamp(now), "kind": "head", "audit": audit(Some(&at)) });
        self.deliver(now, body, post).await;
        self.known = Some(at.head);
    }

    async fn deliver(&self, at: SystemTime, body: serde_json::Value, post: &impl Post) {
        if let Err(why) = self.attempts(at, body.to_string().into_bytes(), post).await {
            tracing::warn!("the webhook could not be delivered, what it would have said is in the audit: {why}");
        }
    }

    async fn attempts(&self, at: SystemTime, body: Vec<u8>, post: &impl Post) -> Result<(), String> {
        let mut headers = vec![("content-type", "application/json".to_owned())];
        headers.extend(self.secret.as_ref().map(|secret| ("locum-signature", signature(secret, at, &body))));
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let why = match post.post(headers.clone(), body.clone()).await {
                Ok(200..=299) => return Ok(()),
                // It understood and doesn't want it; asking again changes nothing.
                Ok(status @ (400..=407 | 409..=428 | 430..=499)) => return Err(format!("it answered {status}")),
                Ok(status) => format!("it answered {status}"),
                Err(why) => why,
            };
            if attempt == TRIES {
                return Err(format!("{why}, {TRIES} times"));
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Ok(())
    }
}

/// `t=SECONDS,v1=HEX`: HMAC-SHA256 over `SECONDS.BODY`, so that an old notice can't be sent again as a new one.
fn signature(secret: &hmac::Key, at: SystemTime, body: &[u8]) -> String {
    let second = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut context = hmac::Context::with_key(secret);
    context.update(format!("{second}.").as_bytes());
    context.update(body);
    let hex: String = context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={second},v1={hex}")
}

fn timestamp(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).unwrap_or_default().to_string()
}

/// An anchor: `locum audit verify --anchor HEAD` finds whether the audit still holds it.
fn audit(head: Option<&PreviousFile>) -> serde_json::Value {
    json!({ "file": head.map(|at| &at.file), "head": head.map(|at| &at.head) })
}

fn finding(notice: &Notice, head: Option<&PreviousFile>) -> serde_json::Value {
    let Notice { at, exchange, finding } = notice;
    json!({
        "timestamp": timestamp(*at),
        "kind": finding.kind.as_str(),
        "severity": finding.severity.as_str(),
        "text": finding.to_string(),
        "key": finding.key,
        "agent": finding.agent,
        "host": finding.host,
        "exchange": exchange,
        "seen": finding.seen,
        "limit": finding.limit,
        "audit": audit(head),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::anomaly::AnomalyLimits;
    use crate::audit::tell::alerts::Alerts;
    use crate::audit::{Durability, LogConfig};
    use crate::name::AgentName;
    use crate::record::{Event, ExchangeInfo, KeyRef, Record};
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::sync::Arc;

    pub fn config() -> AnomalyLimits {
        AnomalyLimits { rate_per_minute: 2, ..AnomalyLimits::default() }
    }

    pub fn log(dir: &std::path::Path) -> Log {
        let config = LogConfig {
            dir: dir.join("audit"),
            durability: Durability::Write,
            max_file_bytes: 1 << 20,
            exchanges: true,
            about: "test".into(),
            action: "start",
            by: crate::system::operator::Operator::default(),
        };
        Log::open(config, UNIX_EPOCH).unwrap()
    }

    pub fn used(second: u64) -> Record {
        let mut record = Record::new(UNIX_EPOCH + Duration::from_secs(second), Event::Substitution, "api.openai");
        record.key_ref = Some(KeyRef::Written("<<openai_key>>".into()));
        record.info = Some(Arc::new(ExchangeInfo {
            exchange: format!("e{second}"),
            agent: AgentName::local(),
            pid: None,
            tool: None,
            method: "GET".into(),
            scheme: "https",
            host: "api.openai.com".into(),
            port: 443,
            path: "/".into(),
        }));
        record
    }

    type Sent = (WebhookHeaders, serde_json::Value, Vec<u8>);

    /// Answers with the given statuses, and keeps what it was sent.
    #[derive(Clone, Default)]
    struct Hook {
        answers: Rc<RefCell<Vec<Result<u16, String>>>>,
        sent: Rc<RefCell<Vec<Sent>>>,
    }

    impl Post for Hook {
        async fn post(&self, headers: WebhookHeaders, body: Vec<u8>) -> Result<u16, String> {
            self.sent.borrow_mut().push((headers, serde_json::from_slice(&body).unwrap(), body));
            let mut answers = self.answers.borrow_mut();
            if answers.is_empty() { Ok(204) } else { answers.remove(0) }
        }
    }

    /// What a webhook gets of so many uses, a second apart, without what is sent at the end.
    async fn sent(answers: Vec<Result<u16, String>>, uses: u64) -> (Vec<Sent>, Duration) {
        let dir = tempfile::tempdir().unwrap();
        let log = log(dir.path());
        let (outbox, delivery) = Delivery::new(Some(b"secret"), log.clone());
        let alerts = Alerts::new(config(), false, Some(outbox));
        (0..uses).for_each(|second| alerts.note(&used(second)).iter().for_each(|found| log.append(found)));
        drop(alerts);
        let (hook, start) = (Hook::default(), tokio::time::Instant::now());
        *hook.answers.borrow_mut() = answers;
        delivery.run(hook.clone()).await;
        let mut sent = hook.sent.take();
        sent.retain(|(_, told, _)| told["kind"] != "head");
        (sent, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_finding_is_sent_signed_and_once() {
        assert!(sent(vec![], 2).await.0.is_empty());
        let (sent, _) = sent(vec![], 5).await;
        let [(headers, told, body)] = &sent[..] else { panic!("{sent:?}") };
        assert_eq!((told["kind"].as_str(), told["severity"].as_str()), (Some("rate"), Some("medium")));
        assert_eq!((told["exchange"].as_str(), told["seen"].as_u64()), (Some("e2"), Some(3)));
        assert_eq!(told["audit"]["head"].as_str().map(str::len), Some(64));
        let hex = headers[1].1.strip_prefix("t=2,v1=").unwrap();
        let bytes: Vec<u8> = (0..32).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
        let signed = [b"2.", &body[..]].concat();
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, b"secret"), &signed, &bytes).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_webhook_that_is_down_is_tried_again_and_one_that_refuses_is_not() {
        let down = || Err("connection refused".to_owned());
        let cases = [
            (vec![down(), Ok(500), Ok(429), Ok(200)], 4, 7),
            (vec![Ok(404)], 1, 0),
            (vec![Ok(301), Ok(202)], 2, 1),
            ((0..7).map(|_| down()).collect(), 7, 63),
        ];
        for (answers, tries, seconds) in cases {
            let (sent, took) = sent(answers, 3).await;
            assert_eq!((sent.len(), took.as_secs()), (tries, seconds));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_head_is_sent_each_hour_if_it_moved_and_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(dir.path());
        let (outbox, delivery) = Delivery::new(None, log.clone());
        let hook = Hook::default();
        let heads = |hook: &Hook| -> Vec<String> {
            let head = |told: &serde_json::Value| told["audit"]["head"].as_str().unwrap().to_owned();
            hook.sent.borrow().iter().map(|(_, told, _)| head(told)).collect()
        };
        let head = || log.head().unwrap().head;
        let script = async {
            tokio::time::sleep(HEADS * 5 / 2).await;
            assert_eq!(heads(&hook), [head()], "it did not move since");
            assert_eq!(hook.sent.borrow()[0].0.len(), 1, "without a secret nothing is signed");
            log.commit([used(1)]).await.unwrap();
            tokio::time::sleep(HEADS).await;
            assert_eq!(heads(&hook).last(), Some(&head()));
            log.commit([used(2)]).await.unwrap();
            outbox.finish();
        };
        tokio::join!(delivery.run(hook.clone()), script);
        assert_eq!(heads(&hook).len(), 3);
        assert_eq!(heads(&hook).last(), Some(&head()));
    }
}
