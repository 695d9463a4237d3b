//! The far side of the proxy: dialling, verified TLS and kept connections.

pub mod dial;
