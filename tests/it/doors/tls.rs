//! TLS on the port of the proxy itself, around all that is spoken there.

use super::*;

/// A home whose proxy speaks TLS with the certificate of the tests' authority, which no system trusts.
fn home_with_tls(proxy: &str, rest: &str) -> Home {
    let home = Home::with(&format!("{proxy}tls_cert = \"certificate.pem\"\ntls_key = \"key.pem\"\n"), rest);
    new_certificate(&home);
    home
}

fn new_certificate(home: &Home) {
    authority::write(home.path());
    let file = home.path().join("certificate.pem");
    let leaf = std::fs::read_to_string(&file).expect("a certificate");
    std::fs::write(&file, leaf + &authority::TRUSTED.pem).expect("a file");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(home.path().join("key.pem"), private).expect("its mode");
}

/// TLS with the proxy's own port.
fn inside_tls(serve: &Serve) -> StreamOwned<ClientConnection, TcpStream> {
    let trusting = client::trusting(&authority::TRUSTED.pem, b"http/1.1");
    let session = ClientConnection::new(trusting.into(), "localhost".try_into().expect("a name")).expect("a session");
    StreamOwned::new(session, wire::connect(serve.address))
}

/// Real clients, with nothing set but what `locum env` sets.
#[test]
fn clients_reach_a_proxy_that_speaks_tls() {
    let upstream = Upstream::start();
    let exit = Exit::to([("api.tool.example:443", upstream.address)]);
    let proxy = format!("upstream_proxy = \"http://{}\"\n", exit.address);
    let home = home_with_tls(&proxy, "[key.tool]\nhosts = [\"api.tool.example\"]\n");
    let serve = home.set("LOCUM_PROXY_TOKEN", TOKEN).set("NODE_PATH", &clients::node_path()).serve();
    let env = finish(&mut serve.home.locum(&["env", "--shell", "sh"]));
    assert!(env.status.success(), "{}", told(&env));
    let variables = stdout(&env);
    assert!(variables.contains(&format!("https://local:{TOKEN}@127.0.0.1:{}", serve.address.port())), "{variables}");
    let script = |client: &str| format!("{variables}\n{client}");
    let header = "-H \"Authorization: Bearer $TOOL_API_KEY\"";
    let get = |program: String| format!("{} {program}", clients::python());
    let requests = "import os, requests as r; print(r.get('https://api.tool.example/', headers={'Authorization': 'Bearer ' + os.environ['TOOL_API_KEY']}).status_code)";
    let httpx = requests.replace("requests as r", "httpx as r");
    for (client, said) in [
        (
            format!("curl -sS -o /dev/null -w '%{{http_version}} %{{http_code}}\\n' --http1.1 {header} {URL}/"),
            "1.1 200\n",
        ),
        (format!("curl -sS -o /dev/null -w '%{{http_version}} %{{http_code}}\\n' --http2 {header} {URL}/"), "2 200\n"),
        (get(format!("-c \"{requests}\"")), "200\n"),
        (get(format!("-c \"{httpx}\"")), "200\n"),
        (
            format!(
                "node -e \"fetch('{URL}/', {{headers: {{authorization: 'Bearer ' + process.env.TOOL_API_KEY}}}}).then((a) => console.log(a.status))\""
            ),
            "200\n",
        ),
    ] {
        let output = finish(serve.home.command("sh").arg("-c").arg(script(&client)));
        assert_eq!(stdout(&output), said, "{client}: {}", told(&output));
    }
    // and locum's own, which tells an agent what it may use
    let [config, state] = [serve.home.config(), serve.home.state()].map(|path| path.display().to_string());
    let prompt = format!("{} --config {config} --state {state} prompt", env!("CARGO_BIN_EXE_locum"));
    let output = finish(serve.home.command("sh").arg("-c").arg(script(&prompt)));
    assert!(output.status.success() && stdout(&output).contains("<<tool_key>>"), "{}", told(&output));
    let seen = upstream.seen();
    assert_eq!(seen.len(), 5, "{seen:#?}");
    assert!(seen.iter().all(|seen| seen.header("authorization") == Some(format!("Bearer {TOOL_KEY}"))), "{seen:#?}");
    assert_eq!(of(&serve.stop().audit(), "refusal").len(), 0);
}

