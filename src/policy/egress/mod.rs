//! Egress: which hosts, ports and addresses may be reached at all, with a key or without. Which key goes where is for the
//! bindings to say, and names are resolved elsewhere.

mod addresses;
mod hosts;
mod nat64;

pub use addresses::{AddressError, AddressPolicy, AddressRule, is_loopback, is_public};
pub use hosts::{EgressMode, EgressPolicy};
pub use nat64::Nat64Prefix;
