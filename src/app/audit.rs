//! The audit as the settings have it: its log and who signs it, what watches it, and the webhook that hears of it.

use super::AppError;
use super::authority;
use crate::audit::signature::HeadSigner;
use crate::audit::tell::alerts::Alerts;
use crate::audit::tell::webhook::{Delivery, Outbox, Post, WebhookHeaders};
use crate::audit::{Log, LogConfig, LogUpkeep, verifying_key};
use crate::config::Settings;
use crate::config::audit::AnomalyAction;
use crate::memory::Plaintext;
use crate::memory::own_variables::WEBHOOK_SECRET;
use crate::policy::egress::AddressPolicy;
use crate::proxy::Recorder;
use crate::record::{Event, Record};
use crate::secrets::{FileSource, SecretBackends, SecretSource as _, SlotSearch, SourceError};
use crate::system::operator::Operator;
use crate::upstream::dial::Dialer;
use crate::upstream::outbound::Outbound;
use crate::upstream::post::Poster;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

/// The name under which a store keeps the seed of the audit's signing key.
const SEED_ENTRY: &str = "audit/seed";
/// How long the last head may take to reach the webhook.
pub(super) const GOODBYE: Duration = Duration::from_secs(2);

/// Begins a file of the audit, whose first record says who begins what.
pub(super) fn open(
    settings: &Settings,
    backends: &SecretBackends,
    now: SystemTime,
    action: &'static str,
) -> Result<Log, AppError> {
    begin(settings, signer(settings, backends), now, action)
}

fn begin(
    settings: &Settings,
    signer: Result<Option<HeadSigner>, String>,
    now: SystemTime,
    action: &'static str,
) -> Result<Log, AppError> {
    let config = LogConfig {
        dir: settings.audit.dir.clone(),
        durability: settings.audit.durability,
        max_file_bytes: settings.audit.max_file,
        exchanges: settings.audit.exchanges,
        about: concat!("locum ", env!("CARGO_PKG_VERSION")).into(),
        action,
        by: Operator::own(),
    };
    let signer = signer.unwrap_or_else(|why| {
        tracing::warn!("the audit's heads are not signed, so a whole rewrite shows only against an anchor: {why}");
        None
    });
    let public = signer.as_ref().map(HeadSigner::public);
    let log = Log::open_with(config, LogUpkeep { signer, retention: settings.audit.retention.clone() }, now)?;
    // only now, as it is a promise that there are records
    if let Some(Err(why)) =
        public.map(|public| verifying_key::remember(&verifying_key::path(&settings.state), &public, now))
    {
        tracing::warn!("the key that the audit's heads are signed by can't be noted, so they are not checked: {why}");
    }
    Ok(log)
}

/// The audit of a command that acts by itself: a file of its own, which says what is begun before it is.
pub struct CommandAudit {
    log: Log,
    runtime: tokio::runtime::Runtime,
}

impl CommandAudit {
    /// Begins the file.
    ///
    /// # Errors
    /// When it can't be begun.
    pub fn begin(settings: &Settings, backends: &SecretBackends, action: &'static str) -> Result<Self, AppError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AppError::Thread)?;
        let signer = signer_at_hand(settings, backends);
        Ok(Self { log: begin(settings, signer, SystemTime::now(), action)?, runtime })
    }

    /// Writes what was done.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&self, record: Record) -> Result<(), AppError> {
        Ok(self.runtime.block_on(self.log.commit([record]))?)
    }

    /// Writes the last record.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn end(self) -> Result<(), AppError> {
        Ok(self.runtime.block_on(self.log.close(Record::new(SystemTime::now(), Event::Stop, "locum")))?)
    }
}

/// Signs with the key that this machine's first working store has, made where there is none yet. It is kept wherever the
/// CA is: a new key for each start would vouch for nothing.
fn signer(settings: &Settings, backends: &SecretBackends) -> Result<Option<HeadSigner>, String> {
    // a second seed does no harm, as its public key is noted too; without any, files would look as if they were cut
    let slot = SlotSearch::new(backends, SEED_ENTRY).anywhere("the key that signs the audit");
    let slot = slot.ok_or("no store of this machine can keep their key")?;
    let seed = slot.get_or_make(&authority::lock(settings), make_seed).map_err(|e| e.to_string())?;
    HeadSigner::from_seed(seed.expose()).map(Some).map_err(|e| e.to_string())
}

/// The signer of a command's file: nobody is asked for a password for that alone. Before any key was made none is: what is
/// served next makes one, and names the files before it.
fn signer_at_hand(settings: &Settings, backends: &SecretBackends) -> Result<Option<HeadSigner>, String> {
    let backends = super::backends(settings, backends.environment.clone());
    let seed = SlotSearch::new(&backends, SEED_ENTRY).holder.and_then(|slot| slot.get().transpose());
    if let Some(seed) = seed {
        let seed = seed.map_err(|e| e.to_string())?;
        return HeadSigner::from_seed(seed.expose()).map(Some).map_err(|e| e.to_string());
    }
    if verifying_key::known(&verifying_key::path(&settings.state)).map_err(|e| e.to_string())?.is_empty() {
        return Ok(None);
    }
    signer(settings, &SecretBackends { keyring: None, vault: None, ..backends })
}

