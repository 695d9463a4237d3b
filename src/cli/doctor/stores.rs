//! Where keys can be kept: each store is tried, and nobody is asked for a password.

use super::finding::{DoctorArea, DoctorFinding};
use super::subject::DoctorSubject;
use crate::secrets::Store;

const AREA: DoctorArea = DoctorArea::Stores;

/// Each store of this machine.
pub fn find(subject: &DoctorSubject) -> Vec<DoctorFinding> {
    let backends = subject.backends;
    let mut found = Vec::new();
    match &backends.keyring {
        // another store does as well
        Some(keyring) => found.push(tried(&**keyring, DoctorFinding::warning)),
        None => found.push(DoctorFinding::ok(AREA, "no keyring, since this session has no D-Bus")),
    }
    match backends.vault.as_deref().filter(|vault| vault.exists()) {
        // what is in it is in no other
        Some(vault) => found.push(tried(vault, DoctorFinding::fault)),
        None => found.push(DoctorFinding::ok(AREA, "no vault")),
    }
    if let Some(machine) = &backends.machine {
        found.push(tried(&**machine, DoctorFinding::fault));
    }
    found
}

fn tried(store: &dyn Store, failed: fn(DoctorArea, String, String) -> DoctorFinding) -> DoctorFinding {
    match store.probe() {
        Ok(()) => DoctorFinding::ok(AREA, format!("{} works", store.describe())),
        Err(e) => failed(AREA, e.what, e.next),
    }
}
