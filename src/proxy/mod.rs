//! The proxy: from an accepted connection to an exchange with the host that the agent asked for.

pub mod accept;
pub mod ceilings;
pub mod exchange;
mod folding;
pub mod health;
pub mod limits;
pub mod recorder;
pub mod refusal;
pub mod ruleset;
pub mod state;
mod told_refusals;
pub mod wire;

pub use ceilings::Ceilings;
pub use exchange::request_body::RequestBody;
pub use limits::Limits;
pub use recorder::{LastRefusal, Recorder};
pub use ruleset::Ruleset;
pub use state::{Config, Meters, Shared};
