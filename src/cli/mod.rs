//! The commands: each reads its arguments, calls a room below and says what came of it.

/// Prints a line, for this room in place of the standard library's macro: that one panics where the reader has left, as
/// in `locum check | head`.
macro_rules! println {
    () => { crate::cli::term::put(std::io::stdout(), format_args!("\n")) };
    ($($text:tt)*) => { crate::cli::term::put(std::io::stdout(), format_args!("{}\n", format_args!($($text)*))) };
}

/// See [`println`].
macro_rules! print {
    ($($text:tt)*) => { crate::cli::term::put(std::io::stdout(), format_args!($($text)*)) };
}

/// See [`println`], for standard error.
macro_rules! eprintln {
    ($($text:tt)*) => { crate::cli::term::put(std::io::stderr(), format_args!("{}\n", format_args!($($text)*))) };
}

mod administration;
mod agent;
mod allowing;
mod audit;
mod ca;
mod check;
mod child_env;
mod completions;
mod configure;
#[cfg(target_os = "linux")]
mod confined;
mod context;
mod control;
mod copies;
mod demo;
mod doctor;
mod env;
mod examples;
mod explain;
mod key;
mod key_rows;
mod key_strength;
mod local_upstream;
mod lookup;
mod manual;
mod mcp;
mod migrate;
mod nft;
mod other_words;
mod progress;
mod prompt;
mod providers;
mod proxy_client;
mod reaper;
mod rotate;
mod run;
mod run_dir;
mod running_service;
mod secret;
mod serve;
mod signals;
mod status;
mod stores;
mod table;
mod term;
mod unconfined;
mod vault;
mod when;

use crate::config::settings::CliPaths;
use crate::memory;
use clap::{CommandFactory, FromArgMatches as _, Parser, Subcommand};
use context::CliContext;
use std::path::PathBuf;
use std::process::ExitCode;

/// Where options that every command has stand in its help.
const BELOW_THE_COMMANDS_OWN: usize = 900;

/// Lets AI agents use API keys that they never hold: a placeholder becomes the key on the way out, and the key a placeholder on the way back
#[derive(Debug, Parser)]
#[command(name = "locum", version, arg_required_else_help = true, propagate_version = true)]
pub(crate) struct Cli {
    /// The config file [default: $LOCUM_CONFIG, else $XDG_CONFIG_HOME/locum/locum.toml]
    #[arg(long, global = true, value_name = "FILE", display_order = BELOW_THE_COMMANDS_OWN)]
    config: Option<PathBuf>,
    /// Where the CA and the audit are kept [default: $XDG_STATE_HOME/locum]
    #[arg(long, global = true, value_name = "DIR", display_order = BELOW_THE_COMMANDS_OWN)]
    state: Option<PathBuf>,
    /// Times in UTC instead of the local zone
    #[arg(long, global = true, display_order = BELOW_THE_COMMANDS_OWN)]
    utc: bool,
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Everything on this machine alone, no key needed: see what happens
    Demo(demo::DemoArgs),
    /// From nothing to keys that may be used, step by step: store, CA, config and keys
    Configure(configure::ConfigureArgs),
    /// Run a command whose requests go through a proxy of its own
    Run(run::RunArgs),
    /// The proxy as a service: a daemon, or a sidecar beside an agent
    Serve(serve::ServeArgs),
    /// What runs, which keys it may use, what was refused last, and what needs attention
    Status(status::StatusArgs),
    /// The variables that make clients use and trust a running service: eval "$(locum env)"
    Env(env::EnvArgs),
    /// Every mistake in the config and in what it names, at once
    Check(check::CheckArgs),
    /// What would keep locum from working here, and what to do about it; each client on the PATH is tried
    Doctor(doctor::DoctorArgs),
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
    /// The text that tells a model which placeholders there are, and how to use them
    Prompt(prompt::PromptArgs),
    /// An MCP server on standard input and output, by which an agent finds out what it may use and why it was refused
    Mcp,
    /// What has happened, and whether the record of it is whole
    Audit(audit::AuditArgs),
    /// Have a running service read its config and keys anew, whole or not at all
    Reload,
    /// Have a running service forget all keys, until it is told to reload
    Wipe,
    /// Completions for a shell, to be sourced by it: of commands, options, and the names of keys, agents and hosts
    Completions {
        /// Whose syntax
        shell: clap_complete::Shell,
    },
    /// This manual as a man page, or the page of one command
    Man(manual::ManArgs),
}

/// The commands and their arguments, with examples in their help.
fn command_line() -> clap::Command {
    examples::add(Cli::command().max_term_width(100))
}

/// Runs the command that the arguments ask for.
pub fn run() -> ExitCode {
    #[cfg(target_os = "linux")]
    if let Some(code) = crate::confine::helper::run_if_asked() {
        return code;
    }
    let parsed = completions::answer(command_line).and_then(|is_answered| match is_answered {
        true => Ok(None),
        false => command_line()
            .try_get_matches_from(other_words::read(std::env::args_os()))
            .and_then(|matches| Cli::from_arg_matches(&matches))
            .map(Some),
    });
    let cli = match parsed {
        Ok(Some(cli)) => cli,
        Ok(None) => return ExitCode::SUCCESS,
        Err(e) => {
            let _ = e.print();
            return if e.use_stderr() { ExitCode::from(term::WRONG_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    if cli.utc {
        when::show_in_utc();
    }
    let _wiped = memory::WipeAtEnd;
    crate::telemetry::start();
    let context = CliContext::new(CliPaths { config: cli.config, state: cli.state }, memory::harden());
    match dispatch(cli.command, &context) {
        Ok(code) => term::finish(code),
        Err(e) => term::report(&e),
    }
}

fn dispatch(command: CliCommand, context: &CliContext) -> anyhow::Result<ExitCode> {
    match command {
        CliCommand::Demo(args) => demo::run(&args),
        CliCommand::Configure(args) => configure::run(args, context),
        CliCommand::Run(args) => run::run(args, context),
        CliCommand::Status(args) => status::run(&args, context),
        CliCommand::Env(args) => env::run(args, context),
        CliCommand::Check(args) => check::run(&args, context),
        CliCommand::Doctor(args) => doctor::run(&args, context),
        CliCommand::Ca(args) => ca::run(args, context),
        CliCommand::Serve(args) => serve::run(args, context),
        CliCommand::Key(args) => key::run(args, context),
        CliCommand::Vault(args) => vault::run(args, context),
        CliCommand::Agent(args) => agent::run(args, context),
        CliCommand::Explain(args) => explain::run(args, context),
        CliCommand::Prompt(args) => prompt::run(&args, context),
        CliCommand::Mcp => mcp::run(),
        CliCommand::Audit(args) => audit::run(args, &context.settings()?),
        CliCommand::Reload => control::reload(context),
        CliCommand::Wipe => control::wipe(context),
        CliCommand::Completions { shell } => {
            let mut script = Vec::new();
            completions::script(shell, &command_line(), &mut script)?;
            print!("{}", String::from_utf8_lossy(&script));
            Ok(ExitCode::SUCCESS)
        }
        CliCommand::Man(args) => manual::run(&args, command_line()),
    }
}
