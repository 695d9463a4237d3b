//! The ruleset that requests are judged by, made of the settings.

use super::AppError;
use super::agents::{self, StartupTokens};
use super::keys::active;
use crate::config::keys::KeySetting;
use crate::config::settings::{Intercept, Settings};
use crate::name::Origin;
use crate::policy::Rules;
use crate::policy::egress::{AddressPolicy, EgressPolicy};
use crate::proxy::Ruleset;
use crate::rewrite::Vocabulary;
use crate::secrets::{KeyTable, SecretBackends};
use crate::upstream::DialError;
use crate::upstream::dial::{AllowedPeer, Dialer};
use crate::upstream::resolver::Resolver;
use std::net::SocketAddr;
use std::sync::Arc;

/// The rules that a service with these settings would follow, without anything being opened or bound.
///
/// # Errors
/// When tokens or look-alikes can't be used.
pub fn rules(settings: &Settings, backends: &SecretBackends) -> Result<Ruleset, AppError> {
    ruleset(settings, &active(settings, backends), &StartupTokens::at_start(Vec::new(), &backends.environment)?)
}

/// Whether a service with these settings would not even dial: what is known of that before a name is looked up. `secret`
/// is whether a key would go along unencrypted, for which only loopback will do.
///
/// # Errors
/// Why it wouldn't.
pub fn judge_unasked(settings: &Settings, origin: &Origin, secret: bool) -> Result<(), DialError> {
    let peer = if secret { AllowedPeer::Loopback } else { AllowedPeer::Any };
    dialer(settings, &[settings.proxy.listen], Resolver::default()).judge_unasked(origin, peer)
}

/// How a service with these settings that listens on these addresses reaches upstreams, short of what a proxy there is verified by.
pub(super) fn dialer(settings: &Settings, own: &[SocketAddr], resolver: Resolver) -> Dialer {
    Dialer {
        addresses: AddressPolicy {
            private_addresses: settings.proxy.private_addresses.clone().into(),
            own: own.into(),
            ..AddressPolicy::default()
        },
        proxy: settings.proxy.upstream_proxy.clone().map(Arc::new),
        bypass: settings.proxy.upstream_proxy_bypass.clone().into(),
        resolver,
        ..Dialer::default()
    }
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
        transparent_agent: settings.proxy.transparent_agent.clone(),
        intercept_bound_only: settings.proxy.intercept == Intercept::Bound,
        prefixes: active.iter().map(|k| (k.name.clone(), k.prefixes().to_vec())).collect(),
        keys: KeyTable::default(),
    })
}
