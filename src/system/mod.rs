//! Facts of the operating system: who owns the far end of a socket, which process began which, who administers, and what a
//! program could be shut in by.

pub mod operator;
pub(crate) mod original_destination;
pub(crate) mod processes;
pub(crate) mod roots;
pub(crate) mod socket_owner;
