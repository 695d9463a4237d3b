//! A request's body on its way out: passed as it is, held and rewritten whole, or rewritten while it streams.

mod agent_body;
mod body;
pub(super) mod came;
mod held;
mod limited;
mod passing;
pub(super) mod plan;
mod rewriting;

pub(super) use agent_body::AgentBody;
pub use body::RequestBody;
