//! Facts of the operating system on others: who owns the far end of a socket, and which process began which.

pub(crate) mod processes;
pub(crate) mod socket_owner;
