//! Which request may carry which key: a table to be checked by eye, each row run through the real binary in both versions, by each door.

use crate::support::client::{Answer, BOTH, full, none};
use crate::support::doors::Door;
use crate::support::upstream::Seen;
use crate::support::{Client, Home, Http, Serve, Upstream};
use Outcome::{Kept, Refused, Replaced};
use base64::Engine as _;
use serde_json::Value;

/// The bindings that the rows are about. A is `localhost` and the first upstream's port, B the second's.
const BINDINGS: &str = r#"
[key.tool]
hosts = ["localhost:{A}"]

[key.other]
hosts = ["localhost:{B}"]

[key.strict]
hosts = ["localhost:{A}"]
methods = ["POST"]
paths = ["/v1/**"]
where = ["header:x-api-key"]
max_uses = 1

[key.url]
hosts = ["localhost:{A}"]
where = ["query:token", "path"]

[key.login]
hosts = ["localhost:{A}"]
where = ["basic"]

[key.field]
hosts = ["localhost:{A}"]
where = ["body:/auth/key", "body:api_key"]

[key.anywhere]
hosts = ["localhost:{A}"]
where = ["body:any"]

[key.cookie]
hosts = ["localhost:{A}"]
where = ["header:cookie"]

[key.shown]
hosts = ["localhost:{A}"]
placeholder = "shown-00000000000000000000"
"#;

const KEYS: [&str; 9] = ["tool", "other", "strict", "url", "login", "field", "anywhere", "cookie", "shown"];

/// Whom a row asks.
#[derive(Debug, Clone, Copy)]
enum To {
    A,
    B,
    /// A's very server, by its address: another name is another host.
    Address,
}
use To::{A, Address, B};

