//! End-to-end tests: the real binary between real clients and upstreams that record what they see.

mod agents;
mod attacks;
mod certificates;
mod clients;
mod codings;
mod commands;
mod descendants;
mod endurance;
mod explain;
mod failures;
#[path = "../floors.rs"]
mod floors;
mod following;
mod grpc;
mod habits;
mod hidden_forms;
mod holders;
mod keys;
mod laws;
mod matrix;
mod record;
mod rewriting;
mod rotation;
mod running_text;
mod secrecy;
mod stores;
mod support;
mod tampered;
mod traffic;
mod truth;
mod under_way;
mod vanishing;
mod websocket;
mod written;
