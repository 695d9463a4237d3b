//! `locum run --confine`: what a command can't reach any more, and what works as without it.

#[cfg(target_os = "linux")]
#[path = "confine/clients.rs"]
mod clients;
#[cfg(target_os = "linux")]
#[path = "confine/files.rs"]
mod files;
#[cfg(target_os = "linux")]
#[path = "confine/levels.rs"]
mod levels;
#[cfg(target_os = "linux")]
#[path = "confine/setting.rs"]
mod setting;
#[cfg(target_os = "linux")]
#[path = "confine/ways_out.rs"]
mod ways_out;
