//! `locum agent`: makes, lists and revokes the tokens by which agents prove who they are.

use super::{Context, term, told, when};
use crate::app;
use crate::config::settings::Settings;
use crate::config::tokens::{self, AgentToken, AgentTokens};
use crate::name::{AgentName, KeyName};
use crate::policy::Agent;
use crate::policy::agent::TokenHash;
use base64::Engine as _;
use jiff::Timestamp;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::SystemTime;
use zeroize::Zeroizing;

#[derive(Debug, clap::Args)]
pub struct AgentArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a token for an agent, and show it this once; an older one of that agent stops counting
    Add {
        name: AgentName,
        /// Only these keys, separated by commas
        #[arg(long, value_delimiter = ',', value_name = "KEY")]
        keys: Option<Vec<KeyName>>,
        /// Until when it counts: 30d, 12h, 2027-01-31
        #[arg(long, value_name = "WHEN")]
        expires: Option<String>,
    },
    /// The agents that have a token
    List {
        /// An array of objects
        #[arg(long)]
        json: bool,
    },
    /// Let an agent's token no longer count, and end what it has under way
    Revoke { name: AgentName },
}

pub fn run(args: AgentArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let settings = context.settings()?;
    app::make_state_dir(&settings.state).map_err(told)?;
    match args.command {
        Command::Add { name, keys, expires } => add(&settings, name, keys, expires.as_deref()),
        Command::List { json } => list(&settings, json),
        Command::Revoke { name } => revoke(&settings, &name),
    }
}

/// The agent of this name, in the config or by `agent add`; without a name, one who may use every key.
///
/// # Errors
/// When there is none, or its token has expired.
pub fn of_name(name: Option<&AgentName>, settings: &Settings) -> anyhow::Result<Agent> {
    let Some(name) = name else { return Ok(Agent::local()) };
    let mut all = app::named_agents(settings).map_err(told)?;
    let Some(at) = all.iter().position(|agent| agent.name == *name) else {
        let known: Vec<&str> = all.iter().map(|agent| agent.name.as_str()).collect();
        let next = match known.is_empty() {
            true => format!("add a table [agent.{name}] to the config, or make a token with 'locum agent add {name}'"),
            false => format!("there is {}", known.join(", ")),
        };
        return Err(term::CliError::failed(format!("there is no agent '{name}'"), next));
    };
    let agent = all.swap_remove(at);
    if agent.expires.is_some_and(|end| end <= SystemTime::now()) {
        let next = format!("'locum agent add {name}' makes a new one");
        return Err(term::CliError::failed(format!("the token of agent '{name}' has expired"), next));
    }
    Ok(agent)
}

