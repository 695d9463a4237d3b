//! A key goes unencrypted to this machine only, and that is what its address says, never its name.

use super::verdicts;
use crate::support::exit::Exit;
use crate::support::locum::{TOOL_KEY, of};
use crate::support::tunnel::{Told, answers};
use crate::support::upstream::Kind;
use crate::support::websocket;
use crate::support::wire::exchange;
use crate::support::{Home, Serve, Upstream};
use std::net::{IpAddr, UdpSocket};
use std::process::Command;

/// One that speaks no TLS.
fn plain(ip: IpAddr) -> Upstream {
    Upstream::of(Kind { tls: false, ip, ..Kind::default() })
}

fn loopback() -> IpAddr {
    IpAddr::from([127, 0, 0, 1])
}

/// What is asked of `authority` with a key in the head, in a body of either kind, and in messages that may follow.
fn keyed(authority: &str) -> Vec<String> {
    let post = format!("POST http://{authority}/echo HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n");
    let body = r#"{"key":"<<tool_key>>"}"#;
    let messages = websocket::request(authority, "/ws", "").replacen("/ws", &format!("http://{authority}/ws"), 1);
    vec![
        format!(
            "GET http://{authority}/echo HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\nX-Api-Key: <<tool_key>>\r\n\r\n"
        ),
        format!("{post}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        format!(
            "{post}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        ),
        messages.replacen("Connection: Upgrade", "Connection: close, Upgrade", 1),
    ]
}

/// The same without a key, and without one that may follow.
fn keyless(authority: &str) -> [String; 2] {
    let body = r#"{"key":"none"}"#;
    [
        format!("GET http://{authority}/echo HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n"),
        format!(
            "POST http://{authority}/echo HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    ]
}

fn ask(serve: &Serve, request: &str) -> Vec<Told> {
    answers(exchange(serve.address, request.as_bytes()).as_bytes())
}

/// Whatever carries a key is refused, also once there is a connection that it could take; the rest goes on.
fn is_kept_from(serve: Serve, authority: &str, upstream: &Upstream, why: &str) {
    for round in 0..2 {
        for request in keyless(authority) {
            assert_eq!(verdicts(&ask(&serve, &request)), "200", "{request}");
        }
        for request in keyed(authority) {
            let told = ask(&serve, &request);
            assert_eq!(verdicts(&told), "403 address-refused", "{round}: {request}");
            assert!(told[0].text().contains("no key may be sent to unencrypted"), "{}", told[0].text());
        }
    }
    let seen = upstream.seen();
    assert_eq!(seen.len(), 4, "{seen:#?}");
    assert!(seen.iter().all(|seen| !format!("{seen:?}{}", seen.text()).contains(TOOL_KEY)), "{seen:#?}");
    let records = serve.stop().audit();
    let refusals = of(&records, "refusal");
    assert_eq!(refusals.len(), 8, "{records:#?}");
    assert!(refusals.iter().all(|r| r["reason"].as_str().is_some_and(|told| told.contains(why))), "{refusals:#?}");
}

/// Every way is open.
fn goes_to(serve: &Serve, authority: &str, upstream: &Upstream) {
    let requests = keyed(authority);
    for request in &requests[..3] {
        assert_eq!(verdicts(&ask(serve, request)), "200", "{request}");
    }
    let keyed = upstream.seen().iter().filter(|s| format!("{s:?}{}", s.text()).contains(TOOL_KEY)).count();
    assert_eq!(keyed, 3, "{:#?}", upstream.seen());
}

fn key(authority: &str) -> String {
    format!("[key.tool]\nhosts = [\"http://{authority}\"]\nwhere = [\"header\", \"body\", \"ws\"]\n")
}

/// That the host is on loopback can't be known behind an upstream proxy, whether its name or its address says so.
#[test]
fn no_key_goes_unencrypted_through_an_upstream_proxy() {
    for authority in ["app.localhost:8080", "localhost:8080", "127.0.0.1:8080"] {
        let upstream = plain(loopback());
        let exit = Exit::to([(authority, upstream.address)]);
        let proxy = format!("upstream_proxy = \"http://{}\"\n", exit.address);
        is_kept_from(Home::with(&proxy, &key(authority)).serve(), authority, &upstream, "through the upstream proxy");

        let upstream = plain(loopback());
        let exit = Exit::to([(authority, upstream.address)]);
        let proxy = format!("upstream_proxy = \"http://{}\"\ncleartext = true\n", exit.address);
        goes_to(&Home::with(&proxy, &key(authority)).serve(), authority, &upstream);
    }
}

/// What the proxy puts in by itself is no exception.
#[test]
fn an_injected_key_is_kept_from_strangers_too() {
    let upstream = plain(loopback());
    let exit = Exit::to([("app.localhost:8080", upstream.address)]);
    let inject = "inject = \"X-Api-Key: <<tool_key>>\"\n";
    let proxy = format!("upstream_proxy = \"http://{}\"\n", exit.address);
    let serve = Home::with(&proxy, &format!("{}{inject}", key("app.localhost:8080"))).serve();
    for request in keyless("app.localhost:8080") {
        assert_eq!(verdicts(&ask(&serve, &request)), "403 address-refused", "{request}");
    }
    assert!(upstream.seen().is_empty() && exit.asked().is_empty(), "{:?}", exit.asked());
}

/// The service, where names mean what `hosts` says. `None` where this may not be arranged.
pub(super) fn serve_with_hosts(home: Home, hosts: &str) -> Option<Serve> {
    let file = home.path().join("hosts");
    std::fs::write(&file, hosts).expect("a file");
    let mut unshare = Command::new("unshare");
    if !unshare.args(["--mount", "mount", "--bind"]).arg(&file).arg("/etc/hosts").status().is_ok_and(|s| s.success()) {
        return None;
    }
    let locum = home.locum(&["serve"]);
    let mut command = home.command("unshare");
    command.args(["--mount", "sh", "-c", "mount --bind hosts /etc/hosts && exec \"$0\" \"$@\""]);
    command.arg(locum.get_program()).args(locum.get_args());
    Some(Serve::of(home, &mut command))
}

/// An address of this machine that is not loopback. Nothing is sent: the system says where from it would be.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    socket.local_addr().ok().map(|own| own.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[test]
fn a_name_that_says_loopback_is_judged_by_its_address() {
    let Some(own) = own_address() else {
        return eprintln!("this machine has loopback only: left to a_name_that_says_loopback_may_be_elsewhere");
    };
    let (here, beyond) = (plain(loopback()), plain(own));
    let (trusted, stranger) = (format!("here.localhost:{}", here.port()), format!("app.localhost:{}", beyond.port()));
    let keys = key(&stranger).replace("hosts = [", &format!("hosts = [\"http://{trusted}\", "));
    let home = Home::with("", &keys);
    let config = std::fs::read_to_string(home.config()).expect("the config");
    home.write_config(&config.replace("private_addresses = [", &format!("private_addresses = [\"{own}\", ")));
    let hosts = format!("127.0.0.1 localhost here.localhost\n{own} app.localhost\n");
    let Some(serve) = serve_with_hosts(home, &hosts) else {
        return eprintln!("nothing can be mounted here: left to a_name_that_says_loopback_may_be_elsewhere");
    };
    goes_to(&serve, &trusted, &here);
    is_kept_from(serve, &stranger, &beyond, &format!("is at {own}, not on loopback"));
}
