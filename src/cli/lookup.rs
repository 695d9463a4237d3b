//! Lookups that several commands share: the agent of a name, and the CA that is kept.

use super::term::CliError;
use crate::app;
use crate::ca::Authorities;
use crate::config::keys::KeySetting;
use crate::config::settings::Settings;
use crate::name::{AgentName, KeyName};
use crate::policy::Agent;
use crate::secrets::SecretBackends;
use std::time::SystemTime;

/// The agent of this name, in the config or by `agent add`; without a name, one who may use every key.
///
/// # Errors
/// When there is none, or its token has expired.
pub fn agent_named(name: Option<&AgentName>, settings: &Settings) -> anyhow::Result<Agent> {
    let Some(name) = name else { return Ok(Agent::local()) };
    let mut all = app::named_agents(settings).map_err(CliError::from)?;
    let Some(at) = all.iter().position(|agent| agent.name == *name) else {
        let known: Vec<&str> = all.iter().map(|agent| agent.name.as_str()).collect();
        let next = match known.is_empty() {
            true => format!("add a table [agent.{name}] to the config, or make a token with 'locum agent add {name}'"),
            false => format!("there is {}", known.join(", ")),
        };
        return Err(CliError::failed(format!("there is no agent '{name}'"), next));
    };
    let agent = all.swap_remove(at);
    if agent.expires.is_some_and(|end| end <= SystemTime::now()) {
        let next = format!("'locum agent add {name} --expires 30d' makes a new one");
        return Err(CliError::failed(format!("the token of agent '{name}' has expired"), next));
    }
    Ok(agent)
}

/// The CA that a service with these settings uses, made where it has not been yet.
pub fn kept_ca(settings: &Settings, backends: &SecretBackends) -> anyhow::Result<Authorities> {
    app::make_state_dir(&settings.state).map_err(CliError::from)?;
    match app::kept_ca(settings, backends).map_err(CliError::from)? {
        Some((ca, _)) => Ok(ca),
        None => Err(CliError::failed(
            "the CA is in the memory of the process that uses it",
            "'locum run' hands it to its child; for a service set [ca] export, or [ca] source = \"auto\"",
        )),
    }
}

/// What the config and the catalog say of the key of this name.
pub fn key_of_name<'s>(settings: &'s Settings, name: &KeyName) -> Option<&'s KeySetting> {
    settings.keys.iter().find(|k| k.name == *name)
}
