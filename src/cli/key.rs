//! `locum key`: puts keys into a store of this machine and their bindings into the config; a value is never an argument.

use super::administration::Administration;
use super::check::strange_host;
use super::context::CliContext;
use super::key_strength::guessable;
use super::stores::{self, KeyStores, StoreKind};
use super::term::CliError;
use super::{migrate, providers, secret, table};
use crate::app;
use crate::audit;
use crate::config::edit::{self, Binding, EditError};
use crate::config::keys::KeySetting;
use crate::config::settings::{ConfigEnvironment as Variables, Settings};
use crate::memory::SealedEnvironment;
use crate::name::KeyName;
use crate::record::Event;
use crate::secrets::{SecretBackends, Secrets, SourceSpec, Store, entry_name};
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
    Rotate {
        /// The keys, as 'locum key list' shows them
        #[arg(required_unless_present = "all", value_name = "NAME")]
        names: Vec<KeyName>,
        /// Each key that a store of this machine holds
        #[arg(long, conflicts_with = "names")]
        all: bool,
        /// The value of the one key from standard input
        #[arg(long, conflicts_with = "all")]
        stdin: bool,
    },
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
struct SetArgs {
    /// A provider that locum knows, such as openai, or a name of your own: its placeholder is <<NAME_key>>
    name: KeyName,
    /// The value from standard input instead of a prompt
    #[arg(long)]
    stdin: bool,
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
    let done = obey(args.command, &settings, &backends, &environment, context, &mut admin);
    admin.end(done)
}

impl KeyCommand {
    /// The action that the audit tells of, where the command changes something.
    fn action(&self) -> Option<&'static str> {
        match self {
            Self::List { .. } | Self::Providers { .. } | Self::Migrate { dry_run: true, .. } => None,
            Self::Set(_) => Some("key set"),
            Self::Rotate { .. } => Some("key rotate"),
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
            let name = args.name.clone();
            let done = set(args, settings, backends, environment, context);
            admin.key(&name, None, done)
        }
        // without names it is all of them, as the arguments see to
        KeyCommand::Rotate { names, stdin, .. } => rotate(&names, stdin, settings, backends, environment, admin),
        KeyCommand::List { json } => list(settings, backends, json),
        KeyCommand::Providers { json } => providers::list(settings, json),
        KeyCommand::Remove { name } => admin.key(&name, None, remove(&name, settings, backends, context)),
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

fn set(
    args: SetArgs,
    settings: &Settings,
    backends: &SecretBackends,
    environment: &SealedEnvironment,
    context: &CliContext,
) -> anyhow::Result<ExitCode> {
    let (name, variables) = (&args.name, Variables::of_process());
    let known = of_name(settings, name);
    if known.is_none() && args.host.is_empty() {
        let what = format!("'{name}' is no provider that locum knows, so it needs to be told where the key may go");
        return Err(CliError::failed(what, format!("locum key set {name} --host api.example.com")));
    }
    if let Some(tenant) = known.and_then(KeySetting::missing_host).filter(|_| args.host.is_empty()) {
        let what = format!("'{name}' has a host for each customer, so it needs to be told which is yours");
        return Err(CliError::failed(what, format!("locum key set {name} --host {tenant}")));
    }
    let named = known.filter(|_| args.store.is_none()).map(|k| stores::named(k, backends)).transpose()?.flatten();
    let store = named.map_or_else(|| stores::choose(args.store, backends), Ok)?;
    let binding = Binding {
        source: args.store.map(|kind| format!("{kind:?}").to_ascii_lowercase()),
        hosts: args.host,
        places: args.place,
        methods: args.method,
        paths: args.path,
        placeholder: args.placeholder,
    };
    // a binding with a mistake must not cost the person the typing of the key
    if !binding.is_empty() {
        edit::check(context.paths(), &variables, name, &binding).map_err(|e| edit_failed(&e))?;
    }
    warn_of_strange_hosts(known, &binding.hosts);
    // nor must a store that can't be opened
    store.probe().map_err(|e| stores::unavailable(&e))?;
    let question = format!("value of '{name}'");
    let value = if args.stdin { secret::from_stdin()? } else { secret::prompt(&question, secret::BY_STDIN)? };
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
        tell_what_counts_first(known, environment);
    }
    println!("a service that runs already takes it over with SIGHUP");
    Ok(ExitCode::SUCCESS)
}

/// A host that isn't like those of the provider may be a company's gateway, or a slip.
fn warn_of_strange_hosts(key: Option<&KeySetting>, hosts: &[String]) {
    let hosts = hosts.iter().filter_map(|host| host.parse().ok());
    for (what, hint) in hosts.filter_map(|host| strange_host(key?, &host)) {
        eprintln!("locum: warning: {what}\n  next: {hint}");
    }
}

fn of_name<'s>(settings: &'s Settings, name: &KeyName) -> Option<&'s KeySetting> {
    settings.keys.iter().find(|k| k.name == *name)
}

fn edit_failed(e: &EditError) -> anyhow::Error {
    CliError::failed(e, "nothing has been changed; mend the option, or the file by hand")
}

/// A variable hides what is in the stores.
fn tell_what_counts_first(setting: Option<&KeySetting>, environment: &SealedEnvironment) {
    let variables = setting.map(|k| k.source.variables(&k.name, &k.env)).unwrap_or_default();
    let has_value = |v: &&String| matches!(environment.get(v), Ok(Some(v)) if !KeyName::is_placeholder(v.expose()));
    if let Some(variable) = variables.iter().find(has_value) {
        println!("note: {variable} is set here, and counts first");
    }
}

