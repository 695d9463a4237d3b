//! Writes a binding into the config file, and leaves everything else in it as it was, comments too.

use super::mistake::Mistakes;
use super::settings;
use super::settings::{CliPaths, ConfigEnvironment, Settings};
use crate::disk::{self, Rights};
use crate::name::KeyName;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, value};

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
    /// Whether nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.source.is_none()
            && self.placeholder.is_none()
            && [&self.hosts, &self.places, &self.methods, &self.paths].iter().all(|list| list.is_empty())
    }
}

/// An error of an edit, after which the file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    #[error("there is no place for a config: neither --config nor HOME is set")]
    NoPlace,
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is not valid TOML, so nothing is written into it: {why}")]
    Toml { path: PathBuf, why: String },
    #[error("the config would be wrong then, so nothing is written:\n{0}")]
    Wrong(Mistakes),
}

/// Makes the config where there is none. Tells which file it is, and whether it was made.
///
/// # Errors
/// When it can't be written.
pub fn start(given: &CliPaths, env: &ConfigEnvironment, text: &str) -> Result<(PathBuf, bool), EditError> {
    let named = named(given, env)?;
    let fail = |source| EditError::Io { path: named.clone(), source };
    make_folder(&named).map_err(fail)?;
    let mut is_new = false;
    if fs::symlink_metadata(&named).is_err() {
        disk::replace(&named, text.as_bytes(), Rights::Private).map_err(fail)?;
        is_new = true;
    }
    Ok((named, is_new))
}

/// Whether [`bind`] would write it: what would be wrong is told before anything else is asked for.
///
/// # Errors
/// As [`bind`].
pub fn check(given: &CliPaths, env: &ConfigEnvironment, key: &KeyName, binding: &Binding) -> Result<(), EditError> {
    let named = named(given, env)?;
    edited(&named, given, env, |document| binding.write(document, key)).map(drop)
}

/// Writes `binding` for `key`, once the file with it reads without a mistake. Tells which file it is.
///
/// # Errors
/// When the file can't be read or written, or would be wrong; then it is as it was.
pub fn bind(given: &CliPaths, env: &ConfigEnvironment, key: &KeyName, binding: &Binding) -> Result<PathBuf, EditError> {
    edit(given, env, |document| binding.write(document, key))
}

/// Takes `[key.NAME]` out, where it is there. Whether it was.
///
/// # Errors
/// As [`bind`].
pub fn unbind(given: &CliPaths, env: &ConfigEnvironment, key: &KeyName) -> Result<bool, EditError> {
    let mut found = false;
    if is_there(given, env) {
        edit(given, env, |document| {
            found = remove(document, key);
            Ok(())
        })?;
    }
    Ok(found)
}

/// Whether [`unbind`] would do it: asked before what can't be had back is done.
///
/// # Errors
/// As [`bind`].
pub fn check_unbind(given: &CliPaths, env: &ConfigEnvironment, key: &KeyName) -> Result<(), EditError> {
    if !is_there(given, env) {
        return Ok(());
    }
    let taken_out = |document: &mut DocumentMut| {
        remove(document, key);
        Ok(())
    };
    edited(&named(given, env)?, given, env, taken_out).map(drop)
}

fn is_there(given: &CliPaths, env: &ConfigEnvironment) -> bool {
    settings::config_path(given, env).is_some_and(|(path, _)| path.exists())
}

fn remove(document: &mut DocumentMut, key: &KeyName) -> bool {
    let keys = document.get_mut("key").and_then(Item::as_table_like_mut);
    keys.is_some_and(|keys| keys.remove(key.as_str()).is_some())
}

impl Binding {
    /// Into a table of any kind: `[key.tool]`, dotted, or `{ … }` on one line.
    fn write(&self, document: &mut DocumentMut, key: &KeyName) -> Result<(), NoTable> {
        let keys = document.entry("key").or_insert(Item::Table(implicit()));
        let empty = if keys.is_value() { value(InlineTable::new()) } else { Item::Table(Table::new()) };
        let keys = keys.as_table_like_mut().ok_or(NoTable)?;
        if !keys.contains_key(key.as_str()) {
            keys.insert(key.as_str(), empty);
        }
        let table = keys.get_mut(key.as_str()).and_then(Item::as_table_like_mut).ok_or(NoTable)?;
        let lists =
            [("hosts", &self.hosts), ("methods", &self.methods), ("paths", &self.paths), ("where", &self.places)];
        if let Some(source) = &self.source {
            table.insert("source", value(source));
        }
        for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            table.insert(name, value(list.iter().collect::<Array>()));
        }
        if let Some(placeholder) = &self.placeholder {
            table.insert("placeholder", value(placeholder));
        }
        Ok(())
    }
}

/// What stands where a table belongs is none.
struct NoTable;

fn implicit() -> Table {
    let mut table = Table::new();
    table.set_implicit(true);
    table
}

fn edit(
    given: &CliPaths,
    env: &ConfigEnvironment,
    change: impl FnOnce(&mut DocumentMut) -> Result<(), NoTable>,
) -> Result<PathBuf, EditError> {
    let named = named(given, env)?;
    let fail = |source| EditError::Io { path: named.clone(), source };
    make_folder(&named).map_err(fail)?;
    let path = without_links(&named).map_err(fail)?;
    // two who change it at once both find their change; in the state's folder, which is ours alone
    let lock = settings::state_path(given, env, &mut Vec::new()).join("config.lock");
    let _turn = disk::turn(&lock).map_err(|source| EditError::Io { path: lock, source })?;
    if let Some(text) = edited(&named, given, env, change)? {
        let found = fs::metadata(&path).ok();
        let rights = found.as_ref().map_or(Rights::Private, Rights::Of);
        disk::replace(&path, text.as_bytes(), rights).map_err(fail)?;
    }
    Ok(named)
}

