//! `locum key`: puts keys into a store of this machine and their bindings into the config; a value is never an argument.

use super::{Context, migrate, secret, term, told};
use crate::app;
use crate::config::edit::{self, Binding, EditError};
use crate::config::keys::KeySetting;
use crate::config::settings::{Environment as Variables, Settings};
use crate::memory::Environment;
use crate::name::KeyName;
use crate::secrets::{Secrets, SourceError, Store, Supplies, entry_name};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Debug, clap::Args)]
pub struct KeyArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Store a key's value, asked for without echo, and write where it may go into the config
    Set(SetArgs),
    /// Give keys new values; a running proxy uses them within a second
    Rotate {
        #[arg(required_unless_present = "all")]
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
    /// Take a key out of the stores of this machine and out of the config
    Remove { name: KeyName },
    /// Move the keys in files (.env, JSON, TOML, YAML) into a store, and leave placeholders in their places
    Migrate {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Change nothing, and say what would be changed
        #[arg(long)]
        dry_run: bool,
        /// Where to keep them, unless their source in the config says so
        #[arg(long, value_enum)]
        store: Option<Kind>,
    },
    /// Put the keys that are set as variables into a store
    Import {
        /// From the variables of the providers that locum knows, and NAME_API_KEY of your own
        #[arg(long, value_enum)]
        from: From,
        /// Where to keep them, unless their source in the config says so
        #[arg(long, value_enum)]
        store: Option<Kind>,
    },
}

