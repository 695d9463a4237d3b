//! WebSockets (RFC 6455): the handshake, and what is passed on once both sides have switched.

mod endpoints;
pub(super) mod handshake;
mod relay;
pub(super) mod switch;
pub(super) mod terms;
mod to_client;
mod to_upstream;
