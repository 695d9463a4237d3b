//! The service: a proxy that serves and its control loop, which takes commands from a channel and looks each second at
//! keys, tokens and the CA. Where commands come from, its handles know; what is said of it, its observer does.

use super::build::App;
use super::commands::{Reply, ServiceCommand, ServiceHandle, answer};
use super::keys::StoredNames;
use super::rotation::CaUpdate;
use super::running::RunningProxy;
use super::{AppError, agent_tokens, authority, status};
use crate::audit::AuditError;
use crate::config::settings::Settings;
use crate::control::{ControlError, ServicePhase, ServiceStatus};
use crate::name::AgentName;
use crate::record::{Event, ExchangeInfo, PreviousFile, Record};
use crate::system::operator::Operator;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};

/// How often keys, tokens and the CA are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Reads the settings anew, for a reload.
pub type LoadSettings = Box<dyn Fn() -> Result<Settings, AppError> + Send>;

/// Told of what happens to a service, whoever commanded it.
pub type Observer = fn(&App, &ServiceEvent);

/// An event in a service's life that its operator should hear of.
pub enum ServiceEvent {
    /// New settings are taken over.
    Reloaded,
    /// The old settings stay.
    NotReloaded(ControlError),
    /// All keys are dropped from memory.
    Wiped,
    /// The file of tokens has changed and is taken over.
    TokensReloaded,
    /// The file of tokens can't be taken over, and the old tokens stay. Told once for each reason.
    TokensNotReloaded(String),
    /// Another CA signs, or is to sign.
    CaUpdated(CaUpdate),
    /// The certificates that clients are to trust can't be written where they are exported to.
    CaNotExported(AppError),
    /// No more connections are accepted.
    Draining,
    /// What a drain would wait for is cut.
    Aborting,
}

/// New settings that wait for the stores to say what they hold. A store may hang, and commands still count.
struct PendingReload {
    settings: Settings,
    /// Who asked for it last.
    by: Operator,
    stored: JoinHandle<StoredNames>,
}

impl PendingReload {
    /// The one that is under way, once its stores have said so.
    async fn ready(under_way: &mut Option<Self>) -> (Settings, Operator, Result<StoredNames, JoinError>) {
        let Some(reload) = under_way else { return std::future::pending().await };
        let stored = (&mut reload.stored).await;
        (reload.settings.clone(), reload.by.clone(), stored)
    }
}

/// A proxy that serves, under control.
pub struct Service {
    running: RunningProxy,
    since: SystemTime,
    handle: ServiceHandle,
    commands: mpsc::UnboundedReceiver<(Operator, ServiceCommand)>,
    load_settings: LoadSettings,
    observer: Observer,
    /// True once it stops.
    stopping: watch::Sender<bool>,
    stopped_by: Operator,
    is_cut: bool,
    reload: Option<PendingReload>,
    /// Those who wait for a reload.
    reload_replies: Vec<Reply<()>>,
    refresh: Option<JoinHandle<()>>,
    /// What keeps tokens or a CA from being taken over is said once, and tried again until it is.
    told_of_tokens: String,
    told_of_ca: String,
}

impl Service {
    /// A service that is controlled once [`Self::run`] is awaited; the proxy serves already.
    pub fn new(running: RunningProxy, load_settings: LoadSettings, observer: Observer) -> Self {
        let (handle, commands) = ServiceHandle::new();
        Self {
            running,
            since: SystemTime::now(),
            handle,
            commands,
            load_settings,
            observer,
            stopping: watch::Sender::new(false),
            stopped_by: Operator::default(),
            is_cut: false,
            reload: None,
            reload_replies: Vec::new(),
            refresh: None,
            told_of_tokens: String::new(),
            told_of_ca: String::new(),
        }
    }

    /// A handle to command it by.
    pub fn handle(&self) -> ServiceHandle {
        self.handle.clone()
    }

