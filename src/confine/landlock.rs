//! The restriction by Landlock (landlock(7)), where namespaces can't be had: no TCP but to the proxy's port, and no abstract
//! sockets of processes outside.

use landlock::{
    ABI, Access as _, AccessNet, CompatLevel, Compatible as _, NetPort, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, Scope,
};
use std::io;

/// Restricts this thread and what it starts.
///
/// # Errors
/// This kernel has no Landlock, or one that knows nothing of connections (before Linux 6.7).
pub fn apply(proxy_port: u16) -> io::Result<()> {
    let connect = AccessNet::ConnectTcp;
    let restricted = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(connect)
        .and_then(|ruleset| ruleset.set_compatibility(CompatLevel::BestEffort).scope(Scope::from_all(ABI::V6)))
        .and_then(|ruleset| ruleset.create())
        .and_then(|ruleset| ruleset.add_rule(NetPort::new(proxy_port, connect)))
        .and_then(|ruleset| ruleset.restrict_self());
    restricted.map(drop).map_err(io::Error::other)
}
