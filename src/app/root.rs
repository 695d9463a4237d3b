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
    /// Where it is, or is to be: the first store that has it, else the first that works.
    pub fn find(supplies: &Supplies, name: &'static str) -> Option<Self> {
        let stores = || [supplies.keyring.clone(), supplies.machine.clone()].into_iter().flatten();
        let entries = || stores().map(|store| Self { store, name });
        let has_one = |entry: &Self| matches!(entry.take(), Ok(Some(_)));
        entries().find(has_one).or_else(|| entries().find(|entry| entry.take().is_ok()))
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

/// The root that the settings name, made where there is none yet.
pub(super) fn root_of(settings: &Settings, supplies: &Supplies, now: SystemTime) -> Result<Root, CaError> {
    if let CaSource::File(path) = &settings.ca.source {
        return Root::from_file(path);
    }
    let entry = if settings.ca.source == CaSource::Auto { Entry::find(supplies, CA_ENTRY) } else { None };
    match entry {
        Some(entry) => keep::load_or_make(&entry, &lock(settings), &host_name(), now),
        None => Root::generate(now, &host_name()),
    }
}

/// The root that a service with these settings signs with, made where there is none yet; `None` where it is in that
/// service's memory alone.
pub fn kept_root(settings: &Settings, supplies: &Supplies) -> Result<Option<Root>, CaError> {
    match settings.ca.source {
        CaSource::Memory => Ok(None),
        CaSource::File(_) | CaSource::Auto => root_of(settings, supplies, SystemTime::now()).map(Some),
    }
}

/// For the CA's name, so that people who trust several tell them apart.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
