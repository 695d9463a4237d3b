//! The environment that commands find and hand on: variables as they were, and placeholders in those of keys.

use super::copies;
use crate::config::keys::KeySetting;
use crate::config::settings::Settings;
use crate::memory::SealedEnvironment;
use crate::name::KeyName;
use crate::policy::rule::HostPattern;
use crate::trust_env::{self, EnvironmentChanges, PlaceholderVariables};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;

/// What was secret in the environment, and is not there any more.
pub struct TakenEnvironment {
    /// The variables of keys, and those of our own.
    pub secrets: Arc<SealedEnvironment>,
    /// Others that held a key, and what a child has there instead.
    pub copies: EnvironmentChanges,
}

/// The values of variables before the secret ones were taken: of those it counts that they were set, and of what held a copy of
/// a key what a child has instead.
pub fn before(taken: &TakenEnvironment) -> impl Fn(&str) -> Option<String> + use<> {
    let mut left: HashMap<OsString, OsString> = std::env::vars_os().collect();
    let copies = taken.copies.iter().filter_map(|(name, value)| Some((name.into(), value.as_ref()?.into())));
    left.extend(copies);
    let taken: Vec<String> = taken.secrets.names().map(str::to_owned).collect();
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

/// All that changes for a child: what makes its clients use the proxy, and what stands where copies of keys were.
pub fn with_copies(changes: EnvironmentChanges, taken: &TakenEnvironment) -> EnvironmentChanges {
    let mut all = taken.copies.clone();
    all.extend(changes);
    all
}

/// Says which variables a child has to do without, since they hold a key in a form that can't be replaced.
pub fn warn_of_withheld(taken: &TakenEnvironment) {
    let withheld: Vec<&str> = taken.copies.iter().filter(|(_, v)| v.is_none()).map(|(name, _)| name.as_str()).collect();
    if !withheld.is_empty() {
        eprintln!(
            "locum: warning: withheld, since a key is encoded there: {}\n  next: unset it, or write the placeholder there",
            withheld.join(", ")
        );
    }
}

/// Says which variables a child has as they are, though they look like secrets.
pub fn warn_of_unmanaged() {
    let names = copies::unmanaged();
    if !names.is_empty() {
        eprintln!(
            "locum: warning: the command is given what looks like a secret: {}\n  \
             next: bind it (locum key set NAME --host HOST), or unset it",
            names.join(", ")
        );
    }
}

/// Says which variables hold keys that can go nowhere yet: a child has the placeholder there all the same.
pub fn warn_of_hostless(settings: &Settings, taken: &TakenEnvironment) {
    for key in &settings.keys {
        let set = key.env.iter().find(|variable| taken.secrets.names().any(|name| name == variable.as_str()));
        if let (Some(tenant), Some(variable)) = (key.missing_host(), set) {
            eprintln!(
                "locum: warning: {variable} is set, and no host is known for its key yet\n  \
                 next: name yours under [key.{}], as hosts = [\"{tenant}\"]",
                key.name
            );
        }
    }
}

/// Says which hosts of keys the user's NO_PROXY sends past the proxy.
pub fn warn_of_bypassed<'h>(hosts: impl IntoIterator<Item = &'h HostPattern>, was: &dyn Fn(&str) -> Option<String>) {
    if let Some((what, next)) = bypassed(hosts, was) {
        eprintln!("locum: warning: {what}\n  next: {next}");
    }
}

/// Which hosts of keys the user's NO_PROXY sends past the proxy, and what to do about it.
pub fn bypassed<'h>(
    hosts: impl IntoIterator<Item = &'h HostPattern>,
    was: &dyn Fn(&str) -> Option<String>,
) -> Option<(String, &'static str)> {
    let bypassed = trust_env::bypassed(hosts, was);
    let (_, entry) = bypassed.first()?;
    let hosts: Vec<&str> = bypassed.iter().map(|(host, _)| host.as_str()).collect();
    let hosts = hosts.join(", ");
    let what = format!("NO_PROXY ('{entry}') leads clients past the proxy to {hosts}, where no key is put in");
    Some((what, "take it out of NO_PROXY"))
}

/// What to do about a variable that holds no key.
pub const PUT_A_KEY_THERE: &str =
    "set it to the key, store the key (locum key set NAME), or leave the shell that 'locum env' or 'locum run' set up";

/// The sentence about it.
pub fn no_key_there(variable: &str) -> String {
    format!("{variable} holds a placeholder, which is no key")
}

/// The variables of keys that hold a placeholder: in a shell that `locum env` has set up, or in a child of `run`.
pub fn holding_placeholders(settings: &Settings) -> Vec<String> {
    let mut names: Vec<String> = settings.keys.iter().flat_map(KeySetting::variables).collect();
    names.sort();
    names.dedup();
    names.retain(|name| std::env::var_os(name).is_some_and(|v| stands_for_a_key(v.as_encoded_bytes(), settings)));
    names
}

/// The variables that hold a key's placeholder in the syntax that counts only with `[proxy] braces`, and the key.
pub fn holding_braces(settings: &Settings) -> Vec<(String, KeyName)> {
    let mut held: Vec<(String, KeyName)> = Vec::new();
    for (name, value) in std::env::vars_os() {
        let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
        let in_value = |key: &&KeyName| value.contains(&format!("{{{{{key}_key}}}}"));
        held.extend(
            settings.keys.iter().map(|key| &key.name).find(in_value).map(|key| (name.into_owned(), key.clone())),
        );
    }
    held.sort();
    held
}

/// Whether this is an environment for agents: some variable has a placeholder for its value.
pub fn has_placeholders(settings: &Settings) -> bool {
    std::env::vars_os().any(|(_, value)| stands_for_a_key(value.as_encoded_bytes(), settings))
}

/// Says which variables of keys hold a placeholder.
pub fn warn_of_placeholders(settings: &Settings) {
    for variable in holding_placeholders(settings) {
        eprintln!("locum: warning: {}\n  next: {PUT_A_KEY_THERE}", no_key_there(&variable));
    }
}

/// Whether this is what agents are given in place of some key, be it one that looks like a key.
fn stands_for_a_key(value: &[u8], settings: &Settings) -> bool {
    KeyName::is_placeholder(value) || settings.keys.iter().any(|key| key.rule.shown_placeholder().as_bytes() == value)
}
