//! What is known of each key that may be used, never its value: for tables and for programs.

use super::when;
use crate::app::{self, KeyAges};
use crate::audit;
use crate::audit::read::query::ReadProgress;
use crate::config::settings::Settings;
use crate::secrets::{SecretBackends, Secrets, SourceSpec};
use jiff::Timestamp;
use serde::Serialize;
use std::time::SystemTime;

/// A key that may be used.
#[derive(Debug, Serialize)]
pub struct KeyRow {
    pub name: String,
    /// What an agent writes for it.
    pub placeholder: String,
    /// As in the config.
    pub source: String,
    /// Where the value was found.
    pub store: Option<String>,
    /// The last of it, where it was found.
    pub masked: Option<String>,
    pub hosts: Vec<String>,
    #[serde(rename = "where")]
    pub places: Vec<String>,
    /// Since when it has this value, where that is known.
    pub since: Option<Timestamp>,
    /// When a new value is due, where one ever is.
    pub rotate_due: Option<Timestamp>,
    /// As the audit has it.
    pub last_used: Option<String>,
    /// Why it has no value.
    #[serde(skip)]
    pub missing: Option<(String, String)>,
}

impl KeyRow {
    /// Of each that may be used. Asks the stores, and then reads the audit, as far as `progress` says.
    ///
    /// # Errors
    /// When the system gives no runtime.
    pub fn all(settings: &Settings, backends: &SecretBackends, progress: &ReadProgress) -> anyhow::Result<Vec<Self>> {
        let active = app::active(settings, backends);
        let secrets = Secrets::new(app::sources(&active, backends));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let survey = runtime.block_on(secrets.survey());
        let ages = KeyAges::read(&settings.state);
        let names: Vec<&str> = active.iter().map(|key| key.name.as_str()).collect();
        let last = audit::last_uses(&settings.audit.dir, &names, progress);
        let rows = active.iter().map(|key| {
            let found = survey.iter().find(|s| s.name == key.name);
            let since = ages.since(key);
            let due = since.and_then(|since| since.checked_add(key.rotate_after?));
            Self {
                name: key.name.to_string(),
                placeholder: key.rule.shown_placeholder(),
                source: key.source.to_string(),
                store: match key.source {
                    SourceSpec::Auto => backends.holder(&key.name, &key.env),
                    _ => found.map(|s| s.source.clone()),
                },
                masked: found.and_then(|s| s.masked.as_ref().ok()).cloned(),
                hosts: key.rule.hosts.iter().map(ToString::to_string).collect(),
                places: key.rule.places.iter().map(ToString::to_string).collect(),
                since: since.and_then(second),
                rotate_due: due.and_then(second),
                last_used: last.get(key.name.as_str()).map(|at| String::from_utf8_lossy(at).into_owned()),
                missing: found.and_then(|s| s.masked.as_ref().err()).map(|e| (e.to_string(), e.next())),
            }
        });
        Ok(rows.collect())
    }

    /// Since when it has its value, as a table says it.
    pub fn since_text(&self) -> String {
        self.since.map_or_else(String::new, when::day_of)
    }

    /// When it was last used, as a table says it.
    pub fn last_used_text(&self) -> String {
        let at = self.last_used.as_ref().and_then(|at| at.parse::<Timestamp>().ok());
        at.map_or_else(String::new, when::minute_of)
    }
}

fn second(at: SystemTime) -> Option<Timestamp> {
    Timestamp::try_from(at).ok()?.round(jiff::Unit::Second).ok()
}
