//! When keys got their values, as far as locum gave them: in a file of the state, so that it can remind of rotation. It holds
//! names and times alone.

use super::ValueComplaint;
use crate::config::keys::KeySetting;
use crate::disk::{self, Rights};
use crate::name::KeyName;
use crate::secrets::SourceSpec;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What is known of the ages of values.
#[derive(Debug, Clone, Default)]
pub struct KeyAges(BTreeMap<String, Timestamp>);

impl KeyAges {
    /// As the state folder has them; a file that can't be read tells nothing.
    pub fn read(state: &Path) -> Self {
        let text = std::fs::read_to_string(path(state)).unwrap_or_default();
        Self(serde_json::from_str(&text).unwrap_or_default())
    }

    /// The keys that locum gave a value to, by their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Notes that a key has got a value now.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn note(state: &Path, name: &KeyName) -> io::Result<()> {
        change(state, |ages| ages.insert(name.to_string(), Timestamp::now()))
    }

    /// Forgets a key that is no more.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn forget(state: &Path, name: &KeyName) -> io::Result<()> {
        if !path(state).exists() {
            return Ok(());
        }
        change(state, |ages| ages.remove(name.as_str()))
    }

    /// When the value of a key came to be: as it was put into a store, or as its file was written. Of a variable or a program
    /// nothing is known.
    pub fn since(&self, key: &KeySetting) -> Option<SystemTime> {
        match &key.source {
            SourceSpec::File(path) => path.metadata().ok()?.modified().ok(),
            SourceSpec::Env(_) | SourceSpec::Exec(_) => None,
            _ => self.0.get(key.name.as_str()).map(|at| SystemTime::from(*at)),
        }
    }

    /// For how long a new value has been due; `None` while none is, or nothing is known of the age.
    pub fn overdue(&self, key: &KeySetting, now: SystemTime) -> Option<Duration> {
        let due = self.since(key)?.checked_add(key.rotate_after?)?;
        now.duration_since(due).ok()
    }
}

/// The keys of which a new value is due, each with for how long.
pub fn overdue<'k>(
    keys: impl IntoIterator<Item = &'k KeySetting>,
    state: &Path,
    now: SystemTime,
) -> Vec<(&'k KeySetting, ValueComplaint)> {
    let ages = KeyAges::read(state);
    let complaint = |key: &KeySetting| {
        let what = match ages.overdue(key, now)?.as_secs() / DAY {
            0 => format!("a new value of '{}' is due today", key.name),
            1 => format!("a new value of '{}' has been due for a day", key.name),
            days => format!("a new value of '{}' has been due for {days} days", key.name),
        };
        let next = match &key.source {
            SourceSpec::File(path) => format!("write it to {}, and revoke the old one", path.display()),
            _ => format!("locum key rotate {}", key.name),
        };
        Some(ValueComplaint { what, next })
    };
    keys.into_iter().filter_map(|key| Some((key, complaint(key)?))).collect()
}

const DAY: u64 = 86_400;

fn path(state: &Path) -> PathBuf {
    state.join("key-ages.json")
}

fn change<T>(state: &Path, change: impl FnOnce(&mut BTreeMap<String, Timestamp>) -> T) -> io::Result<()> {
    let _turn = disk::turn(&state.join("key-ages.lock"))?;
    let mut ages = KeyAges::read(state).0;
    change(&mut ages);
    disk::replace(&path(state), &serde_json::to_vec_pretty(&ages)?, Rights::Private)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::{CliPaths, ConfigEnvironment, Settings};

    #[test]
    fn a_value_is_as_old_as_it_was_put_there_and_due_after_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let text = "[key.tool]\nhosts = [\"a.example\"]\nrotate_after = \"90d\"\n[key.other]\nhosts = [\"a.example\"]\nsource = \"keyring\"\n";
        let given = CliPaths { config: Some(dir.path().join("locum.toml")), state: Some(dir.path().into()) };
        let (settings, _) = {
            std::fs::write(dir.path().join("locum.toml"), text).unwrap();
            Settings::read(&given, &ConfigEnvironment::default())
        };
        let key = |name: &str| settings.keys.iter().find(|key| key.name.as_str() == name).unwrap();
        assert_eq!(KeyAges::read(dir.path()).since(key("tool")), None);
        KeyAges::note(dir.path(), &key("tool").name).unwrap();
        KeyAges::note(dir.path(), &key("other").name).unwrap();
        let ages = KeyAges::read(dir.path());
        let since = ages.since(key("tool")).unwrap();
        let days = |n: u64| Duration::from_secs(n * 86_400);
        assert_eq!(ages.overdue(key("tool"), since + days(90) - Duration::from_secs(1)), None);
        assert_eq!(ages.overdue(key("tool"), since + days(91)), Some(days(1)));
        assert_eq!(ages.overdue(key("other"), since + days(1000)), None);
        KeyAges::forget(dir.path(), &key("tool").name).unwrap();
        let ages = KeyAges::read(dir.path());
        assert!(ages.since(key("tool")).is_none() && ages.since(key("other")).is_some());
        std::fs::write(dir.path().join("key-ages.json"), "no json").unwrap();
        assert!(KeyAges::read(dir.path()).since(key("other")).is_none());
    }
}
