//! `locum configure`: from nothing to keys that may be used, step by step. What is there already stays, so it can be run again
//! wherever it was broken off.

use super::administration::Administration;
use super::context::CliContext;
use super::key::{self, SetArgs};
use super::progress::{ASKING_THE_STORES, ProgressLine};
use super::term::{CliError, UNAVAILABLE};
use super::{migrate, secret, stores, when};
use crate::app;
use crate::config::edit;
use crate::config::keys::KeySetting;
use crate::config::settings::{CaSource, ConfigEnvironment, Settings};
use crate::memory::SealedEnvironment;
use crate::name::KeyName;
use crate::policy::rule::HostPattern;
use crate::record::Event;
use crate::secrets::{SecretBackends, masked};
use jiff::Timestamp;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Debug, clap::Args)]
pub struct ConfigureArgs {
    /// Providers that locum knows, or names of your own [default: what is found here]
    #[arg(value_name = "NAME")]
    names: Vec<KeyName>,
    /// The same, as other tools have it
    #[arg(long = "provider", value_name = "NAME")]
    providers: Vec<KeyName>,
    /// Ask nothing, and take what is found
    #[arg(long, short)]
    yes: bool,
}

/// What a new config says: what needs no setting stays a default.
const STARTER: &str = "\
# Which keys may go where. `locum check` tells every mistake in here, `locum status` what is in use.
#
# A provider that locum knows (`locum key providers`) needs no table here once its key is found. A key of your own:
#
#   [key.tool]
#   hosts = [\"api.tool.example\"]
#   where = [\"header:authorization\"]
";

/// Files in which keys often lie open, in the current folder and in the home folder.
const USUAL_FILES: [&str; 4] = [".env", ".env.local", "config.json", ".mcp.json"];

/// Sets up store, CA, config and keys.
pub fn run(args: ConfigureArgs, context: &CliContext) -> anyhow::Result<ExitCode> {
    if !args.yes && !io::stdin().is_terminal() {
        let next = "--yes takes what is found; a key's value can be given to 'locum key set NAME --stdin'";
        return Err(CliError::failed("there is no terminal to ask on", next));
    }
    let config = edit::start(context.paths(), &ConfigEnvironment::of_process(), STARTER);
    let config = config.map_err(|e| CliError::failed(e, "name another with --config FILE"))?;
    let settings = context.settings()?;
    app::make_state_dir(&settings.state).map_err(CliError::from)?;
    let environment = context.take_secrets(&settings)?;
    let backends = app::backends_with_prompt(&settings, environment.clone(), Arc::new(secret::MasterPrompt::default()));
    let mut admin = Administration::begin(&settings, &backends, Event::Key, "configure");
    let mut setup = Setup { settings, backends, environment, context, config, asks: !args.yes };
    let _line = ProgressLine::of(ASKING_THE_STORES);
    let done = setup.run(args.names.into_iter().chain(args.providers).collect(), &mut admin);
    admin.end(done)
}

struct Setup<'c> {
    settings: Settings,
    backends: SecretBackends,
    environment: Arc<SealedEnvironment>,
    context: &'c CliContext,
    /// The config file, and whether it was made now.
    config: (PathBuf, bool),
    /// Whether a person is asked.
    asks: bool,
}

