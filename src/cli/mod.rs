//! The commands: each reads its arguments, calls a room below and says what came of it.

pub mod agent;
pub mod audit;
pub mod ca;
pub mod check;
pub mod demo;
pub mod env;
pub mod explain;
pub mod key;
mod migrate;
mod reaper;
pub mod run;
mod secret;
pub mod serve;
mod stores;
pub mod term;
pub mod vault;
pub mod when;

use crate::app;
use crate::config::settings::{CliPaths, ConfigEnvironment as Variables, Settings};
use crate::memory::{self, Hardened, SealedEnvironment};
use clap::{CommandFactory, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Lets AI agents use API keys that they never hold: a placeholder becomes the key on the way out, and the key a placeholder on the way back
#[derive(Debug, Parser)]
#[command(name = "locum", version, arg_required_else_help = true, propagate_version = true)]
pub struct Cli {
    /// The config file [default: $LOCUM_CONFIG, else $XDG_CONFIG_HOME/locum/locum.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the CA and the audit are kept [default: $XDG_STATE_HOME/locum]
    #[arg(long, global = true, value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything on this machine alone, no key needed: see what happens
    Demo(demo::DemoArgs),
    /// Run a command whose requests go through a proxy of its own
    Run(run::RunArgs),
    /// The proxy as a service: a daemon, or a sidecar beside an agent
    Serve(serve::ServeArgs),
    /// The variables that make clients use and trust a running service: eval "$(locum env)"
    Env(env::EnvArgs),
    /// Every mistake in the config and in what it names, at once
    Check(check::CheckArgs),
    /// The certificate authority that clients have to trust
    Ca(ca::CaArgs),
    /// The keys: put into a store of this machine, listed, changed, removed
    Key(key::KeyArgs),
    /// The encrypted file of keys
    Vault(vault::VaultArgs),
    /// The tokens by which agents prove who they are
    Agent(agent::AgentArgs),
    /// Which rule decides a request, and what would have to change; sends nothing
    Explain(explain::ExplainArgs),
    /// What has happened, and whether the record of it is whole
    Audit(audit::AuditArgs),
    /// Completions for a shell, to be sourced by it
    Completions { shell: clap_complete::Shell },
    /// This manual as a man page
    Man,
}

/// What commands have in common: where things are, and the settings once they are needed.
pub struct Context {
    given: CliPaths,
    hardened: Hardened,
}

impl Context {
    /// What the command line says of where things are.
    pub fn given(&self) -> &CliPaths {
        &self.given
    }

    /// What was done to this process that a child of it should not inherit.
    pub fn hardened(&self) -> &Hardened {
        &self.hardened
    }

    /// What this system would not give to keep keys out of reach.
    pub fn weaknesses(&self) -> Vec<String> {
        let missing = self.hardened.missing.iter().map(|phrase| (*phrase).to_owned());
        let memory = memory::protection();
        let unlocked = (memory == memory::Protection::Unlocked).then(|| format!("keys in memory are {memory}"));
        missing.chain(unlocked).collect()
    }

    /// Says it, where keys are about to be held.
    pub fn warn_of_weaknesses(&self) {
        self.weaknesses().iter().for_each(|weakness| eprintln!("locum: warning: {weakness}"));
    }

    /// The settings, or all mistakes in them.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        Settings::load(&self.given, &Variables::of_process()).map_err(|mistakes| {
            let n = mistakes.0.len();
            let what = format!("the config has {n} mistake{}:\n{mistakes}", if n == 1 { "" } else { "s" });
            term::CliError::failed(what, "'locum check' tells when it is right")
        })
    }

    /// Takes everything secret out of the environment. Only before any thread is started.
    pub fn take_secrets(&self, settings: &Settings) -> anyhow::Result<Arc<SealedEnvironment>> {
        let names = app::secret_variables(settings);
        Ok(Arc::new(SealedEnvironment::take(names.iter().map(String::as_str))?))
    }
}

/// Runs the command that the arguments ask for.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            return if e.use_stderr() { ExitCode::from(term::WRONG_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    memory::wipe_on_panic();
    crate::telemetry::start();
    let context = Context { given: CliPaths { config: cli.config, state: cli.state }, hardened: memory::harden() };
    match dispatch(cli.command, &context) {
        Ok(code) => code,
        Err(e) => term::report(&e),
    }
}

fn dispatch(command: Command, context: &Context) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo(args) => demo::run(&args, context),
        Command::Run(args) => run::run(args, context),
        Command::Env(args) => env::run(args, context),
        Command::Check(args) => {
            let variables = Variables::of_process();
            let (settings, _) = Settings::read(&context.given, &variables);
            let backends = app::backends(&settings, context.take_secrets(&settings)?);
            check::run(&args, &context.given, &variables, &backends, &context.weaknesses())
        }
        Command::Ca(args) => ca::run(args, context),
        Command::Serve(args) => serve::run(args, context),
        Command::Key(args) => key::run(args, context),
        Command::Vault(args) => vault::run(args, context),
        Command::Agent(args) => agent::run(args, context),
        Command::Explain(args) => explain::run(args, context),
        Command::Audit(args) => audit::run(args, &context.settings()?),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "locum", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Man => {
            clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Any error of the app, with its next step.
pub(crate) fn told(error: app::AppError) -> anyhow::Error {
    let code = match error {
        app::AppError::Unasked(_) | app::AppError::NoStore => term::UNAVAILABLE,
        app::AppError::NotOurs(_) => term::WRONG_USAGE,
        _ => term::FAILED,
    };
    term::CliError { what: error.to_string(), next: error.next(), code }.into()
}
