//! WebSockets: keys go into text messages and handshakes, and come back in none; what is odd closes the connection.

use crate::support::exit::Exit;
use crate::support::locum::{TOOL_KEY, of, stdout, told};
use crate::support::tunnel::Tunnel;
use crate::support::websocket::{Peer, Served, Socket, grant, open, request};
use crate::support::{Home, Serve, Upstream, clients};
use base64::Engine as _;
use locum::proxy::wire::ws_frames::Opcode;
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::sync::mpsc;

const ASK: &str = "Authorization: Bearer <<tool_key>>\r\n";

/// A service in which `<<tool_key>>` may go into the headers and messages of this host.
fn serve(authority: &str) -> Serve {
    let port = authority.rsplit_once(':').expect("a port").1;
    let key = format!("[key.tool]\nhosts = [\"{authority}\"]\nwhere = [\"header\", \"ws\"]\nmax_uses = 2\n");
    Home::with(&format!("connect_ports = [{port}]\n"), &key).serve()
}

/// The only exchange of a home, and all of its records.
fn audit(home: &Home) -> (Value, Vec<Value>) {
    let records = home.audit();
    let exchanges = of(&records, "exchange");
    assert_eq!(exchanges.len(), 1, "{records:#?}");
    (exchanges[0].clone(), records.clone())
}

