//! What the operating system tells of others: who owns the far end of a socket, and which process began which.

pub mod processes;
pub mod socket_owner;
