//! The keys that a proxy with given settings has, and the stores that they come from.

use crate::config::keys::KeySetting;
use crate::config::settings::Settings;
use crate::memory::SealedEnvironment;
use crate::memory::own_variables::OWN_SECRETS;
use crate::secrets::{KeySource, LimitedSource, SecretBackends, SecretSource, SecretsConfig, Store, entry_name};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// How long a keyring may take to answer, with the person who unlocks it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The stores of this machine and the variables that were taken, with nobody asked for a password.
pub fn backends(settings: &Settings, environment: Arc<SealedEnvironment>) -> SecretBackends {
    SecretBackends::build(stores(settings, None), environment)
}

/// As [`backends`], for a command with a person in front of it.
pub fn backends_with_prompt(
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

/// The stores of this machine, in the order in which they are asked, but for a vault that nobody has made.
pub(super) fn made_stores(backends: &SecretBackends) -> impl Iterator<Item = Arc<dyn Store>> {
    let vault = backends.vault.clone().filter(|vault| vault.exists()).map(|vault| vault as Arc<dyn Store>);
    [backends.keyring.clone(), vault, backends.machine.clone()].into_iter().flatten()
}

/// The keys that something may have a value for and that may go somewhere. One with a table of its own always is; one of the
/// catalog once its variable was set or a store has it, unless its provider has a host for each customer.
pub fn active<'s>(settings: &'s Settings, backends: &SecretBackends) -> Vec<&'s KeySetting> {
    active_with(settings, backends, &StoredNames::list(backends))
}

/// The names that the stores of this machine hold entries under.
pub struct StoredNames(HashSet<String>);

impl StoredNames {
    /// Asks each store. Blocks for as long as a keyring may take to answer.
    pub fn list(backends: &SecretBackends) -> Self {
        // a store that can't be listed now is told of when a key of its own is asked for
        Self(backends.stores().filter_map(|store| store.list().ok()).flatten().collect())
    }
}

/// As [`active`], for what the stores were found to hold.
pub(super) fn active_with<'s>(
    settings: &'s Settings,
    backends: &SecretBackends,
    stored: &StoredNames,
) -> Vec<&'s KeySetting> {
    let goes_somewhere = |key: &&KeySetting| !key.rule.hosts.is_empty();
    settings
        .keys
        .iter()
        .filter(goes_somewhere)
        .filter(|key| key.at.is_some() || has_value(key, backends, stored))
        .collect()
}

/// The keys of the catalog that something may have a value for, and that can go nowhere before the user names a host.
pub fn hostless<'s>(settings: &'s Settings, backends: &SecretBackends) -> Vec<&'s KeySetting> {
    let stored = StoredNames::list(backends);
    settings.keys.iter().filter(|key| key.missing_host().is_some() && has_value(key, backends, &stored)).collect()
}

fn has_value(key: &KeySetting, backends: &SecretBackends, stored: &StoredNames) -> bool {
    let is_taken = |variable: &String| backends.environment.names().any(|name| name == variable);
    stored.0.contains(&entry_name(&key.name)) || key.env.iter().any(is_taken)
}

/// The sources of these keys.
pub fn sources(active: &[&KeySetting], backends: &SecretBackends) -> Vec<KeySource> {
    let source = |key: &&KeySetting| {
        let source = backends.source(&key.source, &key.name, &key.env);
        let source: Arc<dyn SecretSource> = match key.lifetime {
            Some(lifetime) => Arc::new(LimitedSource::new(source, lifetime)),
            None => source,
        };
        KeySource { name: key.name.clone(), source }
    };
    active.iter().map(source).collect()
}

/// The variables that hold secrets: taken out of the environment before anything else.
pub fn secret_variables(settings: &Settings) -> Vec<String> {
    let own = OWN_SECRETS.map(str::to_owned);
    let mut all: Vec<String> = settings.keys.iter().flat_map(KeySetting::variables).chain(own).collect();
    all.sort();
    all.dedup();
    all
}
