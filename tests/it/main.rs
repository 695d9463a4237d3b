//! End-to-end tests: the real binary between real clients and upstreams that record what they see.

mod agents;
mod attacks;
mod certificates;
mod client_quirks;
mod clients;
mod codings;
mod commands;
mod descendants;
mod disconnects;
mod endurance;
mod explain;
mod failures;
mod file_writes;
#[path = "../floors.rs"]
mod floors;
mod following;
mod grpc;
mod hidden_forms;
mod keys;
mod limits;
mod matrix;
mod policy_table;
mod record;
mod rewrite_properties;
mod rewriting;
mod rotation;
mod running_text;
mod secrecy;
mod service;
mod store_choice;
mod stores;
mod support;
mod tampered;
mod traffic;
mod under_way;
mod websocket;
