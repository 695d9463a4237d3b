//! The ruleset that requests are judged by, made of the settings.

use super::AppError;
use super::agents::{self, StartupTokens};
use super::keys::active;
use crate::config::keys::KeySetting;
use crate::config::settings::{Intercept, Settings};
use crate::policy::Rules;
use crate::policy::egress::EgressPolicy;
use crate::proxy::Ruleset;
use crate::rewrite::Vocabulary;
use crate::secrets::{KeyTable, SecretBackends};
use std::sync::Arc;

/// The rules that a service with these settings would follow, without anything being opened or bound.
///
/// # Errors
/// When tokens or look-alikes can't be used.
pub fn rules(settings: &Settings, backends: &SecretBackends) -> Result<Ruleset, AppError> {
    ruleset(settings, &active(settings, backends), &StartupTokens::at_start(Vec::new(), &backends.environment)?)
}

/// The rules by these settings, keys and tokens. Whoever serves by it adds the table of keys: until then none can be had.
pub(super) fn ruleset(
    settings: &Settings,
    active: &[&KeySetting],
    startup_tokens: &StartupTokens,
) -> Result<Ruleset, AppError> {
    let lookalikes = active.iter().filter_map(|k| Some((k.rule.placeholder.clone()?, k.name.clone())));
    let vocabulary = Vocabulary::new(settings.proxy.braces, lookalikes)?;
    let egress = EgressPolicy {
        mode: settings.proxy.egress,
        allow: settings.proxy.allow.clone(),
        deny: settings.proxy.deny.clone(),
        connect_ports: settings.proxy.connect_ports.clone(),
        cleartext: settings.proxy.cleartext,
    };
    Ok(Ruleset {
        rules: Rules::new(active.iter().map(|k| k.rule.clone()), egress),
        agents: agents::agents(settings, startup_tokens)?,
        vocabulary: Arc::new(vocabulary),
        passthrough: settings.proxy.passthrough.clone(),
        uids: settings.proxy.uids.iter().copied().chain([rustix::process::geteuid().as_raw()]).collect(),
        intercept_bound_only: settings.proxy.intercept == Intercept::Bound,
        prefixes: active.iter().map(|k| (k.name.clone(), k.prefixes.clone())).collect(),
        keys: KeyTable::default(),
    })
}
