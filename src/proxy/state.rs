//! The state that all connections share.

use super::accept::descendants::Descendants;
use super::accept::slots::ConnectionSlots;
use super::ceilings::Ceilings;
use super::exchange::decode_budget::DecodeBudget;
use super::limits::Limits;
use super::recorder::Recorder;
use super::ruleset::Ruleset;
use crate::ca::Leaves;
use crate::name::AgentName;
use crate::policy::agent::AgentMeter;
use crate::secrets::Secrets;
use arc_swap::{ArcSwap, ArcSwapOption};
use foldhash::fast::RandomState;
use rustls::ServerConfig;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Settings that do not change while the proxy runs.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The bounds of what clients and upstreams can make grow.
    pub limits: Limits,
    /// What the operator does about a host that the CA doesn't cover.
    pub ca_remedy: &'static str,
}

/// What all connections share.
pub struct Shared {
    /// The settings that stay.
    pub config: Config,
    /// The rules of now; requests keep the set that they were judged by.
    pub ruleset: ArcSwap<Ruleset>,
    /// Tells what is under way that rules or keys have changed.
    pub changes: watch::Sender<()>,
    /// The keys.
    pub secrets: Secrets,
    /// The way into audit, counters and alerts.
    pub recorder: Arc<Recorder>,
    /// The certificates that clients are answered with.
    pub leaves: Leaves,
    /// The TLS that is spoken on the proxy's own port, where it is.
    pub listener_tls: ArcSwapOption<ServerConfig>,
    /// The places for connections.
    pub slots: Arc<ConnectionSlots>,
    /// How much may be under way to upstreams.
    pub ceilings: Ceilings,
    /// The allowances of the agents.
    pub meters: Meters,
    /// Memory for coded request bodies.
    pub decode_budget: Arc<DecodeBudget>,
    /// Those who need no token, where there are any.
    pub descendants: Option<Arc<Descendants>>,
}

impl Shared {
    /// Has what is under way look again at what it was allowed.
    pub fn note_change(&self) {
        self.changes.send_replace(());
    }

    /// Judges by new rules from now on.
    pub fn take_over(&self, ruleset: Ruleset) {
        self.ruleset.store(Arc::new(ruleset));
        self.note_change();
    }
}

/// How much each agent has asked lately: kept over reloads, so that a reload gives nobody a new allowance.
#[derive(Default)]
pub struct Meters(Mutex<HashMap<AgentName, Arc<AgentMeter>, RandomState>>);

impl Meters {
    /// The meter of one agent. Asked once for each set of rules: the agent keeps it.
    pub fn of(&self, agent: &AgentName) -> Arc<AgentMeter> {
        let mut meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match meters.get(agent) {
            Some(meter) => meter.clone(),
            None => meters.entry(agent.clone()).or_default().clone(),
        }
    }
}
