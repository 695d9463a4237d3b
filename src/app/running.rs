//! A proxy that serves: it takes new settings over, wipes its keys, and drains.

use super::build::{App, outbound, token_stamp};
use super::keys::sources;
use super::keys::{StoredNames, active_with};
use super::listener_tls::ListenerTls;
use super::{AppError, audit, machine, rules};
use crate::audit::AuditError;
use crate::ca::Authorities;
use crate::config::keys::KeySetting;
use crate::config::settings::Settings;
use crate::memory;
use crate::name::{KeyName, Origin};
use crate::policy::Agents;
use crate::proxy::{Recorder, RequestBody, Ruleset, Shared};
use crate::record::{Event, PreviousFile, Record};
use crate::system::operator::Operator;
use crate::upstream::pool::Pool;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// How long what hangs may take once all is cut.
pub(super) const LEFT_BEHIND: Duration = Duration::from_secs(1);

/// A proxy that serves.
pub struct RunningProxy {
    pub(super) app: App,
    channels: StopChannels,
    workers: Vec<JoinHandle<()>>,
    pools: Vec<Arc<Pool<RequestBody>>>,
    /// Which value of each key the connections that are kept may have carried.
    carried: HashMap<KeyName, u64>,
    webhook: Option<audit::WebhookThread>,
    /// What the CA's store is being asked.
    pub(super) reading: Option<CaRead>,
}

/// The thread that asks a store for the CA, and for when that was last rotated.
pub(super) type CaRead = JoinHandle<Result<(Option<Authorities>, Option<SystemTime>), AppError>>;

/// The channels that stop the workers: after a drain, or at once.
pub(super) struct StopChannels {
    pub stop: watch::Sender<bool>,
    pub cut: watch::Sender<bool>,
}

/// The handle that ends what a drain would wait for.
#[derive(Clone)]
pub(super) struct AbortHandle {
    shared: Arc<Shared>,
    cut: watch::Sender<bool>,
}

impl AbortHandle {
    /// Cuts every exchange that is under way; each tells the audit so.
    pub(super) fn cut(&self) {
        self.shared.recorder.cut();
        self.cut.send_replace(true);
    }
}

impl RunningProxy {
    pub(super) fn new(
        app: App,
        channels: StopChannels,
        workers: Vec<JoinHandle<()>>,
        pools: Vec<Arc<Pool<RequestBody>>>,
        webhook: Option<audit::WebhookThread>,
    ) -> Self {
        Self { app, channels, workers, pools, carried: HashMap::new(), webhook, reading: None }
    }

