//! What a command does to keys, agents and stores, in the audit: begun there before it is done, and each act with how it
//! ended. What can't be recorded is said, and done all the same: a key that has to go must go.

use crate::app::{AppError, CommandAudit, KeyAges};
use crate::config::settings::Settings;
use crate::name::{AgentName, KeyName};
use crate::record::{Event, ExchangeInfo, KeyRef, Operation, Record};
use crate::secrets::SecretBackends;
use crate::system::operator::Operator;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

/// The record of one command's acts.
pub(super) struct Administration {
    audit: Option<CommandAudit>,
    action: &'static str,
    event: Event,
    state: PathBuf,
    /// The failure is recorded already, as one of a key or an agent.
    failed: bool,
}

impl Administration {
    /// For a command that changes nothing: nothing is recorded.
    pub fn nothing() -> Self {
        Self { audit: None, action: "", event: Event::Admin, state: PathBuf::new(), failed: false }
    }

    /// Begins a file of the audit, which says what is about to be done.
    pub fn begin(settings: &Settings, backends: &SecretBackends, event: Event, action: &'static str) -> Self {
        let audit = CommandAudit::begin(settings, backends, action);
        let audit = audit.map_err(|e| tell_unrecorded(action, &e)).ok();
        Self { audit, action, event, state: settings.state.clone(), failed: false }
    }

    /// Records what was done to a key: a note where it succeeded, else why not.
    pub fn key<T>(&mut self, name: &KeyName, note: Option<String>, done: anyhow::Result<T>) -> anyhow::Result<T> {
        let mut record = Record::new(SystemTime::now(), self.event, Operation::Key(name.clone()));
        record.key_ref = Some(KeyRef::Key(name.clone()));
        self.record(record, note, done)
    }

    /// Notes that a key has a new value from now on.
    pub fn renewed(&self, name: &KeyName) {
        tell_unnoted(name, KeyAges::note(&self.state, name));
    }

    /// Notes that a key is no more.
    pub fn removed(&self, name: &KeyName) {
        tell_unnoted(name, KeyAges::forget(&self.state, name));
    }

    /// The same of an agent.
    pub fn agent<T>(&mut self, name: &AgentName, done: anyhow::Result<T>) -> anyhow::Result<T> {
        let mut record = Record::new(SystemTime::now(), self.event, "agent");
        record.info = Some(Arc::new(ExchangeInfo::unasked(String::new(), name.clone())));
        self.record(record, None, done)
    }

    /// The same of something else.
    pub fn other<T>(
        &mut self,
        operation: impl Into<Operation>,
        note: Option<String>,
        done: anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let record = Record::new(SystemTime::now(), self.event, operation);
        self.record(record, note, done)
    }

    fn record<T>(&mut self, record: Record, note: Option<String>, done: anyhow::Result<T>) -> anyhow::Result<T> {
        self.failed |= done.is_err();
        let outcome = done.as_ref().map(|_| note).map_err(ToString::to_string);
        let record = record.done_by(Operator::own(), self.action, outcome);
        if let Some(Err(e)) = self.audit.as_ref().map(|audit| audit.write(record)) {
            tell_unrecorded(self.action, &e);
        }
        done
    }

    /// Ends the file. A failure before any key or agent was come to is one of the command.
    pub fn end<T>(mut self, done: anyhow::Result<T>) -> anyhow::Result<T> {
        let done = if done.is_err() && !self.failed { self.other(self.action, None, done) } else { done };
        if let Some(Err(e)) = self.audit.take().map(CommandAudit::end) {
            tell_unrecorded(self.action, &e);
        }
        done
    }
}

fn tell_unnoted(name: &KeyName, noted: io::Result<()>) {
    if let Err(e) = noted {
        eprintln!("locum: warning: the age of '{name}' is not noted: {e}\n  next: look at the state folder");
    }
}

fn tell_unrecorded(action: &str, e: &AppError) {
    eprintln!("locum: warning: '{action}' is not in the audit: {e}\n  next: {}", e.next());
}
