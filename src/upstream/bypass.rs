//! Which hosts go without the upstream proxy, by the rules of `NO_PROXY` as curl and Go read it.

use crate::name::{Host, Origin, split_port};
use crate::policy::egress::AddressRule;
use std::str::FromStr;

/// One entry of `upstream_proxy_bypass` or `NO_PROXY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BypassRule {
    /// `*`: every host.
    All,
    /// `10.0.0.0/8`, `192.0.2.1:8080`, `[::1]`: hosts that are addresses. Names aren't resolved for it.
    Address(AddressRule),
    /// `corp.example`: this name and all below; `.corp.example` or `*.corp.example`: those below alone.
    Name {
        /// In lower case, without the dot before and the star.
        name: String,
        /// Whether it counts itself.
        with_itself: bool,
        /// The only port that it is for.
        port: Option<u16>,
    },
}

/// A text that is no such entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no host to go to without the proxy; write \"corp.example\", \".corp.example:8443\", \"10.0.0.0/8\" or \"*\""
)]
pub struct BypassError(String);

impl BypassRule {
    /// What the user's `NO_PROXY` says. What can't be read there counts for nothing, as it does for everybody else.
    pub fn all_of(no_proxy: &str) -> impl Iterator<Item = Self> {
        no_proxy.split([',', ' ', '\t']).filter_map(|entry| entry.parse().ok())
    }

    /// Whether requests for `origin` go without the proxy by this rule.
    pub fn covers(&self, origin: &Origin) -> bool {
        match (self, &origin.host) {
            (Self::All, _) => true,
            (Self::Address(rule), Host::Ip(ip)) => rule.covers((*ip, origin.port).into()),
            (Self::Name { name, with_itself, port }, Host::Dns(host)) => {
                let below = host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'));
                port.is_none_or(|port| port == origin.port) && (below || *with_itself && **host == **name)
            }
            _ => false,
        }
    }
}

impl FromStr for BypassRule {
    type Err = BypassError;

    fn from_str(s: &str) -> Result<Self, BypassError> {
        let bad = || BypassError(s.escape_debug().to_string());
        let entry = s.trim();
        if entry == "*" {
            return Ok(Self::All);
        }
        if let Ok(rule) = entry.parse() {
            return Ok(Self::Address(rule));
        }
        let (name, port) = split_port(entry).map_err(|_| bad())?;
        let below = name.strip_prefix("*.").or_else(|| name.strip_prefix('.'));
        match below.unwrap_or(name).parse() {
            Ok(Host::Dns(name)) => Ok(Self::Name { name: name.to_string(), with_itself: below.is_none(), port }),
            _ => Err(bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Scheme;

    /// As Go's `httpproxy` has them; curl's differ in that a leading dot counts the name itself.
    #[test]
    fn entries_read_as_others_read_them() {
        for (entry, covered, not) in [
            ("*", &["a.example", "1.2.3.4"][..], &[][..]),
            ("corp.example", &["corp.example", "a.corp.example", "corp.example:8443"], &["mycorp.example", "example"]),
            ("Corp.Example.", &["corp.example"], &["corp.example.org"]),
            (".corp.example", &["a.corp.example", "a.b.corp.example"], &["corp.example", "acorp.example"]),
            ("*.corp.example", &["a.corp.example"], &["corp.example"]),
            ("corp.example:8443", &["corp.example:8443", "a.corp.example:8443"], &["corp.example"]),
            ("localhost", &["localhost:8080"], &["127.0.0.1"]),
            ("192.0.2.1", &["192.0.2.1", "192.0.2.1:8080"], &["192.0.2.2"]),
            ("192.0.2.1:8080", &["192.0.2.1:8080"], &["192.0.2.1"]),
            ("10.0.0.0/8", &["10.255.0.1"], &["11.0.0.1", "ten.example"]),
            ("::1", &["[::1]", "[::1]:8080"], &["[::2]"]),
            ("[::1]:8080", &["[::1]:8080"], &["[::1]"]),
            ("fd00::/8", &["[fd12::1]"], &["[fe80::1]"]),
        ] {
            let rule: BypassRule = entry.parse().unwrap_or_else(|e| panic!("{e}"));
            let covers = |authority: &&&str| rule.covers(&Origin::parse(Scheme::Https, authority).unwrap());
            assert!(covered.iter().all(|authority| covers(&authority)), "{entry}");
            assert!(!not.iter().any(|authority| covers(&authority)), "{entry}");
        }
        for bad in ["", ".", "a b", "a.*.example", "10.0.0.0/33", "corp.example:99999", "http://corp.example"] {
            assert!(bad.parse::<BypassRule>().is_err(), "{bad}");
        }
        assert_eq!(BypassRule::all_of(" a.example,, .b.example *.c/ 10.0.0.0/8\t").count(), 3);
    }
}
