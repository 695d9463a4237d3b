//! Completions: the script for a shell, and the answers that it asks for at each TAB. The names in them come from the config,
//! the catalog and the state; no store is opened, so nobody is asked for a password while they type.

use crate::app::{self, KeyAges};
use crate::config::keys::KeySetting;
use crate::config::settings::{CliPaths, ConfigEnvironment, Settings};
use crate::name::{AgentName, KeyName};
use crate::place::PLACE_FORMS;
use clap::{Arg, Command};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::Shells;
use clap_complete::{CompleteEnv, Shell};
use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Set by a shell's script to the shell's name. `COMPLETE`, which others use, may stand in an environment for other reasons.
const ASKED_BY: &str = "LOCUM_COMPLETE";

/// Writes the script for a shell, which calls this very program by the name that it was called by.
///
/// # Errors
/// When it can't be written.
pub(super) fn script(shell: Shell, command: &Command, out: &mut impl Write) -> io::Result<()> {
    let name = shell.to_string();
    let shells = Shells::builtins();
    let writer = shells.completer(&name).ok_or_else(|| io::Error::other(format!("{name} has no completions")))?;
    let called = PathBuf::from(env::args_os().next().unwrap_or_default());
    // one that is found by its name is found so later on, too
    let program = if called.components().count() > 1 { env::current_dir()?.join(called) } else { called };
    let locum = command.get_name();
    writer.write_registration(ASKED_BY, locum, locum, &program.to_string_lossy(), out)
}

/// Answers a shell's script, where that is what has started this process.
///
/// # Errors
/// When the shell is none that is known, or the answer can't be written.
pub(super) fn answer(command: fn() -> Command) -> clap::error::Result<bool> {
    let built = || {
        let mut command = command();
        // with --help and --version, which would stay the only options that are not hidden
        command.build();
        with_names(command)
    };
    let asked = CompleteEnv::with_factory(built).var(ASKED_BY);
    asked.try_complete(env::args_os(), env::current_dir().ok().as_deref())
}

/// Which keys a command may be about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyChoice {
    /// Those that the catalog or the config knows.
    Known,
    /// Those that may have a value.
    Usable,
    /// Those that a store may hold, or that have a table.
    Kept,
}

/// The command with the names that its arguments, and those of the commands below it, may take. What is hidden is only offered
/// where nothing else fits: where a name is to come, one that is the only one should stand there without a choice.
fn with_names(command: Command) -> Command {
    let choice = match command.get_name() {
        "set" | "configure" => KeyChoice::Known,
        "rotate" | "remove" => KeyChoice::Kept,
        _ => KeyChoice::Usable,
    };
    command
        .mut_args(|argument| {
            let is_option = !argument.is_positional();
            match candidates(&argument, choice) {
                Some(names) => argument.add(names).hide(is_option),
                None => argument.hide(is_option),
            }
        })
        .mut_subcommands(with_names)
}

fn candidates(argument: &Arg, choice: KeyChoice) -> Option<ArgValueCandidates> {
    let value = argument.get_value_parser().type_id();
    if value == TypeId::of::<KeyName>() {
        return Some(ArgValueCandidates::new(move || keys(choice)));
    }
    if value == TypeId::of::<AgentName>() {
        return Some(ArgValueCandidates::new(agents));
    }
    if value != TypeId::of::<String>() {
        return None;
    }
    match argument.get_long()? {
        "key" => Some(ArgValueCandidates::new(move || keys(choice))),
        "agent" => Some(ArgValueCandidates::new(agents)),
        "host" => Some(ArgValueCandidates::new(hosts)),
        "where" => Some(ArgValueCandidates::new(|| PLACE_FORMS.map(CompletionCandidate::new).into())),
        _ => None,
    }
}

fn keys(choice: KeyChoice) -> Vec<CompletionCandidate> {
    let settings = settings();
    let kept = KeyAges::read(&settings.state);
    let is_set = |key: &KeySetting| key.variables().iter().any(|variable| env::var_os(variable).is_some());
    let is_meant = |key: &KeySetting| match choice {
        KeyChoice::Known => true,
        KeyChoice::Usable => key.at.is_some() || is_set(key),
        KeyChoice::Kept => key.at.is_some(),
    };
    let title = |key: &KeySetting| key.provider.as_ref().map(|provider| provider.title.clone());
    let mut names: BTreeMap<String, Option<String>> = kept.names().map(|name| (name.to_owned(), None)).collect();
    for key in &settings.keys {
        if is_meant(key) || names.contains_key(key.name.as_str()) {
            names.insert(key.name.to_string(), title(key));
        }
    }
    let candidate =
        |(name, title): (String, Option<String>)| CompletionCandidate::new(name).help(title.map(Into::into));
    names.into_iter().map(candidate).collect()
}

fn agents() -> Vec<CompletionCandidate> {
    let settings = settings();
    let mut names: Vec<AgentName> = settings.agents.iter().map(|agent| agent.name.clone()).collect();
    // tokens that can't be read are told of by the command itself
    names.extend(app::list_tokens(&settings).into_iter().flat_map(|list| list.tokens).map(|token| token.agent));
    distinct(names.iter().map(ToString::to_string))
}

fn hosts() -> Vec<CompletionCandidate> {
    let settings = settings();
    let of_key = |key: &KeySetting| {
        let own = key.rule.hosts.iter().map(ToString::to_string);
        own.chain(key.missing_host().map(ToString::to_string)).collect::<Vec<_>>()
    };
    distinct(settings.keys.iter().flat_map(of_key))
}

fn distinct(names: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    let names: BTreeSet<String> = names.collect();
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// The settings that the line which is being typed would have. A mistake in them is told once it is run.
fn settings() -> Settings {
    let words: Vec<OsString> = env::args_os().skip_while(|word| word != "--").skip(1).collect();
    let paths = CliPaths { config: named("--config", &words), state: named("--state", &words) };
    Settings::read(&paths, &ConfigEnvironment::of_process()).0
}

/// What an option of the line names. bash hands on `--config=FILE` as three words.
fn named(option: &str, words: &[OsString]) -> Option<PathBuf> {
    let mut words = words.iter().filter(|word| *word != "=");
    let rest = words.find_map(|word| word.to_str()?.strip_prefix(option))?;
    match rest.strip_prefix('=') {
        Some(path) => Some(PathBuf::from(path)),
        None => words.next().map(Path::new).map(Path::to_path_buf),
    }
}