    /// Turns true once it stops.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Obeys commands until it is told to stop, drains, and tells where the audit's chain ended.
    ///
    /// # Errors
    /// When the audit's last records can't be written.
    pub async fn run(mut self) -> Result<Option<PreviousFile>, AuditError> {
        let mut second = tokio::time::interval(LOOK);
        second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !*self.stopping.borrow() {
            tokio::select! {
                Some((by, command)) = self.commands.recv() => self.obey(by, command),
                (settings, by, stored) = PendingReload::ready(&mut self.reload) => self.finish_reload(settings, by, stored),
                _ = second.tick() => self.look(),
            }
        }
        let mut drained = tokio::task::spawn_blocking(self.running.drain());
        loop {
            tokio::select! {
                Some((by, command)) = self.commands.recv() => self.obey(by, command),
                _ = &mut drained => break,
            }
        }
        self.running.close(self.stopped_by).await
    }

    fn obey(&mut self, by: Operator, command: ServiceCommand) {
        match command {
            ServiceCommand::Status(reply) => self.status(reply),
            ServiceCommand::Reload(reply) => self.begin_reload(by, reply),
            ServiceCommand::Wipe(reply) => {
                self.wipe(by);
                answer(reply, Ok(()));
            }
            ServiceCommand::Stop(reply) => {
                // on its way before what it waits for can end
                answer(reply, Ok(()));
                self.stop(by);
            }
            ServiceCommand::ListTokens(reply) => {
                let listed = agent_tokens::list_tokens(self.running.app().settings());
                answer(reply, listed.map(|list| list.tokens).map_err(|e| (&e).into()));
            }
            ServiceCommand::IssueToken(request, reply) => {
                let change = record_of_agent(request.agent.clone());
                let change = move |done| change.done_by(by, "agent add", done);
                self.change_tokens(reply, change, |settings| agent_tokens::issue_token(settings, request));
            }
            ServiceCommand::RevokeToken(agent, reply) => {
                let change = record_of_agent(agent.clone());
                let change = move |done| change.done_by(by, "agent revoke", done);
                self.change_tokens(reply, change, move |settings| {
                    agent_tokens::revoke_token(settings, &agent).map(|_| ())
                });
            }
            ServiceCommand::ReloadTokens(reply) => answer(reply, self.reload_tokens()),
        }
    }

    fn tell(&self, event: &ServiceEvent) {
        (self.observer)(self.running.app(), event);
    }

    fn status(&self, reply: Reply<ServiceStatus>) {
        let phase = if *self.stopping.borrow() { ServicePhase::Draining } else { ServicePhase::Serving };
        let status = status::status(self.running.app(), self.since, phase);
        tokio::spawn(async move { answer(reply, Ok(status.await)) });
    }

    fn begin_reload(&mut self, by: Operator, reply: Reply<()>) {
        let settings = match *self.stopping.borrow() {
            true => Err(stopping()),
            false => (self.load_settings)().map_err(|e| (&e).into()),
        };
        match settings {
            Ok(settings) => {
                let stored = tokio::task::spawn_blocking(self.running.listing());
                let before = self.reload.replace(PendingReload { settings, by, stored });
                if let Some(PendingReload { by, .. }) = before {
                    self.running.note_failed_reload(by, "a later one has taken its place".into());
                }
                self.reload_replies.retain(|waiting| !waiting.is_closed());
                self.reload_replies.push(reply);
            }
            // one that is under way goes on
            Err(e) => {
                self.running.note_failed_reload(by, e.what.clone());
                self.tell(&ServiceEvent::NotReloaded(e.clone()));
                answer(reply, Err(e));
            }
        }
    }

    fn finish_reload(&mut self, settings: Settings, by: Operator, stored: Result<StoredNames, JoinError>) {
        self.reload = None;
        let taken_over: Result<(), ControlError> = stored
            .map_err(lost)
            .and_then(|stored| self.running.reload(settings, &stored, by.clone()).map_err(|e| (&e).into()));
        if let Err(e) = &taken_over {
            self.running.note_failed_reload(by, e.what.clone());
        }
        self.tell(&match &taken_over {
            Ok(()) => ServiceEvent::Reloaded,
            Err(e) => ServiceEvent::NotReloaded(e.clone()),
        });
        self.reload_replies.drain(..).for_each(|reply| answer(reply, taken_over.clone()));
    }

