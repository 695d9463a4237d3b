//! The certificate authority: in the store of this machine that has it, else in the first that works; where it is
//! exported to, and whether it fits the settings.

use super::AppError;
use super::keys::{active, made_stores};
use crate::ca::keep::{self, CaStorage};
use crate::ca::{Authorities, Authority, CaError, Scope, Subtree};
use crate::config::keys::KeySetting;
use crate::config::settings::{CaSource, Egress, Intercept, Settings};
use crate::disk::{self, Rights};
use crate::memory::Plaintext;
use crate::policy::rule::HostPattern;
use crate::secrets::{SecretBackends, SourceError, Store};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// The name under which a store keeps the CA.
const CA_ENTRY: &str = "ca/root";

/// The entry of one name in a store.
pub(super) struct StoreEntry {
    store: Arc<dyn Store>,
    name: &'static str,
}

/// The result of asking the stores for the entry of one name.
pub(super) struct EntrySearch {
    /// The first store that has it.
    holder: Option<StoreEntry>,
    /// The first one that works and hasn't.
    free: Option<StoreEntry>,
    /// Why the first one that is there could not be asked: it may have it.
    unasked: Option<SourceError>,
}

impl EntrySearch {
    /// Where it is, or is to be. Only for what there may be two of, since one that can't be asked may have another.
    pub fn anywhere(self) -> Option<StoreEntry> {
        let used = self.holder.or(self.free)?;
        if let Some(why) = &self.unasked {
            tracing::warn!("{why}, so the {} is used for {}", used.describe(), used.name);
        }
        Some(used)
    }

    /// The same for what there is only one of: nothing is made while a store that may have it can't be asked.
    fn for_sure(self) -> Result<Option<StoreEntry>, SourceError> {
        match (&self.holder, self.unasked) {
            (None, Some(why)) => Err(why),
            (_, unasked) => Ok(Self { unasked, ..self }.anywhere()),
        }
    }
}