#[derive(Debug, clap::Args)]
struct SetArgs {
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
    store: Option<Kind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum From {
    Env,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Keyring,
    Vault,
    Machine,
}

pub fn run(args: KeyArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let settings = context.settings()?;
    app::make_state_dir(&settings.state).map_err(told)?;
    let environment = context.take_secrets(&settings)?;
    let supplies = app::supplies_asking(&settings, environment.clone(), Arc::new(secret::MasterPrompt));
    match args.command {
        Command::Set(args) => set(args, &settings, &supplies, &environment, context),
        Command::Rotate { names, all, stdin } => rotate(names, all, stdin, &settings, &supplies),
        Command::List { json } => list(&settings, &supplies, json),
        Command::Remove { name } => remove(&name, &settings, &supplies, context),
        Command::Migrate { files, dry_run, store } => {
            let stores = migrate::Stores { supplies: &supplies, chosen: choose(store, &supplies)? };
            migrate::migrate(&files, dry_run, &settings, &stores)
        }
        Command::Import { from: From::Env, store } => {
            let stores = migrate::Stores { supplies: &supplies, chosen: choose(store, &supplies)? };
            migrate::import(&environment, &settings, &stores)
        }
    }
}

/// A store that can't be used: exit code 4.
pub fn unavailable(e: &SourceError) -> anyhow::Error {
    term::Told { what: e.to_string(), next: e.next.clone(), code: term::UNAVAILABLE }.into()
}

fn set(
    args: SetArgs,
    settings: &Settings,
    supplies: &Supplies,
    environment: &Environment,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let known = settings.keys.iter().find(|k| k.name == args.name);
    if known.is_none() && args.host.is_empty() {
        let what =
            format!("'{}' is no provider that locum knows, so it needs to be told where the key may go", args.name);
        return Err(term::Told::failed(what, format!("locum key set {} --host api.example.com", args.name)));
    }
    let store = choose(args.store, supplies)?;
    let binding = Binding {
        source: args.store.map(|kind| format!("{kind:?}").to_ascii_lowercase()),
        hosts: args.host,
        places: args.place,
        methods: args.method,
        paths: args.path,
        placeholder: args.placeholder,
    };
    // the config first: a binding with a mistake must not cost the person the typing of the key
    let file =
        (!binding.is_empty()).then(|| edit::bind(context.given(), &Variables::of_process(), &args.name, &binding));
    let file = file.transpose().map_err(|e| edit_failed(&e))?;
    let value = if args.stdin { secret::from_stdin()? } else { secret::prompt(&format!("value of '{}'", args.name))? };
    store.set(&entry_name(&args.name), value.expose()).map_err(|e| unavailable(&e))?;
    println!("{} is in the {}; an agent writes {}", args.name, store.describe(), args.name.placeholder());
    if let Some(file) = file {
        println!("where it may go is in {}", file.display());
    }
    let shadow = known.and_then(|k| k.env.iter().find(|v| environment.names().any(|n| n == v.as_str())));
    if let Some(variable) = shadow.filter(|_| args.store.is_none()) {
        println!("note: {variable} is set here, and counts first");
    }
    println!("a service that runs already takes it over with SIGHUP");
    Ok(ExitCode::SUCCESS)
}

fn edit_failed(e: &EditError) -> anyhow::Error {
    term::Told::failed(e, "nothing has been changed; mend the option, or the file by hand")
}

/// The store that is asked for, or the first that works.
fn choose(kind: Option<Kind>, supplies: &Supplies) -> anyhow::Result<Arc<dyn Store>> {
    let vault = || supplies.vault.clone().filter(|vault| vault.exists()).map(|vault| vault as Arc<dyn Store>);
    let missing = |what: &str, next: &str| -> anyhow::Error {
        term::Told { what: what.into(), next: next.into(), code: term::UNAVAILABLE }.into()
    };
    match kind {
        Some(Kind::Keyring) => {
            supplies.keyring.clone().ok_or_else(|| missing("there is no keyring here", "use --store vault or machine"))
        }
        Some(Kind::Vault) => {
            vault().ok_or_else(|| missing("there is no vault yet", "make one with 'locum vault init'"))
        }
        Some(Kind::Machine) => {
            supplies.machine.clone().ok_or_else(|| missing("there is no machine-bound store", "use --store vault"))
        }
        None => {
            let keyring = supplies.keyring.clone().filter(|keyring| match keyring.probe() {
                Ok(()) => true,
                Err(e) => {
                    eprintln!("note: {e}, so another store is used");
                    false
                }
            });
            keyring
                .or_else(vault)
                .or_else(|| supplies.machine.clone())
                .ok_or_else(|| missing("no store works here", "set a variable instead"))
        }
    }
}

/// The stores that hold this key.
fn holders(name: &KeyName, supplies: &Supplies) -> Vec<Arc<dyn Store>> {
    let entry = entry_name(name);
    let holds = |store: &Arc<dyn Store>| store.list().is_ok_and(|names| names.contains(&entry));
    supplies.stores().filter(holds).collect()
}

fn rotate(
    names: Vec<KeyName>,
    all: bool,
    stdin: bool,
    settings: &Settings,
    supplies: &Supplies,
) -> anyhow::Result<ExitCode> {
    let names = if all { settings.keys.iter().map(|k| k.name.clone()).collect() } else { names };
    if stdin && names.len() != 1 {
        return Err(term::Told::failed("--stdin gives one value", "name one key"));
    }
    let mut rotated = 0;
    for name in &names {
        let holders = holders(name, supplies);
        let Some(store) = holders.first() else {
            if all {
                continue;
            }
            let next = format!("'locum key set {name}' stores it; one from a variable or a file is changed there");
            return Err(term::Told::failed(format!("no store of this machine holds '{name}'"), next));
        };
        let value = if stdin { secret::from_stdin()? } else { secret::prompt(&format!("new value of '{name}'"))? };
        store.set(&entry_name(name), value.expose()).map_err(|e| unavailable(&e))?;
        rotated += 1;
        println!("{name} has a new value in the {}", store.describe());
        let setting = settings.keys.iter().find(|k| k.name == *name);
        match setting.and_then(|k| k.revoke_url.as_deref()) {
            Some(url) => println!("  revoke the old one at {url}"),
            None => println!("  revoke the old one where it was made"),
        }
    }
    if rotated == 0 {
        return Err(term::Told::failed("no store of this machine holds a key", "'locum key set NAME' stores one"));
    }
    Ok(ExitCode::SUCCESS)
}

fn list(settings: &Settings, supplies: &Supplies, json: bool) -> anyhow::Result<ExitCode> {
    let active = app::active(settings, supplies);
    let secrets = Secrets::new(app::sources(&active, supplies));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let survey = runtime.block_on(secrets.survey());
    let row = |key: &&KeySetting| {
        let found = survey.iter().find(|s| s.name == key.name);
        let masked = found.and_then(|s| s.masked.as_ref().ok()).cloned();
        (
            key.name.to_string(),
            key.rule.shown_placeholder(),
            key.source.to_string(),
            found.map(|s| s.source.clone()),
            masked,
            joined(&key.rule.hosts),
            joined(&key.rule.places),
        )
    };
    let rows: Vec<_> = active.iter().map(row).collect();
    if json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(name, placeholder, source, store, masked, hosts, places)| {
                serde_json::json!({
                    "name": name, "placeholder": placeholder, "source": source, "store": store, "masked": masked,
                    "hosts": hosts, "where": places, "last_used": null,
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
    println!("{:<16} {:<26} {:<9} {:<28} HOSTS", "KEY", "PLACEHOLDER", "VALUE", "FROM");
    for (name, placeholder, _, store, masked, hosts, _) in rows {
        let masked = masked.unwrap_or_else(|| "none".into());
        println!("{name:<16} {placeholder:<26} {masked:<9} {:<28} {}", store.unwrap_or_default(), hosts.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}

fn joined<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(T::to_string).collect()
}

fn remove(name: &KeyName, settings: &Settings, supplies: &Supplies, context: &Context) -> anyhow::Result<ExitCode> {
    let holders = holders(name, supplies);
    for store in &holders {
        store.delete(&entry_name(name)).map_err(|e| unavailable(&e))?;
        println!("{name} is no longer in the {}", store.describe());
    }
    let unbound = edit::unbind(context.given(), &Variables::of_process(), name).map_err(|e| edit_failed(&e))?;
    if unbound {
        println!("[key.{name}] is no longer in the config");
    }
    if holders.is_empty() && !unbound {
        let next = match settings.keys.iter().find(|k| k.name == *name).map(|k| k.source.to_string()) {
            Some(source) => format!("its source is {source}: take it away there"),
            None => "'locum key list' shows those there are".into(),
        };
        return Err(term::Told::failed(format!("neither a store of this machine nor the config has '{name}'"), next));
    }
    if let Some(url) = settings.keys.iter().find(|k| k.name == *name).and_then(|k| k.revoke_url.as_deref()) {
        println!("revoke it at {url}");
    }
    Ok(ExitCode::SUCCESS)
}
