//! `locum key import`: keys that are set as variables go into a store.

use super::key_move::{KeyMove, is_stored};
use super::scanned_file::is_shown;
use crate::cli::administration::Administration;
use crate::cli::secret;
use crate::cli::stores::{self, KeyStores};
use crate::cli::term::{CliError, FAILED};
use crate::config::settings::Settings;
use crate::memory::{Plaintext, SealedEnvironment};
use crate::name::KeyName;
use crate::secrets::SourceSpec;
use std::process::ExitCode;

/// Stores one key that came by the environment.
pub fn import_one(
    name: &KeyName,
    environment: &SealedEnvironment,
    settings: &Settings,
    stores: &KeyStores,
    admin: &mut Administration,
) -> anyhow::Result<ExitCode> {
    let keys = settings.keys.iter().filter(|key| key.name == *name).cloned().collect();
    import(environment, &Settings { keys, ..settings.clone() }, stores, admin)
}

/// Stores what came by the environment. All that could go wrong is looked at before anything is changed.
pub fn import(
    environment: &SealedEnvironment,
    settings: &Settings,
    stores: &KeyStores,
    admin: &mut Administration,
) -> anyhow::Result<ExitCode> {
    let (mut coming, mut elsewhere) = (Vec::new(), Vec::new());
    for setting in &settings.keys {
        let names = setting.source.variables(&setting.name, &setting.env);
        let set = names.into_iter().find_map(|name| Some((environment.get(&name).ok()??, name)));
        let Some((value, variable)) = set.filter(|(value, _)| !is_placeholder(value, settings)) else { continue };
        if stores::is_kept(&setting.source) {
            let value = secret::checked(value)?;
            secret::warn_of_oddities(&setting.name, &value);
            coming.push((setting, value, variable));
        } else {
            elsewhere.push(stores::elsewhere(setting));
        }
    }
    // a key that the config takes from one store has no variable that counts
    for setting in settings.keys.iter().filter(|key| stores::is_kept(&key.source) && key.source != SourceSpec::Auto) {
        let is_set =
            |name: &&String| matches!(environment.get(name), Ok(Some(value)) if !is_placeholder(&value, settings));
        if let Some(variable) = SourceSpec::Auto.variables(&setting.name, &setting.env).iter().find(is_set) {
            let (name, source) = (&setting.name, &setting.source);
            let what = format!("{variable} does not count: the config takes '{name}' from the store '{source}'");
            let next = format!("'locum key rotate {name} --from env' puts it there");
            elsewhere.push(CliError { what, next, code: FAILED });
        }
    }
    if coming.is_empty() {
        let next = "set one such as OPENAI_API_KEY, or use 'locum key set NAME'";
        return Err(elsewhere.into_iter().next().map_or_else(
            || CliError::failed("no variable of a key that locum knows is set", next),
            anyhow::Error::from,
        ));
    }
    let mut missing = Vec::new();
    for (setting, value, variable) in &coming {
        let store = stores.of(setting)?;
        let key = KeyMove { setting, value: value.expose(), first: variable.clone() };
        if !is_stored(&key, stores, &*store, "unset it")? {
            missing.push((key, store));
        }
    }
    for (key, store) in missing {
        let note = format!("from {} into the {}", key.first, store.describe());
        admin.key(&key.setting.name, Some(note), stores::put(&*store, &key.setting.name, key.value))?;
        admin.renewed(&key.setting.name);
        println!("{} is in the {}, from {}", key.setting.name, store.describe(), key.first);
    }
    for other in elsewhere {
        eprintln!("note: {other}");
    }
    let variables: Vec<&str> = coming.iter().map(|(_, _, variable)| variable.as_str()).collect();
    println!("take {} out of wherever it is set: while it is, it counts first", variables.join(", "));
    Ok(ExitCode::SUCCESS)
}

fn is_placeholder(value: &Plaintext, settings: &Settings) -> bool {
    KeyName::is_placeholder(value.expose()) || is_shown(value.expose(), settings)
}
