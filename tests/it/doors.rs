//! Each door of the proxy beside HTTP's CONNECT: SOCKS5 with its clients, and connections that the firewall redirects.

mod tls;

use crate::support::authority;
use crate::support::client;
use crate::support::doors::{DOORS, Door, request, socks5};
use crate::support::exit::Exit;
use crate::support::locum::{TOOL_KEY, finish, of, stderr, stdout, told};
use crate::support::tunnel::Tunnel;
use crate::support::upstream::Kind;
use crate::support::websocket::{Peer, Served, Socket, grant, over};
use crate::support::{Home, Serve, Upstream, clients, namespace, wire};
use locum::proxy::wire::ws_frames::Opcode;
use rustls::{ClientConnection, StreamOwned};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;

const TOKEN: &str = "a-token-of-32-characters-at-least";
const URL: &str = "https://api.tool.example";

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A connection by a door, for who blocks.
fn enter(door: Door, serve: &Serve, authority: &str) -> TcpStream {
    let entered = async { door.enter(serve.address, authority).await?.into_std() };
    let stream = runtime().block_on(entered).expect("a connection");
    stream.set_nonblocking(false).expect("an option");
    stream
}

#[test]
fn a_websocket_carries_keys_by_each_door() {
    for door in DOORS {
        door.with(move || {
            let (tell, seen) = mpsc::channel();
            let talk = move |mut peer: Peer<Served>| tell.send(peer.echo()).expect("the test");
            let upstream = Socket::answering(|head| grant(head, ""), talk);
            let authority = upstream.authority();
            let port = authority.rsplit(':').next().expect("a port");
            let key = format!("[key.tool]\nhosts = [\"{authority}\"]\nwhere = [\"header\", \"ws\"]\n");
            let home = Home::with(&format!("connect_ports = [{port}]\n{}", door.settings()), &key);
            let serve = door.serve(home);
            let tunnel = Tunnel::on(&serve, enter(door, &serve, &authority), "localhost", b"http/1.1").expect("TLS");
            let (_, mut client) = over(tunnel, &authority, "x-api-key: <<tool_key>>\r\n").expect("a WebSocket");
            client.text("AUTH <<tool_key>>");
            assert_eq!(client.said(), "AUTH <<tool_key>>", "{door:?}");
            client.send(Opcode::Close, true, 1000_u16.to_be_bytes());
            assert_eq!(client.closed(), Some((1000, String::new())), "{door:?}");
            let heard = seen.recv().expect("what was heard");
            assert_eq!(heard[0], (Opcode::Text, format!("AUTH {TOOL_KEY}").into_bytes()), "{door:?}");
            drop(client);
            let records = serve.stop().audit();
            let mut places: Vec<_> = of(&records, "substitution").iter().map(|r| r["where"].to_string()).collect();
            places.sort_unstable();
            assert_eq!(places, ["\"header:x-api-key\"", "\"ws\""], "{door:?}: {records:#?}");
        });
    }
}

/// What a client under `run` prints that is led by SOCKS5, and what the upstream sees. `$socks` is the proxy.
fn by_socks(script: &str) -> (String, Vec<String>) {
    let upstream = Upstream::start();
    let exit = Exit::to([("api.tool.example:443", upstream.address)]);
    let proxy = format!("upstream_proxy = \"http://{}\"\n", exit.address);
    let key = "[key.tool]\nhosts = [\"api.tool.example\"]\nwhere = [\"header\", \"basic\"]\n";
    let home = Home::with(&proxy, key).set("NODE_PATH", &clients::node_path());
    let script = format!("socks=\"socks5h://${{HTTPS_PROXY#http://}}\"; url={URL}; {script}");
    let output = home.run(&["sh", "-c", &script]);
    let seen = upstream.seen();
    assert!(!seen.is_empty(), "{}", told(&output));
    for seen in &seen {
        let sent = seen.header("authorization").unwrap_or_default();
        assert_eq!(sent, format!("Bearer {TOOL_KEY}"), "{}: {}", seen.target, told(&output));
    }
    assert_eq!(exit.asked().iter().filter(|asked| *asked != "api.tool.example:443").count(), 0);
    let records = home.audit();
    assert_eq!(of(&records, "substitution").len(), seen.len(), "{records:#?}");
    assert!(of(&records, "exchange").iter().all(|r| r["host"] == "api.tool.example"), "{records:#?}");
    (stdout(&output), seen.into_iter().map(|seen| seen.target).collect())
}

