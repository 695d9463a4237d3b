//! The placeholders that an agent may use, in words that it may be told: where each key may go, and nothing of its value.

use super::agent::Agent;
use super::decide::Rules;
use super::rule::KeyRule;
use serde::{Deserialize, Serialize};
use std::fmt::Display;

/// All placeholders of one agent, as JSON has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentPlaceholders {
    /// Whose they are.
    pub agent: String,
    /// Sorted by the names of their keys.
    pub placeholders: Vec<AgentPlaceholder>,
}

/// A placeholder, and where its key may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentPlaceholder {
    /// The key's name.
    pub name: String,
    /// What to write in its place.
    pub placeholder: String,
    /// The hosts that it may go to.
    pub hosts: Vec<String>,
    /// The places in a request that it may stand in.
    #[serde(rename = "where")]
    pub places: Vec<String>,
    /// The methods that it may go with: any, where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// The paths that it may go to: any, where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
}

impl AgentPlaceholders {
    /// Those of `agent` by these rules.
    pub fn of(agent: &Agent, rules: &Rules) -> Self {
        let own = rules.keys().filter(|rule| agent.may_use(&rule.name));
        let mut placeholders: Vec<_> = own.map(|rule| AgentPlaceholder::of(rule)).collect();
        placeholders.sort_by(|a, b| a.name.cmp(&b.name));
        Self { agent: agent.name.to_string(), placeholders }
    }
}

impl AgentPlaceholder {
    fn of(rule: &KeyRule) -> Self {
        Self {
            name: rule.name.to_string(),
            placeholder: rule.shown_placeholder(),
            hosts: texts(&rule.hosts),
            places: texts(&rule.places),
            methods: texts(&rule.methods),
            paths: texts(&rule.paths),
        }
    }
}

fn texts<T: Display>(items: &[T]) -> Vec<String> {
    items.iter().map(T::to_string).collect()
}
