//! From an accepted connection to requests: which agent is there, for which host, and in which protocol.

pub mod admit;
pub mod admitted;
pub(crate) mod client;
mod connect;
pub mod descendants;
pub mod doors;
mod intercept;
pub mod listen;
pub(crate) mod slots;
mod tunnel;
