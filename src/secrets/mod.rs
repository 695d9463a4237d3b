//! Where keys come from: every source behind one trait, and the table that opens keys for a permit.
//!
//! Which key a request may have is decided elsewhere; how a value is written into it as well.

mod auto;
mod env;
mod exec;
mod file;
mod spec;
mod store;
mod table;
mod value;
mod vault;

pub use env::EnvSource;
pub use exec::ExecSource;
pub use file::FileSource;
pub use spec::{SourceSpec, SpecError};
pub use store::{Store, StoreSource, entry_name};
pub use table::{KeySource, Keys, Secrets, Survey};
pub use value::MAX_VALUE;
pub use vault::{Kdf, Lock, Vault};

use crate::memory::{Environment, Opened};
use crate::name::KeyName;
use std::sync::Arc;
use std::time::Duration;

/// One place that may hold the value of one key.
///
/// Sources block: the table asks them where blocking is allowed, one caller at a time for each key.
pub trait Source: Send + Sync {
    /// Where it looks, as errors and tables say it: `file /run/secrets/openai`.
    fn describe(&self) -> String;

    /// The value, or `None` where there is none, so that the next source may be asked.
    fn load(&self) -> Result<Option<Opened>, SourceError>;

    /// How long a loaded value is good for. Asked before each `load` and about once a second, so it has to be cheap.
    fn freshness(&self) -> Freshness {
        Freshness::default()
    }
}

/// When a value has to be loaded again: once the stamp differs from before, or it is older than its lifetime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Freshness {
    pub stamp: u64,
    pub lifetime: Option<Duration>,
}

/// Why a source could not say whether it has the value: what is the matter, and what to do about it. Never a part of
/// a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct SourceError {
    pub what: String,
    pub next: String,
}

impl SourceError {
    pub fn new(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { what: what.into(), next: next.into() }
    }
}

/// Why a key can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("key {0} is not in the config any more")]
    Unknown(KeyName),
    #[error("key {key} has no value: looked in {looked}")]
    Absent { key: KeyName, looked: String },
    #[error("key {key} can't be had: {error}")]
    Source { key: KeyName, error: SourceError },
    #[error("key {0} was wiped from memory")]
    Wiped(KeyName),
}

impl SecretError {
    pub fn key(&self) -> &KeyName {
        match self {
            SecretError::Unknown(key) | SecretError::Wiped(key) => key,
            SecretError::Absent { key, .. } | SecretError::Source { key, .. } => key,
        }
    }

    /// What the operator can do.
    pub fn next(&self) -> String {
        match self {
            SecretError::Unknown(key) => format!("add [key.{key}] and reload"),
            SecretError::Absent { key, .. } => format!("store it with 'locum key set {key}'"),
            SecretError::Source { error, .. } => error.next.clone(),
            SecretError::Wiped(_) => "send SIGHUP to load the keys again, or restart".into(),
        }
    }
}

/// What the sources of this process draw on. A store that is `None` doesn't exist here.
#[derive(Clone, Default)]
pub struct Supplies {
    /// The variables that were taken out of the environment at the start.
    pub environment: Arc<Environment>,
    pub keyring: Option<Arc<dyn Store>>,
    pub vault: Option<Arc<dyn Store>>,
    pub machine: Option<Arc<dyn Store>>,
}

impl Supplies {
    /// The source that `spec` means for the key `name`; `catalog` are the variables that its provider uses.
    pub fn source(&self, spec: &SourceSpec, name: &KeyName, catalog: &[String]) -> Arc<dyn Source> {
        let one = |store: &Option<Arc<dyn Store>>, kind| -> Arc<dyn Source> {
            match store {
                Some(store) => Arc::new(StoreSource::new(store.clone(), name)),
                None => Arc::new(NoStore(kind)),
            }
        };
        match spec {
            SourceSpec::Auto => self.auto(name, spec.variables(name, catalog)),
            SourceSpec::Env(variable) => Arc::new(EnvSource::new(self.environment.clone(), variable)),
            SourceSpec::File(path) => Arc::new(FileSource::new(path)),
            SourceSpec::Exec(words) => Arc::new(ExecSource::new(words.clone())),
            SourceSpec::Keyring => one(&self.keyring, "keyring"),
            SourceSpec::Vault => one(&self.vault, "vault"),
            SourceSpec::Machine => one(&self.machine, "machine-bound store"),
        }
    }

    fn auto(&self, name: &KeyName, variables: Vec<String>) -> Arc<dyn Source> {
        let env =
            variables.into_iter().map(|v| Arc::new(EnvSource::new(self.environment.clone(), v)) as Arc<dyn Source>);
        let stores = [&self.keyring, &self.vault, &self.machine].into_iter().flatten();
        let stores = stores.map(|s| Arc::new(StoreSource::new(s.clone(), name)) as Arc<dyn Source>);
        Arc::new(auto::Auto(env.chain(stores).collect()))
    }
}

/// Stands for a store that the config names and that this machine hasn't.
struct NoStore(&'static str);

impl Source for NoStore {
    fn describe(&self) -> String {
        self.0.into()
    }

    fn load(&self) -> Result<Option<Opened>, SourceError> {
        Err(SourceError::new(format!("there is no {} here", self.0), "see 'locum doctor', or choose another source"))
    }
}
