//! Real clients under `locum run`, each with nothing set but what that sets: they send placeholders, the upstream reads keys.

use crate::support::exit::Exit;
use crate::support::locum::{OPENAI_KEY, TOOL_KEY, confinement, of, stderr, stdout, told};
use crate::support::upstream::Seen;
use crate::support::{Home, Upstream, clients, pattern};
use base64::Engine as _;
use http::Version;
use serde_json::Value;

const PLACEHOLDER: &str = "<<tool_key>>";
const URL: &str = "https://api.tool.example";

/// A home from which `api.tool.example` and `api.openai.com` lead to `upstream`.
fn home(exit: &Exit) -> Home {
    let proxy = format!("upstream_proxy = \"http://{}\"\n", exit.address);
    Home::with(&proxy, "[key.tool]\nhosts = [\"api.tool.example\"]\n").set("NODE_PATH", &clients::node_path())
}

fn exit(upstream: &Upstream) -> Exit {
    Exit::to([("api.tool.example:443", upstream.address), ("api.openai.com:443", upstream.address)])
}

/// A client's own requests, as the upstream saw them, by path.
struct Sight(Vec<Seen>);

impl Sight {
    fn of(&self, path: &str) -> &Seen {
        let mut found =
            self.0.iter().filter(|s| s.target.rsplit("example").next().unwrap_or_default().starts_with(path));
        let seen = found.next().unwrap_or_else(|| panic!("no {path} in {:#?}", self.0));
        assert!(found.next().is_none(), "two {path}");
        seen
    }
}

/// Runs a client through the steps of `tests/clients/README.md`, and looks from both ends.
fn steps(client: &[&str], version: Version) {
    let upstream = Upstream::start();
    let exit = exit(&upstream);
    let home = home(&exit);
    let output = home.run(client);
    assert!(output.status.success(), "{}", told(&output));
    let got: Value = serde_json::from_str(&stdout(&output)).unwrap_or_else(|e| panic!("{e}: {}", told(&output)));

    let seen = Sight(upstream.seen());
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("user:{TOOL_KEY}"));
    assert_eq!(seen.of("/header").header("authorization").unwrap(), format!("Bearer {TOOL_KEY}"));
    assert_eq!(seen.of("/basic").header("authorization").unwrap(), format!("Basic {basic}"));
    let json: Value = serde_json::from_slice(&seen.of("/json").body).unwrap();
    assert_eq!((json["key"].as_str(), json["text"].as_str()), (Some(TOOL_KEY), Some("use <<tool_key>> here")));
    let form: Vec<(String, String)> = url::form_urlencoded::parse(&seen.of("/form").body).into_owned().collect();
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(form, [field("key", TOOL_KEY), field("text", "use <<tool_key>> here")]);
    assert_eq!(seen.of("/header").version, version);

    let sent: Vec<u8> = b"0123456789".repeat(300_000);
    assert_eq!(got["upload"]["sha256"], pattern::sha256(&sent));
    assert_eq!(got["download"], pattern::digest(3_000_000));
    assert_eq!(got["stream"]["target"].as_str().map(|t| t.ends_with("/chunked")), Some(true));
    // the upstream says back what it saw, and of that the child reads no key
    assert!(got["header"].to_string().contains(&format!("Bearer {PLACEHOLDER}")), "{}", got["header"]);
    assert_eq!(serde_json::from_str::<Value>(got["json"]["body"].as_str().unwrap()).unwrap()["key"], PLACEHOLDER);
    assert!(!stdout(&output).contains(TOOL_KEY) && !stdout(&output).contains(&basic));

    assert!(stderr(&output).contains("locum: 4 substitutions, 0 refusals"), "{}", stderr(&output));
    let records = home.audit();
    let places: Vec<&str> = of(&records, "substitution").iter().map(|r| r["where"].as_str().unwrap()).collect();
    assert_eq!(places.len(), 4, "{places:?}");
    assert!(places.contains(&"header:authorization"), "{places:?}");
    assert_eq!(of(&records, "exchange").len(), 7);
    assert!(of(&records, "exchange").iter().all(|r| r["success"] == true), "{records:#?}");
}

