//! Writes a binding into the config file, and leaves everything else in it as it was, comments too.

use super::settings::{Environment, Given, Settings};
use super::{Mistakes, settings};
use crate::name::KeyName;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use toml_edit::{Array, DocumentMut, Item, Table, value};

/// The settings of `[key.NAME]` that are to be written; empty ones stay as they are.
#[derive(Debug, Default)]
pub struct Binding {
    pub source: Option<String>,
    pub hosts: Vec<String>,
    pub places: Vec<String>,
    pub methods: Vec<String>,
    pub paths: Vec<String>,
    pub placeholder: Option<String>,
}

impl Binding {
    pub fn is_empty(&self) -> bool {
        self.source.is_none()
            && self.placeholder.is_none()
            && [&self.hosts, &self.places, &self.methods, &self.paths].iter().all(|list| list.is_empty())
    }
}

/// Why the file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    #[error("there is no place for a config: neither --config nor HOME is set")]
    NoPlace,
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is not valid TOML, so nothing is written into it: {why}")]
    Toml { path: PathBuf, why: String },
    #[error("the binding would be wrong, so nothing is written:\n{0}")]
    Wrong(Mistakes),
}

/// Writes `binding` for `key`, once the file with it reads without a mistake. Tells which file it is.
pub fn bind(given: &Given, env: &Environment, key: &KeyName, binding: &Binding) -> Result<PathBuf, EditError> {
    edit(given, env, |document| {
        let keys = document.entry("key").or_insert(Item::Table(implicit()));
        let Some(keys) = keys.as_table_mut() else { return };
        let entry = keys.entry(key.as_str()).or_insert(Item::Table(Table::new()));
        let Some(table) = entry.as_table_mut() else { return };
        let lists = [
            ("hosts", &binding.hosts),
            ("methods", &binding.methods),
            ("paths", &binding.paths),
            ("where", &binding.places),
        ];
        if let Some(source) = &binding.source {
            table.insert("source", value(source));
        }
        for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            table.insert(name, value(list.iter().collect::<Array>()));
        }
        if let Some(placeholder) = &binding.placeholder {
            table.insert("placeholder", value(placeholder));
        }
    })
}

/// Takes `[key.NAME]` out, where it is there. Whether it was.
pub fn unbind(given: &Given, env: &Environment, key: &KeyName) -> Result<bool, EditError> {
    let mut found = false;
    let known = settings::config_path(given, env).is_some_and(|(path, _)| path.exists());
    if known {
        edit(given, env, |document| {
            let keys = document.get_mut("key").and_then(Item::as_table_mut);
            found = keys.is_some_and(|keys| keys.remove(key.as_str()).is_some());
        })?;
    }
    Ok(found)
}

fn implicit() -> Table {
    let mut table = Table::new();
    table.set_implicit(true);
    table
}

fn edit(given: &Given, env: &Environment, change: impl FnOnce(&mut DocumentMut)) -> Result<PathBuf, EditError> {
    let (path, _) = settings::config_path(given, env).ok_or(EditError::NoPlace)?;
    let fail = |source| EditError::Io { path: path.clone(), source };
    let before = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(fail(e)),
    };
    let mut document: DocumentMut =
        before.parse().map_err(|e: toml_edit::TomlError| EditError::Toml { path: path.clone(), why: e.to_string() })?;
    change(&mut document);
    let after = document.to_string();
    if after == before {
        return Ok(path);
    }
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(dir).map_err(fail)?;
    let mut file = tempfile::Builder::new().prefix(".locum-").suffix(".toml").tempfile_in(dir).map_err(fail)?;
    file.write_all(after.as_bytes()).map_err(fail)?;
    if let Ok(known) = fs::metadata(&path) {
        file.as_file().set_permissions(known.permissions()).map_err(fail)?;
    }
    let trial = Given { config: Some(file.path().into()), state: given.state.clone() };
    Settings::load(&trial, env).map_err(EditError::Wrong)?;
    file.as_file().sync_all().map_err(fail)?;
    file.persist(&path).map_err(|e| fail(e.error))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(dir: &Path) -> Given {
        Given { config: Some(dir.join("locum.toml")), state: Some(dir.join("state")) }
    }

    #[test]
    fn a_binding_is_written_and_the_rest_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (given, env) = (given(dir.path()), Environment::default());
        let text = "# mine\n[proxy]\negress = \"listed\"  # tight\n";
        fs::write(dir.path().join("locum.toml"), text).unwrap();
        let binding =
            Binding { hosts: vec!["api.tool.example".into()], places: vec!["header".into()], ..Binding::default() };
        bind(&given, &env, &"tool".parse().unwrap(), &binding).unwrap();
        let written = fs::read_to_string(dir.path().join("locum.toml")).unwrap();
        assert_eq!(written, format!("{text}\n[key.tool]\nhosts = [\"api.tool.example\"]\nwhere = [\"header\"]\n"));
        assert!(unbind(&given, &env, &"tool".parse().unwrap()).unwrap());
        assert_eq!(fs::read_to_string(dir.path().join("locum.toml")).unwrap(), text);
        assert!(!unbind(&given, &env, &"tool".parse().unwrap()).unwrap());
    }

    #[test]
    fn what_would_be_wrong_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let (given, env) = (given(dir.path()), Environment::default());
        let binding = Binding { hosts: vec!["*.com".into()], ..Binding::default() };
        let wrong = bind(&given, &env, &"tool".parse().unwrap(), &binding);
        assert!(matches!(wrong, Err(EditError::Wrong(_))), "{wrong:?}");
        assert!(!dir.path().join("locum.toml").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "no copy is left behind");
    }
}