fn add(
    settings: &Settings,
    name: AgentName,
    keys: Option<Vec<KeyName>>,
    expires: Option<&str>,
) -> anyhow::Result<ExitCode> {
    for key in keys.iter().flatten() {
        if !settings.keys.iter().any(|k| k.name == *key) {
            return Err(term::CliError::failed(
                format!("there is no key '{key}'"),
                "'locum check' lists those there are",
            ));
        }
    }
    let expires = expires.map(|said| when::ahead(said, &jiff::Zoned::now())).transpose()?.map(SystemTime::from);
    let mut bytes = Zeroizing::new([0_u8; 32]);
    aws_lc_rs::rand::fill(&mut *bytes).map_err(|_| told(app::AppError::Random))?;
    let token = Zeroizing::new(format!("locum_{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(*bytes)));
    let kept = AgentToken {
        name: name.clone(),
        hash: TokenHash::of(token.as_bytes()),
        keys,
        made: SystemTime::now(),
        expires,
    };
    let replaced = tokens::change(&settings.state, |tokens| {
        let before = tokens.kept.len();
        tokens.kept.retain(|k| k.name != name);
        let replaced = tokens.kept.len() < before;
        tokens.kept.push(kept);
        replaced
    })
    .map_err(|e| told(e.into()))?;
    // the token alone on standard output, so that it can go straight into a file
    writeln!(std::io::stdout().lock(), "{}", *token)?;
    if replaced {
        eprintln!("the token that {name} had before no longer counts");
    }
    eprintln!("shown this once; the agent sends it as http://{name}:TOKEN@{}", settings.proxy.listen);
    Ok(ExitCode::SUCCESS)
}

/// A row of the table.
#[derive(serde::Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    name: String,
    keys: String,
    made: Option<String>,
    expires: Option<String>,
    by: &'static str,
}

fn list(settings: &Settings, json: bool) -> anyhow::Result<ExitCode> {
    let kept = AgentTokens::load(&settings.state).map_err(|e| told(e.into()))?;
    let none_left = kept.is_some();
    let kept = kept.unwrap_or_default().kept;
    let made = kept.into_iter().map(|k| Row {
        name: k.name.to_string(),
        keys: joined(k.keys.as_deref()),
        made: Some(minute(k.made)),
        expires: k.expires.map(minute),
        by: "agent add",
    });
    let from_config = settings.agents.iter().filter(|a| a.token_file.is_some()).map(|a| Row {
        name: a.name.to_string(),
        keys: joined(a.keys.as_deref()),
        made: None,
        expires: None,
        by: "token_file",
    });
    let mut rows: Vec<Row> = made.chain(from_config).collect();
    rows.sort();
    if json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        if let Some(first) = settings.agents.first() {
            println!(
                "no agent has a token, and the config has agents, so nobody may ask: make one with 'locum agent add {}'",
                first.name
            );
        } else if none_left {
            println!("no agent has a token, so nobody may ask; {}", all_in(settings));
        } else {
            println!(
                "no agent has a token: whoever runs as your user is 'local' (make one with 'locum agent add NAME')"
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    println!("{:<24} {:<17} {:<17} {:<12} KEYS", "AGENT", "MADE", "EXPIRES", "BY");
    for Row { name, keys, made, expires, by } in rows {
        let (made, expires) = (made.unwrap_or_default(), expires.unwrap_or_else(|| "never".into()));
        println!("{name:<24} {made:<17} {expires:<17} {by:<12} {keys}");
    }
    Ok(ExitCode::SUCCESS)
}

fn minute(at: SystemTime) -> String {
    Timestamp::try_from(at).map_or_else(|_| "?".into(), |t| t.strftime("%Y-%m-%d %H:%M").to_string())
}

fn joined(keys: Option<&[KeyName]>) -> String {
    keys.map_or_else(|| "all".into(), |keys| keys.iter().map(KeyName::as_str).collect::<Vec<_>>().join(","))
}

/// How to do without tokens again, after there were some.
fn all_in(settings: &Settings) -> String {
    let path = tokens::path(&settings.state);
    format!(
        "to let every program of your user in without a token, remove {} and start the service again",
        path.display()
    )
}

fn revoke(settings: &Settings, name: &AgentName) -> anyhow::Result<ExitCode> {
    let (known, left) = tokens::change(&settings.state, |tokens| {
        let before = tokens.kept.len();
        tokens.kept.retain(|k| k.name != *name);
        (tokens.kept.len() < before, tokens.kept.len())
    })
    .map_err(|e| told(e.into()))?;
    if !known {
        let next = match settings.agents.iter().any(|a| a.name == *name && a.token_file.is_some()) {
            true => "its token is in the file that the config names: remove the token_file line, then SIGHUP",
            false => "'locum agent list' shows those that have one",
        };
        return Err(term::CliError::failed(format!("no token was made for {name}"), next));
    }
    println!("{name}: its token no longer counts; a running service takes that over within a second");
    if left == 0 && settings.agents.is_empty() {
        eprintln!("no agent is left, so nobody may ask; {}", all_in(settings));
    }
    Ok(ExitCode::SUCCESS)
}
