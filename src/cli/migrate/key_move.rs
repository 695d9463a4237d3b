//! A key on its way into a store: one value for each, and none that would hide behind another.

use super::scanned_file::ScannedFile;
use crate::cli::stores::{self, KeyStores};
use crate::cli::term::CliError;
use crate::config::keys::KeySetting;
use crate::config::settings::Settings;
use crate::name::KeyName;
use crate::secrets::{SourceSpec, Store, entry_name};
use std::collections::BTreeMap;

/// A key that was found, and where first.
pub struct KeyMove<'a> {
    pub setting: &'a KeySetting,
    pub value: &'a [u8],
    pub first: String,
}

/// One value for each key, or which two places disagree.
///
/// # Errors
/// When two do.
pub fn gather<'a>(
    sources: &'a [ScannedFile],
    settings: &'a Settings,
) -> anyhow::Result<BTreeMap<&'a KeyName, KeyMove<'a>>> {
    let mut moving: BTreeMap<&KeyName, KeyMove> = BTreeMap::new();
    for (source, (of, found)) in sources.iter().flat_map(|source| source.moved().map(move |moved| (source, moved))) {
        let Some(setting) = settings.keys.get(of) else { continue };
        let value = found.value.as_bytes();
        let here = source.place(found);
        match moving.get(&setting.name) {
            Some(other) if other.value != value => {
                let what = format!("{} and {here} have different values for '{}'", other.first, setting.name);
                return Err(CliError::failed(what, "nothing has been changed; take one of them out"));
            }
            Some(_) => {}
            None => drop(moving.insert(&setting.name, KeyMove { setting, value, first: here })),
        }
    }
    Ok(moving)
}

/// Whether `store` has this very value already.
///
/// # Errors
/// Where it, or one that could count before it, has another.
pub fn is_stored(key: &KeyMove, stores: &KeyStores, store: &dyn Store, undo: &str) -> anyhow::Result<bool> {
    let name = &key.setting.name;
    let value_in = |store: &dyn Store| store.get(&entry_name(name)).map_err(|e| stores::unavailable(&e));
    let others = match key.setting.source {
        SourceSpec::Auto => stores::holders(name, stores.backends)?,
        _ => Vec::new(),
    };
    for store in others.iter().map(|other| &**other).chain([store]) {
        if value_in(store)?.is_some_and(|there| there.expose() != key.value) {
            let what = format!("{} has another value for '{name}' than the {}", key.first, store.describe());
            return Err(CliError::failed(
                what,
                format!("nothing has been changed; {undo}, or 'locum key remove {name}'"),
            ));
        }
    }
    Ok(value_in(store)?.is_some())
}
