//! Requests that name one host in one place and another elsewhere, and hosts that only look like the bound one.

use super::cleartext::serve_with_hosts;
use super::{BOUND, OTHER, Stage, last, verdicts};
use crate::support::tunnel::answers;
use crate::support::wire::exchange;
use crate::support::{Home, Tunnel};

const KEYED: &str = "X-Api-Key: <<tool_key>>\r\nConnection: close\r\n\r\n";

#[test]
fn one_host_per_tunnel_whatever_a_request_says() {
    let stage = Stage::set();
    let mut told = Vec::new();
    for (tunnel, sni, head, wanted) in [
        (OTHER, OTHER, "GET / HTTP/1.1\r\nHost: api.tool.example\r\n", "421 misdirected"),
        (BOUND, BOUND, "GET / HTTP/1.1\r\nHost: api.other.example\r\n", "421 misdirected"),
        (OTHER, BOUND, "GET / HTTP/1.1\r\nHost: api.tool.example\r\n", "421 misdirected"),
        (OTHER, BOUND, "GET / HTTP/1.1\r\nHost: api.other.example\r\n", "421 misdirected"),
        (BOUND, OTHER, "GET / HTTP/1.1\r\nHost: api.tool.example\r\n", "421 misdirected"),
        (OTHER, OTHER, "GET https://api.tool.example/ HTTP/1.1\r\nHost: api.other.example\r\n", "421 misdirected"),
        (OTHER, OTHER, "GET https://api.tool.example/ HTTP/1.1\r\nHost: api.tool.example\r\n", "421 misdirected"),
        (OTHER, OTHER, "GET https://api.other.example/ HTTP/1.1\r\nHost: api.tool.example\r\n", "421 misdirected"),
        (BOUND, BOUND, "GET https://api.other.example/ HTTP/1.1\r\nHost: api.tool.example\r\n", "421 misdirected"),
        (
            BOUND,
            BOUND,
            "GET https://api.tool.example@api.other.example/ HTTP/1.1\r\nHost: api.tool.example\r\n",
            "421 misdirected",
        ),
        (BOUND, BOUND, "GET https://x@api.tool.example/ HTTP/1.1\r\nHost: api.tool.example\r\n", "421 misdirected"),
        (BOUND, BOUND, "GET https://api.tool.example:8443/ HTTP/1.1\r\nHost: api.tool.example\r\n", "421 misdirected"),
        (BOUND, BOUND, "GET http://api.tool.example/ HTTP/1.1\r\nHost: api.tool.example\r\n", "400 malformed"),
        (BOUND, BOUND, "GET ftp://api.tool.example/ HTTP/1.1\r\nHost: api.tool.example\r\n", "400 malformed"),
        (BOUND, BOUND, "GET / HTTP/1.1\r\n", "400 malformed"),
        (BOUND, BOUND, "GET / HTTP/1.1\r\nHost:\r\n", "421 misdirected"),
        (BOUND, BOUND, "GET / HTTP/1.1\r\nHost: api.tool.example\r\nHost: api.tool.example\r\n", "400 malformed"),
        (BOUND, BOUND, "GET / HTTP/1.1\r\nHost: api.tool.example\r\nhost: api.other.example\r\n", "400 malformed"),
        (BOUND, BOUND, "GET / HTTP/1.1\r\nHost: api.tool.example, api.other.example\r\n", "421 misdirected"),
        (BOUND, BOUND, "GET / HTTP/1.1\r\nHost: api.tool.example:80\r\n", "421 misdirected"),
        (BOUND, BOUND, "GET / HTTP/1.1\r\nHost: api.tool.example:8443\r\n", "421 misdirected"),
        (BOUND, BOUND, "GET / HTTP/1.1\r\nHost: api.tool.example:\r\n", "200"),
        (BOUND, BOUND, "GET / HTTP/1.1\r\nHost: u@api.tool.example\r\n", "421 misdirected"),
        (BOUND, BOUND, "GET / HTTP/1.1\r\nHost: api.tool.example/x\r\n", "421 misdirected"),
        (BOUND, BOUND, "GET / HTTP/1.1\r\nHost: api.tool.example#x\r\n", "421 misdirected"),
        (BOUND, BOUND, "GET / HTTP/1.1\r\nHost: api.tool.example\\x\r\n", "421 misdirected"),
        (BOUND, BOUND, "GET / HTTP/1.1\r\nHost: api%2etool.example\r\n", "421 misdirected"),
        (BOUND, BOUND, "GET / HTTP/1.1\r\nHost: api.tool.example..\r\n", "421 misdirected"),
        (BOUND, BOUND, "GET / HTTP/1.1\r\nHost: API.Tool.EXAMPLE.:443\r\n", "200"),
        (BOUND, BOUND, "GET https://API.tool.example./ HTTP/1.1\r\nHost: api.tool.example\r\n", "200"),
        // headers that some servers route by change nothing: the dialled host is what counts
        (
            OTHER,
            OTHER,
            "GET / HTTP/1.1\r\nHost: api.other.example\r\nX-Forwarded-Host: api.tool.example\r\n",
            "403 placeholder-refused",
        ),
        (
            OTHER,
            OTHER,
            "GET / HTTP/1.1\r\nHost: api.other.example\r\nX-Host: api.tool.example\r\n",
            "403 placeholder-refused",
        ),
        (
            OTHER,
            OTHER,
            "GET / HTTP/1.1\r\nHost: api.other.example\r\nForwarded: host=api.tool.example\r\n",
            "403 placeholder-refused",
        ),
        (
            OTHER,
            OTHER,
            "GET /https://api.tool.example/ HTTP/1.1\r\nHost: api.other.example\r\n",
            "403 placeholder-refused",
        ),
        (OTHER, OTHER, "GET //api.tool.example/ HTTP/1.1\r\nHost: api.other.example\r\n", "403 placeholder-refused"),
    ] {
        let tunnel = Tunnel::open(&stage.serve, &format!("{tunnel}:443"), sni, b"http/1.1").expect("a tunnel");
        let said = tunnel.talk(format!("{head}{KEYED}").as_bytes());
        assert_eq!(verdicts(&said), wanted, "{head:?} as {sni}");
        told.extend(said);
    }
    let (seen, other) = (stage.bound.seen(), stage.other.seen());
    assert!(other.is_empty() && seen.len() == 3, "{other:#?} {seen:#?}");
    assert!(seen.iter().all(|s| s.header("host").as_deref().unwrap_or(BOUND) == BOUND), "{seen:#?}");
    stage.clear(&told);
}

