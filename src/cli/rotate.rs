//! `locum key rotate`: new values in place of old ones: asked for, on standard input, or from where they already are.

use super::administration::Administration;
use super::term::{CliError, WRONG_USAGE};
use super::{lookup, secret, stores};
use crate::config::keys::KeySetting;
use crate::config::settings::Settings;
use crate::disk;
use crate::memory::{Plaintext, SealedEnvironment};
use crate::name::KeyName;
use crate::secrets::{SecretBackends, Store, entry_name, masked};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;

#[derive(Debug, clap::Args)]
pub struct RotateArgs {
    /// The keys, as 'locum key list' shows them
    #[arg(required_unless_present = "all", value_name = "NAME")]
    names: Vec<KeyName>,
    /// Each key that a store of this machine holds
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// From standard input: the value of the one key, or of several each as NAME=VALUE on a line, or as one JSON object
    #[arg(long)]
    stdin: bool,
    /// The new values from the variables of this command (env), or from a file of NAME=VALUE lines or JSON
    #[arg(long, value_name = "env|FILE", conflicts_with = "stdin")]
    from: Option<RotationSource>,
}

/// Where new values are already.
#[derive(Debug, Clone, PartialEq, Eq)]
enum RotationSource {
    Env,
    File(PathBuf),
}

impl FromStr for RotationSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("it names no file".into()),
            "env" => Ok(Self::Env),
            path => Ok(Self::File(path.strip_prefix("file:").unwrap_or(path).into())),
        }
    }
}

/// A key that gets a new value, and where it is kept.
struct RotationTarget<'s> {
    name: &'s KeyName,
    setting: Option<&'s KeySetting>,
    store: Arc<dyn Store>,
}

/// Gives keys new values. All that could go wrong is looked at before the first is changed.
pub fn rotate(
    args: &RotateArgs,
    settings: &Settings,
    backends: &SecretBackends,
    environment: &SealedEnvironment,
    admin: &mut Administration,
) -> anyhow::Result<ExitCode> {
    let targets = targets(&args.names, settings, backends)?;
    let mut given = match &args.from {
        Some(RotationSource::Env) => Some(of_environment(&targets, environment)),
        Some(RotationSource::File(path)) => Some(of_file(path)?),
        // one key's value comes as it is
        None if args.stdin && args.names.len() != 1 => Some(parsed(&secret::text_of(&mut std::io::stdin().lock())?)?),
        None => None,
    };
    if let Some(given) = &mut given {
        check(given, &targets, args.all)?;
    }
    let is_asked = given.is_none() && !args.stdin;
    if is_asked && args.all && !std::io::stdin().is_terminal() {
        let next = "give NAME=VALUE lines or JSON with --stdin, or --from env or a file";
        return Err(CliError::failed("there is no terminal to ask on", next));
    }
    let mut changed = 0;
    for target in targets {
        let value = match &mut given {
            Some(given) => match take(given, &target) {
                Some(value) => Some(secret::checked(value)?),
                None => continue,
            },
            None if args.stdin => Some(secret::from_stdin()?),
            None => asked(&target, args.all)?,
        };
        let Some(value) = value else {
            println!("{} stays as it is", target.name);
            continue;
        };
        changed += usize::from(replace(&target, &value, environment, admin)?);
    }
    match changed {
        0 => println!("nothing has been changed"),
        _ => println!("other machines with a store of their own still have the old values"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts a new value in place of the old one. Whether it was another.
fn replace(
    target: &RotationTarget<'_>,
    value: &Plaintext,
    environment: &SealedEnvironment,
    admin: &mut Administration,
) -> anyhow::Result<bool> {
    let RotationTarget { name, setting, store } = target;
    let before = store.get(&entry_name(name)).map_err(|e| stores::unavailable(&e))?;
    if before.is_some_and(|before| before.expose() == value.expose()) {
        println!("{name} has this value already in the {}", store.describe());
        secret::warn_of_oddities(name, value);
        stores::tell_what_counts_first(*setting, environment);
        return Ok(false);
    }
    let put = stores::put(&**store, name, value.expose());
    admin.key(name, Some(format!("in the {}", store.describe())), put)?;
    admin.renewed(name);
    println!("{name} has a new value in the {}, {}", store.describe(), masked(value.expose()));
    secret::warn_of_oddities(name, value);
    match setting.and_then(KeySetting::revoke_url) {
        Some(url) => println!("  revoke the old one at {url}"),
        None => println!("  revoke the old one where it was made"),
    }
    if let Some(url) = setting.and_then(|key| key.provider.as_ref()?.usage.as_deref()) {
        println!("  what it was used for is shown at {url}");
    }
    stores::tell_what_counts_first(*setting, environment);
    Ok(true)
}

/// Asks for a new value; `None` where a person leaves one of many as it is.
fn asked(target: &RotationTarget<'_>, one_of_all: bool) -> anyhow::Result<Option<Plaintext>> {
    let otherwise = secret::BY_STDIN;
    let RotationTarget { name, .. } = target;
    if one_of_all {
        return secret::prompt_or_nothing(&format!("new value of '{name}', or nothing to leave it"), otherwise);
    }
    secret::prompt(&format!("new value of '{name}'"), otherwise).map(Some)
}

/// By the names of keys or of variables.
type GivenValues = BTreeMap<String, Plaintext>;

fn of_environment(targets: &[RotationTarget<'_>], environment: &SealedEnvironment) -> GivenValues {
    let set = |variable: String| Some((variable.clone(), environment.get(&variable).ok()??));
    let variables = targets.iter().flat_map(|target| labels(target).into_iter().skip(1));
    variables.filter_map(set).filter(|(_, value)| !KeyName::is_placeholder(value.expose())).collect()
}

fn of_file(path: &Path) -> anyhow::Result<GivenValues> {
    let mut file = disk::open_regular(path).map_err(|e| {
        let next = "nothing has been changed; what is in no file can be given with --stdin";
        CliError::failed(format!("{}: {e}", path.display()), next)
    })?;
    parsed(&secret::text_of(&mut file)?)
}

/// Lines `NAME=VALUE`, as of a file `.env`, or one JSON object.
fn parsed(text: &Plaintext) -> anyhow::Result<GivenValues> {
    let wrong = |what: String| {
        let next = "write NAME=VALUE on a line for each key, or {\"NAME\": \"VALUE\"}; nothing has been changed";
        CliError { what, next: next.into(), code: WRONG_USAGE }
    };
    let text = std::str::from_utf8(text.expose()).map_err(|_| wrong("the values are no UTF-8".into()))?;
    let mut given = GivenValues::new();
    if text.trim_start().starts_with('{') {
        let JsonPairs(pairs) =
            serde_json::from_str(text).map_err(|e| wrong(format!("the JSON can't be read at line {}", e.line())))?;
        for (name, value) in pairs {
            let twice = wrong(format!("the JSON gives '{}' a second time", name.escape_debug()));
            if given.insert(name, value).is_some() {
                return Err(twice.into());
            }
        }
        return Ok(given);
    }
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=').ok_or_else(|| wrong(format!("line {number} is no NAME=VALUE")))?;
        let value = value.trim();
        let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        if quoted.is_none() && value.starts_with(['"', '\'']) {
            return Err(wrong(format!("line {number}: something follows the closing quote")).into());
        }
        let value = Plaintext::new(quoted.unwrap_or(value).as_bytes().to_vec());
        if given.insert(name.trim().to_owned(), value).is_some() {
            return Err(wrong(format!("line {number} gives '{}' a second time", name.trim().escape_debug())).into());
        }
    }
    Ok(given)
}

/// The members of a JSON object of texts, each as often as it is there: a map would keep the last.
struct JsonPairs(Vec<(String, Plaintext)>);

impl<'de> Deserialize<'de> for JsonPairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = JsonPairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<JsonPairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some((name, value)) = members.next_entry::<String, String>()? {
                    pairs.push((name, Plaintext::new(value.into_bytes())));
                }
                Ok(JsonPairs(pairs))
            }
        }
        from.deserialize_map(Members)
    }
}

