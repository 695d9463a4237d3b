//! The providers that locum knows by name: where their keys go and where they usually are; read from a file that is
//! part of the binary.

use crate::name::KeyName;
use crate::place::Place;
use crate::policy::rule::HostPattern;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::LazyLock;

const TEXT: &str = include_str!("../../config/providers.toml");

#[expect(clippy::expect_used, reason = "a part of the program, which a test reads")]
static PROVIDERS: LazyLock<Vec<Provider>> =
    LazyLock::new(|| parse(TEXT).expect("the embedded catalog reads, as its test shows"));

/// A provider that locum knows: its hosts, the places of its key, and its usual variables.
#[derive(Debug, Clone)]
pub struct Provider {
    /// The key's name.
    pub name: KeyName,
    /// As people write it.
    pub title: String,
    /// Whether the host hands what it is sent to a language model.
    pub model: bool,
    /// The hosts that its key may go to.
    pub hosts: Vec<HostPattern>,
    /// The places of a request that its key may go to.
    pub places: Vec<Place>,
    /// The variables that its own tools read, in the order in which they are tried.
    pub env: Vec<String>,
    /// What its keys begin with: public, and so not counted as secret.
    pub prefixes: Vec<String>,
    /// The page on which a key is revoked.
    pub revoke: String,
}

/// All of them, sorted by name.
pub fn providers() -> &'static [Provider] {
    &PROVIDERS
}

/// The provider whose key has this name.
pub fn provider(name: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|p| p.name.as_str() == name)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderEntry {
    title: String,
    #[serde(default)]
    model: bool,
    hosts: Vec<String>,
    r#where: Vec<String>,
    env: Vec<String>,
    #[serde(default)]
    prefixes: Vec<String>,
    revoke: String,
}

fn parse(text: &str) -> Result<Vec<Provider>, String> {
    let entries: BTreeMap<String, ProviderEntry> = toml::from_str(text).map_err(|e| e.to_string())?;
    entries.into_iter().map(|(name, entry)| provider_of(&name, entry)).collect()
}

fn provider_of(name: &str, entry: ProviderEntry) -> Result<Provider, String> {
    Ok(Provider {
        name: name.parse().map_err(|e| format!("{name}: {e}"))?,
        title: entry.title,
        model: entry.model,
        hosts: all(name, &entry.hosts)?,
        places: all(name, &entry.r#where)?,
        env: entry.env,
        prefixes: entry.prefixes,
        revoke: entry.revoke,
    })
}

fn all<T: FromStr<Err: std::fmt::Display>>(name: &str, texts: &[String]) -> Result<Vec<T>, String> {
    texts.iter().map(|t| t.parse().map_err(|e| format!("{name}: {e}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_entry_reads_and_says_where() {
        let all = parse(TEXT).unwrap();
        assert!(all.len() >= 24);
        for p in &all {
            assert!(!p.hosts.is_empty() && !p.places.is_empty() && !p.env.is_empty(), "{}", p.name);
            assert!(p.revoke.starts_with("https://"), "{}", p.name);
            assert!(p.prefixes.iter().all(|x| x.len() >= 2 && x.is_ascii()), "{}", p.name);
            assert!(p.env.iter().all(|v| v.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')), "{}", p.name);
        }
    }

    #[test]
    fn keys_go_to_named_hosts_over_tls_and_to_few_places() {
        for p in providers() {
            for host in &p.hosts {
                assert!(host.exact().is_some() && !host.is_cleartext(), "{}: {host}", p.name);
            }
            let wide = |place: &Place| matches!(place, Place::Header | Place::Query | Place::Body | Place::BodyAny);
            assert!(!p.places.iter().any(wide), "{}", p.name);
        }
    }

    #[test]
    fn a_model_never_reads_a_key_in_a_body() {
        for p in providers().iter().filter(|p| p.model) {
            assert!(!p.places.iter().any(|place| place.in_body() || *place == Place::Ws), "{}", p.name);
        }
    }

    #[test]
    fn a_variable_or_host_means_one_provider() {
        let (mut variables, mut hosts) = (HashSet::new(), HashSet::new());
        for p in providers() {
            for v in &p.env {
                assert!(variables.insert(v), "{v} stands twice");
            }
            for h in &p.hosts {
                assert!(hosts.insert(h.to_string()), "{h} stands twice");
            }
        }
    }
}