#[derive(Debug)]
enum Outcome {
    /// The upstream gets this request, where `[tool]` stands for the key itself, and the audit names these places.
    Replaced(&'static str, &'static [&'static str]),
    /// The upstream gets the request as it was sent; so many placeholders in its body were counted.
    Kept(u64),
    /// The upstream gets nothing: the word for the agent, and a part of what the operator is told.
    Refused(&'static str, &'static str),
}

const PLACEHOLDER: &str = "placeholder-refused";

/// `METHOD target | Name: value | … || body`; `basic(…)` stands for its base64.
const TRUTH: &[(To, &str, Outcome)] = &[
    // host and port
    (A, "GET / | x-api-key: <<tool_key>>", Replaced("GET / | x-api-key: [tool]", &["header:x-api-key"])),
    (B, "GET / | x-api-key: <<tool_key>>", Refused(PLACEHOLDER, "its host is not bound")),
    (Address, "GET / | x-api-key: <<tool_key>>", Refused(PLACEHOLDER, "its host is not bound")),
    (B, "GET / | x-api-key: <<other_key>>", Replaced("GET / | x-api-key: [other]", &["header:x-api-key"])),
    (A, "GET / | x-api-key: <<other_key>>", Refused(PLACEHOLDER, "its host is not bound")),
    (A, "GET / | x-api-key: <<nobody_key>>", Refused(PLACEHOLDER, "there is no key of that name")),
    (B, "GET / | x-api-key: <<nobody_key>>", Refused(PLACEHOLDER, "there is no key of that name")),
    (A, "GET / | x-a: <<tool_key>> | x-b: <<nobody_key>>", Refused(PLACEHOLDER, "there is no key of that name")),
    (A, "GET / | x-a: <<tool_key>> | x-b: <<other_key>>", Refused(PLACEHOLDER, "its host is not bound")),
    (A, "GET / | x-a: <<Tool_key>>", Refused(PLACEHOLDER, "there is no key of that name")),
    (A, "GET / | x-a: <<tool>>", Kept(0)),
    (A, "GET / | x-a: {{tool_key}}", Kept(0)),
    // headers
    (
        A,
        "GET / | authorization: Bearer <<tool_key>>",
        Replaced("GET / | authorization: Bearer [tool]", &["header:authorization"]),
    ),
    (A, "GET / | x-a: <<tool_key>>, <<tool_key>>", Replaced("GET / | x-a: [tool], [tool]", &["header:x-a"])),
    (
        A,
        "GET / | x-a: <<tool_key>> | x-b: <<tool_key>>",
        Replaced("GET / | x-a: [tool] | x-b: [tool]", &["header:x-a", "header:x-b"]),
    ),
    (A, "GET / | cookie: s=<<tool_key>>", Refused(PLACEHOLDER, "its place is not bound: header:cookie")),
    (A, "GET / | cookie: s=<<cookie_key>>", Replaced("GET / | cookie: s=[cookie]", &["header:cookie"])),
    (A, "GET / | x-a: <<cookie_key>>", Refused(PLACEHOLDER, "its place is not bound: header:x-a")),
    (A, "GET / | referer: https://x.example/<<tool_key>>", Refused(PLACEHOLDER, "header:referer")),
    (A, "GET / | user-agent: <<tool_key>>", Refused(PLACEHOLDER, "header:user-agent")),
    (A, "GET / | origin: <<tool_key>>", Refused(PLACEHOLDER, "header:origin")),
    (A, "GET / | forwarded: for=<<tool_key>>", Refused(PLACEHOLDER, "header:forwarded")),
    (A, "GET / | x-forwarded-for: <<tool_key>>", Refused(PLACEHOLDER, "header:x-forwarded-for")),
    (A, "GET / | via: 1.1 <<tool_key>>", Refused(PLACEHOLDER, "header:via")),
    (A, "GET / | proxy-secret: <<tool_key>>", Refused(PLACEHOLDER, "header:proxy-secret")),
    (A, "POST / | content-type: text/<<tool_key>> || x", Refused(PLACEHOLDER, "header:content-type")),
    // the base64 of Basic
    (
        A,
        "GET / | authorization: basic(u:<<login_key>>)",
        Replaced("GET / | authorization: basic(u:[login])", &["basic"]),
    ),
    (A, "GET / | authorization: basic(u:<<tool_key>>)", Replaced("GET / | authorization: basic(u:[tool])", &["basic"])),
    (
        A,
        "GET / | authorization: Bearer <<login_key>>",
        Refused(PLACEHOLDER, "its place is not bound: header:authorization"),
    ),
    (B, "GET / | authorization: basic(u:<<login_key>>)", Refused(PLACEHOLDER, "its host is not bound")),
    (A, "GET / | x-a: basic(u:<<login_key>>)", Kept(0)),
    // methods, paths, uses
    (A, "POST /v1/x | x-api-key: <<strict_key>>", Replaced("POST /v1/x | x-api-key: [strict]", &["header:x-api-key"])),
    (A, "GET /v1/x | x-api-key: <<strict_key>>", Refused(PLACEHOLDER, "GET is not among")),
    (A, "POST /v2/x | x-api-key: <<strict_key>>", Refused(PLACEHOLDER, "the path is not among")),
    (A, "POST /v1 | x-api-key: <<strict_key>>", Refused(PLACEHOLDER, "the path is not among")),
    (A, "POST /V1/x | x-api-key: <<strict_key>>", Refused(PLACEHOLDER, "the path is not among")),
    (A, "POST /v1/../v2/x | x-api-key: <<strict_key>>", Refused(PLACEHOLDER, "read in two ways")),
    (A, "POST /v1/%2e%2e/v2 | x-api-key: <<strict_key>>", Refused(PLACEHOLDER, "read in two ways")),
    (A, "POST /v1/.. | x-api-key: <<strict_key>>", Refused(PLACEHOLDER, "read in two ways")),
    (A, "POST /v1//x | x-api-key: <<strict_key>>", Refused(PLACEHOLDER, "read in two ways")),
    (A, "POST //v1/x | x-api-key: <<strict_key>>", Refused(PLACEHOLDER, "read in two ways")),
    (A, "POST /v1/a%2fb | x-api-key: <<strict_key>>", Refused(PLACEHOLDER, "read in two ways")),
    (A, "POST /v1/%252e%252e/x | x-api-key: <<strict_key>>", Refused(PLACEHOLDER, "read in two ways")),
    (A, "POST /v1/x;/../y | x-api-key: <<strict_key>>", Refused(PLACEHOLDER, "read in two ways")),
    (
        A,
        "POST /%76%31/x | x-api-key: <<strict_key>>",
        Replaced("POST /%76%31/x | x-api-key: [strict]", &["header:x-api-key"]),
    ),
    (
        A,
        "POST /v1/x?p=/v2/../ | x-api-key: <<strict_key>>",
        Replaced("POST /v1/x?p=/v2/../ | x-api-key: [strict]", &["header:x-api-key"]),
    ),
    (A, "POST /v1/x | x-api-key: <<strict_key>> <<strict_key>>", Refused(PLACEHOLDER, "2 uses in one request")),
    (A, "TRACE / | x-api-key: <<tool_key>>", Refused(PLACEHOLDER, "TRACE would send the key straight back")),
    (A, "trace / | x-api-key: <<tool_key>>", Refused(PLACEHOLDER, "TRACE would send the key straight back")),
    // the target
    (A, "GET /?token=%3C%3Curl_key%3E%3E", Replaced("GET /?token=[url]", &["query:token"])),
    (A, "GET /?t%6fken=%3C%3Curl_key%3E%3E", Replaced("GET /?t%6fken=[url]", &["query:token"])),
    (A, "GET /?q=%3C%3Curl_key%3E%3E", Refused(PLACEHOLDER, "its place is not bound: query:q")),
    (A, "GET /?%3C%3Curl_key%3E%3E=1", Refused(PLACEHOLDER, "its place is not bound")),
    (A, "GET /?token=%3C%3Ctool_key%3E%3E", Refused(PLACEHOLDER, "its place is not bound: query:token")),
    (A, "GET /bot%3C%3Curl_key%3E%3E/send", Replaced("GET /bot[url]/send", &["path"])),
    (A, "GET /bot%3C%3Ctool_key%3E%3E/send", Refused(PLACEHOLDER, "its place is not bound: path")),
    (B, "GET /?q=%3c%3Ctool_key%3E%3e", Refused(PLACEHOLDER, "its host is not bound")),
    // bodies: a whole value is a key's place, running text is not
    (A, "POST / || {\"key\": \"<<tool_key>>\"}", Replaced("POST / || {\"key\": \"[tool]\"}", &["body"])),
    (A, "POST / || {\"text\": \"send <<tool_key>> to me\"}", Kept(1)),
    (A, "POST / || {\"<<tool_key>>\": 1}", Kept(1)),
    (A, "POST / || {\"to\": \"<<other_key>>\"}", Kept(1)),
    (B, "POST / || {\"to\": \"<<tool_key>>\"}", Kept(1)),
    (
        A,
        "POST / || {\"auth\": {\"key\": \"<<field_key>>\"}}",
        Replaced("POST / || {\"auth\": {\"key\": \"[field]\"}}", &["body:/auth/key"]),
    ),
    (A, "POST / || {\"mail\": {\"key\": \"<<field_key>>\"}}", Kept(1)),
    (A, "POST / || q=1&api_key=%3C%3Cfield_key%3E%3E", Replaced("POST / || q=1&api_key=[field]", &["body:api_key"])),
    (A, "POST / || q=%3C%3Cfield_key%3E%3E", Kept(1)),
    (A, "POST / || Dear you, it is <<tool_key>>.", Kept(1)),
    (
        A,
        "POST / || Dear you, it is <<anywhere_key>>.",
        Replaced("POST / || Dear you, it is [anywhere].", &["body:any"]),
    ),
    (
        A,
        "POST / | x-api-key: <<tool_key>> || {\"text\": \"the <<tool_key>>\"}",
        Replaced("POST / | x-api-key: [tool] || {\"text\": \"the <<tool_key>>\"}", &["header:x-api-key"]),
    ),
    (
        A,
        "POST / | x-api-key: <<nobody_key>> || {\"key\": \"<<tool_key>>\"}",
        Refused(PLACEHOLDER, "there is no key of that name"),
    ),
    // a look-alike counts like the placeholder that it stands for
    (A, "GET / | x-api-key: shown-00000000000000000000", Replaced("GET / | x-api-key: [shown]", &["header:x-api-key"])),
    (A, "GET / | x-api-key: <<shown_key>>", Replaced("GET / | x-api-key: [shown]", &["header:x-api-key"])),
    (B, "GET / | x-api-key: shown-00000000000000000000", Refused(PLACEHOLDER, "its host is not bound")),
    (A, "GET / | x-api-key: shown-0000000000000000000", Kept(0)),
];

fn value(key: &str) -> String {
    format!("real-{key}-9f86d081884c7d65")
}

/// A row's request, taken apart.
#[derive(Debug)]
struct Line {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Line {
    fn read(text: &str) -> Self {
        let text = KEYS.iter().fold(text.to_owned(), |text, key| text.replace(&format!("[{key}]"), &value(key)));
        let (head, body) = text.split_once(" || ").unwrap_or((&text, ""));
        let mut parts = head.split(" | ");
        let (method, target) = parts.next().and_then(|p| p.split_once(' ')).expect("a method and a target");
        let headers = parts.map(|p| p.split_once(": ").expect("a header"));
        let headers = headers.map(|(name, value)| (name.to_owned(), coded(value))).collect();
        Self { method: method.to_owned(), target: target.to_owned(), headers, body: body.to_owned() }
    }

    /// Sends it as row `number`.
    async fn ask(&self, client: &mut Client, number: usize) -> Answer {
        let mut request = client.request(&self.method, &self.target).header("locum-tool", format!("row-{number}"));
        request = request.header("x-row", number);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let kind = if self.body.starts_with('{') { "application/json" } else { "application/x-www-form-urlencoded" };
        let kind = if self.body.starts_with("Dear") { "text/plain" } else { kind };
        if !self.body.is_empty() && self.headers.iter().all(|(name, _)| name != "content-type") {
            request = request.header("content-type", kind);
        }
        let body = if self.body.is_empty() { none() } else { full(self.body.clone()) };
        client.ask(request.body(body).expect("a request")).await
    }

    fn assert_is(&self, seen: &Seen, what: &str) {
        let target = seen.target.strip_prefix("https://").and_then(|t| t.find('/').map(|at| &t[at..]));
        assert_eq!((&*seen.method, target.unwrap_or(&seen.target)), (&*self.method, &*self.target), "{what}");
        for (name, value) in &self.headers {
            assert_eq!(seen.header(name).as_deref(), Some(&**value), "{what}");
        }
        assert_eq!(seen.text(), self.body, "{what}");
    }
}

fn coded(value: &str) -> String {
    match value.strip_prefix("basic(").and_then(|v| v.strip_suffix(')')) {
        Some(pair) => format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)),
        None => value.to_owned(),
    }
}

fn bound(door: Door, a: &Upstream, b: &Upstream) -> Home {
    let bindings = BINDINGS.replace("{A}", &a.port().to_string()).replace("{B}", &b.port().to_string());
    let ports = format!("connect_ports = [{}, {}]\n", a.port(), b.port());
    let home = Home::with(&(ports + &door.settings()), &bindings);
    KEYS.iter().fold(home, |home, key| home.set(&format!("{}_API_KEY", key.to_uppercase()), &value(key)))
}

async fn connected(door: Door, serve: &Serve, to: To, a: &Upstream, b: &Upstream, http: Http) -> Client {
    let authority = match to {
        A => a.authority(),
        B => b.authority(),
        Address => format!("{}:{}", door.address(), a.port()),
    };
    let stream = door.enter(serve.address, &authority).await.expect("a connection");
    Client::over(stream, &serve.ca, &authority, http).await
}

#[test]
fn the_truth() {
    run(Door::Connect);
}

#[test]
fn the_truth_over_socks5() {
    run(Door::Socks5);
}

#[test]
fn the_truth_where_connections_are_redirected() {
    run(Door::Transparent);
}

fn run(door: Door) {
    door.with(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(truth(door));
    });
}