/// What a value may be given under: the key's name, and its variables.
fn labels(target: &RotationTarget<'_>) -> Vec<String> {
    let variables = target.setting.map(KeySetting::variables).unwrap_or_default();
    [target.name.to_string()].into_iter().chain(variables).collect()
}

fn take(given: &mut GivenValues, target: &RotationTarget<'_>) -> Option<Plaintext> {
    labels(target).iter().find_map(|label| given.remove(label))
}

/// Whether each value is of a key that is to be changed, and each key that is named gets one.
fn check(given: &GivenValues, targets: &[RotationTarget<'_>], all: bool) -> anyhow::Result<()> {
    let known = |label: &String| targets.iter().any(|target| labels(target).contains(label));
    if let Some(stranger) = given.keys().find(|label| !known(label)) {
        let what = format!("'{}' is none of the keys that are to be changed", stranger.escape_debug());
        return Err(CliError::failed(what, "nothing has been changed; 'locum key list' shows their names"));
    }
    let twice =
        |target: &&RotationTarget<'_>| labels(target).iter().filter(|label| given.contains_key(*label)).count() > 1;
    if let Some(target) = targets.iter().find(twice) {
        let what = format!("'{}' is given twice, by its name and by its variable", target.name);
        return Err(CliError::failed(what, "nothing has been changed; give it once"));
    }
    let has_none = |target: &&RotationTarget<'_>| !labels(target).iter().any(|label| given.contains_key(label));
    if let Some(target) = targets.iter().find(has_none).filter(|_| !all) {
        let what = format!("there is no new value of '{}'", target.name);
        return Err(CliError::failed(what, "nothing has been changed; give one for each key that is named"));
    }
    if given.is_empty() {
        return Err(CliError::failed(
            "there is no new value of any key",
            "nothing has been changed; give one for a key at least",
        ));
    }
    given.values().try_for_each(secret::check)
}

/// Those that are named, each of which has to be in a store; else all that are.
fn targets<'s>(
    names: &'s [KeyName],
    settings: &'s Settings,
    backends: &SecretBackends,
) -> anyhow::Result<Vec<RotationTarget<'s>>> {
    let mut targets = Vec::new();
    if names.is_empty() {
        for setting in settings.keys.iter().filter(|k| stores::is_kept(&k.source)) {
            // one whose store this machine hasn't keeps no other from its new value
            if let Err(e) = stores::named(setting, backends) {
                eprintln!("note: {} is left as it is: {e}", setting.name);
                continue;
            }
            let store = stores::kept_in(&setting.name, Some(setting), backends)?;
            targets.extend(store.map(|store| RotationTarget { name: &setting.name, setting: Some(setting), store }));
        }
        if targets.is_empty() {
            return Err(CliError::failed("no store of this machine holds a key", "'locum key set NAME' stores one"));
        }
        return Ok(targets);
    }
    for name in names {
        let setting = lookup::key_of_name(settings, name);
        let store = stores::kept_in(name, setting, backends)?.ok_or_else(|| {
            let next = format!("'locum key set {name}' stores it; one from a variable or a file is changed there");
            CliError::failed(format!("no store that counts for it holds '{name}'"), next)
        })?;
        targets.push(RotationTarget { name, setting, store });
    }
    Ok(targets)
}
