//! Which store a command on a key reads and writes: the one that the proxy takes its value from.

use super::term::{CliError, FAILED, UNAVAILABLE};
use crate::config::keys::KeySetting;
use crate::memory::SealedEnvironment;
use crate::name::KeyName;
use crate::secrets::{SecretBackends, SourceError, SourceSpec, Store, entry_name};
use std::sync::Arc;

/// The kinds of store that a key can be put into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum StoreKind {
    /// That of the desktop's session
    Keyring,
    /// The encrypted file for a master password
    Vault,
    /// The encrypted file that is bound to this machine
    Machine,
}

/// Where keys are put: each into the store that its source names, else into the one that was chosen.
pub struct KeyStores<'a> {
    pub backends: &'a SecretBackends,
    pub chosen: Arc<dyn Store>,
}

impl KeyStores<'_> {
    /// The store of this key.
    ///
    /// # Errors
    /// As [`named`].
    pub fn of(&self, setting: &KeySetting) -> anyhow::Result<Arc<dyn Store>> {
        Ok(named(setting, self.backends)?.unwrap_or_else(|| self.chosen.clone()))
    }
}

/// A store that can't be used: exit code 4.
pub fn unavailable(e: &SourceError) -> anyhow::Error {
    missing(e, &e.next)
}

fn missing(what: impl ToString, next: &str) -> anyhow::Error {
    CliError { what: what.to_string(), next: next.into(), code: UNAVAILABLE }.into()
}

/// Whether a store is where the value is from.
pub fn is_kept(source: &SourceSpec) -> bool {
    !matches!(source, SourceSpec::Env(_) | SourceSpec::File(_) | SourceSpec::Exec(_))
}

/// That its value is from somewhere else.
pub fn elsewhere(setting: &KeySetting) -> CliError {
    let (name, source) = (&setting.name, &setting.source);
    let what = format!("the config takes '{name}' from {source}, and no store");
    let next = format!("nothing has been changed; change it there, or take `source` out of [key.{name}]");
    CliError { what, next, code: FAILED }
}

/// The store that the key's source names; `None` where that is left open.
///
/// # Errors
/// When the value is from no store, or from one that this machine hasn't.
pub fn named(setting: &KeySetting, backends: &SecretBackends) -> anyhow::Result<Option<Arc<dyn Store>>> {
    let kind = match setting.source {
        SourceSpec::Auto => return Ok(None),
        SourceSpec::Keyring => StoreKind::Keyring,
        SourceSpec::Vault => StoreKind::Vault,
        SourceSpec::Machine => StoreKind::Machine,
        SourceSpec::Env(_) | SourceSpec::File(_) | SourceSpec::Exec(_) => return Err(elsewhere(setting).into()),
    };
    of_kind(kind, backends).map(Some)
}

/// A store of this machine, and whether keys can be kept in it.
#[derive(Debug, serde::Serialize)]
pub struct StoreState {
    /// As tables say it.
    pub name: String,
    /// New keys go into the first that is.
    pub usable: bool,
    /// Why it is not, and what to do about it.
    pub why: Option<String>,
    /// Whether new keys go there.
    pub chosen: bool,
}

impl StoreState {
    /// On one line.
    pub fn text(&self) -> String {
        match &self.why {
            Some(why) => format!("{}: {why}", self.name),
            None if self.chosen => format!("{}: new keys go there", self.name),
            None => self.name.clone(),
        }
    }
}

/// All stores of this machine, in the order in which they count. Nobody is asked for a password.
pub fn states(backends: &SecretBackends) -> Vec<StoreState> {
    let mut states = Vec::new();
    states.push(match &backends.keyring {
        Some(keyring) => {
            let why = keyring.probe().err().map(|e| e.what);
            StoreState { name: keyring.describe(), usable: why.is_none(), why, chosen: false }
        }
        None => {
            let why = Some("none here, since this session has no D-Bus".to_owned());
            StoreState { name: "keyring".into(), usable: false, why, chosen: false }
        }
    });
    if let Some(kept) = &backends.vault {
        let why = (!kept.exists()).then(|| "none yet; 'locum vault init' makes one".to_owned());
        states.push(StoreState { name: "vault".into(), usable: why.is_none(), why, chosen: false });
    }
    if let Some(machine) = &backends.machine {
        states.push(StoreState { name: machine.describe(), usable: true, why: None, chosen: false });
    }
    if let Some(chosen) = states.iter_mut().find(|state| state.usable) {
        chosen.chosen = true;
    }
    states
}

