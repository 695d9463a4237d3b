//! The environment, keyring, vault and machine-bound store of this process, and the source that a config's words mean.

use super::source::{SecretSource, SourceError};
use super::sources::auto::{AutoSource, PassedOver};
use super::sources::env::EnvSource;
use super::sources::exec::ExecSource;
use super::sources::file::FileSource;
use super::sources::store::StoreSource;
use super::spec::SourceSpec;
use super::store::Store;
use super::stores::keyring::Keyring;
use super::stores::local_vault::{Vault, VaultLock};
use crate::memory::{Plaintext, SealedEnvironment};
use crate::name::KeyName;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Paths and limits of the stores of this machine.
pub struct SecretsConfig {
    /// The folder of the vault, the machine's store and the notice of changes in the keyring.
    pub state: PathBuf,
    /// `[vault] password_file`.
    pub password_file: Option<PathBuf>,
    /// Asks a person for the master password, where there is one.
    pub prompt: Option<Arc<dyn SecretSource>>,
    /// How long the keyring may take, with the person who unlocks it.
    pub patience: Duration,
}

/// The stores and variables that the sources of this process draw on. A store that is `None` doesn't exist here.
#[derive(Clone, Default)]
pub struct SecretBackends {
    /// The variables that were taken out of the environment at the start.
    pub environment: Arc<SealedEnvironment>,
    /// The keyring of the user's session.
    pub keyring: Option<Arc<dyn Store>>,
    /// The encrypted file for a master password.
    pub vault: Option<Arc<Vault>>,
    /// The encrypted file that is bound to this machine.
    pub machine: Option<Arc<dyn Store>>,
    /// Shared by all sources, so that one locked keyring is one warning.
    pub passed_over: Arc<PassedOver>,
}

impl SecretBackends {
    /// All stores that this machine has. Nothing is opened yet.
    pub fn build(config: SecretsConfig, environment: Arc<SealedEnvironment>) -> Self {
        let passed_over: Arc<PassedOver> = Arc::default();
        let mut passwords: Vec<Arc<dyn SecretSource>> =
            vec![Arc::new(EnvSource::new(environment.clone(), "LOCUM_MASTER_PASSWORD"))];
        passwords.extend(config.password_file.map(|path| Arc::new(FileSource::new(path)) as Arc<dyn SecretSource>));
        passwords.extend(config.prompt);
        let password = Arc::new(AutoSource::new(passwords, passed_over.clone()));
        let keyring = Keyring::of_system(config.patience, config.state.join("keyring.notice"));
        Self {
            environment,
            keyring: keyring.map(|k| Arc::new(k) as Arc<dyn Store>),
            vault: Some(Arc::new(Vault::new(config.state.join("vault"), VaultLock::Password(password)))),
            machine: Some(Arc::new(Vault::machine(&config.state))),
            passed_over,
        }
    }

    /// The source that `spec` means for the key `name`; `catalog` are the variables that its provider uses.
    pub fn source(&self, spec: &SourceSpec, name: &KeyName, catalog: &[String]) -> Arc<dyn SecretSource> {
        let one = |store: Option<Arc<dyn Store>>, kind| -> Arc<dyn SecretSource> {
            match store {
                Some(store) => Arc::new(StoreSource::new(store, name)),
                None => Arc::new(MissingStore(kind)),
            }
        };
        match spec {
            SourceSpec::Auto => self.auto(name, spec.variables(name, catalog)),
            SourceSpec::Env(variable) => Arc::new(EnvSource::new(self.environment.clone(), variable)),
            SourceSpec::File(path) => Arc::new(FileSource::new(path)),
            SourceSpec::Exec(words) => Arc::new(ExecSource::new(words.clone())),
            SourceSpec::Keyring => one(self.keyring.clone(), "keyring"),
            SourceSpec::Vault => one(self.vault(), "vault"),
            SourceSpec::Machine => one(self.machine.clone(), "machine-bound store"),
        }
    }

    /// Those stores that there are, in the order in which `auto` asks them.
    pub fn stores(&self) -> impl Iterator<Item = Arc<dyn Store>> {
        [self.keyring.clone(), self.vault(), self.machine.clone()].into_iter().flatten()
    }

    fn vault(&self) -> Option<Arc<dyn Store>> {
        self.vault.clone().map(|vault| vault as Arc<dyn Store>)
    }

