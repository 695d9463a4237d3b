//! WebSockets (RFC 6455): the handshake, and what is passed on once both sides have switched.

pub mod handshake;
pub mod relay;
