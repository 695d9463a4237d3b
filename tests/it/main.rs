//! End-to-end tests: the real binary between real clients and upstreams that record what they see.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a test fails by a panic, and its cases are a table"
)]

mod administration;
mod agents;
mod at_hand;
mod attacks;
mod catalog;
mod ceilings;
mod certificates;
mod client_quirks;
mod client_signatures;
mod clients;
mod codings;
mod commands;
mod confine;
mod descendants;
mod disconnects;
mod doctor;
mod doors;
mod endings;
mod endurance;
mod examples;
mod explain;
mod failures;
mod file_writes;
mod first_use;
mod floods;
#[path = "../floors.rs"]
mod floors;
mod following;
mod grpc;
mod hidden_forms;
mod injection;
mod key_values;
mod keys;
mod limits;
mod matrix;
mod migrate;
mod names;
mod near_misses;
mod origins;
mod other_guides;
mod outranked;
mod own_answers;
mod policy_table;
mod preflight;
mod prompts;
mod proxies;
mod record;
mod retries;
mod rewrite_properties;
mod rewriting;
mod rotation;
mod running_text;
mod runs;
mod screens;
mod secrecy;
mod service;
mod sidecar;
mod stopping;
mod store_choice;
mod stores;
mod strangers;
mod support;
mod tampered;
mod traffic;
mod transcripts;
mod under_way;
mod unseen;
mod unsent;
mod user_files;
mod way_out;
mod websocket;