    /// Which place a key with `source = "auto"` has its value from now.
    pub fn holder(&self, name: &KeyName, catalog: &[String]) -> Option<String> {
        let sources = self.in_turn(name, SourceSpec::Auto.variables(name, catalog));
        sources.iter().find(|source| matches!(source.load(), Ok(Some(_)))).map(|source| source.describe())
    }

    fn auto(&self, name: &KeyName, variables: Vec<String>) -> Arc<dyn SecretSource> {
        Arc::new(AutoSource::new(self.in_turn(name, variables), self.passed_over.clone()))
    }

    fn in_turn(&self, name: &KeyName, variables: Vec<String>) -> Vec<Arc<dyn SecretSource>> {
        let env = variables.into_iter().map(|v| EnvSource::new(self.environment.clone(), v));
        let env = env.map(|source| Arc::new(source) as Arc<dyn SecretSource>);
        let stores = self.stores().map(|store| Arc::new(StoreSource::new(store, name)) as Arc<dyn SecretSource>);
        env.chain(stores).collect()
    }
}

/// Stands for a store that the config names and that this machine hasn't.
struct MissingStore(&'static str);

impl SecretSource for MissingStore {
    fn describe(&self) -> String {
        self.0.into()
    }

    fn load(&self) -> Result<Option<Plaintext>, SourceError> {
        Err(SourceError::new(format!("there is no {} here", self.0), "choose another `source` for the key"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Kdf;

    fn loaded(backends: &SecretBackends, spec: &SourceSpec) -> Result<Option<String>, SourceError> {
        let value = backends.source(spec, &"tool".parse().unwrap(), &[]).load()?;
        Ok(value.map(|v| String::from_utf8(v.expose().to_vec()).unwrap()))
    }

    /// Without a keyring, which would be the one of whoever runs the tests.
    fn backends(dir: &tempfile::TempDir, environment: SealedEnvironment) -> SecretBackends {
        let config = SecretsConfig {
            state: dir.path().join("state"),
            password_file: Some(dir.path().join("password")),
            prompt: None,
            patience: Duration::from_secs(1),
        };
        SecretBackends { keyring: None, ..SecretBackends::build(config, environment.into()) }
    }

    #[test]
    fn auto_asks_the_environment_then_the_vault_then_the_machines_store() {
        let dir = tempfile::tempdir().unwrap();
        let s = backends(&dir, SealedEnvironment::default());
        std::fs::write(dir.path().join("password"), "correct horse\n").unwrap();
        assert_eq!(loaded(&s, &SourceSpec::Auto), Ok(None));
        s.machine.as_ref().unwrap().set("key/tool", b"of the machine").unwrap();
        assert_eq!(loaded(&s, &SourceSpec::Auto), Ok(Some("of the machine".into())));
        let vault = s.vault.as_ref().unwrap();
        vault.init(Kdf::ARGON2ID).unwrap();
        vault.set("key/tool", b"of the vault").unwrap();
        assert_eq!(loaded(&s, &SourceSpec::Auto), Ok(Some("of the vault".into())));
        let env = backends(&dir, SealedEnvironment::from([("TOOL_API_KEY", "of the environment")]));
        assert_eq!(loaded(&env, &SourceSpec::Auto), Ok(Some("of the environment".into())));
        for (spec, value) in [(SourceSpec::Vault, "of the vault"), (SourceSpec::Machine, "of the machine")] {
            assert_eq!(loaded(&env, &spec), Ok(Some(value.into())));
        }
    }

    #[test]
    fn a_locked_vault_is_passed_over_and_a_missing_store_named() {
        let dir = tempfile::tempdir().unwrap();
        let open = backends(&dir, SealedEnvironment::from([("LOCUM_MASTER_PASSWORD", "correct horse")]));
        open.vault.as_ref().unwrap().init(Kdf::ARGON2ID).unwrap();
        let locked = backends(&dir, SealedEnvironment::default());
        assert!(loaded(&locked, &SourceSpec::Auto).unwrap_err().what.contains("is locked"));
        locked.machine.as_ref().unwrap().set("key/tool", b"of the machine").unwrap();
        assert_eq!(loaded(&locked, &SourceSpec::Auto), Ok(Some("of the machine".into())));
        assert_eq!(loaded(&locked, &SourceSpec::Keyring).unwrap_err().what, "there is no keyring here");
    }
}
