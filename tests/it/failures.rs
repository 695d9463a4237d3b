//! Bad input and bad upstreams: each has a clear answer with the right status, is in the audit, and the process lives on.

use crate::support::authority::Certificate;
use crate::support::client::{BOTH, none};
use crate::support::locum::{finish, of, stderr, stdout, told};
use crate::support::upstream::Kind;
use crate::support::wire::{self, Raw};
use crate::support::{Client, Home, Http, Serve, Upstream};
use std::net::TcpListener;

/// What the first bytes on the proxy's port come to: the status, and the word in `locum-refused`.
#[test]
fn what_is_no_request_is_told_so() {
    let upstream = Upstream::start();
    let mut serve = Home::bound(&[&upstream]).serve();
    let long = format!("CONNECT localhost:443 HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    let many = format!("CONNECT localhost:443 HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(100));
    let port = upstream.port();
    let ours = |head: &str| head.replace("PORT", &port.to_string());
    let cases = [
        ("nonsense\r\n\r\n".to_owned(), 400, "malformed"),
        ("GET\r\n\r\n".into(), 400, "malformed"),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400, "not-forwarded"),
        ("GET / HTTP/9.9\r\n\r\n".into(), 400, "malformed"),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03".into(), 400, "malformed"),
        ("CONNECT HTTP/1.1\r\n\r\n".into(), 400, "malformed"),
        ("CONNECT localhost HTTP/1.1\r\n\r\n".into(), 400, "malformed"),
        ("CONNECT localhost:0 HTTP/1.1\r\n\r\n".into(), 400, "malformed"),
        ("CONNECT localhost:65536 HTTP/1.1\r\n\r\n".into(), 400, "malformed"),
        ("CONNECT local host:443 HTTP/1.1\r\n\r\n".into(), 400, "malformed"),
        ("CONNECT a..example:443 HTTP/1.1\r\n\r\n".into(), 400, "malformed"),
        ("CONNECT a.example:443 HTTP/1.1\r\nHost: b.example:443\r\n\r\n".into(), 421, "misdirected"),
        ("CONNECT a.example:443 HTTP/1.1\r\nHost : a.example\r\n\r\n".into(), 400, "malformed"),
        ("CONNECT a.example:443 HTTP/1.1\r\nno colon\r\n\r\n".into(), 400, "malformed"),
        ("CONNECT a.example:443 HTTP/1.1\nHost: a.example\n\n".into(), 400, "malformed"),
        ("CONNECT a.example:443 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), 400, "malformed"),
        ("CONNECT a.example:25 HTTP/1.1\r\n\r\n".into(), 403, "host-refused"),
        (
            ours("GET https://a.example:PORT/ HTTP/1.1\r\nHost: b.example\r\nConnection: close\r\n\r\n"),
            421,
            "misdirected",
        ),
        ("GET ftp://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n".into(), 400, "not-forwarded"),
        (
            ours("GET http://a.example:PORT/ HTTP/1.1\r\nHost: b.example\r\nConnection: close\r\n\r\n"),
            421,
            "misdirected",
        ),
        (
            ours("POST http://localhost:PORT/ HTTP/1.1\r\nHost: localhost:PORT\r\nContent-Length: x\r\n\r\n"),
            400,
            "malformed",
        ),
        (long, 431, "too-large"),
        (many, 431, "too-large"),
    ];
    for (bytes, status, reason) in &cases {
        let answer = wire::exchange(serve.address, bytes.as_bytes());
        let case = bytes.chars().take(70).collect::<String>();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{case:?}: {answer}");
        if !reason.is_empty() {
            assert!(answer.contains(&format!("\r\nlocum-refused: {reason}\r\n")), "{case:?}: {answer}");
            let body = answer.split_once("\r\n\r\n").unwrap().1;
            let problem: serde_json::Value =
                serde_json::from_str(body).unwrap_or_else(|e| panic!("{case:?}: {e}: {answer}"));
            assert_eq!(problem["status"], *status, "{case:?}");
            assert!(problem["detail"].as_str().is_some_and(|d| !d.is_empty()), "{case:?}: {answer}");
        }
    }
    assert!(serve.is_alive());
    assert_eq!(upstream.begun(), 0);
    let refusals = cases.iter().filter(|(_, _, reason)| !reason.is_empty()).count();
    assert_eq!(of(&serve.stop().audit(), "refusal").len(), refusals);
}

