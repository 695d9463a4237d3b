//! What a hostile agent sends, byte by byte: each stream gets its verdict, the upstreams see no key, and the audit says why.

mod agents;
mod cleartext;
mod conformance;
mod doors;
mod floods;
mod frames;
mod framing;
mod hosts;
mod impostor;
mod oracle;
mod origins;
mod overrides;
mod ports;

use crate::support::exit::Exit;
use crate::support::locum::TOOL_KEY;
use crate::support::tunnel::Told;
use crate::support::{Home, Serve, Tunnel, Upstream};
use serde_json::Value;

/// `<<tool_key>>` is bound to it, in any header and as a whole value in a body.
const BOUND: &str = "api.tool.example";
/// It may be reached, and no key goes there.
const OTHER: &str = "api.other.example";

/// Two hosts of the real world's shape, and the proxy in front of them.
struct Stage {
    bound: Upstream,
    other: Upstream,
    exit: Exit,
    serve: Serve,
}

impl Stage {
    fn set() -> Self {
        Self::with(|_| {}, "")
    }

    /// One whose home was readied by `ready` before the service starts, with `tables` in its config.
    fn with(ready: impl FnOnce(&Home), tables: &str) -> Self {
        let started = |home: Home| {
            ready(&home);
            home.serve()
        };
        Self::started("", tables, started)
    }

    /// One whose service is started by `start`, with more settings in its `[proxy]` and `tables` in its config.
    fn started(proxy: &str, tables: &str, start: impl FnOnce(Home) -> Serve) -> Self {
        let (bound, other) = (Upstream::start(), Upstream::start());
        let exit = Exit::to([
            ("api.tool.example:443", bound.address),
            ("api.other.example:443", other.address),
            ("api.tool.example:80", bound.address),
        ]);
        let proxy = format!("upstream_proxy = \"http://{}\"\n{proxy}", exit.address);
        let home = Home::with(&proxy, &format!("[key.tool]\nhosts = [\"{BOUND}\"]\n{tables}"));
        Self { bound, other, exit, serve: start(home) }
    }

    /// Bytes of HTTP/1.1 in a tunnel to `host`, over TLS for that host.
    fn say(&self, host: &str, bytes: &[u8]) -> Vec<Told> {
        let tunnel = Tunnel::open(&self.serve, &format!("{host}:443"), host, b"http/1.1").expect("a tunnel");
        tunnel.talk(bytes)
    }

    /// Ends the service, and holds it to what it promises: what it refused is in the audit with a reason, what it
    /// passed on is all that the upstreams saw, and no key went anywhere. Returns the records.
    fn strike(self, told: &[Told]) -> Vec<Value> {
        let records = self.clear(told);
        let keyed = records.iter().filter(|r| r["event"] == "substitution").count();
        assert_eq!(keyed, 0, "a key left: {records:#?}");
        records
    }

    /// As [`Self::strike`], where some of the requests were good ones and got their key.
    fn clear(self, told: &[Told]) -> Vec<Value> {
        let records = self.serve.stop().audit();
        let seen: Vec<_> = self.bound.seen().into_iter().chain(self.other.seen()).collect();
        let answered = told.iter().filter(|t| t.header("locum-refused").is_none()).count();
        assert_eq!(seen.iter().filter(|s| s.whole).count(), answered, "what was answered is what was seen: {seen:#?}");
        assert!(self.other.seen().iter().all(|s| !format!("{s:?}{}", s.text()).contains(TOOL_KEY)), "{seen:#?}");
        let keyed = seen.iter().filter(|s| format!("{s:?}{}", s.text()).contains(TOOL_KEY)).count();
        let substitutions = records.iter().filter(|r| r["event"] == "substitution").count();
        assert_eq!(keyed, substitutions, "each key that left is in the audit: {records:#?}");
        // many of one kind have no record each: the last ones are counted in one
        let mut counted: u64 =
            records.iter().filter(|r| r["event"] == "refusal").filter_map(|r| r["count"].as_u64()).sum();
        for refused in told.iter().filter(|t| t.header("locum-refused").is_some()) {
            assert!(!refused.text().contains(TOOL_KEY), "{}", refused.text());
            let of = |r: &&Value| r["event"] == "refusal" && r["exchange"].as_str() == refused.exchange().as_deref();
            let Some(record) = records.iter().find(of) else {
                counted = counted.checked_sub(1).unwrap_or_else(|| panic!("not in the audit: {}", refused.text()));
                continue;
            };
            assert!(record["reason"].as_str().is_some_and(|why| !why.is_empty()), "{record}");
            assert!(!record.to_string().contains(TOOL_KEY), "{record}");
        }
        records
    }
}

/// `200, 403 host-refused`.
fn verdicts(told: &[Told]) -> String {
    told.iter().map(Told::verdict).collect::<Vec<_>>().join(", ")
}

/// A request for `path` that asks for the key and for the connection's end.
fn last(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nX-Api-Key: <<tool_key>>\r\n\r\n")
}

/// As [`last`], without a placeholder.
fn plain_last(host: &str) -> String {
    format!("GET /last HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}