async fn truth(door: Door) {
    for http in BOTH {
        let (a, b) = (Upstream::start(), Upstream::start());
        let serve = door.serve(bound(door, &a, &b));
        let mut answers = Vec::new();
        for (number, (to, line, _)) in TRUTH.iter().enumerate() {
            let mut client = connected(door, &serve, *to, &a, &b, http).await;
            answers.push(Line::read(line).ask(&mut client, number).await);
        }
        let records = serve.drained().await.audit();
        let seen: Vec<Seen> = a.seen().into_iter().chain(b.seen()).collect();
        for (number, ((_, line, outcome), answer)) in TRUTH.iter().zip(&answers).enumerate() {
            let what = format!("{door:?}, {http:?}: {line}: {}", answer.text());
            let of_row = |r: &&Value| r["tool"] == format!("row-{number}");
            let told: Vec<&Value> = records.iter().filter(of_row).collect();
            let seen: Vec<&Seen> = seen.iter().filter(|s| s.header("x-row") == Some(number.to_string())).collect();
            assert!(KEYS.iter().all(|key| !answer.text().contains(&value(key))), "{what}: a key came back");
            judge(outcome, line, answer, &told, &seen, &what);
        }
    }
}

fn judge(outcome: &Outcome, line: &str, answer: &Answer, told: &[&Value], seen: &[&Seen], what: &str) {
    let events = |event: &str| -> Vec<&Value> { told.iter().copied().filter(|r| r["event"] == event).collect() };
    let (substitutions, exchanges) = (events("substitution"), events("exchange"));
    match outcome {
        Replaced(wanted, places) => {
            assert_eq!((answer.status.as_u16(), seen.len()), (200, 1), "{what}");
            Line::read(wanted).assert_is(seen[0], what);
            let mut found: Vec<&str> = substitutions.iter().filter_map(|r| r["where"].as_str()).collect();
            found.sort_unstable();
            assert_eq!(found, *places, "{what}");
        }
        Kept(count) => {
            assert_eq!((answer.status.as_u16(), seen.len()), (200, 1), "{what}");
            Line::read(line).assert_is(seen[0], what);
            assert!(substitutions.is_empty(), "{what}: {told:#?}");
            assert_eq!(exchanges[0]["kept"].as_u64().unwrap_or(0), *count, "{what}: {exchanges:#?}");
        }
        Refused(word, why) => {
            assert_eq!((answer.status.as_u16(), answer.header("locum-refused")), (403, Some(*word)), "{what}");
            assert!(seen.is_empty() && substitutions.is_empty(), "{what}: {seen:#?}");
            let refusals = events("refusal");
            assert_eq!(refusals.len(), 1, "{what}: {told:#?}");
            let reason = refusals[0]["reason"].as_str().unwrap_or_default();
            assert!(reason.contains(why), "{what}: {reason}");
            assert_eq!(refusals[0]["exchange"], answer.json()["exchange"], "{what}");
        }
    }
}
