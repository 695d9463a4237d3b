//! Finds out whether the network translates IPv6 addresses into IPv4 ones, and under which prefixes (RFC 7050). What may be
//! dialled of those, `policy` decides.

use crate::policy::egress::{AddressPolicy, Nat64Prefix, is_public};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// A name with IPv4 addresses alone: where it has others, the network's own resolver made them (RFC 7050, section 3).
pub(super) const IPV4_ONLY: &str = "ipv4only.arpa";

/// How long an answer counts. A laptop changes networks.
const COUNTS: Duration = Duration::from_secs(300);
/// How long no answer counts, so that a resolver that is slow doesn't slow each connection down.
const RETRY: Duration = Duration::from_secs(60);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// When the network was asked last. Its clones share that.
#[derive(Debug, Clone, Default)]
pub struct Nat64Discovery(Arc<Mutex<Option<Instant>>>);

impl Nat64Discovery {
    /// Has `policy` know the prefixes of now, where one of the addresses to be dialled could be under one. Who dials at the same
    /// time waits as well.
    ///
    /// Without an answer what was known stays: networks without NAT64 often have none.
    pub async fn refresh<R>(&self, policy: &AddressPolicy, to_dial: &[SocketAddr], resolve: R)
    where
        R: Future<Output = Option<Vec<SocketAddr>>>,
    {
        if !to_dial.iter().any(|address| address.is_ipv6() && is_public(address.ip())) {
            return;
        }
        let mut counts_until = self.0.lock().await;
        if counts_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        let answer = timeout(PATIENCE, resolve).await.ok().flatten();
        *counts_until = Some(Instant::now() + if answer.is_some() { COUNTS } else { RETRY });
        if let Some(found) = answer {
            let v6 = |address: &SocketAddr| if let IpAddr::V6(v6) = address.ip() { Some(v6) } else { None };
            let shown: Vec<_> = found.iter().filter_map(v6).collect();
            *policy.translated.write().unwrap_or_else(PoisonError::into_inner) = Nat64Prefix::learnt_from(&shown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn at(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().unwrap(), 443)
    }

    /// Time stands still but where all wait.
    #[tokio::test(start_paused = true)]
    async fn the_network_is_asked_now_and_then_and_only_for_what_it_could_translate() {
        let (discovery, policy, asked) = (Nat64Discovery::default(), AddressPolicy::default(), AtomicU32::new(0));
        let dial = async |address: &str, answer: Option<&str>| {
            let resolve = async {
                asked.fetch_add(1, Ordering::Relaxed);
                Some(vec![at(answer?)])
            };
            discovery.refresh(&policy, &[at(address)], resolve).await;
            (asked.load(Ordering::Relaxed), policy.admits(at(address)))
        };
        let (inside, shown) = ("2a00:1450:64::a00:1", "2a00:1450:64::c000:aa");
        assert_eq!(dial("8.8.8.8", None).await, (0, true));
        assert_eq!(dial(inside, None).await, (1, true), "no answer");
        tokio::time::advance(RETRY).await;
        assert_eq!(dial(inside, Some(shown)).await, (2, false));
        assert_eq!(dial(inside, None).await, (2, false), "it is known");
        tokio::time::advance(COUNTS).await;
        assert_eq!(dial(inside, None).await, (3, false), "what was known stays");
        tokio::time::advance(COUNTS).await;
        assert_eq!(dial(inside, Some("192.0.0.170")).await, (4, true), "another network");
        tokio::time::advance(COUNTS).await;
        discovery.refresh(&policy, &[at(inside)], std::future::pending()).await;
    }
}