#[test]
fn all_that_the_port_speaks_is_spoken_inside_its_tls_and_nothing_in_the_clear() {
    let upstream = Upstream::of(Kind { tls: false, ..Kind::default() });
    let serve = home_with_tls(&format!("connect_ports = [{}]\n", upstream.port()), "").serve();
    let authority = upstream.authority();
    let get = format!("GET / HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    let connect = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    let absolute = get.replace("GET /", &format!("GET http://{authority}/"));
    for (words, answers) in [
        (absolute.as_bytes(), &[&b"HTTP/1.1 200 "[..]][..]),
        (
            &[connect.as_bytes(), get.as_bytes()].concat(),
            &[b"HTTP/1.1 200 Connection Established\r\n\r\n", b"HTTP/1.1 200 "],
        ),
        (
            &[b"\x05\x01\0", &request(&authority)[..], get.as_bytes()].concat(),
            &[b"\x05\0", b"\x05\0\0\x01\0\0\0\0\0\0", b"HTTP/1.1 200 "],
        ),
    ] {
        let mut stream = inside_tls(&serve);
        stream.write_all(words).expect("words");
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        let expected = answers.concat();
        assert!(said.starts_with(&expected), "{}", said.escape_ascii());
    }
    let in_clear = wire::exchange(serve.address, connect.as_bytes());
    assert!(in_clear.starts_with("HTTP/1.1 400 this port speaks TLS"), "{in_clear}");
    assert_eq!(told_bytes(&serve, b"\x05\x01\0"), b"\x05\xff");
    let mut asked = serve.home.locum(&["serve", "--healthcheck"]);
    let healthy = finish(asked.env("LOCUM_PROXY__LISTEN", serve.address.to_string()));
    assert!(healthy.status.success(), "{}", told(&healthy));
    let records = serve.stop().audit();
    let refused = of(&records, "refusal");
    assert_eq!(refused.len(), 2, "{records:#?}");
    assert!(refused.iter().all(|r| r["error"] == "not-forwarded" && r["agent"] == "-"), "{records:#?}");
    assert_eq!(upstream.seen().len(), 3);
}

#[test]
fn a_reload_takes_a_new_certificate_and_none_that_does_not_fit() {
    let serve = home_with_tls("", "").serve();
    let shown = || {
        let mut stream = inside_tls(&serve);
        stream.write_all(b"GET http://locum.invalid/healthz HTTP/1.1\r\nHost: locum.invalid\r\n\r\n").expect("TLS");
        stream.flush().expect("TLS");
        let _ = stream.read(&mut [0; 1]);
        stream.conn.peer_certificates().expect("a certificate")[0].to_vec()
    };
    let reload = || finish(&mut serve.home.locum(&["reload"]));
    let first = shown();
    new_certificate(&serve.home);
    assert_eq!(shown(), first);
    let reloaded = reload();
    assert!(reloaded.status.success(), "{}", told(&reloaded));
    let second = shown();
    assert_ne!(second, first);
    // a key that is another's, and one that all may read
    let key = serve.home.path().join("key.pem");
    let good = std::fs::read(&key).expect("a key");
    let other = Home::bare("");
    authority::write(other.path());
    std::fs::copy(other.path().join("key.pem"), &key).expect("a file");
    let all_may = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&key, all_may).expect("its mode");
    let refused = reload();
    assert!(stderr(&refused).contains("every user may read or write this key; run: chmod o-rwx"), "{}", told(&refused));
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("its mode");
    let refused = reload();
    assert!(stderr(&refused).contains("key.pem can't be used for TLS"), "{}", told(&refused));
    assert_eq!(shown(), second);
    std::fs::write(&key, good).expect("a file");
    assert!(reload().status.success());
    // what ends soon is told, and half of the pair is a mistake
    let checked = finish(&mut serve.home.locum(&["check"]));
    assert!(
        stdout(&checked).contains("the certificate of the proxy's own port expires in 0 days"),
        "{}",
        told(&checked)
    );
    let config = std::fs::read_to_string(serve.home.config()).expect("the config");
    serve.home.write_config(&config.replace("tls_key = \"key.pem\"\n", ""));
    let checked = finish(&mut serve.home.locum(&["check"]));
    assert!(stdout(&checked).contains("tls_cert and tls_key go together, and one is missing"), "{}", told(&checked));
}
