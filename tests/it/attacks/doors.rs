//! The proxy's own port, and the ways through it to this machine and its neighbours.

use super::{BOUND, OTHER, Stage, last, verdicts};
use crate::support::authority::Certificate;
use crate::support::clients;
use crate::support::exit::Exit;
use crate::support::locum::{TOOL_KEY, finish, stdout, told};
use crate::support::tunnel::{Told, answers};
use crate::support::upstream::Kind;
use crate::support::wire::{closed_port, exchange};
use crate::support::{Home, Serve, Upstream};

fn ask(serve: &Serve, bytes: &[u8]) -> Vec<Told> {
    answers(exchange(serve.address, bytes).as_bytes())
}

#[test]
fn what_a_page_or_a_stray_client_sends_to_the_port_goes_nowhere() {
    let stage = Stage::set();
    let mut told = Vec::new();
    for (head, wanted) in [
        (
            "GET / HTTP/1.1\r\nHost: 127.0.0.1:8787\r\nOrigin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\n",
            "400 not-forwarded",
        ),
        (
            "POST / HTTP/1.1\r\nHost: api.tool.example\r\nOrigin: null\r\nX-Api-Key: <<tool_key>>\r\n",
            "400 not-forwarded",
        ),
        ("GET / HTTP/1.1\r\nHost: api.tool.example\r\nX-Api-Key: <<tool_key>>\r\n", "400 not-forwarded"),
        (
            "GET //api.tool.example/ HTTP/1.1\r\nHost: api.tool.example\r\nX-Api-Key: <<tool_key>>\r\n",
            "400 not-forwarded",
        ),
        ("OPTIONS * HTTP/1.1\r\nHost: api.tool.example\r\nAccess-Control-Request-Method: PUT\r\n", "400 not-forwarded"),
        (
            "GET https://api.tool.example/ HTTP/1.1\r\nHost: api.other.example\r\nX-Api-Key: <<tool_key>>\r\n",
            "421 misdirected",
        ),
        (
            "GET https://api.other.example/ HTTP/1.1\r\nHost: api.other.example\r\nX-Api-Key: <<tool_key>>\r\n",
            "403 placeholder-refused",
        ),
        ("GET https://x@api.tool.example/ HTTP/1.1\r\nHost: api.tool.example\r\n", "400 malformed"),
        ("GET https://api.tool.example:22/ HTTP/1.1\r\nHost: api.tool.example:22\r\n", "403 host-refused"),
        ("GET https:///x HTTP/1.1\r\nHost: api.tool.example\r\n", "400 malformed"),
        ("GET ftp://api.tool.example/ HTTP/1.1\r\nHost: api.tool.example\r\n", "400 not-forwarded"),
        ("GET file:///etc/passwd HTTP/1.1\r\nHost: api.tool.example\r\n", "400 not-forwarded"),
        ("GET api.tool.example HTTP/1.1\r\nHost: api.tool.example\r\n", "400 not-forwarded"),
        ("PRI * HTTP/2.0\r\n", "400 malformed"),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03\r\n", "400 malformed"),
        ("get / HTTP/1.1\r\n", "400 malformed"),
        (
            "GET http://api.tool.example/ HTTP/1.1\r\nHost: api.tool.example\r\nX-Api-Key: <<tool_key>>\r\n",
            "403 placeholder-refused",
        ),
        (
            "GET http://api.tool.example:443/ HTTP/1.1\r\nHost: api.tool.example:443\r\nX-Api-Key: <<tool_key>>\r\n",
            "403 placeholder-refused",
        ),
        (
            "GET http://api.tool.example/ HTTP/1.1\r\nHost: api.other.example\r\nX-Api-Key: <<tool_key>>\r\n",
            "421 misdirected",
        ),
        (
            "GET http://x@api.tool.example/ HTTP/1.1\r\nHost: api.tool.example\r\nX-Api-Key: <<tool_key>>\r\n",
            "400 malformed",
        ),
        ("GET http://api.tool.example:22/ HTTP/1.1\r\nHost: api.tool.example:22\r\n", "403 host-refused"),
    ] {
        let said = ask(&stage.serve, format!("{head}Connection: close\r\n\r\n").as_bytes());
        assert_eq!(verdicts(&said), wanted, "{head:?}");
        told.extend(said);
    }
    assert!(stage.exit.asked().is_empty(), "{:?}", stage.exit.asked());
    stage.strike(&told);
}