    /// What it was built of, as it is now.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// Asks the stores what they hold, for [`Self::reload`]. Blocks, and borrows nothing: it may take its time elsewhere.
    pub(super) fn listing(&self) -> impl FnOnce() -> StoredNames + Send + 'static {
        let backends = self.app.backends.clone();
        move || StoredNames::list(&backends)
    }

    /// Takes new settings over, whole or not at all. Listener, CA and audit stay as they were at the start, and so does whom
    /// the webhook is posted to.
    pub(super) fn reload(&mut self, settings: Settings, stored: &StoredNames, by: Operator) -> Result<(), AppError> {
        let App { shared, backends, .. } = &self.app;
        let active = active_with(&settings, backends, stored);
        let mut ruleset = self.renewed(&settings, &active)?;
        machine::permit_listening(self.app.address(), &ruleset.agents)?;
        let listener_tls = ListenerTls::of(&settings)?;
        let outbound = outbound(&settings, &self.app.own_addresses(), self.app.outbound.dialer.resolver.clone())?;
        let changed = changes(&self.app.active_keys, &active);
        ruleset.keys = shared.secrets.reload(sources(&active, backends));
        // first: tunnels look at it as soon as they hear of new rules
        self.pools.iter().for_each(|pool| pool.reach_by(outbound.clone()));
        shared.take_over(ruleset);
        shared.listener_tls.store(listener_tls.map(|tls| tls.config));
        audit::reload(&shared.recorder, &settings);
        if let Some(webhook) = &self.webhook {
            webhook.reload(&outbound);
        }
        // what was dialled by other rules carries nothing more, nor does what carried a key that is bound elsewhere now
        self.pools.iter().for_each(|pool| pool.close(|_| true));
        self.app.active_keys = active.into_iter().cloned().collect();
        self.app.settings = settings;
        self.note(record_of_reload().done_by(by, RELOAD, Ok(Some(changed))));
        Ok(())
    }

    /// Resolves when all that has happened so far is in the audit.
    ///
    /// # Errors
    /// When it can't be written.
    pub async fn flush_audit(&self) -> Result<(), AuditError> {
        self.app.shared.recorder.flush().await
    }

    /// Asks the sources that may have something new, so that a changed key is in use within a second or so. It borrows
    /// nothing, since a source may hang.
    pub(super) fn refresh_keys(&self) -> impl Future<Output = ()> + Send + 'static {
        let shared = self.app.shared.clone();
        async move { shared.secrets.refresh().await }
    }

    /// Closes what is kept to the hosts of a key that has changed: nothing more goes where its old value went.
    pub(super) fn close_changed(&mut self) {
        for key in &self.app.active_keys {
            let now = self.app.shared.secrets.generation(&key.name);
            let before = self.carried.insert(key.name.clone(), now);
            if before.is_some_and(|before| before != now) {
                let bound = |origin: &Origin| key.rule.covers_host(&origin.host);
                self.pools.iter().for_each(|pool| pool.close(bound));
                self.app.shared.note_change();
            }
        }
    }

    /// Takes over what `agent add` or `agent revoke` has changed since. Whether there was anything. The keys stay as they
    /// are: wiped ones too.
    pub(super) fn reload_tokens(&mut self) -> Result<bool, AppError> {
        let stamp = token_stamp(&self.app.settings);
        if stamp == self.app.tokens_read {
            return Ok(false);
        }
        let active: Vec<&KeySetting> = self.app.active_keys.iter().collect();
        let mut ruleset = self.renewed(&self.app.settings, &active)?;
        ruleset.keys = self.app.shared.secrets.table();
        self.app.shared.take_over(ruleset);
        self.app.tokens_read = stamp;
        let mut record = record_of_reload();
        (record.success, record.reason) = (Some(true), Some("the agents' tokens".into()));
        self.note(record);
        Ok(true)
    }

    /// The rules by these settings and the tokens that there are now. Where tokens were needed they still are: a file that is
    /// gone revokes what was in it, and lets nobody in.
    fn renewed(&self, settings: &Settings, active: &[&KeySetting]) -> Result<Ruleset, AppError> {
        let mut ruleset = rules::ruleset(settings, active, &self.app.startup_tokens)?;
        if self.app.shared.ruleset.load().agents.need_token() && !ruleset.agents.need_token() {
            tracing::warn!("no agent is left, so nobody may ask; to do without tokens start the service again");
            ruleset.agents = Agents::with_tokens(Vec::new());
        }
        Ok(ruleset)
    }

    /// Records that an operator's reload came to nothing.
    pub(super) fn note_failed_reload(&self, by: Operator, why: String) {
        self.note(record_of_reload().done_by(by, RELOAD, Err(why)));
    }

    /// Records that an operator would not wait until it has drained.
    pub(super) fn note_cut(&self, by: Operator) {
        let at_once = Some("at once, without waiting for what is under way".into());
        self.note(Record::new(SystemTime::now(), Event::Admin, "locum").done_by(by, "stop", Ok(at_once)));
    }

    fn note(&self, record: Record) {
        self.app.shared.recorder.append(&record);
    }

    /// The way into the audit.
    pub(super) fn recorder(&self) -> Arc<Recorder> {
        self.app.shared.recorder.clone()
    }

    /// Drops all keys from memory; nothing is replaced until the next reload. What came by the environment is gone for good.
    pub(super) fn wipe(&self, by: Operator) {
        self.app.shared.secrets.wipe();
        memory::wipe_all();
        self.app.shared.note_change();
        self.note(Record::new(SystemTime::now(), Event::Key, "wipe").done_by(by, "wipe", Ok(None)));
    }

    /// For whoever will not wait until it has drained.
    pub(super) fn abort_handle(&self) -> AbortHandle {
        AbortHandle { shared: self.app.shared.clone(), cut: self.channels.cut.clone() }
    }

    /// Accepts nothing more. What it gives waits until exchanges have ended, for as long as `[limits] drain` says, and cuts the
    /// rest; it blocks, and borrows nothing.
    pub(super) fn drain(&mut self) -> impl FnOnce() + Send + 'static {
        let abort_handle = self.abort_handle();
        let (workers, patience) = (std::mem::take(&mut self.workers), self.app.settings.limits.drain);
        self.channels.stop.send_replace(true);
        move || {
            let (done, all_done) = std::sync::mpsc::channel::<()>();
            for worker in workers {
                let done = done.clone();
                // a worker that hangs must not keep the process: it is left behind at the end
                let waiter = std::thread::Builder::new().name("drain".into());
                let _ = waiter.spawn(move || {
                    let _ = worker.join();
                    drop(done);
                });
            }
            drop(done);
            if all_done.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
                abort_handle.cut();
                let _ = all_done.recv_timeout(LEFT_BEHIND * 2);
            }
        }
    }

    /// Closes the audit, and tells where its chain ended. For a proxy that has drained.
    pub(super) async fn close(self, by: Operator) -> Result<Option<PreviousFile>, AuditError> {
        let shared = self.app.shared.clone();
        let last = Record::new(SystemTime::now(), Event::Stop, "locum").done_by(by, "stop", Ok(None));
        let closed = shared.recorder.close(last).await;
        if let Some(webhook) = self.webhook {
            let shared = shared.clone();
            let finished = tokio::task::spawn_blocking(move || webhook.finish(&shared.recorder));
            // it says itself what it could not send
            let _ = finished.await;
        }
        closed.map(|()| shared.recorder.head())
    }

    /// Drains the proxy, and closes the audit. Tells where its chain ended.
    ///
    /// # Errors
    /// When the audit's last records can't be written.
    pub fn stop(mut self) -> Result<Option<PreviousFile>, AuditError> {
        self.drain()();
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(self.close(Operator::own())),
            Err(_) => Ok(self.app.shared.recorder.head()),
        }
    }
}

