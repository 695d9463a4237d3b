//! `locum env`: the variables that make clients use and trust a running service, for a shell to evaluate.

use super::{Context, ca, term};
use crate::app;
use crate::config::settings::Settings;
use crate::memory::SealedEnvironment;
use crate::name::KeyName;
use crate::trust_env::{self, PlaceholderVariables, ProxyAccess, Shell, TrustFiles};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
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

pub fn run(args: EnvArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let settings = context.settings()?;
    let environment = context.take_secrets(&settings)?;
    let was = before(&environment);
    let backends = app::backends(&settings, environment);
    let pem = match &settings.ca.export {
        Some(path) if path.exists() => std::fs::read_to_string(path)?,
        _ => ca::kept(&settings, &backends)?.bundle(),
    };
    let token = match &args.token_file {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| {
                term::CliError::failed(format!("{}: {e}", path.display()), "name the file that holds the agent's token")
            })?;
            Some(text.trim().to_owned())
        }
        None => None,
    };
    let dir = settings.state.join("env");
    app::make_state_dir(&dir).map_err(super::told)?;
    let files = TrustFiles::write(&dir, &pem, &was)?;
    let access =
        ProxyAccess { address: settings.proxy.listen, agent: &args.agent, token: token.as_deref(), confined: false };
    let active: Vec<&KeyName> = app::active(&settings, &backends).into_iter().map(|k| &k.name).collect();
    let placeholders = placeholders(&settings, |k| active.contains(&&k.name));
    let shell = args.shell.unwrap_or_else(|| Shell::of_path(&was("SHELL").unwrap_or_default()));
    print!("{}", shell.write(&trust_env::changes(&access, &files, &stands(&placeholders), &was)));
    Ok(ExitCode::SUCCESS)
}

/// What variables said before the secret ones were taken: of those it counts that they were set.
pub fn before(taken: &SealedEnvironment) -> impl Fn(&str) -> Option<String> + use<> {
    let left: HashMap<OsString, OsString> = std::env::vars_os().collect();
    let taken: Vec<String> = taken.names().map(str::to_owned).collect();
    // what is no UTF-8 is set all the same
    move |name| match left.get(OsStr::new(name)) {
        Some(value) => Some(value.to_string_lossy().into_owned()),
        None => taken.iter().any(|t| t == name).then(String::new),
    }
}

/// What a variable says now.
pub fn now(name: &str) -> Option<String> {
    std::env::var_os(name).map(|v| v.to_string_lossy().into_owned())
}

/// The variables of each key that is in use, and what stands in them for a child.
pub fn placeholders(
    settings: &Settings,
    in_use: impl Fn(&crate::config::keys::KeySetting) -> bool,
) -> Vec<(Vec<String>, String)> {
    let keys = settings.keys.iter().filter(|k| in_use(k));
    keys.map(|k| (k.variables(), k.rule.shown_placeholder())).collect()
}

pub fn stands(placeholders: &[(Vec<String>, String)]) -> Vec<PlaceholderVariables<'_>> {
    placeholders.iter().map(|(variables, placeholder)| PlaceholderVariables { variables, placeholder }).collect()
}