    fn abandon_reload(&mut self, why: &ControlError) {
        if let Some(PendingReload { by, .. }) = self.reload.take() {
            self.running.note_failed_reload(by, why.what.clone());
        }
        self.reload_replies.drain(..).for_each(|reply| answer(reply, Err(why.clone())));
    }

    fn wipe(&mut self, by: Operator) {
        // what was asked for before would load them again
        let next = "reload once more".to_owned();
        self.abandon_reload(&ControlError {
            what: "the keys were wiped before the config was taken over".into(),
            next,
        });
        self.running.wipe(by);
        self.tell(&ServiceEvent::Wiped);
    }

    /// The first time drains, the second time cuts.
    fn stop(&mut self, by: Operator) {
        if !self.stopping.send_replace(true) {
            self.stopped_by = by;
            self.abandon_reload(&stopping());
            return self.tell(&ServiceEvent::Draining);
        }
        if !std::mem::replace(&mut self.is_cut, true) {
            self.running.note_cut(by);
            self.tell(&ServiceEvent::Aborting);
            self.running.abort_handle().cut();
        }
    }

    fn look(&mut self) {
        // a source that hangs holds up nobody but those who need its key
        if self.refresh.as_ref().is_none_or(JoinHandle::is_finished) {
            self.refresh = Some(tokio::spawn(self.running.refresh_keys()));
        }
        self.running.close_changed();
        // what failed was told, and is tried again
        let _ = self.reload_tokens();
        self.look_at_ca();
    }

    fn reload_tokens(&mut self) -> Result<(), ControlError> {
        match self.running.reload_tokens() {
            Ok(true) => {
                self.told_of_tokens.clear();
                self.tell(&ServiceEvent::TokensReloaded);
            }
            Ok(false) => {}
            Err(e) => {
                if e.to_string() != self.told_of_tokens {
                    self.told_of_tokens = e.to_string();
                    self.tell(&ServiceEvent::TokensNotReloaded(e.to_string()));
                }
                return Err((&e).into());
            }
        }
        Ok(())
    }

    fn look_at_ca(&mut self) {
        let Some(update) = self.running.tend_ca(SystemTime::now()) else { return };
        match &update {
            CaUpdate::Failed(why) if *why == self.told_of_ca => return,
            CaUpdate::Failed(why) => self.told_of_ca = why.clone(),
            CaUpdate::Rotated | CaUpdate::Switched => {
                self.told_of_ca.clear();
                let app = self.running.app();
                let export = app.settings().ca.export.as_deref();
                if let Some(Err(e)) = export.map(|path| authority::export_ca(app.ca(), path)) {
                    self.tell(&ServiceEvent::CaNotExported(e));
                }
            }
        }
        self.tell(&ServiceEvent::CaUpdated(update));
    }

    /// Changes the file of tokens in a thread of its own, as others may hold its lock, and takes the change over before it
    /// replies.
    fn change_tokens<T: Send + 'static>(
        &self,
        reply: Reply<T>,
        record: impl FnOnce(Result<Option<String>, String>) -> Record + Send + 'static,
        change: impl FnOnce(&Settings) -> Result<T, AppError> + Send + 'static,
    ) {
        let (settings, handle) = (self.running.app().settings().clone(), self.handle.clone());
        let recorder = self.running.recorder();
        tokio::spawn(async move {
            let changed = tokio::task::spawn_blocking(move || change(&settings)).await;
            let changed: Result<T, ControlError> =
                changed.map_err(lost).and_then(|changed| changed.map_err(|e| (&e).into()));
            recorder.append(&record(changed.as_ref().map(|_| None).map_err(|e| e.what.clone())));
            let reloaded = handle.command(ServiceCommand::ReloadTokens).await;
            answer(reply, reloaded.and(changed));
        });
    }
}

fn record_of_agent(agent: AgentName) -> Record {
    let mut record = Record::new(SystemTime::now(), Event::Agent, "agent");
    record.info = Some(Arc::new(ExchangeInfo::unasked(String::new(), agent)));
    record
}

fn stopping() -> ControlError {
    ControlError { what: "the service is stopping".into(), next: "start it again with 'locum serve'".into() }
}

/// A thread that died before it was done.
fn lost(e: JoinError) -> ControlError {
    ControlError { what: e.to_string(), next: "try it again".into() }
}