#[test]
fn curl_by_socks5() {
    let readme = include_str!("../../README.md");
    assert!(readme.contains("\ncurl --proxy socks5h://127.0.0.1:8787 https://"), "the README says so");
    let ask = "curl -q -sS -o /dev/null -w '%{http_version} %{http_code} ' --proxy \"$socks\" -H 'Authorization: Bearer <<tool_key>>'";
    let (said, _) = by_socks(&format!("{ask} --http1.1 $url/one; {ask} --http2 $url/two"));
    assert_eq!(said, "1.1 200 2 200 ");
}

/// What the server says is nothing that git understands; it has asked for it all the same.
#[test]
fn git_by_socks5() {
    let header = "-c http.extraHeader='Authorization: Bearer <<tool_key>>'";
    let (_, seen) = by_socks(&format!("git -c http.proxy=\"$socks\" {header} ls-remote $url/by-socks.git || true"));
    assert!(seen[0].contains("/by-socks.git/info/refs"), "{seen:?}");
}

#[test]
fn python_by_socks5() {
    let client = format!("{} {} \"$socks\" $url", clients::python(), clients::program("socks_client.py"));
    let (said, _) = by_socks(&client);
    let said: Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
    let expected = serde_json::json!({
        "requests": 200, "httpx": [200, "HTTP/1.1"], "httpx_h2": [200, "HTTP/2"],
    });
    assert_eq!(said, expected);
}

#[test]
fn node_by_socks5() {
    let (said, _) = by_socks(&format!("node {} \"$socks\" $url", clients::program("socks_client.cjs")));
    assert_eq!(said, "200\n");
}

#[test]
fn a_websocket_of_pythons_by_socks5() {
    let upstream = Socket::open(|mut peer| drop(peer.echo()));
    let exit = Exit::to([("api.tool.example:443", upstream.address)]);
    let home = Home::with(
        &format!("upstream_proxy = \"http://{}\"\n", exit.address),
        "[key.tool]\nhosts = [\"api.tool.example\"]\n",
    );
    let client = format!("{} {}", clients::python(), clients::program("socks_websocket.py"));
    let script = format!("{client} \"socks5h://${{HTTPS_PROXY#http://}}\" wss://api.tool.example/ws");
    let output = home.run(&["sh", "-c", &script]);
    assert_eq!(stdout(&output), "are you there?\n", "{}", told(&output));
    assert!(upstream.finish().contains(&format!("Bearer {TOOL_KEY}\r\n")));
}

/// By the JVM's own settings, which offer a login that is not there: whom `run` has started needs none.
#[test]
#[ignore = "tests/matrix installs what it needs, and runs it"]
fn java_by_socks5() {
    let port = "${HTTPS_PROXY##*:}";
    let socks = format!("-Dhttps.proxyHost= -DsocksProxyHost=127.0.0.1 -DsocksProxyPort={port}");
    let (said, _) = by_socks(&format!("java {socks} {} $url", clients::program("matrix/Socks.java")));
    assert_eq!(said, "200\n");
}

/// Who says `sent` bytewise, whatever has been answered, and what it is told until the proxy hangs up.
fn told_bytes(serve: &Serve, sent: &[u8]) -> Vec<u8> {
    let mut stream = wire::connect(serve.address);
    for byte in sent {
        // who is refused early may be hung up on
        let _ = stream.write_all(&[*byte]);
    }
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    said
}

