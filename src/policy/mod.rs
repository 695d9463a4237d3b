//! Policy: agents, bindings, egress, and the decision on each request. No IO and no clock.

pub mod agent;
pub mod agent_placeholders;
pub(crate) mod body_overrides;
pub mod decide;
mod denial;
pub mod egress;
mod injection;
pub(crate) mod overrides;
pub mod rule;

pub use agent::{Agent, Agents};
pub use decide::{Permit, Rules};
pub use denial::Denial;
pub use injection::compete;
pub use overrides::OverrideLimits;