impl StoreEntry {
    /// Asks one store after the other, up to the first that has it.
    pub fn find(backends: &SecretBackends, name: &'static str) -> EntrySearch {
        let mut found = EntrySearch { holder: None, free: None, unasked: None };
        for store in made_stores(backends) {
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

impl CaStorage for StoreEntry {
    fn describe(&self) -> String {
        self.store.describe()
    }

    fn take(&self) -> Result<Option<Plaintext>, String> {
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

/// The CA that a service with these settings signs with, made where there is none yet, and where it is kept; `None`
/// where it is to be in that service's memory alone.
///
/// # Errors
/// When it can't be read, or kept; and when a store that may have it can't be asked.
pub fn kept_ca(settings: &Settings, backends: &SecretBackends) -> Result<Option<(Authorities, String)>, AppError> {
    match &settings.ca.source {
        CaSource::Memory => return Ok(None),
        CaSource::File(path) => return Ok(Some((Authority::from_file(path)?.into(), path.display().to_string()))),
        CaSource::Auto => {}
    }
    let Some(entry) = StoreEntry::find(backends, CA_ENTRY).for_sure().map_err(AppError::Unasked)? else {
        return Ok(None);
    };
    let now = SystemTime::now();
    let kept = keep::load_or_make(&entry, &lock(settings), now, || new_ca(settings, backends, now))?;
    Ok(Some((kept, entry.describe())))
}

/// The same where it is in a store, without any being made.
///
/// # Errors
/// When it can't be read.
pub fn look_for_ca(settings: &Settings, backends: &SecretBackends) -> Result<Option<Authorities>, AppError> {
    if settings.ca.source != CaSource::Auto {
        return Ok(None);
    }
    let Some(entry) = StoreEntry::find(backends, CA_ENTRY).holder else { return Ok(None) };
    Ok(keep::look(&entry)?.map(|kept| kept.at(SystemTime::now())))
}

/// Makes a CA that fits these settings, which is to sign from `signs_from` on. A service that runs takes it over.
///
/// # Errors
/// When it is not ours to change, and when no store keeps it.
pub fn rotate_ca(
    settings: &Settings,
    backends: &SecretBackends,
    now: SystemTime,
    signs_from: SystemTime,
) -> Result<Authorities, AppError> {
    if settings.ca.source != CaSource::Auto {
        return Err(AppError::NotOurs(settings.ca.source.clone()));
    }
    let entry = StoreEntry::find(backends, CA_ENTRY).for_sure().map_err(AppError::Unasked)?;
    let entry = entry.ok_or(AppError::NoStore)?;
    let make = || new_ca(settings, backends, now);
    let rotated = keep::rotate(&entry, &lock(settings), now, signs_from, make)?;
    let path = stamp_path(settings);
    let fail = |e: std::io::Error| AppError::State { path: path.clone(), why: e.to_string() };
    disk::replace(&path, rotated.bundle().as_bytes(), Rights::Private).map_err(fail)?;
    Ok(rotated)
}

fn new_ca(settings: &Settings, backends: &SecretBackends, now: SystemTime) -> Result<Authority, CaError> {
    Authority::generate(now, &host_name(), &scope(settings, &active(settings, backends)))
}

/// Changes with each rotation, for services that run. It holds what clients were to trust then.
fn stamp_path(settings: &Settings) -> PathBuf {
    settings.state.join("ca.rotated")
}

/// What differs once the CA has been rotated.
pub(super) fn ca_stamp(settings: &Settings) -> Option<SystemTime> {
    std::fs::metadata(stamp_path(settings)).and_then(|m| m.modified()).ok()
}

/// The hosts that these settings let a proxy answer for: all, or those that are listed. `deny` takes none away: an exclusion
/// would cover what is below the name too, and a host that is allowed again would need another CA.
pub(super) fn scope(settings: &Settings, active: &[&KeySetting]) -> Scope {
    let Some(listed) = listed(settings, active) else { return Scope::Any };
    let scope = Scope::only(listed.into_iter().map(subtree));
    if !scope.is_too_long() {
        return scope;
    }
    tracing::warn!("so many hosts are listed that no certificate can hold them, so the CA is not limited to them");
    Scope::Any
}

/// `None` where any host may be answered for.
fn listed<'s>(settings: &'s Settings, active: &[&'s KeySetting]) -> Option<Vec<&'s HostPattern>> {
    let bound = active.iter().flat_map(|key| &key.rule.hosts);
    match (settings.proxy.intercept, settings.proxy.egress) {
        (Intercept::Bound, _) => Some(bound.collect()),
        (Intercept::All, Egress::Listed) => Some(bound.chain(&settings.proxy.allow).collect()),
        (Intercept::All, Egress::Open) => None,
    }
}

fn subtree(pattern: &HostPattern) -> Subtree {
    match (pattern.exact(), pattern.parent()) {
        (Some(host), _) => host.into(),
        (None, parent) => Subtree::Dns(parent.unwrap_or_default().into()),
    }
}

/// What keeps the CA from fitting the settings, and what to do about it; `None` where it fits.
pub fn ca_misfit(settings: &Settings, active: &[&KeySetting], ca: &Authorities) -> Option<(String, String)> {
    let next = match &settings.ca.source {
        CaSource::Auto => "'locum ca rotate' makes one that fits".into(),
        CaSource::Memory => "start the service again: it makes one that fits".into(),
        CaSource::File(path) => format!("put one into {} that may, or take its name constraints away", path.display()),
    };
    let newest = ca.next.as_ref().map_or(&ca.current, |next| &next.authority);
    let Some(hosts) = listed(settings, active) else {
        let permitted = newest.permitted()?;
        let what = format!(
            "the CA may sign for {} alone, and connections to all other hosts are refused (503)",
            some_of(&permitted)
        );
        return Some((what, next));
    };
    let covered = |pattern: &&HostPattern| ca.all().any(|authority| authority.covers_all_of(&subtree(pattern)));
    let missing: Vec<String> = hosts.into_iter().filter(|p| !covered(p)).map(HostPattern::to_string).collect();
    if !missing.is_empty() {
        let what = format!("the CA may not sign for {}, so connections there are refused (503)", some_of(&missing));
        let unnamed = active.iter().find(|key| key.at.is_none() && key.rule.hosts.iter().any(|host| !covered(&host)));
        let named = unnamed.map_or_else(String::new, |key| {
            format!("; where a key comes by a variable, name it in the config first: [key.{}]", key.name)
        });
        return Some((what, next + &named));
    }
    let limited = scope(settings, active) != Scope::Any;
    (limited && newest.permitted().is_none() && settings.ca.source == CaSource::Auto)
        .then(|| ("the CA may sign for any host, though the config lists those that it is for".into(), next))
}

fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}

/// Writes the certificates that clients are to trust to a file, as PEM, whole or not at all: who waits for the file finds
/// certificates in it. The folder may be one that agents write into, so nothing that is there is followed.
///
/// # Errors
/// When it can't be written.
pub fn export_ca(ca: &Authorities, path: &Path) -> Result<(), AppError> {
    let fail = |source| AppError::Export { path: path.into(), source };
    disk::replace(path, ca.bundle().as_bytes(), Rights::Public).map_err(fail)
}

/// The name of this machine, for that of the CA: people who trust several tell them apart by it.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
