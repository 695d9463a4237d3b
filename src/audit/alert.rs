//! Findings on their way out: a record, a line in the log, a signed webhook that is tried again. What is one, `anomaly` decides.

use super::lines::{Value, members};
use super::log::Log;
use crate::anomaly::{Config, Fact, Finding, Severity, Watch};
use crate::record::{Event, Record};
use aws_lc_rs::hmac;
use serde_json::json;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// Findings that may wait for a slow webhook; they are in the audit in any case.
const OUTBOX: usize = 64;

/// The pauses between tries, doubled each time; a minute of outage is bridged.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const TRIES: u32 = 7;

/// Watches the records of one process.
#[derive(Debug)]
pub struct Alerts {
    watch: Mutex<Watch>,
    log: Log,
    outbox: Option<mpsc::Sender<Notice>>,
}

/// What a webhook receives.
#[derive(Debug, Clone)]
pub struct Notice {
    pub at: SystemTime,
    pub exchange: String,
    pub finding: Finding,
}

/// Where a webhook is sent to, and the secret that signs it.
#[derive(Debug)]
pub struct Webhook {
    pub url: String,
    pub secret: hmac::Key,
}

impl Alerts {
    /// With a webhook, what is returned beside has to run for as long as alerts shall be sent.
    pub fn new(config: Config, log: Log, webhook: Option<Webhook>) -> (Self, Option<Delivery>) {
        let (outbox, delivery) = webhook.map_or((None, None), |webhook| {
            let (outbox, inbox) = mpsc::channel(OUTBOX);
            (Some(outbox), Some(Delivery { webhook, inbox }))
        });
        (Alerts { watch: Mutex::new(Watch::new(config)), log, outbox }, delivery)
    }

    /// Takes a record that goes into the audit.
    pub fn note(&self, record: &Record) {
        let found = self.watch().take(&Fact::from(record));
        for finding in found {
            self.tell(record, finding);
        }
    }

    /// Whether a request with this key by this agent should wait: the seconds until it may be calm.
    pub fn should_wait(&self, key: &str, agent: &str, now: SystemTime) -> Option<u64> {
        let watch = self.watch();
        (watch.is_hot(key, now) || watch.is_probing(agent, now)).then_some(60)
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, cause: &Record, finding: Finding) {
        let severity = finding.severity.as_str();
        match finding.severity {
            Severity::Low => tracing::info!(severity, "unusual: {finding}"),
            Severity::Medium | Severity::High => tracing::warn!(severity, "unusual: {finding}"),
        }
        let mut record = Record::new(cause.at, Event::Anomaly, cause.operation.clone());
        record.scene = cause.scene.clone();
        record.key_ref = finding.key.as_ref().map(|key| format!("<<{key}_key>>"));
        record.count = Some(finding.seen);
        record.reason = Some(format!("{}, {severity}: {finding}", finding.kind.as_str()));
        self.log.append(&record);
        let Some(outbox) = &self.outbox else { return };
        let exchange = cause.scene.as_ref().map(|scene| scene.exchange.clone()).unwrap_or_default();
        if outbox.try_send(Notice { at: cause.at, exchange, finding }).is_err() {
            tracing::warn!("the webhook is too slow: a finding is in the audit only");
        }
    }
}

