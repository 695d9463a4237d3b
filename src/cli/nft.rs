//! `locum env --nft`: the rules of nftables that lead an agent's connections to the transparent listener.

use super::term::CliError;
use crate::config::settings::{ProxySettings, Settings};
use std::net::IpAddr;
use std::process::ExitCode;

/// Prints the rules for these settings.
///
/// # Errors
/// There is no transparent listener, or nobody whose connections it would take in.
pub fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    print!("{}", rules(&settings.proxy)?);
    Ok(ExitCode::SUCCESS)
}

/// The rules as one table, which takes the place of the one that was loaded before. Locum's own user has to be another: what it
/// dials is on no account to come back.
fn rules(proxy: &ProxySettings) -> anyhow::Result<String> {
    let Some(to) = proxy.transparent else {
        let next = "set transparent = \"127.0.0.1:8789\" under [proxy]";
        return Err(CliError::failed("there is no transparent listener to redirect to", next));
    };
    if proxy.uids.is_empty() {
        let next = "list the agent's user in uids under [proxy]";
        return Err(CliError::failed("it is not said whose connections are to be redirected", next));
    }
    let users: Vec<String> = proxy.uids.iter().map(u32::to_string).collect();
    let families = match to.ip() {
        IpAddr::V4(_) => "ipv4",
        IpAddr::V6(ip) if ip.is_unspecified() => "ipv4, ipv6",
        IpAddr::V6(_) => "ipv6",
    };
    Ok(TABLE.replace("USERS", &users.join(", ")).replace("FAMILIES", families).replace("PORT", &to.port().to_string()))
}

const TABLE: &str = "\
# Leads the TCP of these users to locum, which runs as another; load it as root, where the agent's network is:
#   locum env --nft | nft -f -
# HTTP/3 has to fall back to TCP, and so has what is of no family that locum listens for. To take it away again:
#   nft delete table inet locum
table inet locum {}
delete table inet locum
table inet locum {
    chain to_locum {
        type nat hook output priority -100; policy accept;
        meta skuid != { USERS } return
        ip daddr 127.0.0.0/8 return
        ip6 daddr ::1 return
        meta nfproto { FAMILIES } meta l4proto tcp redirect to :PORT
    }
    chain nowhere_else {
        type filter hook output priority 0; policy accept;
        meta skuid != { USERS } return
        ip daddr 127.0.0.0/8 return
        ip6 daddr ::1 return
        ct state new meta l4proto tcp reject with tcp reset
        udp dport 443 reject
    }
}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_are_about_the_users_and_families_of_the_settings() {
        let of = |transparent: &str, uids: &[u32]| {
            let transparent = transparent.parse().ok();
            rules(&ProxySettings { transparent, uids: uids.into(), ..Default::default() }).unwrap_or_default()
        };
        for (transparent, families) in [("127.0.0.1:8789", "ipv4"), ("[::1]:8789", "ipv6"), ("[::]:8789", "ipv4, ipv6")]
        {
            let rules = of(transparent, &[1001, 1002]);
            let redirect = format!("meta nfproto {{ {families} }} meta l4proto tcp redirect to :8789\n");
            assert!(rules.contains(&redirect), "{rules}");
            assert_eq!(rules.matches("meta skuid != { 1001, 1002 } return").count(), 2, "{rules}");
        }
        assert_eq!((of("", &[1001]), of("127.0.0.1:8789", &[])), (String::new(), String::new()));
    }
}