#[test]
fn keys_go_into_text_messages_and_come_back_in_none() {
    let (tell, seen) = mpsc::channel();
    let upstream = Socket::answering(
        |head| grant(head, &format!("X-Echo: {TOOL_KEY}\r\nSec-WebSocket-Protocol: chat\r\n")),
        move |mut peer| tell.send(peer.echo()).expect("the test"),
    );
    let serve = serve(&upstream.authority());
    let lines = format!("{ASK}Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n");
    let (head, mut client) = open(&serve, &upstream.authority(), &lines).expect("a WebSocket");
    assert!(head.to_ascii_lowercase().contains("sec-websocket-protocol: chat\r\n"), "{head}");
    assert!(head.contains("<<tool_key>>") && !head.contains(TOOL_KEY), "{head}");

    for message in [r#"{"auth":"<<tool_key>>"}"#, r#"{"say":"use <<tool_key>> here"}"#, "AUTH <<tool_key>>", ""] {
        client.text(message);
        assert_eq!(client.said(), message);
    }
    // a placeholder in fragments, with a ping between them: the server answers that first
    client.send(Opcode::Text, false, r#"{"auth":"<<to"#);
    client.send(Opcode::Ping, true, "are you there?");
    client.send(Opcode::Continuation, false, "");
    client.send(Opcode::Continuation, true, r#"ol_key>>"}"#);
    assert_eq!(client.message(), Some((Opcode::Pong, b"are you there?".to_vec())));
    assert_eq!(client.said(), r#"{"auth":"<<tool_key>>"}"#);
    let binary = [b"<<tool_key>>\xff".to_vec(), vec![7; 300_000]].concat();
    client.send(Opcode::Binary, true, &binary);
    assert!(client.message() == Some((Opcode::Binary, binary.clone())));
    let long = format!("[\"<<tool_key>>\", \"{}\", \"<<tool_key>>\"]", "é".repeat(200_000));
    client.text(&long);
    assert_eq!(client.said(), long);
    client.send(Opcode::Close, true, [&4001_u16.to_be_bytes()[..], b"that was all"].concat());
    assert_eq!(client.closed(), Some((4001, "that was all".into())));
    assert_eq!(client.next(), None);

    let text = |s: &str| (Opcode::Text, s.replace("<<tool_key>>", TOOL_KEY).into_bytes());
    let seen: Vec<(Opcode, Vec<u8>)> = seen.recv().expect("what was seen");
    assert_eq!(
        seen[..4],
        [
            text(r#"{"auth":"<<tool_key>>"}"#),
            (Opcode::Text, br#"{"say":"use <<tool_key>> here"}"#.to_vec()),
            text("AUTH <<tool_key>>"),
            text(""),
        ]
    );
    assert_eq!(seen[5], text(r#"{"auth":"<<tool_key>>"}"#));
    assert!(seen[6] == (Opcode::Binary, binary) && seen[7] == text(&long));
    let head = upstream.finish();
    assert!(head.contains(&format!("Bearer {TOOL_KEY}\r\n")), "{head}");
    assert!(!head.to_ascii_lowercase().contains("sec-websocket-extensions"), "{head}");

    let (exchange, records) = audit(&serve.stop());
    assert_eq!(
        (&exchange["status"], &exchange["success"], &exchange["key_ref"]),
        (&101.into(), &true.into(), &"<<tool_key>>".into())
    );
    assert_eq!(exchange["kept"], 1);
    assert!(
        exchange["bytes_out"].as_u64() > Some(700_000) && exchange["bytes_in"].as_u64() > Some(700_000),
        "{exchange}"
    );
    let of_messages: Vec<_> =
        of(&records, "substitution").into_iter().filter(|r| r["where"] == "ws").cloned().collect();
    let used: u64 = of_messages.iter().map(|r| r["count"].as_u64().expect("a count")).sum();
    assert_eq!(used, 5, "{of_messages:#?}");
    assert!(of(&records, "scrub").iter().any(|r| r["key_ref"] == "<<tool_key>>" && r["count"] == 6), "{records:#?}");
}

#[test]
fn every_frame_is_masked_anew_and_a_whole_one_stays_whole() {
    let (tell, seen) = mpsc::channel();
    let upstream = Socket::open(move |mut peer| {
        // a client's frame: two bytes of head, four of mask
        let mut frames = Vec::new();
        for _ in 0..3 {
            let mut frame = [0; 11];
            peer.stream.read_exact(&mut frame).expect("a frame");
            frames.push(frame);
        }
        tell.send(frames).expect("the test");
    });
    let serve = serve(&upstream.authority());
    let (_, mut client) = open(&serve, &upstream.authority(), ASK).expect("a WebSocket");
    (0..3).for_each(|_| client.text("Hello"));
    let frames = seen.recv().expect("frames");
    let masks: Vec<&[u8]> = frames.iter().map(|f| &f[2..6]).collect();
    for frame in &frames {
        assert_eq!(frame[..2], [0x81, 0x85]);
        let text: Vec<u8> = frame[6..].iter().zip(frame[2..6].iter().cycle()).map(|(b, m)| b ^ m).collect();
        assert_eq!(text, b"Hello");
    }
    assert!(!masks.contains(&&b"mask"[..]) && masks[0] != masks[1] && masks[1] != masks[2], "{masks:?}");
    upstream.finish();
    // it left without a close frame, and so does the proxy
    assert_eq!(client.closed(), None);
}

/// What the upstream says, as the client hears it.
fn heard(say: impl FnOnce(&mut Peer<Served>) + Send + 'static) -> (Vec<(Opcode, String)>, Value) {
    let upstream = Socket::open(move |mut peer| {
        say(&mut peer);
        peer.send(Opcode::Close, true, []);
        while peer.next().is_some() {}
    });
    let serve = serve(&upstream.authority());
    let (_, mut client) = open(&serve, &upstream.authority(), ASK).expect("a WebSocket");
    let mut heard = Vec::new();
    while let Some((opcode, payload)) = client.message() {
        if opcode == Opcode::Close {
            client.send(Opcode::Close, true, []);
        }
        heard.push((opcode, String::from_utf8_lossy(&payload).into_owned()));
    }
    upstream.finish();
    let (exchange, _) = audit(&serve.stop());
    (heard, exchange)
}

#[test]
fn a_key_is_hidden_however_it_is_cut() {
    let (a, b) = TOOL_KEY.split_at(14);
    let (heard, exchange) = heard(move |peer| {
        peer.send(Opcode::Text, false, format!("[\"{a}"));
        peer.send(Opcode::Ping, true, TOOL_KEY);
        peer.send(Opcode::Continuation, true, format!("{b}\"]"));
        let coded = base64::engine::general_purpose::STANDARD.encode(format!("user:{TOOL_KEY}"));
        peer.text(&coded);
        let mut long = vec![b'.'; 200_000];
        long.splice(100_000..100_000, TOOL_KEY.bytes());
        peer.send(Opcode::Binary, true, &long);
    });
    let all: String = heard.iter().map(|(_, text)| text.as_str()).collect();
    assert!(!all.contains(&TOOL_KEY[..6]) && !all.contains(b), "{}", &all[..200]);
    assert!(heard.iter().any(|(_, text)| text == "[\"<<tool_key>>\"]"), "{}", &all[..200]);
    assert!(heard.iter().any(|(o, text)| *o == Opcode::Ping && text.len() == TOOL_KEY.len()));
    assert!(heard.iter().any(|(_, text)| text.starts_with("..") && text.contains("<<tool_key>>")));
    assert_eq!(heard.last().map(|(o, _)| *o), Some(Opcode::Close));
    assert_eq!((exchange["success"].as_bool(), exchange["scrubbed"].as_u64()), (Some(true), Some(4)), "{exchange}");
}

#[test]
fn a_key_is_hidden_in_the_reason_of_a_close() {
    let upstream = Socket::open(|mut peer| {
        peer.text("it is");
        let reason = format!("{TOOL_KEY} is wrong, {}", "é".repeat(42));
        peer.send(Opcode::Close, true, [&1008_u16.to_be_bytes()[..], reason.as_bytes()].concat());
        while peer.next().is_some() {}
    });
    let port = upstream.authority().rsplit_once(':').expect("a port").1.to_owned();
    let key = format!("[key.tool]\nhosts = [\"{}\"]\nwhere = [\"header\"]\n", upstream.authority());
    let home = Home::with(&format!("connect_ports = [{port}]\n"), &key);
    let serve = home.serve();
    let (_, mut client) = open(&serve, &upstream.authority(), ASK).expect("a WebSocket");
    assert_eq!(client.said(), "it is");
    let (code, reason) = client.closed().expect("a close frame");
    // 123 bytes are the most that fit
    assert_eq!((code, reason), (1008, format!("<<tool_key>> is wrong, {}", "é".repeat(42))));
    client.send(Opcode::Close, true, 1008_u16.to_be_bytes());
    upstream.finish();
    let (exchange, _) = audit(&serve.stop());
    assert_eq!((&exchange["success"], &exchange["scrubbed"]), (&true.into(), &1.into()), "{exchange}");
}

#[test]
fn a_handshake_that_is_not_right_is_refused() {
    let upstream = Upstream::start();
    let serve = serve(&upstream.authority());
    let good = request(&upstream.authority(), "/ws", "Connection: close\r\n");
    for (was, instead, status) in [
        ("GET /ws", "POST /ws", 400),
        ("Sec-WebSocket-Version: 13\r\n", "", 400),
        ("Version: 13", "Version: 8", 400),
        ("Sec-WebSocket-Key: dGhl", "Sec-WebSocket-Key: ", 400),
        ("Sec-WebSocket-Version", "Content-Length: 1\r\nSec-WebSocket-Version", 400),
        // it is the upstream that grants none
        ("", "", 200),
        // and other protocols are not offered on
        ("Upgrade: websocket", "Upgrade: h2c", 200),
        ("Upgrade: websocket", "Upgrade: TLS/1.2, foo", 200),
    ] {
        let tunnel = Tunnel::open(&serve, &upstream.authority(), "localhost", b"http/1.1").expect("a tunnel");
        let told = tunnel.talk(good.replacen(was, instead, 1).replace("\r\n\r\n", "\r\n\r\nx").as_bytes());
        assert_eq!(told.first().map(|t| t.status), Some(status), "{instead}: {told:?}");
    }
    let upgrades: Vec<_> = upstream.await_seen(3).iter().map(|s| s.header("upgrade")).collect();
    assert_eq!(upgrades, [Some("websocket".into()), None, None]);
}

#[test]
fn an_upstream_that_switches_wrongly_is_not_followed() {
    type Answer = fn(&str) -> String;
    let cases: [(&str, Answer, &str); 5] = [
        ("the accept", |head| grant(head, "").replace("Accept: ", "Accept: x"), "Sec-WebSocket-Accept"),
        ("two accepts", |head| grant(head, "Sec-WebSocket-Accept: x\r\n"), "Sec-WebSocket-Accept"),
        ("the protocol", |head| grant(head, "").replace("Upgrade: websocket", "Upgrade: h2c"), "something else"),
        ("an extension", |head| grant(head, "Sec-WebSocket-Extensions: permessage-deflate\r\n"), "extension"),
        ("no connection", |head| grant(head, "").replace("Connection: Upgrade\r\n", ""), "something else"),
    ];
    for (case, answer, why) in cases {
        let upstream = Socket::answering(answer, |mut peer| assert_eq!(peer.next(), None));
        let serve = serve(&upstream.authority());
        let told = open(&serve, &upstream.authority(), ASK).err().unwrap_or_else(|| panic!("{case}"));
        assert_eq!(told.verdict(), "502 upstream-failed", "{case}");
        upstream.finish();
        let records = serve.stop().audit();
        assert!(of(&records, "refusal")[0]["reason"].as_str().is_some_and(|r| r.contains(why)), "{case}: {records:#?}");
    }
}

#[test]
fn a_switch_that_nobody_asked_for_is_a_fault() {
    let upstream = Socket::answering(|head| grant(head, ""), |mut peer| assert_eq!(peer.next(), None));
    let serve = serve(&upstream.authority());
    let tunnel = Tunnel::open(&serve, &upstream.authority(), "localhost", b"http/1.1").expect("a tunnel");
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", upstream.authority());
    assert_eq!(tunnel.talk(request.as_bytes())[0].verdict(), "502 upstream-failed");
    assert!(!upstream.finish().to_ascii_lowercase().contains("upgrade"));
}

/// Nothing that follows an upgrade request reaches the upstream before it has switched: it is read as HTTP, or not at all.
#[test]
fn what_is_sent_before_the_switch_is_a_request_of_its_own() {
    let upstream = Upstream::start();
    let serve = serve(&upstream.authority());
    let smuggled = format!("GET /second HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", upstream.authority());
    let tunnel = Tunnel::open(&serve, &upstream.authority(), "localhost", b"http/1.1").expect("a tunnel");
    let told = tunnel.talk(format!("{}{smuggled}", request(&upstream.authority(), "/first", "")).as_bytes());
    assert_eq!(told.iter().map(|t| t.status).collect::<Vec<_>>(), [200, 200]);
    let seen = upstream.await_seen(2);
    assert!(seen[0].connection != seen[1].connection, "the connection that could have switched serves nobody else");
    let records = serve.stop().audit();
    assert_eq!(of(&records, "exchange").len(), 2);
}

#[test]
fn a_client_that_breaks_the_rules_is_told_and_recorded() {
    let cases: [(&str, &[u8], u16); 5] = [
        ("no mask", b"\x81\x02hi", 1002),
        ("a reserved bit", b"\xc1\x80mask", 1002),
        ("an opcode", b"\x83\x80mask", 1002),
        ("a continuation of nothing", b"\x80\x80mask", 1002),
        ("no UTF-8", b"\x81\x81\0\0\0\0\xff", 1007),
    ];
    for (case, bytes, code) in cases {
        let upstream = Socket::open(|mut peer| assert_eq!(peer.closed().map(|(code, _)| code), Some(1001)));
        let serve = serve(&upstream.authority());
        let (_, mut client) = open(&serve, &upstream.authority(), ASK).expect("a WebSocket");
        client.send_raw(bytes);
        assert_eq!(client.closed().map(|(code, _)| code), Some(code), "{case}");
        upstream.finish();
        let (exchange, records) = audit(&serve.stop());
        assert_eq!(of(&records, "refusal")[0]["error"], "malformed", "{case}");
        assert!(exchange["error"].as_str().is_some_and(|e| e.contains("WebSocket is malformed")), "{case}: {exchange}");
    }
}

#[test]
fn a_message_that_may_not_go_closes_and_nothing_of_it_leaves() {
    let (tell, seen) = mpsc::channel();
    let upstream = Socket::open(move |mut peer| tell.send((peer.said(), peer.closed())).expect("the test"));
    let serve = serve(&upstream.authority());
    let (_, mut client) = open(&serve, &upstream.authority(), ASK).expect("a WebSocket");
    client.text("first");
    client.text("<<tool_key>> <<tool_key>> <<tool_key>>");
    let closed = client.closed().expect("a close frame");
    assert_eq!(closed, (1008, "locum: body-refused".into()));
    assert_eq!(seen.recv().expect("the upstream"), ("first".into(), Some((1001, String::new()))));
    upstream.finish();
    let (exchange, records) = audit(&serve.stop());
    assert!(
        of(&records, "refusal")[0]["reason"].as_str().is_some_and(|r| r.contains("more than 2 times")),
        "{records:#?}"
    );
    assert!(exchange["error"].as_str().is_some_and(|r| r.contains("more than 2 times")), "{exchange}");
    assert!(of(&records, "substitution").iter().all(|r| r["where"] != "ws"), "{records:#?}");
}

#[test]
fn an_upstream_that_breaks_the_rules_is_left() {
    let upstream = Socket::open(|mut peer| {
        peer.send_raw(b"\x81\x85maskHello");
        assert_eq!(peer.closed().map(|(code, _)| code), Some(1002));
    });
    let serve = serve(&upstream.authority());
    let (_, mut client) = open(&serve, &upstream.authority(), ASK).expect("a WebSocket");
    assert_eq!(client.closed().map(|(code, _)| code), Some(1014));
    upstream.finish();
    let (exchange, _) = audit(&serve.stop());
    assert!(exchange["error"].as_str().is_some_and(|e| e.contains("upstream's WebSocket is malformed")), "{exchange}");
}

#[test]
fn after_a_close_frame_nothing_more_is_said() {
    let upstream = Socket::open(|mut peer| {
        assert_eq!(peer.closed().map(|(code, _)| code), Some(1000));
        // the reserved bits make it malformed
        peer.send_raw(b"\xf1\x80");
        assert_eq!(peer.next(), None);
    });
    let serve = serve(&upstream.authority());
    let (_, mut client) = open(&serve, &upstream.authority(), ASK).expect("a WebSocket");
    client.send(Opcode::Close, true, 1000_u16.to_be_bytes());
    assert_eq!(client.closed().map(|(code, _)| code), Some(1014));
    upstream.finish();
}

#[test]
fn a_cut_is_a_cut_on_the_other_side() {
    // the upstream's
    let upstream = Socket::open(|mut peer| {
        peer.send(Opcode::Text, false, "half!");
        peer.cut();
    });
    let service = serve(&upstream.authority());
    let (_, mut client) = open(&service, &upstream.authority(), ASK).expect("a WebSocket");
    assert!(client.next().is_some_and(|piece| &piece.payload[..] == b"half!" && !piece.last));
    assert_eq!(client.next(), None);
    upstream.finish();
    let (exchange, _) = audit(&service.stop());
    assert_eq!(exchange["error"], "the upstream broke off its WebSocket");
    // the client's
    let (tell, seen) = mpsc::channel();
    let upstream = Socket::open(move |mut peer| tell.send((peer.said(), peer.next())).expect("the test"));
    let service = serve(&upstream.authority());
    let (_, mut client) = open(&service, &upstream.authority(), ASK).expect("a WebSocket");
    client.text("half");
    drop(client);
    assert_eq!(seen.recv().expect("the upstream"), ("half".into(), None));
    upstream.finish();
    let (exchange, _) = audit(&service.stop());
    assert_eq!(exchange["error"], "the agent hung up");
}

#[test]
fn new_rules_end_what_was_opened_under_the_old() {
    let upstream = Socket::open(|mut peer| {
        assert_eq!(peer.said(), "before");
        peer.text("heard");
        assert_eq!(peer.closed().map(|(code, _)| code), Some(1001));
    });
    let serve = serve(&upstream.authority());
    let (_, mut client) = open(&serve, &upstream.authority(), ASK).expect("a WebSocket");
    client.text("before");
    assert_eq!(client.said(), "heard");
    let config = std::fs::read_to_string(serve.home.config()).expect("the config");
    serve.home.write_config(&config.replace("where = [\"header\", \"ws\"]", "where = [\"header\"]"));
    serve.signal(rustix::process::Signal::HUP);
    serve.await_said(|line| line.contains("reload"));
    client.text("AUTH <<tool_key>>");
    assert_eq!(client.closed().map(|(code, _)| code), Some(1012));
    upstream.finish();
}

#[test]
fn draining_says_goodbye() {
    let upstream = Socket::open(|mut peer| assert_eq!(peer.closed().map(|(code, _)| code), Some(1001)));
    let serve = serve(&upstream.authority());
    let (_, mut client) = open(&serve, &upstream.authority(), ASK).expect("a WebSocket");
    let stopped = std::thread::spawn(move || serve.stop());
    assert_eq!(client.closed().map(|(code, _)| code), Some(1001));
    drop(client);
    upstream.finish();
    let (exchange, _) = audit(&stopped.join().expect("a good end"));
    assert_eq!(exchange["error"], "locum was stopped");
}

/// A host without keys: its frames are its own business, and its extensions too.
#[test]
fn other_hosts_are_not_read() {
    let upstream = Socket::answering(
        |head| grant(head, "Sec-WebSocket-Extensions: permessage-deflate\r\n"),
        |mut peer| {
            let mut frame = [0; 4];
            peer.stream.read_exact(&mut frame).expect("bytes");
            assert_eq!(&frame, b"\xff\xff<<");
            peer.send_raw(b"\xee\xee>>");
            assert_eq!(peer.stream.read(&mut frame).ok(), Some(0));
            peer.end();
        },
    );
    let port = upstream.address.port();
    let serve = Home::with(&format!("connect_ports = [{port}]\n"), "").serve();
    let extension = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let (head, mut client) = open(&serve, &upstream.authority(), extension).expect("a WebSocket");
    assert!(head.to_ascii_lowercase().contains("sec-websocket-extensions: permessage-deflate"), "{head}");
    client.send_raw(b"\xff\xff<<");
    let mut frame = [0; 4];
    client.stream.read_exact(&mut frame).expect("bytes");
    assert_eq!(&frame, b"\xee\xee>>");
    client.stream.conn.send_close_notify();
    client.stream.flush().expect("a goodbye");
    client.stream.sock.shutdown(std::net::Shutdown::Write).expect("a goodbye");
    let seen = upstream.finish();
    assert!(seen.contains("permessage-deflate"), "{seen}");
    let (exchange, _) = audit(&serve.stop());
    let figures = [&exchange["status"], &exchange["bytes_out"], &exchange["bytes_in"]].map(Value::as_u64);
    assert_eq!(figures, [Some(101), Some(4), Some(4)], "{exchange}");
}

/// The steps of a WebSocket client under `locum run`, with only what that sets.
fn real(client: &[&str]) {
    let (tell, seen) = mpsc::channel();
    let upstream = Socket::open(move |mut peer| tell.send(peer.echo()).expect("the test"));
    let exit = Exit::to([("api.tool.example:443", upstream.address)]);
    let proxy = format!("upstream_proxy = \"http://{}\"\n", exit.address);
    let key = "[key.tool]\nhosts = [\"api.tool.example\"]\nwhere = [\"header\", \"ws\"]\n";
    let home = Home::with(&proxy, key).set("NODE_PATH", &clients::node_path());
    let output = home.run(client);
    assert!(output.status.success(), "{}", told(&output));
    let got: Value = serde_json::from_str(&stdout(&output)).unwrap_or_else(|e| panic!("{e}: {}", told(&output)));
    assert_eq!(got["auth"], r#"{"auth":"<<tool_key>>"}"#);
    assert_eq!(got["fragments"], r#"{"auth":"<<tool_key>>"}"#);
    assert_eq!(
        (got["binary"].as_u64(), got["long"].as_u64(), &got["pong"]),
        (Some(3_000_000), Some(2_000_000), &true.into())
    );
    assert_eq!(got["closed"], serde_json::json!([4001, "that was all"]));
    let seen: Vec<(Opcode, Vec<u8>)> = seen.recv().expect("what was seen");
    let auth = (Opcode::Text, format!("{{\"auth\":\"{TOOL_KEY}\"}}").into_bytes());
    assert_eq!(seen.iter().filter(|s| **s == auth).count(), 2);
    let head = upstream.finish();
    assert!(head.contains(&format!("Bearer {TOOL_KEY}\r\n")), "{head}");
    let (exchange, records) = audit(&home);
    assert_eq!((&exchange["status"], &exchange["success"]), (&101.into(), &true.into()), "{exchange}");
    let places: Vec<&Value> = of(&records, "substitution").iter().map(|r| &r["where"]).collect();
    assert_eq!(places, ["header:authorization", "ws", "ws"], "{records:#?}");
}

#[test]
pub fn python_websockets() {
    real(&[&clients::python(), &clients::program("websockets_client.py"), "wss://api.tool.example/ws"]);
}

#[test]
pub fn python_aiohttp() {
    real(&[&clients::python(), &clients::program("aiohttp_websocket.py"), "wss://api.tool.example/ws"]);
}

#[test]
pub fn node_ws() {
    real(&["node", &clients::program("ws_client.cjs"), "wss://api.tool.example/ws"]);
}
