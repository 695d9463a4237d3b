//! `locum env`: the variables that make clients use and trust a running service, for a shell to evaluate.

use super::child_env::{
    self, TakenEnvironment, before, placeholders, stands, warn_of_bypassed, warn_of_withheld, with_copies,
};
use super::context::CliContext;
use super::lookup;
use super::nft;
use super::running_service::RunningService;
use super::term::CliError;
use crate::app::{self, ListenerTls};
use crate::disk;
use crate::memory::own_variables::PROXY_TOKEN;
use crate::name::KeyName;
use crate::trust_env::{self, EnvironmentChanges, PastProxy, ProxyAccess, Shell, TrustFiles};
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
    #[arg(long, default_value = LOCAL)]
    agent: String,
    /// Put back what was there before; keys are not
    #[arg(long, conflicts_with_all = ["token_file", "agent"])]
    unset: bool,
    /// Print rules for nftables instead, which lead the connections of [proxy] uids to the transparent listener
    #[arg(long, conflicts_with_all = ["shell", "token_file", "agent", "unset"])]
    nft: bool,
}

/// The agent that `LOCUM_PROXY_TOKEN` is the token of.
const LOCAL: &str = "local";
/// What a shell had before, as JSON, so that it can be put back.
const BEFORE: &str = "LOCUM_ENV_BEFORE";

/// Prints what a shell is to evaluate.
pub fn run(args: EnvArgs, context: &CliContext) -> anyhow::Result<ExitCode> {
    let shell = args.shell.unwrap_or_else(|| Shell::of_path(&child_env::now("SHELL").unwrap_or_default()));
    if args.unset {
        print!("{}", shell.write(&put_back()?));
        return Ok(ExitCode::SUCCESS);
    }
    let settings = context.settings()?;
    if args.nft {
        return nft::run(&settings);
    }
    let taken = context.take_environment(&settings)?;
    warn_of_withheld(&taken);
    let now = before(&taken);
    let was = before_all(&now, &taken);
    let backends = app::backends(&settings, taken.secrets.clone());
    let pem = match &settings.ca.export {
        Some(path) if path.exists() => disk::read_text(path).map_err(|e| {
            CliError::failed(format!("{}: {e}", path.display()), "see [ca] export in the config: the service writes it")
        })?,
        _ => lookup::kept_ca(&settings, &backends)?.bundle(),
    };
    let service = RunningService::find(&settings)?;
    let token = token(&args, &taken)?;
    if token.is_none() && service.needs_token {
        eprintln!(
            "locum: warning: the service answers nobody without a token\n  \
             next: name the agent and the file of its token: locum env --agent NAME --token-file FILE"
        );
    }
    let tls = ListenerTls::of(&settings).map_err(CliError::from)?;
    let tls_host = tls.as_ref().map(|tls| tls.host(service.listen).unwrap_or_else(|| service.listen.ip().to_string()));
    let pem = pem + tls.as_ref().map_or("", |tls| &tls.pem);
    let dir = settings.state.join("env");
    app::make_state_dir(&dir).map_err(CliError::from)?;
    let files = TrustFiles::write(&dir, &pem, None, &was)?;
    if tls.is_some() {
        files.trust_proxy(&was)?;
    }
    let access = ProxyAccess {
        address: service.listen,
        tls_host: tls_host.as_deref(),
        agent: &args.agent,
        token: token.as_deref(),
        past: PastProxy::UsersAndLoopback,
    };
    let active: Vec<&KeyName> = app::active(&settings, &backends).into_iter().map(|k| &k.name).collect();
    let placeholders = placeholders(&settings, |k| active.contains(&&k.name));
    let bound = settings.keys.iter().filter(|key| active.contains(&&key.name));
    warn_of_bypassed(bound.flat_map(|key| &key.rule.hosts), &was);
    let git = trust_env::outranking_settings();
    let changes = with_copies(trust_env::changes(&access, &files, &stands(&placeholders), &git, &was), &taken);
    let changes = with_way_back(changes, &now, &taken)?;
    print!("{}", shell.write(&changes));
    Ok(ExitCode::SUCCESS)
}

/// That of the file, else of the variable that the service has it from.
fn token(args: &EnvArgs, taken: &TakenEnvironment) -> anyhow::Result<Option<String>> {
    let Some(path) = &args.token_file else {
        let own = taken.secrets.get(PROXY_TOKEN)?.filter(|_| args.agent == LOCAL);
        return Ok(own.map(|token| String::from_utf8_lossy(token.expose()).into_owned()));
    };
    let text = disk::read_text(path).map_err(|e| {
        CliError::failed(format!("{}: {e}", path.display()), "name the file that holds the agent's token")
    })?;
    Ok(Some(text.trim().to_owned()))
}

/// What variables said before this shell was set up the first time: what is added to them is added once. What is secret and set
/// now is as it is.
pub(super) fn before_all<'t, F: Fn(&str) -> Option<String>>(
    now: &'t F,
    taken: &'t TakenEnvironment,
) -> impl Fn(&str) -> Option<String> + use<'t, F> {
    let known = known_before(now);
    move |name| match known.get(name) {
        Some(said) if !taken.secrets.names().any(|t| t == name) => said.clone(),
        _ => now(name),
    }
}

fn known_before(now: &impl Fn(&str) -> Option<String>) -> EnvironmentChanges {
    now(BEFORE).and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// Besides the changes what undoes them: of a shell that was set up before, what was there before that. What was secret is not
/// kept.
fn with_way_back(
    mut changes: EnvironmentChanges,
    was: &impl Fn(&str) -> Option<String>,
    taken: &TakenEnvironment,
) -> anyhow::Result<EnvironmentChanges> {
    let known = known_before(was);
    let is_secret = |name: &str| taken.secrets.names().any(|t| t == name) || taken.copies.contains_key(name);
    let stands_in = |value: &String| KeyName::is_placeholder(value.as_bytes());
    let now = |name: &String| (name.clone(), was(name).filter(|v| !is_secret(name) && !stands_in(v)));
    let mut before: EnvironmentChanges = changes.keys().map(now).collect();
    before.extend(known);
    changes.insert(BEFORE.into(), Some(serde_json::to_string(&before)?));
    Ok(changes)
}

/// What undoes all changes.
fn put_back() -> anyhow::Result<EnvironmentChanges> {
    let text = child_env::now(BEFORE)
        .ok_or_else(|| CliError::failed("this shell was not set up by 'locum env'", "there is nothing to put back"))?;
    let mut before: EnvironmentChanges = serde_json::from_str(&text)
        .map_err(|_| CliError::failed(format!("{BEFORE} is not as 'locum env' has set it"), "begin a new shell"))?;
    before.insert(BEFORE.into(), None);
    Ok(before)
}
