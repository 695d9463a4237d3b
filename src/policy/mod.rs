//! Who may send which key where: agents, bindings, and the decision. No IO and no clock.

pub mod agent;
pub mod body_overrides;
pub mod decide;
mod denial;
pub mod egress;
pub mod overrides;
pub mod rule;

pub use agent::{Agent, Agents};
pub use decide::{Permit, Rules};
pub use denial::Denial;
pub use overrides::OverrideLimits;