#[test]
fn socks5_lets_in_whom_http_lets_in_and_says_who_goes_no_further() {
    let upstream = Upstream::of(Kind { tls: false, ..Kind::default() });
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = format!(
        "connect_ports = [{}, {closed}]\npassthrough = [\"localhost:{closed}\"]\ndeny = [\"evil.example\"]\n",
        upstream.port()
    );
    let serve = Home::with(&settings, "").set("LOCUM_PROXY_TOKEN", TOKEN).serve();
    let ask = |authority: &str, login| {
        let asked = runtime().block_on(socks5(serve.address, authority, login));
        asked.map_or_else(|e| e.to_string(), |_| "connected".into())
    };
    let authority = upstream.authority();
    for (login, answer) in [
        (None, r"\x05\xff"),
        (Some(("local", "guessed")), r"\x01\x01"),
        (Some(("local", TOKEN)), "connected"),
        (Some((TOKEN, "")), "connected"),
        (Some(("", TOKEN)), "connected"),
    ] {
        assert_eq!(ask(&authority, login), answer, "{login:?}");
    }
    let known = Some(("local", TOKEN));
    for (authority, answer) in [
        ("evil.example:443", r"\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"),
        ("localhost:22", r"\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"),
        (&format!("localhost:{closed}"), r"\x05\x04\x00\x01\x00\x00\x00\x00\x00\x00"),
        ("a b:443", r"\x05\x01\x00\x01\x00\x00\x00\x00\x00\x00"),
    ] {
        assert_eq!(ask(authority, known), answer, "{authority}");
    }
    let login = [&b"\x05\x01\x02\x01\x05local"[..], &[33], TOKEN.as_bytes()].concat();
    for (sent, told) in [
        (b"\x05\x02\0\x01\x7f\0\0\x01\0\x50", b"\x05\x07\0\x01\0\0\0\0\0\0"),
        (b"\x05\x03\0\x01\x7f\0\0\x01\0\x50", b"\x05\x07\0\x01\0\0\0\0\0\0"),
        (b"\x05\x01\0\x02\x7f\0\0\x01\0\x50", b"\x05\x08\0\x01\0\0\0\0\0\0"),
        (b"\x05\x01\x01\x01\x7f\0\0\x01\0\x50", b"\x05\x01\0\x01\0\0\0\0\0\0"),
    ] {
        let said = told_bytes(&serve, &[&login[..], sent].concat());
        assert_eq!(said.strip_prefix(b"\x05\x02\x01\0"), Some(&told[..]), "{}", sent.escape_ascii());
    }
    // all at once, and each answer in its turn
    let get = format!("GET / HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    let said = told_bytes(&serve, &[&login[..], &request(&authority), get.as_bytes()].concat());
    let answer = said.strip_prefix(b"\x05\x02\x01\0\x05\0\0\x01\0\0\0\0\0\0");
    assert!(answer.is_some_and(|answer| answer.starts_with(b"HTTP/1.1 200 ")), "{}", said.escape_ascii());
    assert_eq!(told_bytes(&serve, b"\x05\x01\x01"), b"\x05\xff");

    let records = serve.stop().audit();
    let refused = of(&records, "refusal");
    let of_kind = |word: &str, agent: &str, why: &str| {
        let is_it = |r: &&&Value| r["error"] == word && r["agent"] == agent;
        let found = refused.iter().filter(is_it).filter(|r| r["reason"].as_str().is_some_and(|r| r.contains(why)));
        found.map(|r| r["count"].as_u64().unwrap_or(1)).sum::<u64>()
    };
    for (word, agent, why, count) in [
        ("authentication-required", "-", "SOCKS5 without a login", 1),
        ("authentication-required", "-", "the token is not known", 1),
        ("host-refused", "local", "evil.example", 1),
        ("host-refused", "local", "22", 1),
        ("upstream-failed", "local", "", 1),
        ("malformed", "-", "is no host", 1),
        ("malformed", "-", "the reserved byte", 1),
        ("not-forwarded", "-", "BIND", 1),
        ("not-forwarded", "-", "UDP ASSOCIATE", 1),
        ("not-forwarded", "-", "an address of type 2", 1),
        ("malformed", "-", "another way", 1),
    ] {
        assert_eq!(of_kind(word, agent, why), count, "{word}, {why}: {refused:#?}");
    }
    assert_eq!(of(&records, "exchange").len(), 1, "{records:#?}");
}

#[test]
fn socks5_needs_no_login_where_there_are_no_agents() {
    let upstream = Upstream::of(Kind { tls: false, ..Kind::default() });
    let serve = Home::with(&format!("connect_ports = [{}]\n", upstream.port()), "").serve();
    for login in [None, Some(("any", "thing"))] {
        let asked = runtime().block_on(socks5(serve.address, &upstream.authority(), login));
        assert!(asked.is_ok(), "{login:?}: {asked:?}");
    }
    // one that offers nothing else than a login
    let said = told_bytes(&serve, &[&b"\x05\x01\x02\x01\x01a\x01b"[..], b"\x05\x01\0\x01\0\0\0\0\0\0"].concat());
    assert_eq!(said, b"\x05\x02\x01\0\x05\x01\0\x01\0\0\0\0\0\0");
}

/// The host that is in a network of its own.
const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

#[test]
fn what_the_firewall_redirects_is_read_by_the_rules_and_nothing_goes_round() {
    let readme = include_str!("../../README.md");
    assert!(readme.contains("\ntransparent = \"127.0.0.1:8789\"\nuids = [") && readme.contains("\nlocum env --nft | "));
    namespace::inside(|| {
        let network = namespace::Elsewhere::of(HOST);
        let (tls, plain) = network.run(|| {
            let kind = Kind { ip: HOST.into(), ..Kind::default() };
            (Upstream::of(kind), Upstream::of(Kind { tls: false, ..kind }))
        });
        let banner = network.run(|| TcpListener::bind((HOST, 0)).expect("a port"));
        let first = banner.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            for mut stream in banner.incoming().flatten() {
                let _ = stream.write_all(b"220 ready\r\n");
            }
        });
        let proxy = format!(
            "connect_ports = [{}, {}, {first}]\npassthrough = [\"{HOST}:{first}\"]\n{}",
            tls.port(),
            plain.port(),
            namespace::transparent()
        );
        let home = Home::with(&proxy, &format!("[key.tool]\nhosts = [\"{HOST}:{}\"]\n", tls.port()));
        let config = std::fs::read_to_string(home.config()).expect("the config");
        home.write_config(&config.replace("\"::1\"]", &format!("\"::1\", \"{HOST}\"]")));
        let serve = namespace::serve(home);
        let url = format!("https://{HOST}:{}", tls.port());
        let keyed = ["-H", "x-api-key: <<tool_key>>"];
        let curl = |args: &[&str]| {
            let mut command = serve.home.command("curl");
            command.args(["-q", "-sS", "--max-time", "60", "--noproxy", "*", "-o", "/dev/null"]);
            command.args(["-w", "%{http_version} %{http_code}"]);
            command.arg("--cacert").arg(serve.home.path().join("ca.pem"));
            finish(command.args(args))
        };
        // by the address, in each version
        for (version, said) in [("--http1.1", "1.1 200"), ("--http2", "2 200")] {
            let output = curl(&[&keyed[..], &[version, &url]].concat());
            assert_eq!(stdout(&output), said, "{}", told(&output));
        }
        assert!(tls.seen().iter().all(|seen| seen.header("x-api-key").as_deref() == Some(TOOL_KEY)));
        // a name that the client says is dialled by that name, wherever the client has dialled
        let named = format!("localhost:{}:{HOST}", tls.port());
        let by_name = format!("https://localhost:{}/", tls.port());
        for (headers, said) in [(&keyed[..], "2 403"), (&[], "2 502")] {
            let output = curl(&[headers, &["--resolve", &named, &by_name]].concat());
            assert_eq!(stdout(&output), said, "{}", told(&output));
        }
        // in the clear, and HTTP/2 in the clear
        let in_clear = format!("http://{HOST}:{}/", plain.port());
        let two = "--http2-prior-knowledge";
        for (headers, version, said) in
            [(&[][..], "--http1.1", "1.1 200"), (&[], two, "2 200"), (&keyed, "--http1.1", "1.1 403")]
        {
            let output = curl(&[headers, &[version, &in_clear]].concat());
            assert_eq!(stdout(&output), said, "{}", told(&output));
        }
        assert_eq!((tls.seen().len(), plain.seen().len()), (2, 2));
        // another user is not redirected, and has no key put in
        let mut other = serve.home.command("setpriv");
        other.args(["--reuid=65533", "--clear-groups", "curl", "-q", "-sS", "-k", "--noproxy", "*", "-o", "/dev/null"]);
        let output = finish(other.args(keyed).arg(&url));
        assert!(output.status.success(), "{}", told(&output));
        assert_eq!(tls.await_seen(3)[2].header("x-api-key").as_deref(), Some("<<tool_key>>"));
        // where the server speaks first
        let mut said = String::new();
        TcpStream::connect((HOST, first)).expect("a connection").read_to_string(&mut said).expect("its words");
        assert_eq!(said, "220 ready\r\n");
        loops_end(&serve);

        let records = serve.stop().audit();
        assert!(of(&records, "substitution").iter().all(|r| r["host"] == HOST.to_string() && r["agent"] == "local"));
        assert_eq!(of(&records, "substitution").len(), 2, "{records:#?}");
        assert_eq!(of(&records, "tunnel").len(), 1, "{records:#?}");
        let why =
            |why: &str| of(&records, "refusal").iter().any(|r| r["reason"].as_str().is_some_and(|r| r.contains(why)));
        assert!(why("straight to the transparent listener") && why("locum's own user"), "{records:#?}");
    });
}

