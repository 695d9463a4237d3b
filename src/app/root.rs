//! The CA's root, kept in the first store of this machine that works.

use crate::ca::keep::{self, Shelf};
use crate::ca::{CaError, Root};
use crate::config::settings::{CaSource, Settings};
use crate::memory::Opened;
use crate::secrets::{Store, Supplies};
use std::sync::Arc;
use std::time::SystemTime;

/// The name under which a store keeps the CA.
const CA_ENTRY: &str = "ca/root";

struct CaShelf(Arc<dyn Store>);

impl Shelf for CaShelf {
    fn describe(&self) -> String {
        self.0.describe()
    }

    fn take(&self) -> Result<Option<Opened>, String> {
        self.0.get(CA_ENTRY).map_err(|e| e.to_string())
    }

    fn put(&self, pem: &[u8]) -> Result<(), String> {
        self.0.set(CA_ENTRY, pem).map_err(|e| e.to_string())
    }
}

/// Where the root is, or is to be: the first store that has one, else the first that works.
fn shelf(supplies: &Supplies) -> Option<CaShelf> {
    let stores = || [supplies.keyring.clone(), supplies.machine.clone()].into_iter().flatten().map(CaShelf);
    let has_one = |shelf: &CaShelf| matches!(shelf.take(), Ok(Some(_)));
    stores().find(has_one).or_else(|| stores().find(|shelf| shelf.take().is_ok()))
}

/// The root that the settings name, made where there is none yet.
pub(super) fn root_of(settings: &Settings, supplies: &Supplies, now: SystemTime) -> Result<Root, CaError> {
    if let CaSource::File(path) = &settings.ca.source {
        return Root::from_file(path);
    }
    let shelf = if settings.ca.source == CaSource::Auto { shelf(supplies) } else { None };
    match shelf {
        Some(shelf) => keep::load_or_make(&shelf, &settings.state.join("ca.lock"), &host_name(), now),
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
