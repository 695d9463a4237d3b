//! The agents that may use the proxy, and the tokens that prove them: of the config, the state folder and the environment.

use super::AppError;
use crate::config::keys::AgentSetting;
use crate::config::settings::Settings;
use crate::config::tokens::{StoredToken, StoredTokens};
use crate::memory::SealedEnvironment;
use crate::memory::own_variables::PROXY_TOKEN;
use crate::name::AgentName;
use crate::policy::agent::{AgentLimits, TokenHash};
use crate::policy::{Agent, Agents};
use crate::secrets::{FileSource, SecretSource as _};
use std::path::Path;
use std::sync::Arc;

/// The fewest characters of a token: a shorter one could be guessed.
pub const MIN_TOKEN: usize = 16;

/// The tokens that a process was started with.
#[derive(Debug, Clone, Default)]
pub(super) struct StartupTokens {
    /// Made for the occasion: with any, no others count.
    pub made: Vec<(TokenHash, Arc<Agent>)>,
    /// The one of [`PROXY_TOKEN`]. StoredToken as a hash from the start on, so that a wipe of all secrets lets nobody in.
    pub variable: Option<TokenHash>,
}

impl StartupTokens {
    pub fn at_start(made: Vec<(TokenHash, Arc<Agent>)>, environment: &SealedEnvironment) -> Result<Self, AppError> {
        let token = environment.get(PROXY_TOKEN)?;
        if token.as_ref().is_some_and(|token| token.expose().trim_ascii().len() < MIN_TOKEN) {
            return Err(AppError::ShortToken { minimum: MIN_TOKEN });
        }
        Ok(Self { made, variable: token.map(|token| TokenHash::of(token.expose().trim_ascii())) })
    }
}

/// The agents that may ask. Any agent in the config, token in the state folder or `LOCUM_PROXY_TOKEN` makes a token necessary, and
/// it stays so when the last one is revoked.
pub(super) fn agents(settings: &Settings, startup: &StartupTokens) -> Result<Agents, AppError> {
    if !startup.made.is_empty() {
        return Ok(Agents::with_tokens(startup.made.clone()));
    }
    let kept = StoredTokens::load(&settings.state)?;
    if settings.agents.is_empty() && kept.is_none() && startup.variable.is_none() {
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
    tokens.extend(startup.variable.clone().map(|token| (token, Arc::new(Agent::local()))));
    Ok(Agents::with_tokens(tokens))
}

/// The agent that a token was made for: the one of that name in the config, with no more than the token gives.
fn narrowed(kept: StoredToken, settings: &Settings) -> Agent {
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
    let kept = StoredTokens::load(&settings.state)?.unwrap_or_default().kept;
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

/// An agent of the config, as policy takes it.
fn agent(setting: &AgentSetting) -> Agent {
    Agent {
        name: setting.name.clone(),
        keys: setting.keys.as_ref().map(|keys| keys.iter().cloned().collect()),
        hosts: setting.hosts.clone(),
        methods: setting.methods.clone(),
        expires: None,
        limits: AgentLimits { rate: setting.rate.map(|r| (r.count, r.per)), concurrent: setting.concurrent },
        ..Agent::local()
    }
}
