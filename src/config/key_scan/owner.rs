//! Whose key a value is: by its looks, the host it goes to, and the names on its way.

use super::names::{NameHint, essence, hint, is_neutral, words};
use crate::config::keys::KeySetting;
use crate::name::Host;
use std::collections::HashMap;
use url::Url;

/// A shorter beginning turns up by chance.
const MIN_PREFIX: usize = 4;
/// A value that is known by its beginning alone has this many bytes at least.
const MIN_BY_PREFIX: usize = 20;

/// Whose a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyClaim {
    One(usize),
    /// It looks as if it were of one of these.
    Several(Vec<usize>),
    Nobody,
}

/// The keys that values can be of.
pub struct KeyOwners<'k> {
    keys: Vec<KnownKey<'k>>,
    /// By the words of a variable.
    variables: HashMap<String, usize>,
}

struct KnownKey<'k> {
    setting: &'k KeySetting,
    words: Vec<String>,
}

impl<'k> KeyOwners<'k> {
    pub fn new(keys: &'k [KeySetting]) -> Self {
        let known = |setting: &'k KeySetting| KnownKey { setting, words: words(setting.name.as_str()) };
        let mut variables = HashMap::new();
        for (of, key) in keys.iter().enumerate() {
            for variable in key.variables() {
                variables.entry(words(&variable).join("_")).or_insert(of);
            }
        }
        Self { keys: keys.iter().map(known).collect(), variables }
    }

    /// The key's name, and what the host looks like that is to be named before it is of use.
    pub fn without_host(&self, of: usize) -> Option<(String, String)> {
        let setting = self.keys.get(of)?.setting;
        Some((setting.name.to_string(), setting.missing_host()?.to_string()))
    }

    /// The names of some.
    pub fn named(&self, of: &[usize]) -> Vec<String> {
        of.iter().filter_map(|of| Some(self.keys.get(*of)?.setting.name.to_string())).collect()
    }

    /// Whose variable has this name.
    pub fn of_variable(&self, name: &str) -> Option<usize> {
        self.variables.get(&words(name).join("_")).copied()
    }

    /// Whose `value` is, that is reached by `path`; `urls` are those that it is sent to as far as the file tells, the
    /// nearest first, and `neighbours` what stands beside it and names somebody.
    pub fn of(&self, path: &[String], value: &str, urls: &[Url], neighbours: &[String]) -> KeyClaim {
        let leaf = path.last().map_or("", String::as_str);
        let by_variable = self.of_variable(leaf);
        // what the user's own config says counts more than what a key looks like
        if let Some(of) = by_variable.filter(|of| self.keys.get(*of).is_some_and(|key| key.setting.at.is_some())) {
            return KeyClaim::One(of);
        }
        let looks = self.by_looks(value);
        let is_key = |(said, _)| matches!(said, NameHint::ApiKey | NameHint::Vague | NameHint::Password);
        let by_url = || hint(&words(leaf)).filter(|said| is_key(*said)).and_then(|_| self.by_urls(urls));
        // who is named but sends it somewhere else has another key there
        let by_names = || urls.is_empty().then(|| self.by_names(path, neighbours)).flatten();
        let told = by_url().or(by_variable).or_else(by_names);
        match (looks.as_slice(), told) {
            (looks, Some(of)) if looks.is_empty() || looks.contains(&of) => KeyClaim::One(of),
            ([one], _) => KeyClaim::One(*one),
            ([], _) => KeyClaim::Nobody,
            (several, _) => KeyClaim::Several(several.to_vec()),
        }
    }

    /// Whose keys look like this: those whose shape it has, else those that have the longest of the beginnings that it has,
    /// since shapes grow old.
    pub fn by_looks(&self, value: &str) -> Vec<usize> {
        // hashes of all sorts look like this
        if value.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Vec::new();
        }
        let has_shape = |key: &KnownKey<'_>| {
            let shape = key.setting.provider.as_ref().and_then(|provider| provider.shape());
            shape.is_some_and(|shape| shape.is_match(value))
        };
        let begun = |key: &KnownKey<'_>| {
            let prefixes = key.setting.prefixes().iter().filter(|prefix| value.starts_with(prefix.as_str()));
            prefixes.map(String::len).max().filter(|len| *len >= MIN_PREFIX)
        };
        let of = |fits: &dyn Fn(&KnownKey<'_>) -> bool| -> Vec<usize> {
            self.keys.iter().enumerate().filter(|(_, key)| fits(key)).map(|(of, _)| of).collect()
        };
        let shaped = of(&has_shape);
        if !shaped.is_empty() || value.len() < MIN_BY_PREFIX {
            return shaped;
        }
        match self.keys.iter().filter_map(begun).max() {
            Some(longest) => of(&|key| begun(key) == Some(longest)),
            None => Vec::new(),
        }
    }

    fn by_urls(&self, urls: &[Url]) -> Option<usize> {
        urls.iter().find_map(|url| {
            let host: Host = url.host_str()?.parse().ok()?;
            let port = url.port_or_known_default().unwrap_or(443);
            let bound = |key: &KnownKey<'_>| key.setting.rule.hosts.iter().any(|pattern| pattern.lists(&host, port));
            only(self.keys.iter().enumerate().filter(|(_, key)| bound(key)).map(|(of, _)| of))
        })
    }

    /// By names alone: `brave_key`, `brave.api_key`, `api_keys.brave`.
    fn by_names(&self, path: &[String], neighbours: &[String]) -> Option<usize> {
        let (leaf, above) = path.split_last()?;
        let leaf = words(leaf);
        let (said, count) = hint(&leaf).unwrap_or((NameHint::Vague, 0));
        let own = leaf.get(..leaf.len() - count).unwrap_or_default();
        let is_key = matches!(said, NameHint::ApiKey | NameHint::Vague | NameHint::Password);
        if !is_key {
            return None;
        }
        let is_x = own.is_empty() || own == ["x"] || own == ["http", "x"];
        if count > 0 && !is_x {
            // a password of somebody is seldom their key
            return (said == NameHint::ApiKey || own.len() + 1 == leaf.len() && said == NameHint::Vague)
                .then(|| self.of_name(own))
                .flatten();
        }
        if count == 0 {
            // the name is whose it is, below one that tells what it is
            let below_keys =
                above.iter().any(|step| hint(&words(step)).is_some() || words(step).join(" ") == "string data");
            return below_keys.then(|| self.of_name(&leaf)).flatten();
        }
        let by_neighbour = || neighbours.iter().find_map(|name| self.of_name(&words(name)));
        for step in above.iter().rev() {
            if !is_neutral(step) {
                return self.of_name(&words(step)).or_else(by_neighbour);
            }
        }
        by_neighbour()
    }

    fn of_name(&self, name: &[String]) -> Option<usize> {
        let exact = self.keys.iter().position(|key| key.words == name);
        let like = || {
            let wanted = essence(name);
            only(self.keys.iter().enumerate().filter(|(_, key)| essence(&key.words) == wanted).map(|(of, _)| of))
        };
        exact.or_else(like)
    }
}

fn only(mut found: impl Iterator<Item = usize>) -> Option<usize> {
    let first = found.next()?;
    found.next().is_none().then_some(first)
}
