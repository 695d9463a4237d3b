//! The catalog: the providers that locum knows by name, of a file that is part of the binary and of files of the user's own.

mod provider;
mod shape;
mod tenant;
mod test_call;

pub use provider::Provider;
pub use tenant::TenantHost;
pub use test_call::TestCall;

use super::file::{ConfigDocument, ConfigTable};
use super::mistake::Mistake;
use super::reader::TableReader;
use crate::name::KeyName;
use std::path::Path;
use std::sync::{Arc, LazyLock};

const TEXT: &str = include_str!("../../../config/providers.toml");

static EMBEDDED: LazyLock<Vec<Arc<Provider>>> = LazyLock::new(|| embedded(&mut Vec::new()));

/// The providers that are known, sorted by name.
#[derive(Debug, Clone)]
pub struct Catalog {
    providers: Vec<Arc<Provider>>,
}

impl Default for Catalog {
    /// That of the binary alone.
    fn default() -> Self {
        Self { providers: EMBEDDED.clone() }
    }
}

impl Catalog {
    /// All of them, sorted by name.
    pub fn providers(&self) -> &[Arc<Provider>] {
        &self.providers
    }

    /// The provider whose key has this name.
    pub fn provider(&self, name: &str) -> Option<&Arc<Provider>> {
        let at = self.providers.binary_search_by(|p| p.name.as_str().cmp(name)).ok()?;
        self.providers.get(at)
    }

    /// The binary's own entry of this name, whatever a user's file says.
    pub fn is_embedded(name: &KeyName) -> bool {
        EMBEDDED.iter().any(|p| p.name == *name)
    }

    /// With the providers of a user's own file; each takes the place of the binary's of its name as a whole.
    pub fn add(&mut self, path: &Path, text: &str, home: Option<&Path>, mistakes: &mut Vec<Mistake>) {
        let added = read(path, text, home, true, mistakes);
        for own in added {
            let at = self.providers.binary_search_by(|p| p.name.cmp(&own.name));
            let known = at.ok().and_then(|at| self.providers.get(at)).and_then(|p| p.at.as_ref());
            if let (Some(known), Some(at)) = (known, &own.at) {
                let what = format!("there is a provider '{}' in another file of [catalog], at {known}", own.name);
                mistakes.push(Mistake::new(at.clone(), what, "take one of them out"));
                continue;
            }
            match at {
                Ok(at) => self.providers[at] = own,
                Err(at) => self.providers.insert(at, own),
            }
        }
    }

    /// Notes variables of the user's own providers that hold the key of another one too: it would be chance whose it is.
    pub fn tell_variables_apart(&self, mistakes: &mut Vec<Mistake>) {
        for own in &self.providers {
            let Some(at) = &own.at else { continue };
            for other in self.providers.iter().filter(|other| other.name != own.name) {
                // of two of the user's own the second by name is told
                let told = other.at.is_none() || other.name < own.name;
                if let Some(variable) = own.env.iter().find(|v| told && other.env.contains(v)) {
                    let what = format!("env: {variable} is the variable of '{}' already", other.name);
                    let hint = format!("name another, or call this provider '{}' to take its place", other.name);
                    mistakes.push(Mistake::new(at.clone(), what, hint));
                }
            }
        }
    }
}

fn embedded(mistakes: &mut Vec<Mistake>) -> Vec<Arc<Provider>> {
    let mut all = read(Path::new("providers.toml"), TEXT, None, false, mistakes);
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn read(path: &Path, text: &str, home: Option<&Path>, is_own: bool, mistakes: &mut Vec<Mistake>) -> Vec<Arc<Provider>> {
    let tables = ConfigDocument::providers(path, text, mistakes);
    let mut all = Vec::with_capacity(tables.len());
    for table in tables {
        all.extend(one(table, home, is_own, mistakes).map(Arc::new));
    }
    all
}

fn one(table: ConfigTable, home: Option<&Path>, is_own: bool, mistakes: &mut Vec<Mistake>) -> Option<Provider> {
    match table.name.parse::<KeyName>() {
        Ok(name) => Some(TableReader::read(vec![table], home, mistakes, |r| provider::provider(r, name, is_own))),
        Err(e) => {
            mistakes.push(Mistake::new(table.at, e.to_string(), "rename the table"));
            None
        }
    }
}

#[cfg(test)]
mod tests;