fn named(given: &CliPaths, env: &ConfigEnvironment) -> Result<PathBuf, EditError> {
    settings::config_path(given, env).map(|(path, _)| path).ok_or(EditError::NoPlace)
}

/// The text with the change in it, where that differs and reads without a mistake.
fn edited(
    path: &Path,
    given: &CliPaths,
    env: &ConfigEnvironment,
    change: impl FnOnce(&mut DocumentMut) -> Result<(), NoTable>,
) -> Result<Option<String>, EditError> {
    let toml = |why: String| EditError::Toml { path: path.into(), why };
    let before = match disk::read_text(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        Err(source) => return Err(EditError::Io { path: path.into(), source }),
    };
    let mut document: DocumentMut = before.parse().map_err(|e: toml_edit::TomlError| toml(e.to_string()))?;
    // comments with nothing behind them would be put behind all that comes
    let comments = document.trailing().as_str().unwrap_or_default().to_owned();
    document.set_trailing("");
    let tables = document.to_string();
    change(&mut document).map_err(|NoTable| toml("`key` is no table of tables".into()))?;
    let changed = document.to_string();
    let after = match changed.strip_prefix(&tables) {
        Some(added) if !added.is_empty() && !comments.trim().is_empty() => {
            format!("{tables}{}\n\n{}", comments.trim_end(), added.trim_start())
        }
        _ => changed + &comments,
    };
    if after == before {
        return Ok(None);
    }
    Settings::trial(path, &after, given, env).map_err(EditError::Wrong)?;
    Ok(Some(after))
}

/// The folder of `path`. That something else has its name is what is wrong then, and not that it is there.
fn make_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(disk::folder(path)).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => io::ErrorKind::NotADirectory.into(),
        _ => e,
    })
}

/// The file behind a link, which is to stay one: among dotfiles the config is kept elsewhere.
fn without_links(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(e) if e.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err() => Ok(path.into()),
        followed => followed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};

    fn mode(dir: &Path) -> u32 {
        fs::metadata(dir.join("locum.toml")).unwrap().permissions().mode() & 0o777
    }

    fn given(dir: &Path) -> CliPaths {
        let state = dir.join("state");
        fs::DirBuilder::new().mode(0o700).create(&state).unwrap();
        CliPaths { config: Some(dir.join("locum.toml")), state: Some(state) }
    }

    #[test]
    fn a_binding_is_written_and_the_rest_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (given, env) = (given(dir.path()), ConfigEnvironment::default());
        let text = "# mine\n[proxy]\negress = \"listed\"  # tight\n";
        fs::write(dir.path().join("locum.toml"), text).unwrap();
        fs::set_permissions(dir.path().join("locum.toml"), fs::Permissions::from_mode(0o640)).unwrap();
        let binding =
            Binding { hosts: vec!["api.tool.example".into()], places: vec!["header".into()], ..Binding::default() };
        bind(&given, &env, &"tool".parse().unwrap(), &binding).unwrap();
        assert_eq!(mode(dir.path()), 0o640, "it stays as it was");
        let written = fs::read_to_string(dir.path().join("locum.toml")).unwrap();
        assert_eq!(written, format!("{text}\n[key.tool]\nhosts = [\"api.tool.example\"]\nwhere = [\"header\"]\n"));
        assert!(unbind(&given, &env, &"tool".parse().unwrap()).unwrap());
        assert_eq!(fs::read_to_string(dir.path().join("locum.toml")).unwrap(), text);
        assert!(!unbind(&given, &env, &"tool".parse().unwrap()).unwrap());
    }

    #[test]
    fn comments_stay_before_what_is_added() {
        let dir = tempfile::tempdir().unwrap();
        let (given, env) = (given(dir.path()), ConfigEnvironment::default());
        let binding = Binding { hosts: vec!["api.tool.example".into()], ..Binding::default() };
        let added = "[key.tool]\nhosts = [\"api.tool.example\"]\n";
        let other = "[proxy]\negress = \"listed\"\n\n# [key.other]\n";
        for (before, after) in
            [("", added.to_owned()), ("# mine", format!("# mine\n\n{added}")), (other, format!("{other}\n{added}"))]
        {
            fs::write(dir.path().join("locum.toml"), before).unwrap();
            assert!(!unbind(&given, &env, &"tool".parse().unwrap()).unwrap());
            assert_eq!(fs::read_to_string(dir.path().join("locum.toml")).unwrap(), before);
            bind(&given, &env, &"tool".parse().unwrap(), &binding).unwrap();
            assert_eq!(fs::read_to_string(dir.path().join("locum.toml")).unwrap(), after);
        }
    }

    /// It tells where which keys go, which is nobody else's business unless the user says so.
    #[test]
    fn a_new_config_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let binding = Binding { hosts: vec!["api.tool.example".into()], ..Binding::default() };
        bind(&given(dir.path()), &ConfigEnvironment::default(), &"tool".parse().unwrap(), &binding).unwrap();
        assert_eq!(mode(dir.path()), 0o600);
    }

    #[test]
    fn what_would_be_wrong_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let (given, env) = (given(dir.path()), ConfigEnvironment::default());
        let binding = Binding { hosts: vec!["*.com".into()], ..Binding::default() };
        let wrong = bind(&given, &env, &"tool".parse().unwrap(), &binding);
        assert!(matches!(wrong, Err(EditError::Wrong(_))), "{wrong:?}");
        assert!(check(&given, &env, &"tool".parse().unwrap(), &binding).is_err());
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["state"], "no copy is left behind");
    }
}