/// The store that is asked for, or the first that works.
///
/// # Errors
/// When there is none.
pub fn choose(kind: Option<StoreKind>, backends: &SecretBackends) -> anyhow::Result<Arc<dyn Store>> {
    if let Some(kind) = kind {
        return of_kind(kind, backends);
    }
    let keyring = backends.keyring.clone().filter(|keyring| match keyring.probe() {
        Ok(()) => true,
        Err(e) => {
            eprintln!("note: {e}, so another store is used");
            false
        }
    });
    keyring
        .or_else(|| vault(backends))
        .or_else(|| backends.machine.clone())
        .ok_or_else(|| missing("no store works here", "set a variable instead"))
}

fn of_kind(kind: StoreKind, backends: &SecretBackends) -> anyhow::Result<Arc<dyn Store>> {
    let (store, what, next) = match kind {
        StoreKind::Keyring => (backends.keyring.clone(), "there is no keyring here", "use --store vault or machine"),
        StoreKind::Vault => (vault(backends), "there is no vault yet", "make one with 'locum vault init'"),
        StoreKind::Machine => (backends.machine.clone(), "there is no machine-bound store", "use --store vault"),
    };
    store.ok_or_else(|| missing(what, next))
}

fn vault(backends: &SecretBackends) -> Option<Arc<dyn Store>> {
    backends.vault.clone().filter(|vault| vault.exists()).map(|vault| vault as Arc<dyn Store>)
}

/// The stores that hold this key, in the order in which they count.
///
/// # Errors
/// When one can't be read, since it may hold it.
pub fn holders(name: &KeyName, backends: &SecretBackends) -> anyhow::Result<Vec<Arc<dyn Store>>> {
    let mut holders = Vec::new();
    for store in backends.stores() {
        if store.is_there() && holds(&*store, name)? {
            holders.push(store);
        }
    }
    Ok(holders)
}

/// Whether this one does.
///
/// # Errors
/// When it can't be read.
pub fn holds(store: &dyn Store, name: &KeyName) -> anyhow::Result<bool> {
    let names = store.list().map_err(|e| unavailable(&e))?;
    Ok(names.contains(&entry_name(name)))
}

/// A variable hides what is in the stores.
pub fn tell_what_counts_first(setting: Option<&KeySetting>, environment: &SealedEnvironment) {
    let variables = setting.map(|k| k.source.variables(&k.name, &k.env)).unwrap_or_default();
    let has_value = |v: &&String| matches!(environment.get(v), Ok(Some(v)) if !KeyName::is_placeholder(v.expose()));
    if let Some(variable) = variables.iter().find(has_value) {
        println!("note: {variable} is set here, and counts first");
    }
}

/// The store from which the proxy takes the key, where one has it.
pub fn kept_in(
    name: &KeyName,
    setting: Option<&KeySetting>,
    backends: &SecretBackends,
) -> anyhow::Result<Option<Arc<dyn Store>>> {
    match setting.map(|k| named(k, backends)).transpose()?.flatten() {
        Some(store) => Ok(holds(&*store, name)?.then_some(store)),
        None => Ok(holders(name, backends)?.into_iter().next()),
    }
}

/// Puts a value there.
///
/// # Errors
/// When the store can't be written.
pub fn put(store: &dyn Store, name: &KeyName, value: &[u8]) -> anyhow::Result<()> {
    store.set(&entry_name(name), value).map_err(|e| unavailable(&e))
}