impl Setup<'_> {
    fn run(&mut self, named: Vec<KeyName>, admin: &mut Administration) -> anyhow::Result<ExitCode> {
        if self.asks {
            println!("Enter takes what is in capitals; what is done stays, so this can be run again.\n");
        }
        self.store();
        self.ca()?;
        let (path, is_new) = &self.config;
        println!("config  {}{}\n", path.display(), if *is_new { ", made now" } else { "" });
        let is_named = !named.is_empty();
        let names = if is_named { named } else { self.found() };
        let mut without_value = Vec::new();
        for name in &names {
            if !self.key(name, admin)? {
                without_value.push(name.clone());
            }
        }
        if !is_named {
            self.others(admin)?;
        }
        self.open_files();
        self.last_line(&without_value)
    }

    fn store(&self) {
        for (label, store) in ["stores"].into_iter().chain(std::iter::repeat("")).zip(stores::states(&self.backends)) {
            println!("{label:<7} {}", store.text());
        }
    }

    fn ca(&self) -> anyhow::Result<()> {
        if self.settings.ca.source == CaSource::Memory {
            println!("CA      each process makes its own, as [ca] source says");
            return Ok(());
        }
        let Some((ca, kept_in)) = app::kept_ca(&self.settings, &self.backends).map_err(CliError::from)? else {
            println!("CA      no store can keep one: 'locum run' makes its own each time");
            return Ok(());
        };
        let end = Timestamp::try_from(ca.current.not_after()).map_or_else(|_| "?".into(), when::day_of);
        println!("CA      in the {kept_in}, until {end}; 'locum run' and 'locum env' have clients trust it");
        Ok(())
    }

    /// Keys that something has a value for already.
    fn found(&self) -> Vec<KeyName> {
        app::active(&self.settings, &self.backends).iter().map(|key| key.name.clone()).collect()
    }

    /// Sees to one key. Whether it has a value then.
    fn key(&mut self, name: &KeyName, admin: &mut Administration) -> anyhow::Result<bool> {
        let setting = self.settings.keys.iter().find(|key| key.name == *name);
        if let Some(setting) = setting
            && let Some(place) = self.place_of(setting)?
        {
            println!("{:<12} {place}", name.as_str());
            if self.asks && self.is_variable(setting) && stores::is_kept(&setting.source) {
                self.offer_to_keep(name, admin)?;
            }
            return Ok(true);
        }
        if !self.asks {
            return Ok(false);
        }
        let host = self.host_of(name)?;
        let args = SetArgs::asked(name.clone(), host);
        admin.key(name, None, key::set(args, &self.settings, &self.backends, &self.environment, self.context))?;
        admin.renewed(name);
        self.settings = self.context.settings()?;
        Ok(true)
    }

    /// Asks whether what is in a variable is to be in a store.
    fn offer_to_keep(&self, name: &KeyName, admin: &mut Administration) -> anyhow::Result<()> {
        let chosen = stores::choose(None, &self.backends)?;
        let question = format!("  keep it in the {}, so that it needs no variable? [y/N] ", chosen.describe());
        if secret::ask_person(&question)?.is_some_and(|said| is_yes(&said)) {
            let stores = stores::KeyStores { backends: &self.backends, chosen };
            migrate::import_one(name, &self.environment, &self.settings, &stores, admin)?;
        }
        Ok(())
    }

    /// Where a key's value is, with the end of it.
    fn place_of(&self, setting: &KeySetting) -> anyhow::Result<Option<String>> {
        let source = self.backends.source(&setting.source, &setting.name, &setting.env);
        let value = source.load().map_err(|e| stores::unavailable(&e))?;
        Ok(value.map(|value| {
            let place = self.backends.holder(&setting.name, &setting.env).unwrap_or_else(|| source.describe());
            format!("{} in the {place}", masked(value.expose()))
        }))
    }

    fn is_variable(&self, setting: &KeySetting) -> bool {
        setting.variables().iter().any(|variable| matches!(self.environment.get(variable), Ok(Some(_))))
    }

    /// The host that has to be named for a key whose provider is not known, or has one for each customer.
    fn host_of(&self, name: &KeyName) -> anyhow::Result<Vec<String>> {
        let setting = self.settings.keys.iter().find(|key| key.name == *name);
        let like = match setting {
            Some(setting) => match setting.missing_host() {
                Some(tenant) => tenant.to_string(),
                None => return Ok(Vec::new()),
            },
            None => "api.example.com".to_owned(),
        };
        loop {
            let host = secret::ask_person(&format!("{name}: the host that its key may go to, such as {like}: "))?
                .unwrap_or_default();
            match host.parse::<HostPattern>() {
                Ok(_) => return Ok(vec![host]),
                Err(e) => println!("  {e}"),
            }
        }
    }

    /// Asks for keys of which nothing was found.
    fn others(&mut self, admin: &mut Administration) -> anyhow::Result<()> {
        while self.asks {
            let said = secret::ask_person(
                "another key? a provider (such as anthropic), or a name of your own; Enter for none: ",
            )?;
            let Some(said) = said else { return Ok(()) };
            match said.parse::<KeyName>() {
                Ok(name) => drop(self.key(&name, admin)?),
                Err(e) => println!("  {e}"),
            }
        }
        Ok(())
    }

    /// Names files in which keys lie open.
    fn open_files(&self) {
        let folders = [std::env::current_dir().ok(), std::env::var_os("HOME").map(PathBuf::from)];
        let mut files: Vec<PathBuf> =
            folders.into_iter().flatten().flat_map(|folder| USUAL_FILES.map(|file| folder.join(file))).collect();
        files.sort();
        files.dedup();
        let open: Vec<String> = files
            .iter()
            .filter(|file| migrate::has_keys(file, &self.settings))
            .map(|file| crate::disk::shell_quoted(file))
            .collect();
        if !open.is_empty() {
            println!("\nkeys lie open in {}\n  next: locum key migrate --dry-run {}", open.join(", "), open.join(" "));
        }
    }

    fn last_line(&self, without_value: &[KeyName]) -> anyhow::Result<ExitCode> {
        if let Some(name) = without_value.first() {
            let variable = self.settings.keys.iter().find(|key| key.name == *name).and_then(|key| key.env.first());
            let next = match variable {
                Some(variable) => format!("set {variable}, or run 'locum configure {name}' where it can be asked for"),
                None => format!("locum key set {name} --host HOST"),
            };
            return Err(CliError { what: format!("'{name}' has no value"), next, code: UNAVAILABLE }.into());
        }
        let active = app::active(&self.settings, &self.backends);
        println!();
        match active.first() {
            Some(key) => println!("next: locum run -- YOUR-AGENT    (it writes {})", key.rule.shown_placeholder()),
            None => println!("next: locum configure openai    (or another that 'locum key providers' lists)"),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn is_yes(said: &str) -> bool {
    matches!(said.to_ascii_lowercase().as_str(), "y" | "yes")
}
