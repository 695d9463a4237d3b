//! `locum agent`: makes, lists and revokes the tokens by which agents prove who they are.

use super::administration::Administration;
use super::context::CliContext;
use super::table;
use super::term::CliError;
use super::when;
use crate::app;
use crate::config::settings::Settings;
use crate::config::tokens;
use crate::control::{AgentToken, TokenExpiry, TokenOrigin, TokenRequest};
use crate::name::{AgentName, KeyName};
use crate::record::Event;
use jiff::Timestamp;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::SystemTime;

#[derive(Debug, clap::Args)]
pub struct AgentArgs {
    #[command(subcommand)]
    command: AgentCommand,
}

#[derive(Debug, clap::Subcommand)]
enum AgentCommand {
    /// Make a token for an agent, and show it this once; an older one of that agent stops counting, and its keys and its end stay
    Add {
        /// What the agent is called: letters, digits, '-' and '_'
        name: AgentName,
        /// Only these keys, separated by commas
        #[arg(long, value_delimiter = ',', value_name = "KEY")]
        keys: Option<Vec<KeyName>>,
        /// Until when it counts: 30d, 12h, 2027-01-31, never
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
    Revoke {
        /// The agent, as 'locum agent list' shows it
        name: AgentName,
    },
}

/// Makes, lists or revokes tokens.
pub fn run(args: AgentArgs, context: &CliContext) -> anyhow::Result<ExitCode> {
    let settings = context.settings()?;
    app::make_state_dir(&settings.state).map_err(CliError::from)?;
    let begin = |action| -> anyhow::Result<Administration> {
        let backends = app::backends(&settings, context.take_secrets(&settings)?);
        Ok(Administration::begin(&settings, &backends, Event::Agent, action))
    };
    match args.command {
        AgentCommand::Add { name, keys, expires } => {
            let mut admin = begin("agent add")?;
            let done = admin.agent(&name, add(&settings, name.clone(), keys, expires.as_deref()));
            admin.end(done)
        }
        AgentCommand::List { json } => list(&settings, json),
        AgentCommand::Revoke { name } => {
            let mut admin = begin("agent revoke")?;
            let done = admin.agent(&name, revoke(&settings, &name));
            admin.end(done)
        }
    }
}

fn add(
    settings: &Settings,
    agent: AgentName,
    keys: Option<Vec<KeyName>>,
    expires: Option<&str>,
) -> anyhow::Result<ExitCode> {
    let (keys_said, end_said) = (keys.is_some(), expires.is_some());
    let expires = expires.map(end).transpose()?;
    let request = TokenRequest { agent: agent.clone(), keys, expires };
    let issued = app::issue_token(settings, request).map_err(CliError::from)?;
    // the token alone on standard output, so that it can go straight into a file
    writeln!(std::io::stdout().lock(), "{}", *issued.token)?;
    if issued.replaced {
        eprintln!("the token that {agent} had before no longer counts");
    }
    if let Some(keys) = issued.keys.as_deref().filter(|_| !keys_said) {
        let keys = joined(Some(keys));
        eprintln!(
            "its keys are those of before: {keys} (--keys names others; after 'locum agent revoke {agent}' it is all)"
        );
    }
    if let Some(end) = issued.expires.filter(|_| !end_said) {
        eprintln!("it counts until {}, as before (--expires says another time, or never)", minute(end));
    }
    eprintln!("shown this once; the agent sends it as http://{agent}:TOKEN@{}", settings.proxy.listen);
    Ok(ExitCode::SUCCESS)
}

/// What `--expires` says.
fn end(said: &str) -> anyhow::Result<TokenExpiry> {
    if said.trim() == "never" {
        return Ok(TokenExpiry::Never);
    }
    Ok(TokenExpiry::At(when::ahead(said, &jiff::Zoned::now())?.into()))
}

/// A row of the table of tokens.
#[derive(serde::Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct TokenRow {
    name: String,
    keys: String,
    made: Option<String>,
    expires: Option<String>,
    expired: bool,
    by: TokenOrigin,
}

impl From<AgentToken> for TokenRow {
    fn from(token: AgentToken) -> Self {
        Self {
            name: token.agent.to_string(),
            keys: joined(token.keys.as_deref()),
            made: token.made.map(minute),
            expires: token.expires.map(minute),
            expired: token.expired,
            by: token.origin,
        }
    }
}

fn list(settings: &Settings, json: bool) -> anyhow::Result<ExitCode> {
    let list = app::list_tokens(settings).map_err(CliError::from)?;
    let mut rows: Vec<TokenRow> = list.tokens.into_iter().map(TokenRow::from).collect();
    rows.sort();
    if json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        println!("{}", nobody(settings, list.ever_made));
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = vec![["AGENT", "MADE", "EXPIRES", "BY", "KEYS"].map(str::to_owned)];
    for TokenRow { name, keys, made, expires, expired, by } in rows {
        let (made, expires) = (made.unwrap_or_default(), expires.unwrap_or_else(|| "never".into()));
        let expires = if expired { format!("expired {expires}") } else { expires };
        table.push([name, made, expires, by.as_str().to_owned(), keys]);
    }
    print!("{}", table::shown(&table));
    Ok(ExitCode::SUCCESS)
}

/// Who may ask where no agent has a token.
fn nobody(settings: &Settings, ever_made: bool) -> String {
    if let Some(first) = settings.agents.first() {
        return format!(
            "no agent has a token, and the config has agents, so nobody may ask: make one with 'locum agent add {}'",
            first.name
        );
    }
    if ever_made {
        return format!("no agent has a token, so nobody may ask; {}", all_in(settings));
    }
    "no agent has a token: whoever runs as your user is 'local' (make one with 'locum agent add NAME')".into()
}

fn minute(at: SystemTime) -> String {
    Timestamp::try_from(at).map_or_else(|_| "?".into(), when::minute_of)
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
    let left = app::revoke_token(settings, name).map_err(CliError::from)?;
    println!("{name}: its token no longer counts; a running service takes that over within a second");
    if left == 0 && settings.agents.is_empty() {
        eprintln!("no agent is left, so nobody may ask; {}", all_in(settings));
    }
    Ok(ExitCode::SUCCESS)
}