/// Half of a request is no request: nothing reaches the upstream, and nothing breaks.
#[test]
fn who_leaves_in_the_middle_leaves_nothing_behind() {
    let upstream = Upstream::start();
    let mut serve = Home::bound(&[&upstream]).serve();
    let connect =
        format!("CONNECT {} HTTP/1.1\r\nHost: {}\r\n\r\n\x16\x03\x01", upstream.authority(), upstream.authority());
    for end in 0..connect.len() {
        wire::abandon(serve.address, &connect.as_bytes()[..end]);
    }
    assert!(serve.is_alive());
    let output = serve.curl(&[&upstream.url("/echo")]);
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!((upstream.begun(), upstream.connections()), (1, 1));
    serve.stop().verify();
}

/// A request inside a tunnel that can be read in two ways is refused, and so is one for another host.
#[tokio::test]
async fn inside_a_tunnel_only_its_own_host_is_asked() {
    for http in BOTH {
        let (upstream, other) = (Upstream::start(), Upstream::start());
        let serve = Home::bound(&[&upstream, &other]).serve();
        let mut client = serve.client(&upstream, http).await;
        let request = match http {
            Http::One => http::Request::get("/").header("host", other.authority()),
            Http::Two => http::Request::get(other.url("/")),
        };
        let answer = client.ask(request.body(none()).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.header("locum-refused")), (421, Some("misdirected")), "{http:?}");
        assert_eq!((upstream.begun(), other.begun()), (0, 0));
    }
}

/// What is malformed inside TLS is told over TLS, and nothing of it goes on: each of these could be read in two ways.
#[tokio::test]
async fn a_request_that_could_be_two_is_none() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let upstream = Upstream::start();
    let mut serve = Home::bound(&[&upstream]).serve();
    let host = upstream.authority();
    let cases = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "Content-Length: +5\r\n\r\nhello",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n folded\r\n\r\n0\r\n\r\n",
        "X: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "X: a\0b\r\n\r\n",
    ];
    for case in cases {
        let mut stream = crate::support::client::secured(serve.address, &serve.ca, &host, b"http/1.1").await;
        let request = format!("POST /sent HTTP/1.1\r\nHost: {host}\r\n{case}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{case:?}: {answer}");
        assert!(answer.contains("\r\nlocum-refused: malformed\r\n"), "{case:?}: {answer}");
    }
    assert_eq!((upstream.begun(), serve.is_alive()), (0, true));
    assert_eq!(of(&serve.drained().await.audit(), "refusal").len(), cases.len());
}

async fn asked(serve: &Serve, authority: &str, http: Http) -> (u16, String) {
    let mut client = Client::open(serve.address, &serve.ca, authority, http).await;
    let request = client.request("GET", "/").header("authorization", "Bearer <<tool_key>>");
    let answer = client.ask(request.body(none()).unwrap()).await;
    let problem = answer.json();
    assert_eq!(problem["status"], answer.status.as_u16(), "{problem}");
    (answer.status.as_u16(), answer.header("locum-refused").unwrap_or_default().to_owned())
}

/// A proxy with a key for `authority`, and the port of it open.
fn bound_to(authority: &str, proxy: &str) -> Serve {
    Home::with(proxy, &format!("[key.tool]\nhosts = [\"{authority}\"]\n")).serve()
}

