//! The CA's root, kept in the first store of this machine that works.

use crate::ca::keep::{self, Shelf};
use crate::ca::{CaError, Root};
use crate::config::settings::{CaSource, Settings};
use crate::memory::Opened;
use crate::secrets::{Store, Supplies};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

/// The name under which a store keeps the CA.
const CA_ENTRY: &str = "ca/root";

/// A store, and what is kept there under one name.
pub(super) struct Entry {
    store: Arc<dyn Store>,
    name: &'static str,
}

impl Entry {
    /// Where it is, or is to be: the first store that has it, else the first that works. One that can't be asked may have
    /// it, so it is told of.
    pub fn find(supplies: &Supplies, name: &'static str) -> Option<Self> {
        let vault = supplies.vault.clone().filter(|vault| vault.exists()).map(|vault| vault as Arc<dyn Store>);
        let mut works = None;
        for store in [supplies.keyring.clone(), vault, supplies.machine.clone()].into_iter().flatten() {
            let entry = Self { store, name };
            match entry.take() {
                Ok(Some(_)) => return Some(entry),
                Ok(None) => works = works.or(Some(entry)),
                Err(why) => {
                    tracing::warn!("{} can't be asked for {name}, another store is used: {why}", entry.describe())
                }
            }
        }
        works
    }
}

impl Shelf for Entry {
    fn describe(&self) -> String {
        self.store.describe()
    }

    fn take(&self) -> Result<Option<Opened>, String> {
        self.store.get(self.name).map_err(|e| e.to_string())
    }

    fn put(&self, bytes: &[u8]) -> Result<(), String> {
        self.store.set(self.name, bytes).map_err(|e| e.to_string())
    }
}

/// A file that processes share which make something for a store at once.
pub(super) fn lock(settings: &Settings) -> PathBuf {
    settings.state.join("ca.lock")
}

/// The root that the settings name, made where there is none yet, and where it is kept.
pub(super) fn root_of(settings: &Settings, supplies: &Supplies, now: SystemTime) -> Result<(Root, String), CaError> {
    if let CaSource::File(path) = &settings.ca.source {
        return Ok((Root::from_file(path)?, path.display().to_string()));
    }
    let entry = if settings.ca.source == CaSource::Auto { Entry::find(supplies, CA_ENTRY) } else { None };
    match entry {
        Some(entry) => Ok((keep::load_or_make(&entry, &lock(settings), &host_name(), now)?, entry.describe())),
        None => Ok((Root::generate(now, &host_name())?, "new, in memory".into())),
    }
}

/// The root that a service with these settings signs with, made where there is none yet; `None` where it is in that
/// service's memory alone.
pub fn kept_root(settings: &Settings, supplies: &Supplies) -> Result<Option<Root>, CaError> {
    match settings.ca.source {
        CaSource::Memory => Ok(None),
        CaSource::File(_) | CaSource::Auto => {
            root_of(settings, supplies, SystemTime::now()).map(|(root, _)| Some(root))
        }
    }
}

/// For the CA's name, so that people who trust several tell them apart.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
