//! Hosts and ports that agents may reach, by the name that they ask for.

use crate::name::Host;
use crate::policy::agent::Agent;
use crate::policy::denial::Denial;
use crate::policy::rule::HostPattern;

/// The hosts that are open to agents (`[proxy] egress`), besides those that a key is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EgressMode {
    /// Every host that is not denied.
    Open,
    /// Those in `allow`.
    Listed,
}

/// The `[proxy]` settings on where requests may go.
#[derive(Debug, Clone)]
pub struct EgressPolicy {
    /// Which hosts are open.
    pub mode: EgressMode,
    /// Hosts that are open under [`EgressMode::Listed`].
    pub allow: Vec<HostPattern>,
    /// Hosts that are never reached, whatever else names them.
    pub deny: Vec<HostPattern>,
    /// Ports that are open besides those of bindings, for CONNECT and for requests in absolute form.
    pub connect_ports: Vec<u16>,
    /// A binding that says `http://` may send its key beyond this machine.
    pub cleartext: bool,
}

impl Default for EgressPolicy {
    fn default() -> Self {
        let (allow, deny, connect_ports) = (Vec::new(), Vec::new(), vec![80, 443]);
        Self { mode: EgressMode::Open, allow, deny, connect_ports, cleartext: false }
    }
}

impl EgressPolicy {
    /// Lets an agent reach `host` on `port`, which some key `is_bound` to or not.
    ///
    /// # Errors
    /// The first rule that forbids it: `deny`, the agent's own hosts, `connect_ports`, `allow`.
    pub fn admit(&self, agent: &Agent, host: &Host, port: u16, is_bound: bool) -> Result<(), Denial> {
        let named = |list: &[HostPattern]| list.iter().any(|p| p.lists(host, port));
        if named(&self.deny) {
            return Err(Denial::HostDenied { host: host.clone(), port });
        }
        // nothing is reached there, and an agent may always ask what is its own
        if host.is_own() {
            return Ok(());
        }
        if !agent.hosts.is_empty() && !named(&agent.hosts) {
            return Err(Denial::AgentHost { host: host.clone(), agent: agent.name.clone() });
        }
        if !is_bound && !self.connect_ports.contains(&port) {
            return Err(Denial::PortNotListed { port });
        }
        if self.mode == EgressMode::Listed && !is_bound && !named(&self.allow) {
            return Err(Denial::HostNotListed { host: host.clone(), port });
        }
        Ok(())
    }
}
