//! A command that can reach nothing but the proxy (`run --confine`), set up by an ordinary user and without a daemon.
//!
//! In the words of [`ConfineLevel`]: namespaces in which every address is the proxy's, where the system lets users make them;
//! else Landlock and a filter of system calls. Which of them stands is said, and none is left in silence.
//!
//! `locum run` starts itself again as the [`helper`], which walls itself in and becomes the command; the [`plan`] tells it how,
//! and over the [`channel`] it hands back the listeners that are inside. Whoever connects to these is the command: it needs no
//! token.

mod channel;
mod filter;
pub mod foreground;
pub mod helper;
mod landlock;
pub mod launch;
mod mounts;
pub mod names;
mod netlink;
pub mod network;
mod nftables;
pub mod plan;
pub mod trust;
pub mod ways_out;

pub use plan::{ConfineLevel, ConfinePlan};