const RELOAD: &str = "reload";

fn record_of_reload() -> Record {
    Record::new(SystemTime::now(), Event::Config, RELOAD)
}

/// What a reload changes in the keys, in a sentence: bindings are compared as they are written.
fn changes(before: &[KeySetting], after: &[&KeySetting]) -> String {
    let told = |key: &KeySetting| format!("{:?} {}", key.rule, key.source);
    let was = |key: &KeySetting| before.iter().find(|b| b.name == key.name);
    let mut parts = [("added", Vec::new()), ("removed", Vec::new()), ("changed", Vec::new())];
    for key in after {
        match was(key) {
            None => parts[0].1.push(key.name.as_str()),
            Some(before) if told(before) != told(key) => parts[2].1.push(key.name.as_str()),
            Some(_) => {}
        }
    }
    let gone = before.iter().filter(|b| !after.iter().any(|key| key.name == b.name));
    parts[1].1.extend(gone.map(|key| key.name.as_str()));
    let parts = parts.iter().filter(|(_, names)| !names.is_empty());
    let parts: Vec<String> = parts.map(|(what, names)| format!("keys {what}: {}", names.join(" "))).collect();
    if parts.is_empty() { "no key added, removed or bound anew".into() } else { parts.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::Limits;

    /// A drain, what hangs after the cut, and a webhook that is dead.
    #[test]
    fn all_that_a_stop_may_take_fits_into_what_docker_gives() {
        let all = Limits::default().drain + LEFT_BEHIND * 2 + audit::GOODBYE;
        assert!(all < Duration::from_secs(10), "{all:?}");
    }
}
