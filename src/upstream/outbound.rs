//! The way out, as settings say it: where a connection to an upstream may lead, and what it is verified by.

use super::dial::Dialer;
use super::tls::Tls;

/// How connections to upstreams are made. A reload replaces all of it at once.
#[derive(Clone)]
pub struct Outbound {
    /// Where they may lead.
    pub dialer: Dialer,
    /// What they are verified by. With other roots it begins without sessions, which nobody would verify again.
    pub tls: Tls,
}
