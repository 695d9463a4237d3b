//! What the tests stand on: upstreams that record what they see, the real binary, and clients that speak to it.

pub mod authority;
pub mod background;
pub mod chopper;
pub mod client;
pub mod clients;
pub mod coded;
pub mod company;
pub mod doors;
pub mod exit;
pub mod fickle;
pub mod forged;
pub mod locum;
pub mod name_server;
pub mod namespace;
pub mod pattern;
pub mod scan;
pub mod stores;
pub mod terminal;
pub mod tunnel;
pub mod upstream;
pub mod websocket;
pub mod wire;

pub use client::{Client, Http};
pub use locum::{Home, Serve};
pub use terminal::Terminal;
pub use tunnel::Tunnel;
pub use upstream::Upstream;

use std::time::Duration;

/// How long anything may take before a test says that it hangs. No test is about this time.
pub const HANGS: Duration = Duration::from_secs(60);
