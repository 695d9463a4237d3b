//! locum puts API keys into an agent's requests at the network edge, and takes them out again on the way back.

#![deny(unsafe_code)]

pub mod app;
pub mod audit;
pub mod ca;
pub mod chain;
pub mod cli;
pub mod config;
pub mod memory;
pub mod name;
pub mod place;
pub mod policy;
pub mod proxy;
pub mod record;
pub mod rewrite;
pub mod secrets;
pub mod trust_env;
pub mod upstream;
