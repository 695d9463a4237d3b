//! The providers that locum knows by name: where their keys go, what they look like and where they usually are; read from a
//! file that is part of the binary.

use super::shape::Shape;
use super::test_call::TestCall;
use crate::name::KeyName;
use crate::place::Place;
use crate::policy::rule::HostPattern;
use regex::Regex;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

const TEXT: &str = include_str!("../../config/providers.toml");

#[expect(clippy::expect_used, reason = "a part of the program, which a test reads")]
static PROVIDERS: LazyLock<Vec<Arc<Provider>>> =
    LazyLock::new(|| parse(TEXT).expect("the embedded catalog reads, as its test shows"));

/// A provider that locum knows: its hosts, the places of its key, and its usual variables.
#[derive(Debug)]
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
    /// The page that shows what a key was used for, where there is one.
    pub usage: Option<String>,
    /// The cheapest request that shows whether a key is good, where one is known.
    pub test: Option<TestCall>,
    /// The public document that this was checked against.
    pub doc: Option<String>,
    shape: Option<Shape>,
}

impl Provider {
    /// What a whole key of it looks like, where the provider's keys can be told from other text. Compiled when it is first
    /// asked for.
    pub fn shape(&self) -> Option<&Regex> {
        self.shape.as_ref().and_then(|shape| shape.regex().ok())
    }
}

/// All of them, sorted by name.
pub fn providers() -> &'static [Arc<Provider>] {
    &PROVIDERS
}

/// The provider whose key has this name.
pub fn provider(name: &str) -> Option<&'static Arc<Provider>> {
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
    shape: Option<String>,
    revoke: String,
    usage: Option<String>,
    test: Option<Vec<String>>,
    doc: Option<String>,
}

fn parse(text: &str) -> Result<Vec<Arc<Provider>>, String> {
    let entries: BTreeMap<String, ProviderEntry> = toml::from_str(text).map_err(|e| e.to_string())?;
    entries.into_iter().map(|(name, entry)| provider_of(&name, entry).map(Arc::new)).collect()
}

fn provider_of(name: &str, entry: ProviderEntry) -> Result<Provider, String> {
    let key: KeyName = name.parse().map_err(|e| format!("{name}: {e}"))?;
    let test = entry.test.map(|lines| TestCall::read(&key, &lines)).transpose();
    Ok(Provider {
        title: entry.title,
        model: entry.model,
        hosts: all(name, &entry.hosts)?,
        places: all(name, &entry.r#where)?,
        env: entry.env,
        prefixes: entry.prefixes,
        shape: entry.shape.map(Shape::new),
        revoke: entry.revoke,
        usage: entry.usage,
        test: test.map_err(|e| format!("{name}: {e}"))?,
        doc: entry.doc,
        name: key,
    })
}

fn all<T: FromStr<Err: std::fmt::Display>>(name: &str, texts: &[String]) -> Result<Vec<T>, String> {
    texts.iter().map(|t| t.parse().map_err(|e| format!("{name}: {e}"))).collect()
}

#[cfg(test)]
mod tests;
