//! `locum key`: puts keys into a store of this machine and their bindings into the config; a value is never an argument.

use super::administration::Administration;
use super::check::strange_host;
use super::context::CliContext;
use super::key_rows::KeyRow;
use super::key_strength::guessable;
use super::progress::{ASKING_THE_STORES, ProgressLine};
use super::rotate::{self, RotateArgs};
use super::stores::{self, KeyStores, StoreKind};
use super::term::{CliError, WRONG_USAGE};
use super::{lookup, migrate, providers, secret, table};
use crate::app;
use crate::audit::read::query::ReadProgress;
use crate::config::edit::{self, Binding, EditError};
use crate::config::keys::KeySetting;
use crate::config::settings::{ConfigEnvironment as Variables, Settings};
use crate::memory::{Plaintext, SealedEnvironment};
use crate::name::KeyName;
use crate::record::Event;
use crate::secrets::{SecretBackends, entry_name, masked};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Debug, clap::Args)]
pub struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeyCommand {
    /// Store a key's value, asked for without echo, and write where it may go into the config
    Set(SetArgs),
    /// Give keys new values; a running proxy uses them within a second
    Rotate(RotateArgs),
    /// The keys that may be used, masked
    List {
        /// An array of objects
        #[arg(long)]
        json: bool,
    },
    /// The providers that locum knows: hosts, variables, and the page on which a key is revoked
    Providers {
        /// An array of objects
        #[arg(long)]
        json: bool,
    },
    /// Take a key out of the stores of this machine and out of the config
    Remove {
        /// The key, as 'locum key list' shows it
        name: KeyName,
    },
    /// Move the keys in files of settings into a store, and leave placeholders
    ///
    /// In .env, profiles of shells, JSON, TOML, YAML, INI, netrc and what is like them. What may be a key and stays is listed with
    /// why, and the exit code is 1 then.
    Migrate {
        /// What to look through
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Change nothing, and show what would be changed as a diff with the values masked
        #[arg(long)]
        dry_run: bool,
        /// Put the values back where migrate put placeholders
        #[arg(long, conflicts_with_all = ["dry_run", "store"])]
        undo: bool,
        /// Where to keep them, unless their source in the config says so
        #[arg(long, value_enum)]
        store: Option<StoreKind>,
    },
    /// Put the keys that are set as variables into a store
    Import {
        /// From the variables of the providers that locum knows, and NAME_API_KEY of your own
        #[arg(long, value_enum)]
        from: ImportSource,
        /// Where to keep them, unless their source in the config says so
        #[arg(long, value_enum)]
        store: Option<StoreKind>,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct SetArgs {
    /// A provider that locum knows, such as openai, or a name of your own: its placeholder is <<NAME_key>>
    name: KeyName,
    /// The value from standard input instead of a prompt
    #[arg(long)]
    stdin: bool,
    /// Leave the value as it is, and change only where it may go
    #[arg(long, conflicts_with_all = ["stdin", "store"])]
    keep: bool,
    /// A host it may go to, as in `hosts`; may be given again
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
    /// A place in a request, as in `where`; may be given again
    #[arg(long = "where", value_name = "PLACE")]
    place: Vec<String>,
    /// A method it may go with; may be given again
    #[arg(long)]
    method: Vec<String>,
    /// A path it may go to, as in `paths`; may be given again
    #[arg(long)]
    path: Vec<String>,
    /// A look-alike that stands for it, for programs that check the shape
    #[arg(long)]
    placeholder: Option<String>,
    /// Where to keep it [default: the keyring, else the vault, else the store bound to this machine]
    #[arg(long, value_enum)]
    store: Option<StoreKind>,
    /// Whether what was typed is confirmed by its end
    #[arg(skip)]
    confirm: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ImportSource {
    /// The environment of this command
    Env,
}

/// Runs one of the commands on keys.
pub fn run(args: KeyArgs, context: &CliContext) -> anyhow::Result<ExitCode> {
    let settings = context.settings()?;
    app::make_state_dir(&settings.state).map_err(CliError::from)?;
    let environment = context.take_secrets(&settings)?;
    let backends = app::backends_with_prompt(&settings, environment.clone(), Arc::new(secret::MasterPrompt::default()));
    let mut admin = match args.command.action() {
        Some(action) => Administration::begin(&settings, &backends, Event::Key, action),
        None => Administration::nothing(),
    };
    // 'list' says how far it is, and 'migrate' too
    let is_told =
        matches!(args.command, KeyCommand::List { .. } | KeyCommand::Providers { .. } | KeyCommand::Migrate { .. });
    let _line = (!is_told).then(|| ProgressLine::of(ASKING_THE_STORES));
    let done = obey(args.command, &settings, &backends, &environment, context, &mut admin);
    admin.end(done)
}

impl KeyCommand {
    /// The action that the audit tells of, where the command changes something.
    fn action(&self) -> Option<&'static str> {
        match self {
            Self::List { .. } | Self::Providers { .. } | Self::Migrate { dry_run: true, .. } => None,
            Self::Set(_) => Some("key set"),
            Self::Rotate(_) => Some("key rotate"),
            Self::Remove { .. } => Some("key remove"),
            Self::Migrate { undo: true, .. } => Some("key migrate --undo"),
            Self::Migrate { .. } => Some("key migrate"),
            Self::Import { .. } => Some("key import"),
        }
    }
}

fn obey(
    command: KeyCommand,
    settings: &Settings,
    backends: &SecretBackends,
    environment: &SealedEnvironment,
    context: &CliContext,
    admin: &mut Administration,
) -> anyhow::Result<ExitCode> {
    match command {
        KeyCommand::Set(args) => {
            let (name, keep) = (args.name.clone(), args.keep);
            let done = admin.key(&name, None, set(args, settings, backends, environment, context))?;
            if !keep {
                admin.renewed(&name);
            }
            Ok(done)
        }
        KeyCommand::Rotate(args) => rotate::rotate(&args, settings, backends, environment, admin),
        KeyCommand::List { json } => list(settings, backends, json),
        KeyCommand::Remove { name } => {
            let done = admin.key(&name, None, remove(&name, settings, backends, context))?;
            admin.removed(&name);
            Ok(done)
        }
        KeyCommand::Providers { json } => providers::list(settings, json),
        KeyCommand::Migrate { files, undo: true, .. } => migrate::undo(&files, settings, backends, admin),
        KeyCommand::Migrate { files, dry_run, undo: false, store } => {
            let stores = KeyStores { backends, chosen: stores::choose(store, backends)? };
            migrate::migrate(&files, dry_run, settings, &stores, admin)
        }
        KeyCommand::Import { from: ImportSource::Env, store } => {
            let stores = KeyStores { backends, chosen: stores::choose(store, backends)? };
            migrate::import(environment, settings, &stores, admin)
        }
    }
}

/// Asks until what was typed is what was meant.
fn confirmed(question: &str) -> anyhow::Result<Plaintext> {
    loop {
        let value = secret::prompt(question, secret::BY_STDIN)?;
        let said = secret::ask_person(&format!("  it ends in {}: right? [Y/n] ", masked(value.expose())))?;
        if said.is_none_or(|said| said.to_ascii_lowercase().starts_with('y')) {
            return Ok(value);
        }
    }
}

/// Stores a key's value, and writes where it may go.
///
/// # Errors
/// When either can't be done; a mistake in the binding is told before anything is asked for.
pub(super) fn set(
    args: SetArgs,
    settings: &Settings,
    backends: &SecretBackends,
    environment: &SealedEnvironment,
    context: &CliContext,
) -> anyhow::Result<ExitCode> {
    let (name, variables) = (&args.name, Variables::of_process());
    let known = lookup::key_of_name(settings, name);
    if known.is_none() && args.host.is_empty() {
        let what = format!("'{name}' is no provider that locum knows, so it needs to be told where the key may go");
        return Err(CliError::failed(what, format!("locum key set {name} --host api.example.com")));
    }
    if args.keep {
        return rebind(&args, context);
    }
    if let Some(tenant) = known.and_then(KeySetting::missing_host).filter(|_| args.host.is_empty()) {
        let what = format!("'{name}' has a host for each customer, so it needs to be told which is yours");
        return Err(CliError::failed(what, format!("locum key set {name} --host {tenant}")));
    }
    let named = known.filter(|_| args.store.is_none()).map(|k| stores::named(k, backends)).transpose()?.flatten();
    let store = named.map_or_else(|| stores::choose(args.store, backends), Ok)?;
    let binding = args.binding();
    // a binding with a mistake must not cost the person the typing of the key
    if !binding.is_empty() {
        edit::check(context.paths(), &variables, name, &binding).map_err(|e| edit_failed(&e))?;
    }
    warn_of_strange_hosts(known, &binding.hosts);
    // nor must a store that can't be opened
    store.probe().map_err(|e| stores::unavailable(&e))?;
    let question = format!("value of '{name}'");
    let value = match args.stdin {
        true => secret::from_stdin()?,
        false if args.confirm => confirmed(&question)?,
        false => secret::prompt(&question, secret::BY_STDIN)?,
    };
    stores::put(&*store, name, value.expose())?;
    println!("{name} is in the {}; an agent writes {}", store.describe(), name.placeholder());
    secret::warn_of_oddities(name, &value);
    if let Some(why) = guessable(value.expose(), known.map_or(0, |k| k.secret_from(value.expose()))) {
        println!("note: it is not hidden in responses: {why}");
    }
    if !binding.is_empty() {
        let file = edit::bind(context.paths(), &variables, name, &binding)
            .map_err(|e| CliError::failed(e, "the key is stored, but not where it may go: run the same again"))?;
        println!("where it may go is in {}", file.display());
    }
    if args.store.is_none() {
        stores::tell_what_counts_first(known, environment);
    }
    println!("{TAKEN_OVER}");
    Ok(ExitCode::SUCCESS)
}

impl SetArgs {
    /// For a person who is asked for the value.
    pub fn asked(name: KeyName, host: Vec<String>) -> Self {
        let (place, method, path, placeholder, store) = Default::default();
        Self { name, stdin: false, keep: false, host, place, method, path, placeholder, store, confirm: true }
    }

    fn binding(&self) -> Binding {
        Binding {
            source: self.store.map(|kind| format!("{kind:?}").to_ascii_lowercase()),
            hosts: self.host.clone(),
            places: self.place.clone(),
            methods: self.method.clone(),
            paths: self.path.clone(),
            placeholder: self.placeholder.clone(),
        }
    }
}

/// Changes where a key may go, and nothing else of it.
fn rebind(args: &SetArgs, context: &CliContext) -> anyhow::Result<ExitCode> {
    if args.binding().is_empty() {
        let next = format!("say what is to change: locum key set {} --keep --host HOST", args.name);
        return Err(CliError { what: "--keep alone changes nothing".into(), next, code: WRONG_USAGE }.into());
    }
    let file = edit::bind(context.paths(), &Variables::of_process(), &args.name, &args.binding());
    println!("where {} may go is in {}", args.name, file.map_err(|e| edit_failed(&e))?.display());
    println!("{TAKEN_OVER}");
    Ok(ExitCode::SUCCESS)
}

const TAKEN_OVER: &str = "a service that runs already takes it over with 'locum reload'";

/// A host that isn't like those of the provider may be a company's gateway, or a slip.
fn warn_of_strange_hosts(key: Option<&KeySetting>, hosts: &[String]) {
    let hosts = hosts.iter().filter_map(|host| host.parse().ok());
    for (what, hint) in hosts.filter_map(|host| strange_host(key?, &host)) {
        eprintln!("locum: warning: {what}\n  next: {hint}");
    }
}

fn edit_failed(e: &EditError) -> anyhow::Error {
    CliError::failed(e, "nothing has been changed; mend the option, or the file by hand")
}

fn list(settings: &Settings, backends: &SecretBackends, json: bool) -> anyhow::Result<ExitCode> {
    let progress = ReadProgress::default();
    let line = (!json).then(|| ProgressLine::reading(ASKING_THE_STORES, &progress));
    let rows = KeyRow::all(settings, backends, &progress)?;
    drop(line);
    tell_of_closed_stores(backends);
    if json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        println!("no key can be used yet: set a variable such as OPENAI_API_KEY, or 'locum key set NAME'");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = vec![["KEY", "PLACEHOLDER", "VALUE", "FROM", "SINCE", "LAST USED", "HOSTS"].map(str::to_owned)];
    for row in rows {
        let (since, last_used) = (row.since_text(), row.last_used_text());
        let masked = row.masked.unwrap_or_else(|| "none".into());
        let store = row.store.unwrap_or_default();
        table.push([row.name, row.placeholder, masked, store, since, last_used, row.hosts.join(", ")]);
    }
    print!("{}", table::shown(&table));
    Ok(ExitCode::SUCCESS)
}

/// A store that can't be opened may hold more keys than there are to show.
fn tell_of_closed_stores(backends: &SecretBackends) {
    for store in backends.stores().filter(|store| store.is_there()) {
        if let Err(e) = store.list() {
            eprintln!("locum: warning: {e}, so no key in it is shown\n  next: {}", e.next);
        }
    }
}

fn remove(
    name: &KeyName,
    settings: &Settings,
    backends: &SecretBackends,
    context: &CliContext,
) -> anyhow::Result<ExitCode> {
    let (holders, variables) = (stores::holders(name, backends)?, Variables::of_process());
    // a config that can't do without it must not cost the value
    edit::check_unbind(context.paths(), &variables, name).map_err(|e| {
        CliError::failed(e, "nothing has been changed; take the key's name out of what else has it in the config")
    })?;
    for store in &holders {
        store.delete(&entry_name(name)).map_err(|e| stores::unavailable(&e))?;
        println!("{name} is no longer in the {}", store.describe());
    }
    let unbound = edit::unbind(context.paths(), &variables, name).map_err(|e| {
        let next = "no store has its value any more; take its table out of the file by hand";
        CliError::failed(e, if holders.is_empty() { "nothing has been changed; mend the file by hand" } else { next })
    })?;
    if unbound {
        println!("[key.{name}] is no longer in the config");
    }
    if holders.is_empty() && !unbound {
        let key = lookup::key_of_name(settings, name);
        let next = match key.and_then(|key| Some((key.source.to_string(), backends.holder(name, &key.env)?))) {
            Some((source, holder)) if source == "auto" => format!("its value is from the {holder}: take it away there"),
            _ => "'locum key list' shows those there are".into(),
        };
        return Err(CliError::failed(format!("neither a store of this machine nor the config has '{name}'"), next));
    }
    if let Some(url) = lookup::key_of_name(settings, name).and_then(KeySetting::revoke_url) {
        println!("revoke it at {url}");
    }
    Ok(ExitCode::SUCCESS)
}
