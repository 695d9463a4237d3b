//! Who may ask, and how each proves it: agents of the config, tokens of the state folder and of the environment.

use super::AppError;
use crate::config::keys::AgentSetting;
use crate::config::settings::Settings;
use crate::config::tokens::{AgentToken, AgentTokens};
use crate::memory::SealedEnvironment;
use crate::name::AgentName;
use crate::policy::agent::{AgentLimits, TokenHash};
use crate::policy::{Agent, Agents};
use crate::secrets::{FileSource, SecretSource as _};
use std::path::Path;
use std::sync::Arc;

/// A shorter token could be guessed.
pub const MIN_TOKEN: usize = 16;

/// The tokens that a process was started with.
#[derive(Debug, Clone, Default)]
pub(super) struct CliPaths {
    /// Made for the occasion: with any, no others count.
    pub made: Vec<(TokenHash, Arc<Agent>)>,
    /// Of [`PROXY_TOKEN`]. Kept as a hash from the start on, so that a wipe of all secrets lets nobody in.
    pub variable: Option<TokenHash>,
}

impl CliPaths {
    pub fn at_start(made: Vec<(TokenHash, Arc<Agent>)>, environment: &SealedEnvironment) -> Result<Self, AppError> {
        let token = environment.get(PROXY_TOKEN)?;
        if token.as_ref().is_some_and(|token| token.expose().trim_ascii().len() < MIN_TOKEN) {
            return Err(AppError::ShortToken);
        }
        Ok(Self { made, variable: token.map(|token| TokenHash::of(token.expose().trim_ascii())) })
    }
}

/// Who may ask. Any agent in the config, token in the state folder or `LOCUM_PROXY_TOKEN` makes a token necessary, and
/// it stays so when the last one is revoked.
pub(super) fn agents(settings: &Settings, given: &CliPaths) -> Result<Agents, AppError> {
    if !given.made.is_empty() {
        return Ok(Agents::with_tokens(given.made.clone()));
    }
    let kept = AgentTokens::load(&settings.state)?;
    if settings.agents.is_empty() && kept.is_none() && given.variable.is_none() {
        return Ok(Agents::open());
    }
    let mut tokens = Vec::new();
    for setting in &settings.agents {
        if let Some(path) = &setting.token_file {
            tokens.push((token_in(path, &setting.name)?, Arc::new(agent(setting))));
        }
    }
    let kept = kept.unwrap_or_default().kept;
    tokens.extend(kept.into_iter().map(|kept| (kept.hash.clone(), Arc::new(narrowed(kept, settings)))));
    tokens.extend(given.variable.clone().map(|token| (token, Arc::new(Agent::local()))));
    Ok(Agents::with_tokens(tokens))
}

/// Who a token that was made stands for: the agent of that name in the config, with no more than the token gives.
fn narrowed(kept: AgentToken, settings: &Settings) -> Agent {
    let table = settings.agents.iter().find(|a| a.name == kept.name);
    let mut agent = table.map_or_else(|| Agent { name: kept.name.clone(), ..Agent::local() }, agent);
    agent.expires = kept.expires;
    if let Some(keys) = kept.keys {
        agent.keys = Some(keys.into_iter().filter(|key| agent.may_use(key)).collect());
    }
    agent
}

/// All agents that have a name: those that a token was made for, and those of the config besides.
///
/// # Errors
/// When the file of tokens can't be read.
pub fn named_agents(settings: &Settings) -> Result<Vec<Agent>, AppError> {
    let kept = AgentTokens::load(&settings.state)?.unwrap_or_default().kept;
    let mut all: Vec<Agent> = kept.into_iter().map(|kept| narrowed(kept, settings)).collect();
    for setting in &settings.agents {
        if !all.iter().any(|agent| agent.name == setting.name) {
            all.push(agent(setting));
        }
    }
    Ok(all)
}

fn token_in(path: &Path, agent: &AgentName) -> Result<TokenHash, AppError> {
    let fail = |why: String| AppError::Token { agent: agent.to_string(), path: path.into(), why };
    let token = FileSource::new(path).load().map_err(|e| fail(e.to_string()))?;
    let token = token.ok_or_else(|| fail("it is not there, or empty".into()))?;
    let text = token.expose().trim_ascii();
    if text.len() < MIN_TOKEN {
        Err(fail(format!("it has under {MIN_TOKEN} characters")))
    } else {
        Ok(TokenHash::of(text))
    }
}

/// What the config says of an agent, as policy takes it.
fn agent(setting: &AgentSetting) -> Agent {
    Agent {
        name: setting.name.clone(),
        keys: setting.keys.as_ref().map(|keys| keys.iter().cloned().collect()),
        hosts: setting.hosts.clone(),
        methods: setting.methods.clone(),
        expires: None,
        limits: AgentLimits { rate: setting.rate.map(|r| (r.count, r.per)), concurrent: setting.concurrent },
    }
}

/// The variable that holds the token of the agent `local`.
pub const PROXY_TOKEN: &str = "LOCUM_PROXY_TOKEN";