/// Which is how several HTTP clients use a proxy; each request says for itself which host it is for.
#[test]
fn a_request_by_its_whole_https_url_goes_on_over_tls_as_one_in_a_tunnel() {
    let stage = Stage::set();
    let by_url = |host: &str, rest: &str| format!("GET https://{host}/echo HTTP/1.1\r\nHost: {host}\r\n{rest}\r\n");
    let keyed = "X-Api-Key: <<tool_key>>\r\n";
    let requests = [
        by_url(BOUND, keyed),
        by_url(OTHER, ""),
        format!(
            "POST HTTPS://{BOUND}:443/echo?a=b HTTP/1.1\r\nHost: {BOUND}:443\r\n{keyed}Content-Length: 2\r\n\r\nhi"
        ),
        by_url(OTHER, keyed),
        by_url(BOUND, &format!("{keyed}Connection: close\r\n")),
    ];
    let told = ask(&stage.serve, requests.concat().as_bytes());
    assert_eq!(verdicts(&told), "200, 200, 200, 403 placeholder-refused, 200");
    let seen = stage.bound.seen();
    assert!(seen.iter().all(|s| s.header("x-api-key").as_deref() == Some(TOOL_KEY)), "{seen:#?}");
    let targets: Vec<_> = seen.iter().map(|s| s.target.as_str()).collect();
    assert_eq!(targets, ["/echo", "/echo?a=b", "/echo"], "as an origin is asked");
    assert!(told.iter().all(|t| !format!("{t:?}{}", t.text()).contains(TOOL_KEY)), "hidden in what comes back");
    let records = stage.clear(&told);
    let ports: Vec<_> = records.iter().filter(|r| r["exchange"].is_string()).map(|r| r["port"].as_u64()).collect();
    assert!(ports.len() >= 5 && ports.iter().all(|port| *port == Some(443)), "{records:#?}");
}

/// Clients show it, and drop the body.
#[test]
fn the_reason_phrase_of_a_refused_connect_tells_why() {
    let stage = Stage::with(
        |home| {
            let config = std::fs::read_to_string(home.config()).expect("a config");
            home.write_config(&config.replacen("[proxy]\n", "[proxy]\ndeny = [\"denied.example\"]\n", 1));
        },
        "",
    );
    for (asked, wanted) in [
        ("api.tool.example:9999", "403 port 9999 is not among [proxy] connect_ports, and no binding names it (locum)"),
        ("denied.example:443", "403 denied.example may not be reached through this proxy (locum)"),
        ("api.tool.example", "400 CONNECT names no port (locum)"),
    ] {
        let said = exchange(stage.serve.address, format!("CONNECT {asked} HTTP/1.1\r\n\r\n").as_bytes());
        assert_eq!(said.lines().next(), Some(format!("HTTP/1.1 {wanted}").as_str()));
    }
    let python = "import http.client, sys; c = http.client.HTTPSConnection(sys.argv[1], int(sys.argv[2]));\n\
                  c.set_tunnel('api.tool.example', 9999)\n\
                  try: c.request('GET', '/')\n\
                  except OSError as e: print(e)";
    let (ip, port) = (stage.serve.address.ip().to_string(), stage.serve.address.port().to_string());
    let output = finish(stage.serve.home.command(clients::python()).args(["-c", python, &ip, &port]));
    let shown = stdout(&output);
    assert!(shown.contains("403 port 9999 is not among [proxy] connect_ports"), "{}", told(&output));
}

#[test]
fn a_request_by_its_whole_https_url_reaches_nobody_who_cannot_prove_his_name() {
    for certificate in [Certificate::WrongHost, Certificate::SelfSigned] {
        let upstream = Upstream::of(Kind { certificate, ..Kind::default() });
        let exit = Exit::to([("api.tool.example:443", upstream.address)]);
        let proxy = format!("upstream_proxy = \"http://{}\"\n", exit.address);
        let serve = Home::with(&proxy, &format!("[key.tool]\nhosts = [\"{BOUND}\"]\n")).serve();
        let request = last(BOUND, "/").replacen("GET /", &format!("GET https://{BOUND}/"), 1);
        assert_eq!(verdicts(&ask(&serve, request.as_bytes())), "502 upstream-failed", "{certificate:?}");
        assert_eq!(upstream.begun(), 0);
    }
}