/// Sends one request, and gives the status of its answer. The room that talks to hosts does it.
pub trait Post {
    fn post(
        &self,
        url: &str,
        headers: [(&'static str, String); 2],
        body: Vec<u8>,
    ) -> impl Future<Output = Result<u16, String>>;
}

/// The webhook's queue.
#[derive(Debug)]
pub struct Delivery {
    webhook: Webhook,
    inbox: mpsc::Receiver<Notice>,
}

impl Delivery {
    /// Sends findings until there can be no more.
    pub async fn run(mut self, post: impl Post) {
        while let Some(notice) = self.inbox.recv().await {
            if let Err(why) = self.webhook.deliver(&notice, &post).await {
                tracing::warn!("the webhook could not be delivered, the finding is in the audit: {why}");
            }
        }
    }
}

impl Webhook {
    pub fn new(url: String, secret: &[u8]) -> Self {
        Webhook { url, secret: hmac::Key::new(hmac::HMAC_SHA256, secret) }
    }

    async fn deliver(&self, notice: &Notice, post: &impl Post) -> Result<(), String> {
        let body = body(notice);
        let signature = self.signature(notice.at, &body);
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let headers = [("content-type", "application/json".into()), ("locum-signature", signature.clone())];
            let why = match post.post(&self.url, headers, body.clone()).await {
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

    /// `t=SECONDS,v1=HEX`: HMAC-SHA256 over `SECONDS.BODY`, so that an old notice can't be sent again as a new one.
    fn signature(&self, at: SystemTime, body: &[u8]) -> String {
        let second = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut context = hmac::Context::with_key(&self.secret);
        context.update(format!("{second}.").as_bytes());
        context.update(body);
        let hex: String = context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("t={second},v1={hex}")
    }
}

fn body(notice: &Notice) -> Vec<u8> {
    let Notice { at, exchange, finding } = notice;
    let timestamp = jiff::Timestamp::try_from(*at).unwrap_or_default().to_string();
    json!({
        "timestamp": timestamp,
        "kind": finding.kind.as_str(),
        "severity": finding.severity.as_str(),
        "text": finding.to_string(),
        "key": finding.key,
        "agent": finding.agent,
        "host": finding.host,
        "exchange": exchange,
        "seen": finding.seen,
        "limit": finding.limit,
    })
    .to_string()
    .into_bytes()
}

/// What an old record says, for a watch over what has been.
pub fn fact(line: &[u8]) -> Option<Fact<'_>> {
    let mut fact = Fact::default();
    let mut stamped = false;
    for (name, value) in members(line) {
        match (name, value) {
            (b"timestamp", Value::Text(text)) => {
                let at: jiff::Timestamp = std::str::from_utf8(text).ok()?.parse().ok()?;
                fact.second = at.as_second().try_into().ok()?;
                stamped = true;
            }
            (b"event", Value::Text(text)) => {
                fact.event = Event::ALL.into_iter().find(|event| event.as_str().as_bytes() == text);
            }
            (b"operation", Value::Text(text)) => fact.key = text_of(text).strip_prefix("api."),
            (b"exchange", Value::Text(text)) => fact.exchange = text_of(text),
            (b"agent", Value::Text(text)) => fact.agent = text_of(text),
            (b"host", Value::Text(text)) => fact.host = text_of(text),
            (b"status", value) => fact.status = value.number(),
            (b"success", Value::Bare(bare)) => fact.success = Some(bare == b"true"),
            (b"bytes_in", value) => fact.bytes_in = value.number().unwrap_or(0),
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
    use super::super::lines::member;
    use super::super::query::Merge;
    use super::*;
    use crate::anomaly::Kind;
    use crate::audit::{Config as LogConfig, Durability};
    use crate::name::AgentName;
    use crate::record::Scene;
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::sync::Arc;

    fn config() -> Config {
        Config { rate_per_minute: 2, ..Config::default() }
    }

    fn log(dir: &std::path::Path) -> Log {
        let config = LogConfig {
            dir: dir.join("audit"),
            durability: Durability::Write,
            max_file_bytes: 1 << 20,
            exchanges: true,
            about: "test".into(),
        };
        Log::open(config, UNIX_EPOCH).unwrap()
    }

    fn used(second: u64) -> Record {
        let mut record = Record::new(UNIX_EPOCH + Duration::from_secs(second), Event::Substitution, "api.openai");
        record.scene = Some(Arc::new(Scene {
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

    /// A signature and a body.
    type Sent = (String, Vec<u8>);

    /// Answers with the given statuses, and keeps what it was sent.
    #[derive(Clone, Default)]
    struct Hook {
        answers: Rc<RefCell<Vec<Result<u16, String>>>>,
        sent: Rc<RefCell<Vec<Sent>>>,
    }

    impl Post for Hook {
        async fn post(&self, url: &str, headers: [(&'static str, String); 2], body: Vec<u8>) -> Result<u16, String> {
            assert_eq!(url, "https://hook.example/");
            self.sent.borrow_mut().push((headers[1].1.clone(), body));
            let mut answers = self.answers.borrow_mut();
            if answers.is_empty() { Ok(204) } else { answers.remove(0) }
        }
    }

    async fn sent(answers: Vec<Result<u16, String>>, uses: u64) -> (Vec<Sent>, Duration) {
        let dir = tempfile::tempdir().unwrap();
        let webhook = Webhook::new("https://hook.example/".into(), b"secret");
        let (alerts, delivery) = Alerts::new(config(), log(dir.path()), Some(webhook));
        (0..uses).for_each(|second| alerts.note(&used(second)));
        drop(alerts);
        let (hook, start) = (Hook::default(), tokio::time::Instant::now());
        *hook.answers.borrow_mut() = answers;
        delivery.unwrap().run(hook.clone()).await;
        let sent = hook.sent.borrow().clone();
        (sent, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_finding_is_sent_signed_and_once() {
        assert!(sent(vec![], 2).await.0.is_empty());
        let (sent, _) = sent(vec![], 5).await;
        let [(signature, body)] = &sent[..] else { panic!("{sent:?}") };
        let told: serde_json::Value = serde_json::from_slice(body).unwrap();
        assert_eq!((told["kind"].as_str(), told["severity"].as_str()), (Some("rate"), Some("medium")));
        assert_eq!((told["exchange"].as_str(), told["seen"].as_u64()), (Some("e2"), Some(3)));
        let hex = signature.strip_prefix("t=2,v1=").unwrap();
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
            ((0..20).map(|_| down()).collect(), 7, 63),
        ];
        for (answers, tries, seconds) in cases {
            let (sent, took) = sent(answers, 3).await;
            assert_eq!((sent.len(), took.as_secs()), (tries, seconds));
        }
    }

    #[tokio::test]
    async fn a_finding_is_recorded_and_can_make_others_wait() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(dir.path());
        let (alerts, _) = Alerts::new(config(), log.clone(), None);
        let at = |second| UNIX_EPOCH + Duration::from_secs(second);
        (0..3).for_each(|second| alerts.note(&used(second)));
        assert_eq!(alerts.should_wait("openai", "local", at(3)), Some(60));
        assert_eq!(alerts.should_wait("openai", "local", at(63)), None);
        assert_eq!(alerts.should_wait("brave", "local", at(3)), None);
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
        crate::chain::link(&crate::chain::Head::ZERO, 0, &members, &mut line);
        let (live, old) = (Fact::from(&record), fact(&line).unwrap());
        assert_eq!(format!("{live:?}"), format!("{old:?}"));
        let kinds: Vec<Kind> = Watch::new(Config::default()).take(&old).iter().map(|f| f.kind).collect();
        assert_eq!(kinds, [Kind::LargeResponse]);
        assert!(fact(b"nonsense").is_none());
    }
}
