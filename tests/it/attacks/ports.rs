//! A host that was given a key can show it on any other port and scheme: it is taken out of the answers there too.

use super::verdicts;
use crate::support::client::{BOTH, full};
use crate::support::exit::Exit;
use crate::support::locum::{TOOL_KEY, of};
use crate::support::tunnel::answers;
use crate::support::upstream::Kind;
use crate::support::websocket::{Socket, open};
use crate::support::wire::exchange;
use crate::support::{Client, Home, Serve, Upstream};

const HOST: &str = "api.tool.example";

/// The same host on three ports, two of TLS and one in the clear; `bound` is what the key is bound to.
struct Ports {
    standard: Upstream,
    other: Upstream,
    plain: Upstream,
    _exit: Exit,
    serve: Serve,
}

impl Ports {
    fn of(bound: &str, proxy: &str) -> Self {
        let (standard, other) = (Upstream::start(), Upstream::start());
        let plain = Upstream::of(Kind { tls: false, ..Kind::default() });
        let exit = Exit::to([
            ("api.tool.example:443", standard.address),
            ("api.tool.example:8443", other.address),
            ("api.tool.example:80", plain.address),
        ]);
        let proxy = format!("upstream_proxy = \"http://{}\"\nconnect_ports = [80, 443, 8443]\n{proxy}\n", exit.address);
        let serve = Home::with(&proxy, &format!("[key.tool]\nhosts = [\"{bound}\"]\n")).serve();
        Self { standard, other, plain, _exit: exit, serve }
    }
}

/// Asks an upstream to say back what has the key in it, by whatever way it came there.
async fn said_back(client: &mut Client) -> String {
    let request = client.request("POST", "/echo").header("x-known", TOOL_KEY);
    let answer = client.ask(request.body(full(format!("[\"{TOOL_KEY}\"]"))).expect("a request")).await;
    assert_eq!(answer.status, 200);
    answer.text()
}

#[tokio::test]
async fn a_key_is_hidden_in_answers_of_its_host_on_every_port() {
    for bound in [HOST, "api.tool.example:8443", "*.tool.example", "*.tool.example:8443", "api.tool.example:9999"] {
        for mode in ["", "intercept = \"bound\""] {
            let ports = Ports::of(bound, mode);
            for authority in ["api.tool.example:443", "api.tool.example:8443"] {
                for http in BOTH {
                    let mut client = Client::open(ports.serve.address, &ports.serve.ca, authority, http).await;
                    let said = said_back(&mut client).await;
                    assert!(!said.contains(TOOL_KEY), "{bound} {mode}: {authority} over {http:?}: {said}");
                    assert_eq!(said.matches("<<tool_key>>").count(), 2, "{said}");
                }
            }
            // in the clear, by its whole URL and in a tunnel
            let head = format!("Host: {HOST}\r\nX-Known: {TOOL_KEY}\r\nConnection: close\r\n\r\n");
            let whole = exchange(ports.serve.address, format!("GET http://{HOST}/echo HTTP/1.1\r\n{head}").as_bytes());
            let tunnel = format!("CONNECT {HOST}:80 HTTP/1.1\r\n\r\nGET /echo HTTP/1.1\r\n{head}");
            let tunnel = exchange(ports.serve.address, tunnel.as_bytes());
            for said in [whole, tunnel] {
                assert!(said.contains("200 OK") && !said.contains(TOOL_KEY), "{bound} {mode}: {said}");
                assert!(said.contains("<<tool_key>>"), "{said}");
            }
            // all of them got what was sent: it is the answers that are changed
            let (standard, other, plain) = (ports.standard.seen(), ports.other.seen(), ports.plain.seen());
            assert_eq!((standard.len(), other.len(), plain.len()), (2, 2, 2));
            let given = standard.iter().chain(&other).chain(&plain);
            assert!(given.clone().all(|seen| seen.header("x-known").as_deref() == Some(TOOL_KEY)));
            let records = ports.serve.drained().await.audit();
            assert_eq!(of(&records, "scrub").len(), 6, "{records:#?}");
            assert!(of(&records, "substitution").is_empty(), "{records:#?}");
        }
    }
}

/// What may be put in goes by the origin as it did.
#[test]
fn a_key_goes_to_no_other_port_for_that() {
    let ports = Ports::of(HOST, "");
    let head = format!("Host: {HOST}\r\nX-Api-Key: <<tool_key>>\r\nConnection: close\r\n\r\n");
    let plain = exchange(ports.serve.address, format!("GET http://{HOST}/ HTTP/1.1\r\n{head}").as_bytes());
    assert_eq!(verdicts(&answers(plain.as_bytes())), "403 placeholder-refused");
    let records = ports.serve.stop().audit();
    assert!(of(&records, "substitution").is_empty() && ports.plain.seen().is_empty(), "{records:#?}");
}

#[test]
fn frames_of_a_bound_host_are_read_on_every_port() {
    for mode in ["", "intercept = \"bound\""] {
        let socket = Socket::open(|mut peer| drop(peer.echo()));
        let (authority, port) = (socket.authority(), socket.address.port());
        let key = "[key.tool]\nhosts = [\"localhost:9\"]\nwhere = [\"header\", \"ws\"]\n";
        let serve = Home::with(&format!("connect_ports = [{port}]\n{mode}\n"), key).serve();
        let (_, mut client) = open(&serve, &authority, "").expect("a WebSocket");
        client.text(&format!("you said {TOOL_KEY}"));
        assert_eq!(client.said(), "you said <<tool_key>>", "{mode}");
        client.text("<<tool_key>>");
        assert_eq!(client.said(), "<<tool_key>>");
        client.send(locum::proxy::wire::ws_frames::Opcode::Close, true, 1000_u16.to_be_bytes());
        assert_eq!(client.closed().map(|(code, _)| code), Some(1000));
        socket.finish();
        let records = serve.stop().audit();
        assert!(of(&records, "substitution").is_empty(), "the port is not bound: {records:#?}");
    }
}