fn make_seed() -> Result<Plaintext, SourceError> {
    let mut seed = Plaintext::new(vec![0; 32]);
    let failed = |_| SourceError::new("no randomness from the system", "try again");
    aws_lc_rs::rand::fill(seed.bytes_mut()).map_err(failed)?;
    Ok(seed)
}

/// The alerts that watch `log`, and the webhook that has to run to be told of them.
pub(super) fn alerts(
    settings: &Settings,
    backends: &SecretBackends,
    log: &Log,
    outbound: &Outbound,
) -> Result<(Alerts, Option<PendingWebhook>), AppError> {
    let (outbox, webhook) = webhook(settings, backends, log, outbound)?.unzip();
    let refuse = settings.anomaly.action == AnomalyAction::Refuse;
    Ok((Alerts::new(settings.anomaly.limits.clone(), refuse, outbox), webhook))
}

/// Takes the limits of new settings over.
pub(super) fn reload(recorder: &Recorder, settings: &Settings) {
    recorder.watch_by(settings.anomaly.limits.clone(), settings.anomaly.action == AnomalyAction::Refuse);
}

/// A webhook whose thread is not started yet.
pub(super) struct PendingWebhook {
    delivery: Delivery,
    poster: Poster,
}

fn webhook(
    settings: &Settings,
    backends: &SecretBackends,
    log: &Log,
    outbound: &Outbound,
) -> Result<Option<(Outbox, PendingWebhook)>, AppError> {
    let Some(url) = settings.anomaly.webhook.clone() else { return Ok(None) };
    let secret = secret(settings, backends)?;
    let (outbox, delivery) = Delivery::new(secret.as_ref().map(Plaintext::expose), log.clone());
    let poster = Poster::new(url, webhook_outbound(outbound));
    Ok(Some((outbox, PendingWebhook { delivery, poster })))
}

/// As requests go out, but the operator named it, so it may well be in a private network.
fn webhook_outbound(outbound: &Outbound) -> Outbound {
    let anywhere = ["0.0.0.0/0", "::/0"].into_iter().filter_map(|net| net.parse().ok()).collect();
    let addresses = AddressPolicy { private_addresses: anywhere, ..AddressPolicy::default() };
    Outbound { dialer: Dialer { addresses, ..outbound.dialer.clone() }, tls: outbound.tls.clone() }
}

fn secret(settings: &Settings, backends: &SecretBackends) -> Result<Option<Plaintext>, AppError> {
    let Some(path) = &settings.anomaly.webhook_secret_file else {
        return Ok(backends.environment.get(WEBHOOK_SECRET).ok().flatten());
    };
    let fail = |why: String| AppError::WebhookSecret { path: path.clone(), why };
    match FileSource::new(path).load() {
        Ok(Some(secret)) => Ok(Some(secret)),
        Ok(None) => Err(fail("it holds no secret".into())),
        Err(e) => Err(fail(e.to_string())),
    }
}

impl Post for Poster {
    async fn post(&self, headers: WebhookHeaders, body: Vec<u8>) -> Result<u16, String> {
        let header = |(name, value): (&'static str, String)| {
            Ok((HeaderName::from_static(name), HeaderValue::try_from(value).map_err(|e| e.to_string())?))
        };
        let headers = headers.into_iter().map(header).collect::<Result<HeaderMap, String>>()?;
        Poster::post(self, headers, body).await
    }
}

/// A webhook that is served in a thread of its own.
pub(super) struct WebhookThread {
    ended: mpsc::Receiver<()>,
    poster: Poster,
}

impl PendingWebhook {
    pub fn serve(self) -> Result<WebhookThread, AppError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AppError::Thread)?;
        let (done, ended) = mpsc::channel();
        let Self { delivery, poster } = self;
        let posting = poster.clone();
        let work = move || {
            runtime.block_on(delivery.run(posting));
            drop(done);
        };
        std::thread::Builder::new().name("webhook".into()).spawn(work).map_err(AppError::Thread)?;
        Ok(WebhookThread { ended, poster })
    }
}

impl WebhookThread {
    /// Posts by new settings of the way out. To whom stays as it was at the start.
    pub fn reload(&self, outbound: &Outbound) {
        self.poster.reach_by(webhook_outbound(outbound));
    }

    /// Lets what is under way arrive; a webhook that is dead keeps nobody.
    pub fn finish(self, recorder: &Recorder) {
        recorder.finish_alerts();
        if self.ended.recv_timeout(GOODBYE) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("the webhook is not reached, and may not know where the audit ended");
        }
    }
}
