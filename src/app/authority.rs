//! The CA: in the store of this machine that has it, else in the first that works; and whether it fits the settings.

use super::AppError;
use super::keys::active;
use crate::ca::keystore::{self, CaKeystore};
use crate::ca::{Authorities, Authority, CaError, Scope, Subtree};
use crate::config::keys::KeySetting;
use crate::config::settings::{CaSource, Intercept, Settings};
use crate::disk::{self, Rights};
use crate::memory::Plaintext;
use crate::policy::egress::EgressMode;
use crate::policy::rule::HostPattern;
use crate::secrets::{SecretBackends, SecretSlot, SlotSearch};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The name under which a store keeps the CA.
const CA_ENTRY: &str = "ca/root";

impl CaKeystore for SecretSlot {
    fn describe(&self) -> String {
        SecretSlot::describe(self)
    }

    fn load(&self) -> Result<Option<Plaintext>, String> {
        self.get().map_err(|e| e.to_string())
    }

    fn save(&self, pem: &[u8]) -> Result<(), String> {
        self.set(pem).map_err(|e| e.to_string())
    }
}

/// A file that processes share which make something for a store at once.
pub(super) fn lock(settings: &Settings) -> PathBuf {
    settings.state.join("ca.lock")
}

/// The CA that a service with these settings signs with, made where there is none yet, and where it is kept; `None`
/// where it is to be in that service's memory alone.
pub fn kept_ca(settings: &Settings, backends: &SecretBackends) -> Result<Option<(Authorities, String)>, AppError> {
    match &settings.ca.source {
        CaSource::Memory => return Ok(None),
        CaSource::File(path) => return Ok(Some((Authority::from_file(path)?.into(), path.display().to_string()))),
        CaSource::Auto => {}
    }
    let Some(entry) = SlotSearch::new(backends, CA_ENTRY).for_sure("the CA").map_err(AppError::Unasked)? else {
        return Ok(None);
    };
    let now = SystemTime::now();
    let kept = keystore::load_or_make(&entry, &lock(settings), now, || new_ca(settings, backends, now))?;
    Ok(Some((kept, entry.describe())))
}

/// The same where it is in a store, without any being made.
pub fn look_for_ca(settings: &Settings, backends: &SecretBackends) -> Result<Option<Authorities>, AppError> {
    if settings.ca.source != CaSource::Auto {
        return Ok(None);
    }
    let Some(entry) = SlotSearch::new(backends, CA_ENTRY).holder else { return Ok(None) };
    Ok(keystore::look(&entry)?.map(|kept| kept.at(SystemTime::now())))
}

/// Makes a CA that fits these settings, which is to sign from `signs_from` on. A service that runs takes it over.
pub fn rotate_ca(
    settings: &Settings,
    backends: &SecretBackends,
    now: SystemTime,
    signs_from: SystemTime,
) -> Result<Authorities, AppError> {
    if settings.ca.source != CaSource::Auto {
        return Err(AppError::NotOurs(settings.ca.source.clone()));
    }
    let entry = SlotSearch::new(backends, CA_ENTRY).for_sure("the CA").map_err(AppError::Unasked)?;
    let entry = entry.ok_or(AppError::NoStore)?;
    let make = || new_ca(settings, backends, now);
    let rotated = keystore::rotate(&entry, &lock(settings), now, signs_from, make)?;
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
        (Intercept::All, EgressMode::Listed) => Some(bound.chain(&settings.proxy.allow).collect()),
        (Intercept::All, EgressMode::Open) => None,
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