#[test]
fn a_host_that_looks_like_the_bound_one_is_another() {
    let stage = Stage::set();
    let mut told = Vec::new();
    for host in [
        "evil-api.tool.example",
        "evilapi.tool.example",
        "api.tool.example.evil.example",
        "api-tool.example",
        "api.tool.example-evil.example",
        "sub.api.tool.example",
        "tool.example",
        "api.tool.exampl",
        "api.tool.example.com",
        "api.t00l.example",
        "xn--pi-7kc.tool.example",
        "www.api.tool.example",
    ] {
        let said = stage.say(host, last(host, "/").as_bytes());
        assert_eq!(verdicts(&said), "403 placeholder-refused", "{host}");
        told.extend(said);
    }
    // the same host, in other letters
    for host in ["API.TOOL.EXAMPLE", "api.tool.example.", "Api.Tool.Example."] {
        let tunnel = Tunnel::open(&stage.serve, &format!("{host}:443"), BOUND, b"http/1.1").expect("a tunnel");
        let said = tunnel.talk(last(BOUND, "/").as_bytes());
        assert_eq!(verdicts(&said), "200", "{host}");
        told.extend(said);
    }
    assert!(stage.exit.asked().iter().all(|host| host == "api.tool.example:443"), "{:?}", stage.exit.asked());
    stage.clear(&told);
}

