//! What the checks look at: settings with what is wrong in them, stores, and variables as they were.

use crate::cli::context::CliContext;
use crate::config::keys::KeySetting;
use crate::config::{Mistake, Settings};
use crate::policy::rule::HostPattern;
use crate::secrets::{SecretBackends, SourceSpec};
use std::path::PathBuf;

/// What the checks look at.
pub struct DoctorSubject<'a> {
    pub context: &'a CliContext,
    pub settings: &'a Settings,
    pub mistakes: &'a [Mistake],
    pub backends: &'a SecretBackends,
    /// The keys that something may have a value for: to find out asks each store, which may take its time.
    pub active: &'a [&'a KeySetting],
    /// What a variable said before what is secret was taken away.
    pub was: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> DoctorSubject<'a> {
    /// Where keys may go that something may have a value for.
    pub fn bound_hosts(&self) -> Vec<&'a HostPattern> {
        self.active.iter().flat_map(|key| &key.rule.hosts).collect()
    }

    /// Files that hold a secret and that the config names, with what each is.
    pub fn secret_files(&self) -> Vec<(String, PathBuf)> {
        let mut files = Vec::new();
        for key in &self.settings.keys {
            if let SourceSpec::File(path) = &key.source {
                files.push((format!("the key '{}'", key.name), path.clone()));
            }
        }
        for agent in &self.settings.agents {
            files.extend(agent.token_file.clone().map(|path| (format!("the token of {}", agent.name), path)));
        }
        let own = [
            ("the master password", &self.settings.vault.password_file),
            ("the webhook's secret", &self.settings.anomaly.webhook_secret_file),
        ];
        files.extend(own.into_iter().filter_map(|(what, path)| Some((what.to_owned(), path.clone()?))));
        files
    }
}
