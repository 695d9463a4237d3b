//! What is the matter with the values of keys, as far as asking their sources shows it: for `check`, and at the start.

use crate::config::keys::KeySetting;
use crate::memory::Plaintext;
use crate::name::KeyName;
use crate::secrets::{SecretBackends, SourceError, SourceSpec, ValueOddity};

/// What is the matter with a key's value, and what to do about it. Never a part of the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueComplaint {
    /// What is the matter.
    pub what: String,
    /// What to do about it.
    pub next: String,
}

/// What a key's source said, and where it looked.
pub struct KeyLookup {
    /// The source, as tables say it.
    pub source: String,
    /// Its answer.
    pub value: Result<Option<Plaintext>, SourceError>,
}

impl KeyLookup {
    /// Asks the key's source. Blocks for as long as it takes.
    pub fn of(key: &KeySetting, backends: &SecretBackends) -> Self {
        let source = backends.source(&key.source, &key.name, &key.env);
        Self { source: source.describe(), value: source.load() }
    }

    /// What is the matter with it.
    pub fn complaints(&self, key: &KeySetting) -> Vec<ValueComplaint> {
        match &self.value {
            Ok(Some(value)) => oddities(&key.name, value.expose()),
            Ok(None) => vec![ValueComplaint {
                what: format!("key '{}' has no value: looked in {}", key.name, self.source),
                next: format!("store it with `locum key set {}`", key.name),
            }],
            // a store that is out of reach is so for every key of the catalog: then it is told once
            Err(e) if key.at.is_none() => vec![ValueComplaint { what: e.what.clone(), next: e.next.clone() }],
            Err(e) => vec![ValueComplaint { what: format!("key '{}': {}", key.name, e.what), next: e.next.clone() }],
        }
    }
}

/// What this value of a key has about it that keys don't have.
pub fn oddities(key: &KeyName, value: &[u8]) -> Vec<ValueComplaint> {
    let complaint = |odd: ValueOddity| ValueComplaint {
        what: format!("the value of key '{key}' {odd}"),
        next: odd.next().to_owned(),
    };
    ValueOddity::all_of(value).into_iter().map(complaint).collect()
}

/// What is the matter with these keys, each thing once. A program isn't run for it, since it may want a finger on a button;
/// a store may ask to be unlocked. Blocks.
pub fn value_complaints(keys: &[KeySetting], backends: &SecretBackends) -> Vec<ValueComplaint> {
    complaints_of(keys.iter().filter(|key| !matches!(key.source, SourceSpec::Exec(_))), backends)
}

/// The same of those keys alone whose value is in a variable or a file, which nobody has to be waited for.
pub fn value_complaints_at_hand(keys: &[KeySetting], backends: &SecretBackends) -> Vec<ValueComplaint> {
    let is_set = |variable: &String| matches!(backends.environment.get(variable), Ok(Some(value)) if !KeyName::is_placeholder(value.expose()));
    let at_hand = |key: &&KeySetting| match &key.source {
        SourceSpec::Env(_) | SourceSpec::File(_) => true,
        SourceSpec::Auto => key.source.variables(&key.name, &key.env).iter().any(is_set),
        _ => false,
    };
    complaints_of(keys.iter().filter(at_hand), backends)
}

fn complaints_of<'k>(keys: impl Iterator<Item = &'k KeySetting>, backends: &SecretBackends) -> Vec<ValueComplaint> {
    let mut all: Vec<ValueComplaint> = Vec::new();
    for complaint in keys.flat_map(|key| KeyLookup::of(key, backends).complaints(key)) {
        if !all.contains(&complaint) {
            all.push(complaint);
        }
    }
    all
}
