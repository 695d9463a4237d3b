//! The environment that commands find and hand on: variables as they were, and placeholders in those of keys.

use crate::config::keys::KeySetting;
use crate::config::settings::Settings;
use crate::memory::SealedEnvironment;
use crate::trust_env::PlaceholderVariables;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};

/// The values of variables before the secret ones were taken: of those it counts that they were set.
pub fn before(taken: &SealedEnvironment) -> impl Fn(&str) -> Option<String> + use<> {
    let left: HashMap<OsString, OsString> = std::env::vars_os().collect();
    let taken: Vec<String> = taken.names().map(str::to_owned).collect();
    // what is no UTF-8 is set all the same
    move |name| match left.get(OsStr::new(name)) {
        Some(value) => Some(value.to_string_lossy().into_owned()),
        None => taken.iter().any(|t| t == name).then(String::new),
    }
}

/// The value of a variable, as it is now.
pub fn now(name: &str) -> Option<String> {
    std::env::var_os(name).map(|v| v.to_string_lossy().into_owned())
}

/// The variables of each key that is in use, and what stands in them for a child.
pub fn placeholders(settings: &Settings, in_use: impl Fn(&KeySetting) -> bool) -> Vec<(Vec<String>, String)> {
    let keys = settings.keys.iter().filter(|k| in_use(k));
    keys.map(|k| (k.variables(), k.rule.shown_placeholder())).collect()
}

/// As the room that sets a child's environment takes them.
pub fn stands(placeholders: &[(Vec<String>, String)]) -> Vec<PlaceholderVariables<'_>> {
    placeholders.iter().map(|(variables, placeholder)| PlaceholderVariables { variables, placeholder }).collect()
}