/// Where only bound hosts are read, an address may stand for one: what the client says first tells, and where it says nothing,
/// the server may.
#[test]
fn of_what_is_redirected_only_bound_hosts_are_read_where_that_is_asked_for() {
    namespace::inside(|| {
        let bound = Upstream::start();
        let network = namespace::Elsewhere::of(HOST);
        let other = network.run(|| Upstream::of(Kind { ip: HOST.into(), ..Kind::default() }));
        let echo = network.run(|| TcpListener::bind((HOST, 0)).expect("a port"));
        let port = echo.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            for mut stream in echo.incoming().flatten() {
                std::thread::spawn(move || {
                    let _ = stream.write_all(b"SSH-2.0-server\r\n");
                    let _ = std::io::copy(&mut stream.try_clone().expect("a stream"), &mut stream);
                });
            }
        });
        let proxy = format!(
            "connect_ports = [{}, {}, {port}]\nintercept = \"bound\"\n{}",
            bound.port(),
            other.port(),
            namespace::transparent()
        );
        let home = Home::with(&proxy, &format!("[key.tool]\nhosts = [\"{}\"]\n", bound.authority()));
        let config = std::fs::read_to_string(home.config()).expect("the config");
        home.write_config(&config.replace("\"::1\"]", &format!("\"::1\", \"{HOST}\"]")));
        let serve = namespace::serve(home);
        let get = |authority: &str| {
            format!("GET / HTTP/1.1\r\nHost: {authority}\r\nx-api-key: <<tool_key>>\r\nConnection: close\r\n\r\n")
        };
        // by the name of a bound host, at whatever address
        let stream = enter(Door::Transparent, &serve, &bound.authority());
        let tunnel = Tunnel::on(&serve, stream, "localhost", b"http/1.1").expect("a session");
        assert_eq!(tunnel.talk(get(&bound.authority()).as_bytes())[0].status, 200);
        assert_eq!(bound.only().header("x-api-key").as_deref(), Some(TOOL_KEY));
        // by an address: unread, with the host's own certificate
        let stream = wire::connect((HOST, other.port()).into());
        let trusting = client::trusting(&authority::TRUSTED.pem, b"http/1.1");
        let name = HOST.to_string().try_into().expect("a name");
        let mut stream = StreamOwned::new(ClientConnection::new(trusting.into(), name).expect("a session"), stream);
        stream.write_all(get(&format!("{HOST}:{}", other.port())).as_bytes()).expect("the host's own TLS");
        assert!(wire::read_head(&mut stream).starts_with("HTTP/1.1 200 "));
        assert_eq!(other.only().header("x-api-key").as_deref(), Some("<<tool_key>>"));
        // neither TLS nor HTTP, by who speaks first and by who waits
        for words in [&b"SSH-2.0-client\r\n"[..], b""] {
            let mut stream = wire::connect((HOST, port).into());
            stream.write_all(words).expect("a connection");
            let mut said = vec![0; b"SSH-2.0-server\r\n".len() + words.len()];
            stream.read_exact(&mut said).expect("the server's words");
            assert_eq!(said, [b"SSH-2.0-server\r\n", words].concat());
        }
        let records = serve.stop().audit();
        assert_eq!((of(&records, "tunnel").len(), of(&records, "refusal").len()), (3, 0), "{records:#?}");
    });
}