/// What has a new value coming, and where it is kept.
struct RotationTarget<'s> {
    name: &'s KeyName,
    setting: Option<&'s KeySetting>,
    store: Arc<dyn Store>,
}

fn rotate(
    names: &[KeyName],
    stdin: bool,
    settings: &Settings,
    backends: &SecretBackends,
    environment: &SealedEnvironment,
    admin: &mut Administration,
) -> anyhow::Result<ExitCode> {
    if stdin && names.len() != 1 {
        return Err(CliError::failed("--stdin gives one value", "name one key"));
    }
    // before the first is changed: which of them can be
    let targets = targets(names, settings, backends)?;
    let otherwise = match targets.as_slice() {
        [_] if !names.is_empty() => secret::BY_STDIN,
        _ => "give them one by one on standard input: 'locum key rotate NAME --stdin'",
    };
    for RotationTarget { name, setting, store } in targets {
        let question = format!("new value of '{name}'");
        let value = if stdin { secret::from_stdin() } else { secret::prompt(&question, otherwise) };
        let done = value.and_then(|value| {
            stores::put(&*store, name, value.expose())?;
            secret::warn_of_oddities(name, &value);
            Ok(())
        });
        admin.key(name, Some(format!("in the {}", store.describe())), done)?;
        println!("{name} has a new value in the {}", store.describe());
        match setting.and_then(KeySetting::revoke_url) {
            Some(url) => println!("  revoke the old one at {url}"),
            None => println!("  revoke the old one where it was made"),
        }
        tell_what_counts_first(setting, environment);
    }
    Ok(ExitCode::SUCCESS)
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
            let store = kept_in(&setting.name, Some(setting), backends)?;
            targets.extend(store.map(|store| RotationTarget { name: &setting.name, setting: Some(setting), store }));
        }
        if targets.is_empty() {
            return Err(CliError::failed("no store of this machine holds a key", "'locum key set NAME' stores one"));
        }
        return Ok(targets);
    }
    for name in names {
        let setting = of_name(settings, name);
        let store = kept_in(name, setting, backends)?.ok_or_else(|| {
            let next = format!("'locum key set {name}' stores it; one from a variable or a file is changed there");
            CliError::failed(format!("no store that counts for it holds '{name}'"), next)
        })?;
        targets.push(RotationTarget { name, setting, store });
    }
    Ok(targets)
}

/// The store from which the proxy takes the key, where one has it.
fn kept_in(
    name: &KeyName,
    setting: Option<&KeySetting>,
    backends: &SecretBackends,
) -> anyhow::Result<Option<Arc<dyn Store>>> {
    match setting.map(|k| stores::named(k, backends)).transpose()?.flatten() {
        Some(store) => Ok(stores::holds(&*store, name)?.then_some(store)),
        None => Ok(stores::holders(name, backends)?.into_iter().next()),
    }
}

fn list(settings: &Settings, backends: &SecretBackends, json: bool) -> anyhow::Result<ExitCode> {
    let active = app::active(settings, backends);
    let secrets = Secrets::new(app::sources(&active, backends));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let survey = runtime.block_on(secrets.survey());
    let row = |key: &&KeySetting| {
        let found = survey.iter().find(|s| s.name == key.name);
        let masked = found.and_then(|s| s.masked.as_ref().ok()).cloned();
        let store = match key.source {
            SourceSpec::Auto => backends.holder(&key.name, &key.env),
            _ => found.map(|s| s.source.clone()),
        };
        (
            key.name.to_string(),
            key.rule.shown_placeholder(),
            key.source.to_string(),
            store,
            masked,
            joined(&key.rule.hosts),
            joined(&key.rule.places),
        )
    };
    let rows: Vec<_> = active.iter().map(row).collect();
    if json {
        let names: Vec<&str> = rows.iter().map(|row| row.0.as_str()).collect();
        let last = audit::last_uses(&settings.audit.dir, &names);
        let last_used = |name: &str| last.get(name).map(|at| String::from_utf8_lossy(at).into_owned());
        let rows: Vec<_> = rows
            .iter()
            .map(|(name, placeholder, source, store, masked, hosts, places)| {
                serde_json::json!({
                    "name": name, "placeholder": placeholder, "source": source, "store": store, "masked": masked,
                    "hosts": hosts, "where": places, "last_used": last_used(name),
                })
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        println!("no key can be used yet: set a variable such as OPENAI_API_KEY, or 'locum key set NAME'");
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = vec![["KEY", "PLACEHOLDER", "VALUE", "FROM", "HOSTS"].map(str::to_owned)];
    for (name, placeholder, _, store, masked, hosts, _) in rows {
        let masked = masked.unwrap_or_else(|| "none".into());
        table.push([name, placeholder, masked, store.unwrap_or_default(), hosts.join(", ")]);
    }
    print!("{}", table::shown(&table));
    Ok(ExitCode::SUCCESS)
}

fn joined<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(T::to_string).collect()
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
        let next = match of_name(settings, name).map(|k| k.source.to_string()) {
            Some(source) => format!("its source is {source}: take it away there"),
            None => "'locum key list' shows those there are".into(),
        };
        return Err(CliError::failed(format!("neither a store of this machine nor the config has '{name}'"), next));
    }
    if let Some(url) = of_name(settings, name).and_then(KeySetting::revoke_url) {
        println!("revoke it at {url}");
    }
    Ok(ExitCode::SUCCESS)
}
