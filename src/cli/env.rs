//! `locum env`: the variables that make clients use and trust a running service, for a shell to evaluate.

use super::child_env::{before, placeholders, stands};
use super::context::CliContext;
use super::lookup;
use super::term::CliError;
use crate::app;
use crate::name::KeyName;
use crate::trust_env::{self, ProxyAccess, Shell, TrustFiles};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct EnvArgs {
    /// Whose syntax [default: that of $SHELL]
    #[arg(long, value_enum)]
    shell: Option<Shell>,
    /// A file that holds the agent's token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The agent that the token belongs to
    #[arg(long, default_value = "local")]
    agent: String,
}

/// Prints what a shell is to evaluate.
pub fn run(args: EnvArgs, context: &CliContext) -> anyhow::Result<ExitCode> {
    let settings = context.settings()?;
    let environment = context.take_secrets(&settings)?;
    let was = before(&environment);
    let backends = app::backends(&settings, environment);
    let pem = match &settings.ca.export {
        Some(path) if path.exists() => std::fs::read_to_string(path)?,
        _ => lookup::kept_ca(&settings, &backends)?.bundle(),
    };
    let token = match &args.token_file {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| {
                CliError::failed(format!("{}: {e}", path.display()), "name the file that holds the agent's token")
            })?;
            Some(text.trim().to_owned())
        }
        None => None,
    };
    let dir = settings.state.join("env");
    app::make_state_dir(&dir).map_err(CliError::from)?;
    let files = TrustFiles::write(&dir, &pem, &was)?;
    let access =
        ProxyAccess { address: settings.proxy.listen, agent: &args.agent, token: token.as_deref(), confined: false };
    let active: Vec<&KeyName> = app::active(&settings, &backends).into_iter().map(|k| &k.name).collect();
    let placeholders = placeholders(&settings, |k| active.contains(&&k.name));
    let shell = args.shell.unwrap_or_else(|| Shell::of_path(&was("SHELL").unwrap_or_default()));
    print!("{}", shell.write(&trust_env::changes(&access, &files, &stands(&placeholders), &was)));
    Ok(ExitCode::SUCCESS)
}