#[test]
fn a_key_does_not_travel_in_clear_text_inside_a_tunnel_either() {
    let stage = Stage::set();
    let head = format!("CONNECT {BOUND}:443 HTTP/1.1\r\n\r\n");
    let request =
        format!("GET / HTTP/1.1\r\nHost: {BOUND}:443\r\nX-Api-Key: <<tool_key>>\r\nConnection: close\r\n\r\n");
    let said = exchange(stage.serve.address, format!("{head}{request}").as_bytes());
    let (_, inside) = said.split_once("\r\n\r\n").expect("a tunnel");
    let told = answers(inside.as_bytes());
    assert_eq!(verdicts(&told), "403 placeholder-refused", "{said}");
    let records = stage.strike(&told);
    assert!(records.iter().any(|r| r["reason"].as_str().is_some_and(|why| why.contains("TLS only"))), "{records:#?}");
}

/// Spellings of addresses that are not on the public internet.
const INSIDE: &[&str] = &[
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "127.0.0.1.",
    "0.0.0.0",
    "0",
    "localhost",
    "LOCALHOST.",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "169.254.169.254",
    "[::ffff:169.254.169.254]",
    "0xa9fea9fe",
    "2852039166",
    "100.100.100.200",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "192.0.0.192",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
];

#[test]
fn no_spelling_of_an_inner_address_is_dialled() {
    let config = "[proxy]\nlisten = \"127.0.0.1:0\"\n[ca]\nsource = \"memory\"\n";
    let serve = Home::bare(config).serve();
    let mut told = Vec::new();
    for host in INSIDE {
        let absolute = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let said = ask(&serve, absolute.as_bytes());
        assert_eq!(verdicts(&said), "403 address-refused", "{host}");
        told.extend(said);
        let tunnel = format!("CONNECT {host}:443 HTTP/1.1\r\n\r\n");
        let inside = format!("GET / HTTP/1.1\r\nHost: {host}:443\r\nConnection: close\r\n\r\n");
        let said = exchange(serve.address, format!("{tunnel}{inside}").as_bytes());
        let (_, inside) = said.split_once("\r\n\r\n").expect("a tunnel");
        let said = answers(inside.as_bytes());
        assert_eq!(verdicts(&said), "403 address-refused", "{host} in a tunnel");
        told.extend(said);
    }
    let records = serve.stop().audit();
    for refused in &told {
        let found = records.iter().find(|r| r["exchange"].as_str() == refused.exchange().as_deref());
        let reason = found.and_then(|r| r["reason"].as_str()).unwrap_or_default();
        assert!(reason.contains("not public"), "{}: {found:?}", refused.text());
    }
}

#[test]
fn the_proxy_does_not_call_itself() {
    let port = closed_port();
    let config = format!(
        "[proxy]\nlisten = \"127.0.0.1:{port}\"\nprivate_addresses = [\"127.0.0.0/8\", \"::1\"]\n\
         connect_ports = [{port}]\n[ca]\nsource = \"memory\"\n"
    );
    let serve = Home::bare(&config).serve();
    for host in ["127.0.0.1", "localhost", "127.1", "[::ffff:127.0.0.1]", "0x7f.0.0.1"] {
        let head = format!("GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
        let said = ask(&serve, head.as_bytes());
        assert_eq!(verdicts(&said), "403 address-refused", "{host}");
    }
    let records = serve.stop().audit();
    assert_eq!(records.iter().filter(|r| r["event"] == "refusal").count(), 5, "{records:#?}");
}

#[test]
fn a_listed_egress_lets_only_those_through_that_are_listed() {
    let upstream = Upstream::start();
    let proxy = format!(
        "connect_ports = [{0}]\negress = \"listed\"\nallow = [\"127.0.0.1:{0}\"]\ndeny = [\"*.denied.example\"]\n",
        upstream.port()
    );
    let serve = Home::with(&proxy, "").serve();
    let port = upstream.port();
    for (host, wanted) in [
        ("localhost", "403 host-refused"),
        ("a.denied.example", "403 host-refused"),
        ("denied.example", "403 host-refused"),
        ("[::1]", "403 host-refused"),
        ("127.0.0.2", "403 host-refused"),
    ] {
        let said = ask(&serve, format!("CONNECT {host}:{port} HTTP/1.1\r\n\r\n").as_bytes());
        assert_eq!(verdicts(&said), wanted, "{host}");
    }
    assert_eq!(upstream.connections(), 0);
}