#[test]
fn a_connect_that_names_no_single_host_is_refused() {
    let stage = Stage::set();
    let mut told = Vec::new();
    for (line, wanted) in [
        ("CONNECT api.tool.example HTTP/1.1", "400 malformed"),
        ("CONNECT api.tool.example: HTTP/1.1", "400 malformed"),
        ("CONNECT api.tool.example:0 HTTP/1.1", "400 malformed"),
        ("CONNECT api.tool.example:65536 HTTP/1.1", "400 malformed"),
        ("CONNECT api.tool.example:+443 HTTP/1.1", "400 malformed"),
        ("CONNECT api.tool.example:443:443 HTTP/1.1", "400 malformed"),
        ("CONNECT api.tool.example:443/ HTTP/1.1", "400 malformed"),
        ("CONNECT https://api.tool.example:443 HTTP/1.1", "400 malformed"),
        ("CONNECT x@api.tool.example:443 HTTP/1.1", "400 malformed"),
        ("CONNECT api.tool.example@api.other.example:443 HTTP/1.1", "400 malformed"),
        ("CONNECT api.other.example#api.tool.example:443 HTTP/1.1", "400 malformed"),
        ("CONNECT api.other.example\\api.tool.example:443 HTTP/1.1", "400 malformed"),
        ("CONNECT api.other.example%00.tool.example:443 HTTP/1.1", "400 malformed"),
        ("CONNECT api%2etool.example:443 HTTP/1.1", "400 malformed"),
        ("CONNECT api.tool.example%20:443 HTTP/1.1", "400 malformed"),
        ("CONNECT *.tool.example:443 HTTP/1.1", "400 malformed"),
        ("CONNECT api..tool.example:443 HTTP/1.1", "400 malformed"),
        ("CONNECT .tool.example:443 HTTP/1.1", "400 malformed"),
        ("CONNECT :443 HTTP/1.1", "400 malformed"),
        ("CONNECT [::1:443 HTTP/1.1", "400 malformed"),
        ("CONNECT 1.2.3.4.5:443 HTTP/1.1", "400 malformed"),
        ("CONNECT 256.0.0.1:443 HTTP/1.1", "400 malformed"),
        ("CONNECT api.tool.example:443 HTTP/1.1\r\nHost: api.other.example:443", "421 misdirected"),
        ("CONNECT api.other.example:443 HTTP/1.1\r\nHost: api.tool.example", "421 misdirected"),
        ("CONNECT api.tool.example:443 HTTP/1.1\r\nHost: api.tool.example\r\nHost: api.tool.example", "400 malformed"),
        ("CONNECT api.tool.example:443 HTTP/1.1\r\nContent-Length: 4", "400 malformed"),
        ("CONNECT api.tool.example:443 HTTP/1.1\r\nTransfer-Encoding: chunked", "400 malformed"),
        ("CONNECT api.tool.example:443 HTTP/1.1\r\nX: a\r\n folded", "400 malformed"),
        ("CONNECT api.tool.example:443 HTTP/1.1\nX: a", "400 malformed"),
        ("CONNECT api.tool.example:443 HTTP/1.1\r\nHost : api.tool.example", "400 malformed"),
        ("CONNECT api.tool.example:22 HTTP/1.1", "403 host-refused"),
        ("CONNECT api.other.example:25 HTTP/1.1", "403 host-refused"),
    ] {
        let said = answers(exchange(stage.serve.address, format!("{line}\r\n\r\n").as_bytes()).as_bytes());
        assert_eq!(verdicts(&said), wanted, "{line:?}");
        told.extend(said);
    }
    assert!(stage.exit.asked().is_empty(), "{:?}", stage.exit.asked());
    stage.strike(&told);
}

#[test]
fn an_address_that_leads_inside_is_not_dialled_whatever_it_looks_like() {
    let hosts = "127.0.0.1 localhost\n2a00:1450:64::c000:aa ipv4only.arpa\n2a00:1450:64::a00:1 inside.example\n";
    let Some(serve) = serve_with_hosts(Home::with("", ""), hosts) else {
        return eprintln!("nothing can be mounted here: left to the unit tests of upstream::nat64");
    };
    // Azure's wire server, and 10.0.0.1 and 169.254.169.254 behind the prefix of this network's NAT64
    for host in ["168.63.129.16", "inside.example", "[2a00:1450:64::a9fe:a9fe]"] {
        let request = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let said = answers(exchange(serve.address, request.as_bytes()).as_bytes());
        assert_eq!(verdicts(&said), "403 address-refused", "{host}");
    }
}
