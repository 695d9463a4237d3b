//! The context of a command: where its files are, how its process is hardened, and its settings once they are needed.

use super::child_env::{self, TakenEnvironment};
use super::copies::ManagedValues;
use super::term::CliError;
use crate::app::{self, AppError};
use crate::config::settings::{CliPaths, ConfigEnvironment as Variables, Settings};
use crate::memory::{self, Hardened, SealedEnvironment};
use std::path::PathBuf;
use std::sync::Arc;

/// The context that all commands have in common.
pub(super) struct CliContext {
    paths: CliPaths,
    hardened: Hardened,
}

impl CliContext {
    /// For a process that has been hardened.
    pub fn new(paths: CliPaths, hardened: Hardened) -> Self {
        Self { paths, hardened }
    }

    /// The paths that the command line gives.
    pub fn paths(&self) -> &CliPaths {
        &self.paths
    }

    /// What was done to this process that a child of it should not inherit.
    pub fn hardened(&self) -> &Hardened {
        &self.hardened
    }

    /// What this system would not give to keep keys out of reach.
    pub fn weaknesses(&self) -> Vec<String> {
        let missing = self.hardened.missing.iter().map(|phrase| (*phrase).to_owned());
        let memory = memory::protection();
        let unlocked = (memory == memory::Protection::Unlocked).then(|| format!("keys in memory are {memory}"));
        missing.chain(unlocked).collect()
    }

    /// Says it, where keys are about to be held.
    pub fn warn_of_weaknesses(&self) {
        self.weaknesses().iter().for_each(|weakness| eprintln!("locum: warning: {weakness}"));
    }

    /// The settings, or all mistakes in them.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let settings = Settings::load(&self.paths, &Variables::of_process());
        Ok(settings.map_err(AppError::from).map_err(CliError::from)?)
    }

    /// The folder for state, whatever is wrong with the config.
    pub fn state(&self) -> PathBuf {
        Settings::read(&self.paths, &Variables::of_process()).0.state
    }

    /// Takes everything secret out of the environment, and what holds a copy of it. Only before any thread is started.
    pub fn take_secrets(&self, settings: &Settings) -> anyhow::Result<Arc<SealedEnvironment>> {
        Ok(self.take_environment(settings)?.secrets)
    }

    /// As [`Self::take_secrets`], for a command that gives a child an environment.
    pub fn take_environment(&self, settings: &Settings) -> anyhow::Result<TakenEnvironment> {
        // what stands for a key is no secret, and no key
        let stand_ins = child_env::holding_placeholders(settings);
        let names = app::secret_variables(settings);
        let names = names.iter().filter(|name| !stand_ins.contains(name));
        let secrets = SealedEnvironment::take(names.map(String::as_str))?;
        let copies = ManagedValues::of(settings, &secrets)?.copies();
        // what it seals here is wiped at once: the key itself is at hand
        drop(SealedEnvironment::take(copies.keys().map(String::as_str))?);
        Ok(TakenEnvironment { secrets: Arc::new(secrets), copies })
    }
}
