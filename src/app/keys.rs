//! The keys that a proxy with given settings has, and the stores that they come from.

use super::audit::WEBHOOK_SECRET;
use crate::config::keys::KeySetting;
use crate::config::settings::Settings;
use crate::memory::SealedEnvironment;
use crate::secrets::{KeySource, SecretBackends, SecretSource, SecretsConfig, entry_name};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// How long a keyring may take to answer, with the person who unlocks it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The stores of this machine, and what came by the environment. Nobody is asked for a password.
pub fn backends(settings: &Settings, environment: Arc<SealedEnvironment>) -> SecretBackends {
    SecretBackends::build(stores(settings, None), environment)
}

/// As [`backends`], for a command with a person in front of it.
pub fn supplies_asking(
    settings: &Settings,
    environment: Arc<SealedEnvironment>,
    prompt: Arc<dyn SecretSource>,
) -> SecretBackends {
    SecretBackends::build(stores(settings, Some(prompt)), environment)
}

fn stores(settings: &Settings, prompt: Option<Arc<dyn SecretSource>>) -> SecretsConfig {
    let password_file = settings.vault.password_file.clone();
    SecretsConfig { state: settings.state.clone(), password_file, prompt, patience: PATIENCE }
}

/// The keys that something may have a value for. One with a table of its own always is; one of the catalog once its
/// variable was set or a store has it.
pub fn active<'s>(settings: &'s Settings, backends: &SecretBackends) -> Vec<&'s KeySetting> {
    active_with(settings, backends, &Stored::list(backends))
}

/// What the stores of this machine hold, by name.
pub struct Stored(HashSet<String>);

impl Stored {
    /// Blocks, for as long as a keyring may take to answer.
    pub fn list(backends: &SecretBackends) -> Self {
        // a store that can't be listed now is told of when a key of its own is asked for
        Self(backends.stores().filter_map(|store| store.list().ok()).flatten().collect())
    }
}

pub(super) fn active_with<'s>(
    settings: &'s Settings,
    backends: &SecretBackends,
    stored: &Stored,
) -> Vec<&'s KeySetting> {
    let taken: HashSet<&str> = backends.environment.names().collect();
    let has_value = |key: &KeySetting| {
        stored.0.contains(&entry_name(&key.name)) || key.env.iter().any(|name| taken.contains(name.as_str()))
    };
    settings.keys.iter().filter(|key| key.at.is_some() || has_value(key)).collect()
}

/// The sources of these keys.
pub fn sources(active: &[&KeySetting], backends: &SecretBackends) -> Vec<KeySource> {
    let source = |key: &&KeySetting| KeySource {
        name: key.name.clone(),
        source: backends.source(&key.source, &key.name, &key.env),
    };
    active.iter().map(source).collect()
}

/// The variables that hold secrets: taken out of the environment before anything else.
pub fn secret_variables(settings: &Settings) -> Vec<String> {
    let own = [super::PROXY_TOKEN, WEBHOOK_SECRET, "LOCUM_MASTER_PASSWORD", "LOCUM_SECRET_KEY", "LOCUM_API_KEYS"]
        .map(str::to_owned);
    let mut all: Vec<String> = settings.keys.iter().flat_map(KeySetting::variables).chain(own).collect();
    all.sort();
    all.dedup();
    all
}