/// Who comes straight to the listener, and what locum's own user dials and a rule leads back, ends there.
fn loops_end(serve: &Serve) {
    let listener = SocketAddr::from((Ipv4Addr::LOCALHOST, 8789));
    let mut straight = wire::connect(listener);
    let _ = straight.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8789\r\n\r\n");
    let mut said = Vec::new();
    let _ = straight.read_to_end(&mut said);
    assert_eq!(said, b"");
    let rules = std::fs::read_to_string(serve.home.path().join("rules.nft")).expect("the rules");
    let own = rules.replace("!= { 0 }", "!= { 65534 }").replace("inet locum", "inet astray");
    std::fs::write(serve.home.path().join("astray.nft"), own).expect("a file");
    let loaded = finish(serve.home.command("nft").arg("-f").arg(serve.home.path().join("astray.nft")));
    assert!(loaded.status.success(), "{}", told(&loaded));
    let mut command = serve.home.command("setpriv");
    command.args(["--reuid=65534", "--clear-groups", "curl", "-q", "-sS", "--max-time", "60", "--noproxy", "*"]);
    let output = finish(command.arg(format!("http://{HOST}/")));
    assert!(!output.status.success(), "{}", told(&output));
}

/// An agent that is named for it, and who else is on the machine.
#[test]
fn redirected_connections_are_of_the_agent_that_is_named_for_them() {
    for (named, told_why) in [
        ("transparent_agent = \"local\"\n", ""),
        ("", "what is redirected has none"),
        ("transparent_agent = \"other\"\n", "no such agent"),
    ] {
        namespace::inside(move || {
            let upstream = Upstream::start();
            let proxy = format!("connect_ports = [{}]\n{}{named}", upstream.port(), namespace::transparent());
            let key = format!("[key.tool]\nhosts = [\"{}\"]\n", upstream.authority());
            let serve = namespace::serve(Home::with(&proxy, &key).set("LOCUM_PROXY_TOKEN", TOKEN));
            let stream = enter(Door::Transparent, &serve, &upstream.authority());
            let tunnel = Tunnel::on(&serve, stream, "localhost", b"http/1.1").expect("a session");
            let get = format!(
                "GET / HTTP/1.1\r\nHost: {}\r\nx-api-key: <<tool_key>>\r\nConnection: close\r\n\r\n",
                upstream.authority()
            );
            let answers = tunnel.talk(get.as_bytes());
            assert_eq!(answers.first().map(|a| a.status), told_why.is_empty().then_some(200), "{named}");
            let records = serve.stop().audit();
            let agents: Vec<&Value> = of(&records, "substitution").iter().map(|r| &r["agent"]).collect();
            let reasons = of(&records, "refusal").iter().map(|r| r["reason"].to_string()).collect::<String>();
            assert!(reasons.contains(told_why) && agents.len() == usize::from(told_why.is_empty()), "{records:#?}");
            assert!(agents.iter().all(|agent| *agent == "local"));
        });
    }
}