#[test]
fn curl_over_http1() {
    steps(&[&clients::program("curl_client.sh"), URL, "--http1.1"], Version::HTTP_11);
}

#[test]
fn curl_over_http2() {
    // the versions of the two sides are each other's business: what counts is that the client spoke HTTP/2
    let upstream = Upstream::start();
    let exit = exit(&upstream);
    let home = home(&exit);
    let asked = ["curl", "-q", "-sS", "--http2", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", URL];
    let output = home.run(&asked);
    assert_eq!(stdout(&output), "2 200", "{}", told(&output));
    assert_eq!(of(&home.audit(), "exchange")[0]["http"], "2");
    steps(&[&clients::program("curl_client.sh"), URL, "--http2"], Version::HTTP_11);
}

#[test]
fn wget() {
    steps(&[&clients::program("wget_client.sh"), URL], Version::HTTP_11);
}

#[test]
fn python_requests() {
    steps(&[&clients::python(), &clients::program("requests_client.py"), URL], Version::HTTP_11);
}

#[test]
fn python_httpx() {
    steps(&[&clients::python(), &clients::program("httpx_client.py"), URL], Version::HTTP_11);
}

#[test]
fn python_aiohttp() {
    steps(&[&clients::python(), &clients::program("aiohttp_client.py"), URL], Version::HTTP_11);
}

#[test]
fn python_urllib() {
    steps(&[&clients::python(), &clients::program("urllib_client.py"), URL], Version::HTTP_11);
}

#[test]
fn node_fetch() {
    steps(&["node", &clients::program("fetch_client.cjs"), URL], Version::HTTP_11);
}

#[test]
fn node_fetch_over_http2() {
    steps(&["node", &clients::program("fetch_client.cjs"), URL, "h2"], Version::HTTP_11);
}

#[test]
fn node_axios() {
    steps(&["node", &clients::program("axios_client.cjs"), URL], Version::HTTP_11);
}

/// As most Node programs carry it: it asks for `https://` by the whole URL, and not through a tunnel.
#[test]
fn node_axios_that_knows_no_tunnels() {
    for version in ["axios-0.27", "axios-1.7"] {
        steps(&["node", &clients::program("axios_client.cjs"), URL, version], Version::HTTP_11);
    }
}

/// The SDK at its own default address, with its key from the environment as it finds it there.
fn openai(client: &[&str]) {
    let upstream = Upstream::start();
    let exit = exit(&upstream);
    let home = home(&exit);
    let output = home.run(client);
    assert!(output.status.success(), "{}", told(&output));
    let got: Value = serde_json::from_str(&stdout(&output)).unwrap_or_else(|e| panic!("{e}: {}", told(&output)));
    // what was asked went through unchanged, and the key that the provider says back is hidden again
    for way in ["whole", "stream", "events"] {
        assert_eq!(got[way], "use <<openai_key>> with <<openai_key>>", "{way}: {}", told(&output));
    }
    assert!(got["pieces"].as_u64().unwrap() >= 4, "{got}");
    for seen in upstream.await_seen(3) {
        assert_eq!(seen.header("authorization").unwrap(), format!("Bearer {OPENAI_KEY}"));
        assert!(seen.text().contains("use <<openai_key>>") && !seen.text().contains(OPENAI_KEY));
    }
    assert_eq!(exit.asked().iter().filter(|a| *a != "api.openai.com:443").count(), 0);
    let records = home.audit();
    assert_eq!(of(&records, "substitution").len(), 3);
    assert!(of(&records, "substitution").iter().all(|r| r["where"] == "header:authorization"));
}

#[test]
fn python_openai_sdk() {
    openai(&[&clients::python(), &clients::program("openai_client.py")]);
}

#[test]
fn node_openai_sdk() {
    openai(&["node", &clients::program("openai_client.cjs")]);
}

/// 50 requests one after the other, and 20 at once: each is answered, and each has its key and its records.
pub fn load(client: &[&str], over: &str) {
    let upstream = Upstream::start();
    let exit = exit(&upstream);
    let home = home(&exit);
    let output = home.run(client);
    assert_eq!(stdout(&output).trim(), "70", "{}", told(&output));
    let mut seen: Vec<String> = upstream
        .seen()
        .into_iter()
        .map(|s| {
            assert_eq!(s.header("authorization"), Some(format!("Bearer {TOOL_KEY}")));
            s.target.rsplit('/').next().unwrap_or_default().to_owned()
        })
        .collect();
    seen.sort_by_key(|n| n.parse::<u32>().unwrap_or(u32::MAX));
    assert_eq!(seen, (0..70).map(|n| n.to_string()).collect::<Vec<_>>());
    let records = home.audit();
    assert_eq!(of(&records, "substitution").len(), 70);
    let exchanges = of(&records, "exchange");
    assert!(
        exchanges.len() == 70 && exchanges.iter().all(|r| r["success"] == true && r["http"] == over),
        "{exchanges:#?}"
    );
}

#[test]
fn many_requests_of_curl() {
    load(&[&clients::program("load_client.sh"), URL, "--http1.1"], "1.1");
    load(&[&clients::program("load_client.sh"), URL, "--http2"], "2");
}

#[test]
fn many_requests_of_python() {
    for (version, over) in [("h1", "1.1"), ("h2", "2")] {
        load(&[&clients::python(), &clients::program("load_client.py"), URL, version], over);
    }
}

#[test]
fn many_requests_of_node() {
    for (version, over) in [("h1", "1.1"), ("h2", "2")] {
        load(&["node", &clients::program("load_client.cjs"), URL, version], over);
    }
}

/// What Node's programs do that know of no proxy by themselves: through `run` they use it all the same, with the key and recorded.
pub fn node_ways(node: &str) {
    let upstream = Upstream::start();
    let exit = exit(&upstream);
    let home = home(&exit).set("NODE_OPTIONS", "--no-deprecation");
    let output = home.run(&[node, &clients::program("node_ways.mjs"), URL, &upstream.url("/past")]);
    let got: Value = serde_json::from_str(&stdout(&output)).unwrap_or_else(|e| panic!("{e}: {}", told(&output)));
    let mut ways = vec!["fetch", "agent", "named", "http2", "worker", "child"];
    ways.extend(got.get("undici").map(|_| "undici"));
    let seen = upstream.seen();
    for way in ways {
        assert_eq!(got[way], 200, "{way}: {}", told(&output));
        let with_key = |s: &Seen| s.header("authorization") == Some(format!("Bearer {TOOL_KEY}"));
        let path = format!("/ways/{way}");
        assert!(seen.iter().any(|s| s.target.ends_with(&path) && with_key(s)), "{way}: {seen:#?}");
    }
    // the way out of this test leads nowhere in the clear, and says so
    assert_eq!(got["plain"], 404, "{got}");
    assert!(got["refused"].as_str().is_some_and(|said| said.contains("api.tool.example:444")), "{got}");
    // it was asked past the proxy, and its CA is none that the child knows; confined it has a loopback of its own
    let past = if confinement().is_some() { "ECONNREFUSED" } else { "unable to verify" };
    assert!(got["direct"].as_str().is_some_and(|said| said.contains(past)), "{got}");
    assert_eq!(got["options"], true, "what the user had for Node is kept: {got}");
    assert!(home.audit().iter().all(|record| record["host"] != "localhost"));
}

#[test]
fn node_by_every_way_that_knows_no_proxy() {
    node_ways("node");
}
