//! From an accepted connection to requests: which agent is there, for which host, and in which protocol.

pub mod connect;
pub mod descendants;
pub mod intercept;
pub mod listen;
pub mod tunnel;
