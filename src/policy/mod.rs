//! Who may send which key where: agents, bindings, and the decision. No IO and no clock.

pub mod agent;
pub mod decide;
mod denial;
pub mod forms;
pub mod overrides;
pub mod rule;

pub use agent::{Agent, Agents};
pub use decide::{Permit, Rules};
pub use denial::Denial;
pub use overrides::Limits;
