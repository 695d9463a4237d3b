//! The CA's root: in the store of this machine that has it, else in the first that works.

use super::AppError;
use crate::ca::Root;
use crate::ca::keep::{self, Shelf};
use crate::config::settings::{CaSource, Settings};
use crate::memory::Opened;
use crate::secrets::{SourceError, Store, Supplies};
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

/// What the stores say of one name.
pub(super) struct Found {
    /// The first store that has it.
    holder: Option<Entry>,
    /// The first one that works and hasn't.
    free: Option<Entry>,
    /// Why the first one that is there could not be asked: it may have it.
    unasked: Option<SourceError>,
}

impl Found {
    /// Where it is, or is to be. Only for what there may be two of, since one that can't be asked may have another.
    pub fn anywhere(self) -> Option<Entry> {
        let used = self.holder.or(self.free)?;
        if let Some(why) = &self.unasked {
            tracing::warn!("{why}, so the {} is used for {}", used.describe(), used.name);
        }
        Some(used)
    }

    /// The same for what there is only one of: nothing is made while a store that may have it can't be asked.
    fn for_sure(self) -> Result<Option<Entry>, SourceError> {
        match (&self.holder, self.unasked) {
            (None, Some(why)) => Err(why),
            (_, unasked) => Ok(Self { unasked, ..self }.anywhere()),
        }
    }
}

impl Entry {
    /// Asks one store after the other, up to the first that has it.
    pub fn find(supplies: &Supplies, name: &'static str) -> Found {
        let vault = supplies.vault.clone().filter(|vault| vault.exists()).map(|vault| vault as Arc<dyn Store>);
        let mut found = Found { holder: None, free: None, unasked: None };
        for store in [supplies.keyring.clone(), vault, supplies.machine.clone()].into_iter().flatten() {
            match store.get(name) {
                Ok(Some(_)) => {
                    found.holder = Some(Self { store, name });
                    break;
                }
                Ok(None) => found.free = found.free.or(Some(Self { store, name })),
                // a keyring that nobody runs has nothing
                Err(why) if store.is_there() => found.unasked = found.unasked.or(Some(why)),
                Err(_) => {}
            }
        }
        found
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

/// The root that a service with these settings signs with, made where there is none yet, and where it is kept; `None`
/// where it is to be in that service's memory alone.
pub fn kept_root(settings: &Settings, supplies: &Supplies) -> Result<Option<(Root, String)>, AppError> {
    match &settings.ca.source {
        CaSource::Memory => return Ok(None),
        CaSource::File(path) => return Ok(Some((Root::from_file(path)?, path.display().to_string()))),
        CaSource::Auto => {}
    }
    let Some(entry) = Entry::find(supplies, CA_ENTRY).for_sure().map_err(AppError::Unasked)? else { return Ok(None) };
    let root = keep::load_or_make(&entry, &lock(settings), &host_name(), SystemTime::now())?;
    Ok(Some((root, entry.describe())))
}

/// For the CA's name, so that people who trust several tell them apart.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
