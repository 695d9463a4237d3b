//! `locum key migrate` and `locum key import`: keys that lie about in files or variables go into a store.

use super::administration::Administration;
use super::secret;
use super::stores::{self, KeyStores};
use super::term::CliError;
use crate::config::key_scan::{self, FoundKey, KeyPattern};
use crate::config::keys::KeySetting;
use crate::config::settings::Settings;
use crate::disk::{self, Rights};
use crate::memory::{Plaintext, SealedEnvironment};
use crate::name::KeyName;
use crate::secrets::{SourceSpec, Store, entry_name};
use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A larger file is no file of settings.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// A file as it was read, and what is to be changed in it.
struct ScannedFile {
    /// As it was named, for messages.
    named: PathBuf,
    /// Without links.
    path: PathBuf,
    found: Metadata,
    text: String,
    spots: Vec<FoundKey>,
}

/// A key that was found, and where first.
struct KeyMove<'a> {
    setting: &'a KeySetting,
    value: &'a [u8],
    first: String,
}

/// Moves keys out of `files`. All that could go wrong is looked at before anything is changed.
pub fn migrate(
    files: &[PathBuf],
    dry_run: bool,
    settings: &Settings,
    stores: &KeyStores,
    admin: &mut Administration,
) -> anyhow::Result<ExitCode> {
    let wanted = patterns(settings);
    let mut documents: Vec<ScannedFile> =
        files.iter().map(|path| ScannedFile::read(path, &wanted)).collect::<Result<_, _>>()?;
    for document in &mut documents {
        let ScannedFile { spots, text, .. } = document;
        spots.retain(|spot| !text.get(spot.at.clone()).is_some_and(|value| is_shown(value.as_bytes(), settings)));
    }
    let moving = gather(&documents, settings)?;
    if moving.is_empty() {
        let next =
            "it is known by its name, such as OPENAI_API_KEY: 'locum key set NAME --host HOST' makes others known";
        return Err(CliError::failed("no key that locum knows is in there, so nothing has been changed", next));
    }
    let mut missing = Vec::new();
    for key in moving.values() {
        let store = stores.of(key.setting)?;
        if !is_stored(key, stores, &*store, "take that one out of the file")? {
            missing.push((key, store));
        }
    }
    for (key, store) in missing {
        let name = &key.setting.name;
        if dry_run {
            println!("{name} would go into the {}", store.describe());
            continue;
        }
        let note = format!("from {} into the {}", key.first, store.describe());
        admin.key(name, Some(note), stores::put(&*store, name, key.value))?;
        admin.renewed(name);
        println!("{name} is in the {}", store.describe());
    }
    for document in &documents {
        let note = format!("placeholders in {}", document.path.display());
        admin.other("file", Some(note), document.rewrite(settings, dry_run))?;
    }
    if !dry_run {
        println!("backups and version control may hold the old text: 'locum key rotate' makes that worthless");
    }
    Ok(ExitCode::SUCCESS)
}

fn patterns(settings: &Settings) -> Vec<KeyPattern> {
    settings.keys.iter().map(|k| KeyPattern { names: k.variables(), prefixes: k.prefixes().to_vec() }).collect()
}

/// Whether keys that locum knows lie open in a file, as far as it can be read.
pub fn has_keys(file: &Path, settings: &Settings) -> bool {
    let Ok(document) = ScannedFile::read(file, &patterns(settings)) else { return false };
    let value = |spot: &FoundKey| document.text.get(spot.at.clone()).unwrap_or_default();
    document.spots.iter().any(|spot| !is_shown(value(spot).as_bytes(), settings))
}

/// One value for each key, or which two places disagree.
fn gather<'a>(
    sources: &'a [ScannedFile],
    settings: &'a Settings,
) -> anyhow::Result<BTreeMap<&'a KeyName, KeyMove<'a>>> {
    let mut moving: BTreeMap<&KeyName, KeyMove> = BTreeMap::new();
    for (source, spot) in sources.iter().flat_map(|s| s.in_force().map(move |spot| (s, spot))) {
        let (Some(setting), Some(value)) = (settings.keys.get(spot.of), source.text.get(spot.at.clone())) else {
            continue;
        };
        let value = value.as_bytes();
        let here = format!("{}:{}", source.named.display(), spot.line);
        match moving.get(&setting.name) {
            Some(other) if other.value != value => {
                let what = format!("{} and {here} have different values for '{}'", other.first, setting.name);
                return Err(CliError::failed(what, "nothing has been changed; take one of them out"));
            }
            Some(_) => {}
            None => drop(moving.insert(&setting.name, KeyMove { setting, value, first: here })),
        }
    }
    Ok(moving)
}

