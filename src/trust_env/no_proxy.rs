//! NO_PROXY: what a child's clients ask past the proxy, and which hosts of keys are among it.

use crate::policy::rule::HostPattern;

/// What talks to itself stays on this machine. `::1` is not among it: httpx 0.24.0 fails at every request where a colon stands
/// here, and the other forms of it make later versions fail. Go and the JVM know it by themselves or by an option of theirs.
const LOOPBACK: [&str; 2] = ["localhost", "127.0.0.1"];

/// What clients ask past the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PastProxy {
    /// What the user said in either case, and loopback.
    UsersAndLoopback,
    /// Loopback alone: a confined child reaches nothing else past the proxy, and that is its own.
    Loopback,
    /// Nothing at all.
    Nothing,
}

/// The entries of the variable.
pub(super) fn entries(past: PastProxy, now: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let said = match past {
        PastProxy::UsersAndLoopback => said(now),
        PastProxy::Loopback => Vec::new(),
        PastProxy::Nothing => return Vec::new(),
    };
    let mut out: Vec<String> = Vec::new();
    for entry in said.into_iter().chain(LOOPBACK.map(str::to_owned)) {
        if !out.contains(&entry) {
            out.push(entry);
        }
    }
    out
}

fn said(now: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let said = [now("no_proxy"), now("NO_PROXY")].map(Option::unwrap_or_default);
    let entries = said.iter().flat_map(|list| list.split([',', ' '])).map(str::trim).filter(|entry| !entry.is_empty());
    entries.map(str::to_owned).collect()
}

/// Those of the hosts that the user's NO_PROXY sends past the proxy, so that no placeholder is ever replaced there, each with
/// the entry that does.
pub fn bypassed<'h>(
    hosts: impl IntoIterator<Item = &'h HostPattern>,
    now: &dyn Fn(&str) -> Option<String>,
) -> Vec<(String, String)> {
    let said = said(now);
    let mut out: Vec<(String, String)> = Vec::new();
    for host in hosts {
        let found = said.iter().find(|entry| covers(entry, host)).map(|entry| (host.to_string(), entry.clone()));
        out.extend(found.filter(|found| !out.contains(found)));
    }
    out
}

/// As the most generous of clients read it: a name stands for those below it too. Of a pattern some hosts are enough.
fn covers(entry: &str, host: &HostPattern) -> bool {
    let (entry, port) = match entry.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') => (name, port.parse().ok()),
        _ => (entry.trim_matches(['[', ']']), None),
    };
    let entry = entry.trim_start_matches('*').trim_matches('.').to_ascii_lowercase();
    let is_below = |name: &str, parent: &str| name.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'));
    let is_named = match (host.exact(), host.parent()) {
        (Some(name), _) => {
            let name = name.to_string();
            name.trim_matches(['[', ']']) == entry || is_below(&name, &entry)
        }
        (_, Some(parent)) => entry == parent || is_below(parent, &entry) || is_below(&entry, parent),
        _ => false,
    };
    // a star alone
    entry.is_empty() || is_named && port.is_none_or(|port: u16| port == host.binding_port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_goes_past_the_proxy_is_found_with_the_entry_that_says_so() {
        for (said, host, is_bypassed) in [
            ("*", "api.tool.example", true),
            ("api.tool.example", "api.tool.example", true),
            ("API.Tool.Example", "api.tool.example", true),
            ("tool.example", "api.tool.example", true),
            (".tool.example", "api.tool.example", true),
            ("*.tool.example", "api.tool.example", true),
            ("ool.example", "api.tool.example", false),
            ("api.tool.example:443", "api.tool.example", true),
            ("api.tool.example:8443", "api.tool.example", false),
            ("api.tool.example:8443", "api.tool.example:8443", true),
            ("a.tool.example", "*.tool.example", true),
            ("tool.example", "*.tool.example", true),
            ("other.example", "*.tool.example", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("::1", "[::1]", true),
            ("localhost", "api.tool.example", false),
        ] {
            let now = |name: &str| (name == "NO_PROXY").then(|| format!("x.example, {said}"));
            let pattern = host.parse().unwrap();
            let found = bypassed([&pattern], &now);
            let expected = is_bypassed.then(|| (pattern.to_string(), said.to_owned()));
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{said} {host}");
        }
    }
}