#[tokio::test]
async fn a_key_goes_to_no_upstream_that_cannot_prove_who_it_is() {
    for certificate in [
        Certificate::Expired,
        Certificate::NotYetValid,
        Certificate::WrongHost,
        Certificate::SelfSigned,
        Certificate::Untrusted,
    ] {
        let upstream = Upstream::of(Kind { certificate, ..Kind::default() });
        let mut serve = bound_to(&upstream.authority(), "");
        for http in BOTH {
            let answer = asked(&serve, &upstream.authority(), http).await;
            assert_eq!(answer, (502, "upstream-failed".into()), "{certificate:?}");
        }
        assert_eq!(upstream.begun(), 0, "{certificate:?}");
        assert!(serve.is_alive());
        let records = serve.drained().await.audit();
        let refusals = of(&records, "refusal");
        assert_eq!(refusals.len(), 2, "{certificate:?}: {records:#?}");
        let why = refusals[0]["reason"].as_str().unwrap().to_lowercase();
        assert!(why.contains("certificate") || why.contains("issuer"), "{certificate:?}: {why}");
    }
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_is_told_so() {
    let closed = format!("localhost:{}", wire::closed_port());
    let plain = Upstream::of(Kind { tls: false, ..Kind::default() });
    for (authority, status, reason) in [
        (closed.as_str(), 502, "upstream-failed"),
        // .invalid resolves nowhere, ever (RFC 6761)
        ("nowhere.invalid:443", 502, "upstream-failed"),
        // a server, but none of TLS
        (&*plain.authority(), 502, "upstream-failed"),
    ] {
        let serve = bound_to(authority, "");
        for http in BOTH {
            assert_eq!(asked(&serve, authority, http).await, (status, reason.into()), "{authority}");
        }
        let records = serve.drained().await.audit();
        assert_eq!(of(&records, "refusal").len(), 2, "{authority}");
        assert_eq!(of(&records, "refusal")[0]["error"], reason);
    }
    assert_eq!(plain.begun(), 0);
}

#[tokio::test]
async fn private_addresses_are_dialled_only_where_the_config_says_so() {
    let upstream = Upstream::start();
    let config =
        "[proxy]\nlisten = \"127.0.0.1:0\"\n[ca]\nsource = \"memory\"\nexport = \"ca.pem\"\n[key.tool]\nhosts = ";
    for host in ["localhost", "127.0.0.1"] {
        let authority = format!("{host}:{}", upstream.port());
        let home = Home::bare(&format!("{config}[\"{authority}\"]\n")).set("TOOL_API_KEY", "tk-0123456789abcdef");
        let serve = home.serve();
        assert_eq!(asked(&serve, &authority, Http::Two).await, (403, "address-refused".into()));
    }
    assert_eq!(upstream.connections(), 0);
}

/// What an upstream may say that is no answer, byte for byte.
#[tokio::test]
async fn an_upstream_that_speaks_nonsense_fails_and_takes_nothing_with_it() {
    let cases: [&'static [u8]; 6] = [
        b"",
        b"what?\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nhello",
    ];
    for (case, http) in cases.iter().flat_map(|case| BOTH.map(|http| (case, http))) {
        let raw = Raw::saying(case, 1);
        let authority = format!("localhost:{}", raw.address.port());
        let mut serve = bound_to(&authority, "");
        let answer = asked(&serve, &authority, http).await;
        assert_eq!(answer, (502, "upstream-failed".into()), "{}", case.escape_ascii());
        assert!(serve.is_alive());
        drop(serve);
        raw.finish();
    }
}

/// Bodies that end wrongly: the head has gone, so that the end has to tell.
#[tokio::test]
async fn a_body_that_ends_wrongly_is_never_passed_off_as_whole() {
    let cases: [&'static [u8]; 4] = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\nhello",
    ];
    for (case, http) in cases.iter().flat_map(|case| BOTH.map(|http| (case, http))) {
        let raw = Raw::saying(case, 1);
        let authority = format!("localhost:{}", raw.address.port());
        let serve = bound_to(&authority, "");
        let mut client = Client::open(serve.address, &serve.ca, &authority, http).await;
        let request = client.request("GET", "/").body(none()).unwrap();
        let ended = match client.send(request).await {
            Ok(response) => crate::support::client::whole(response).await,
            Err(e) => Err(e),
        };
        assert!(ended.is_err(), "{http:?}, {}: {ended:?}", case.escape_ascii());
        drop((client, serve));
        raw.finish();
    }
}

#[test]
fn a_config_with_three_mistakes_shows_all_three() {
    let config = "[proxy]\nlisten = \"127.0.0.1:0\"\nintercpet = \"all\"\n\n[key.tool]\nhosts = [\"*.com\"]\nwhere = [\"haeder\"]\n";
    let home = Home::bare(config);
    for command in ["serve", "check"] {
        let output = finish(&mut home.locum(&[command]));
        let said = stdout(&output) + &stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{command}: {}", told(&output));
        for (line, words) in [(3, "intercept"), (6, "*.com"), (7, "header")] {
            let told = said.lines().any(|l| l.contains(&format!("locum.toml:{line}")));
            assert!(told && said.contains(words), "{command}: nothing of line {line}, {words}: {said}");
        }
    }
}

#[test]
fn a_port_in_use_is_told_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let home = Home::bare("").set("LOCUM_PROXY__LISTEN", &address);
    let output = finish(&mut home.locum(&["serve"]));
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let said = stderr(&output);
    assert!(said.starts_with("error: ") && said.contains(&address) && said.contains("\n  next: "), "{said}");
}