/// Whether `store` has this very value already; an error where it, or one that could count before it, has another.
fn is_stored(key: &KeyMove, stores: &KeyStores, store: &dyn Store, undo: &str) -> anyhow::Result<bool> {
    let name = &key.setting.name;
    let value_in = |store: &dyn Store| store.get(&entry_name(name)).map_err(|e| stores::unavailable(&e));
    let others = match key.setting.source {
        SourceSpec::Auto => stores::holders(name, stores.backends)?,
        _ => Vec::new(),
    };
    for store in others.iter().map(|other| &**other).chain([store]) {
        if value_in(store)?.is_some_and(|there| there.expose() != key.value) {
            let what = format!("{} has another value for '{name}' than the {}", key.first, store.describe());
            return Err(CliError::failed(
                what,
                format!("nothing has been changed; {undo}, or 'locum key remove {name}'"),
            ));
        }
    }
    Ok(value_in(store)?.is_some())
}

impl ScannedFile {
    fn read(named: &Path, wanted: &[KeyPattern]) -> anyhow::Result<Self> {
        let failed = |why: String| CliError::failed(format!("{}: {why}", named.display()), "nothing has been changed");
        let path = named.canonicalize().map_err(|e| failed(e.to_string()))?;
        let mut file = File::open(&path).map_err(|e| failed(e.to_string()))?;
        let found = file.metadata().map_err(|e| failed(e.to_string()))?;
        if !found.is_file() || found.len() > MAX_FILE {
            return Err(failed("it is no file of settings".into()));
        }
        if found.nlink() > 1 {
            return Err(failed("it has another name (a hard link), under which the keys would stay".into()));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(found.len()).unwrap_or_default() + 1);
        file.read_to_end(&mut bytes).map_err(|e| failed(e.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| failed("it is not UTF-8".into()))?;
        let spots = key_scan::find(&text, wanted);
        Ok(Self { named: named.into(), path, found, text, spots })
    }

    fn in_force(&self) -> impl Iterator<Item = &FoundKey> {
        self.spots.iter().filter(|spot| !spot.in_comment)
    }

    /// Leaves placeholders where keys were. All else stays byte for byte, and mode and owner as they were.
    fn rewrite(&self, settings: &Settings, dry_run: bool) -> anyhow::Result<()> {
        let mut parts = Vec::new();
        for spot in &self.spots {
            let Some(setting) = settings.keys.get(spot.of) else { continue };
            if spot.in_comment {
                println!(
                    "{}:{}: what may be a key of '{}' is in a comment: take it out by hand",
                    self.named.display(),
                    spot.line,
                    setting.name
                );
                continue;
            }
            let shown = setting.rule.shown_placeholder();
            println!(
                "{}:{}: {shown}{}",
                self.named.display(),
                spot.line,
                if dry_run { " would stand there" } else { "" }
            );
            parts.push((spot.at.clone(), self.quoted(spot, shown)));
        }
        if dry_run || parts.is_empty() {
            return Ok(());
        }
        let done = self.replace(&key_scan::replaced(&self.text, &parts));
        done.map_err(|e| {
            let what = format!("{} can't be replaced: {e}", self.named.display());
            CliError::failed(what, "it is as it was, and its keys are in the store; run the same command again")
        })
    }

    /// A shell that reads `NAME=<<x_key>>` takes it for a redirection. In an entry of a YAML list, as in a compose file,
    /// quotes would be a part of the value.
    fn quoted(&self, spot: &FoundKey, placeholder: String) -> String {
        let before = self.text.get(..spot.at.start).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default().trim_start();
        let for_a_shell = before.ends_with('=') && !line.starts_with("- ");
        if for_a_shell && !spot.quoted { format!("\"{placeholder}\"") } else { placeholder }
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        let same = |m: &Metadata| (m.dev(), m.ino(), m.len(), m.mtime(), m.mtime_nsec());
        disk::replace_if(&self.path, text.as_bytes(), Rights::Of(&self.found), || {
            let now = fs::metadata(&self.path)?;
            if same(&now) == same(&self.found) { Ok(()) } else { Err(io::Error::other("it was changed meanwhile")) }
        })
    }
}

/// Stores one key that came by the environment.
pub fn import_one(
    name: &KeyName,
    environment: &SealedEnvironment,
    settings: &Settings,
    stores: &KeyStores,
    admin: &mut Administration,
) -> anyhow::Result<ExitCode> {
    let only =
        Settings { keys: settings.keys.iter().filter(|key| key.name == *name).cloned().collect(), ..settings.clone() };
    import(environment, &only, stores, admin)
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

/// Whether this is what agents are shown in place of a key: one that looks like a key is none.
fn is_shown(value: &[u8], settings: &Settings) -> bool {
    settings.keys.iter().any(|key| key.rule.shown_placeholder().as_bytes() == value)
}
