//! The CA as clients meet it: what it may sign, what they take of it, how it is rotated, and that no session outlives its host.

use crate::support::exit::Exit;
use crate::support::forged::Forged;
use crate::support::locum::{finish, of, stderr, stdout, told};
use crate::support::{Home, Serve, Tunnel, Upstream, client, clients};
use locum::ca::{Authority, Scope, Subtree};
use rustix::process::Signal;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

const BOUND: &str = "api.tool.example";
const OTHER: &str = "api.other.example";
const KEY: &str = "[key.tool]\nhosts = [\"api.tool.example\"]\n";

/// Two hosts, and the way to them.
fn exit(upstream: &Upstream) -> Exit {
    Exit::to([("api.tool.example:443", upstream.address), ("api.other.example:443", upstream.address)])
}

/// A home whose CA is kept, with these lines in `[proxy]`.
fn keeping(exit: &Exit, proxy: &str) -> Home {
    let home = Home::with(&format!("upstream_proxy = \"http://{}\"\n{proxy}", exit.address), KEY);
    let text = std::fs::read_to_string(home.config()).unwrap().replace("source = \"memory\"", "source = \"auto\"");
    home.write_config(&text);
    home
}

/// Puts other lines into `[proxy]`, and has a running service take them over.
fn reload(serve: &Serve, from: &str, to: &str) {
    let text = std::fs::read_to_string(serve.home.config()).unwrap();
    assert!(text.contains(from), "{text}");
    serve.home.write_config(&text.replace(from, to));
    serve.signal(Signal::HUP);
    serve.await_said(|line| line == "locum: reloaded");
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
}

/// The subtrees of a certificate, as a person would write them: `+` permitted, `-` excluded.
fn constraints(der: &[u8]) -> Vec<String> {
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    let Some(constraints) = certificate.name_constraints().unwrap() else { return Vec::new() };
    assert!(constraints.critical);
    let shown = |sign: &str, name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => format!("{sign}{name}"),
        GeneralName::IPAddress(bytes) => format!("{sign}{bytes:?}"),
        other => panic!("{other:?}"),
    };
    let (permitted, excluded) = (&constraints.value.permitted_subtrees, &constraints.value.excluded_subtrees);
    let permitted = permitted.iter().flatten().map(|s| shown("+", &s.base));
    permitted.chain(excluded.iter().flatten().map(|s| shown("-", &s.base))).collect()
}

/// What a client of `host` is shown, by `openssl s_client`; it has to like it.
fn shown(serve: &Serve, host: &str) -> Vec<CertificateDer<'static>> {
    let ca = serve.home.path().join("ca.pem");
    let output =
        finish(s_client(serve, host, &["-showcerts", "-x509_strict", "-verify_return_error"]).arg("-CAfile").arg(ca));
    assert!(output.status.success() && stdout(&output).contains("Verify return code: 0 (ok)"), "{}", told(&output));
    certificates(&stdout(&output))
}

fn s_client(serve: &Serve, host: &str, args: &[&str]) -> Command {
    let mut command = serve.home.command("openssl");
    command.args(["s_client", "-proxy", &serve.address.to_string(), "-connect", &format!("{host}:443")]);
    command.args(["-servername", host, "-verify_hostname", host]).args(args);
    command
}

/// Both certificates carry them, since Java passes over those of what it trusts.
#[test]
fn where_hosts_are_listed_the_ca_is_limited_to_them() {
    const NO_ADDRESS: [&str; 2] = [
        "-[0, 0, 0, 0, 0, 0, 0, 0]",
        "-[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]",
    ];
    let upstream = Upstream::start();
    let exit = exit(&upstream);
    let listed = "egress = \"listed\"\nallow = [\"api.other.example\", \"*.wild.example:8443\", \"10.0.0.1\"]\n";
    let bound = ["+api.openai.com", "+api.tool.example"];
    for (proxy, wanted) in [
        ("", vec![]),
        ("intercept = \"bound\"\n", [&bound[..], &NO_ADDRESS].concat()),
        ("egress = \"listed\"\n", [&bound[..], &NO_ADDRESS].concat()),
        (
            listed,
            [
                "+api.openai.com",
                "+api.other.example",
                "+api.tool.example",
                "+wild.example",
                "+[10, 0, 0, 1, 255, 255, 255, 255]",
            ]
            .to_vec(),
        ),
        (&format!("{listed}intercept = \"bound\"\n"), [&bound[..], &NO_ADDRESS].concat()),
    ] {
        let serve = Home::with(&format!("upstream_proxy = \"http://{}\"\n{proxy}", exit.address), KEY).serve();
        let chain = shown(&serve, BOUND);
        assert_eq!(chain.len(), 3, "a leaf, what signed it, and the root");
        let root = &certificates(&serve.ca)[0];
        assert_eq!(constraints(root), wanted, "{proxy}");
        assert_eq!(constraints(&chain[1]), wanted, "{proxy}");
        let path_len = |der: &[u8]| {
            X509Certificate::from_der(der).unwrap().1.basic_constraints().unwrap().unwrap().value.path_len_constraint
        };
        assert_eq!((path_len(root), path_len(&chain[1])), (Some(1), Some(0)));
    }
}

#[test]
fn ordinary_clients_take_a_limited_ca() {
    let upstream = Upstream::start();
    let exit = exit(&upstream);
    let proxy = format!("upstream_proxy = \"http://{}\"\negress = \"listed\"\n", exit.address);
    let home = Home::with(&proxy, KEY).set("NODE_PATH", &clients::node_path());
    let url = "https://api.tool.example";
    for client in [
        vec!["curl".to_owned(), "-fsS".into(), format!("{url}/curl")],
        vec![
            clients::python(),
            "-c".into(),
            format!("import requests; requests.get('{url}/requests').raise_for_status()"),
        ],
        vec![clients::python(), "-c".into(), format!("import urllib.request; urllib.request.urlopen('{url}/urllib')")],
        vec!["node".into(), clients::program("fetch_client.cjs"), url.into()],
    ] {
        let words: Vec<&str> = client.iter().map(String::as_str).collect();
        let output = home.run(&words);
        assert!(output.status.success(), "{client:?}: {}", told(&output));
    }
    let seen = upstream.seen();
    for path in ["/curl", "/requests", "/urllib", "/header"] {
        assert!(seen.iter().any(|s| s.target.ends_with(path)), "{path}");
    }
}

/// A leaf that the CA's key signs, and its constraints don't allow, is refused by `client`; one inside them is taken, with
/// another CA trusted besides. Of the program `client` the last arguments are port, name and the file of what is trusted.
pub fn refuses_what_is_outside(client: &[&str]) {
    let home = Home::bare("");
    let dns = |name: &str| Subtree::Dns(name.into());
    let ip = |ip: &str| Subtree::Ip(ip.parse().unwrap());
    let new = |scope: &Scope| Authority::generate(SystemTime::now(), "tests", scope).unwrap();
    let beside = new(&Scope::Any);
    for (listed, inside, outside) in [
        (
            vec![dns("api.tool.example")],
            &["api.tool.example", "x.api.tool.example"][..],
            &["tool.example", "api.other.example", "127.0.0.1"][..],
        ),
        (vec![ip("127.0.0.1")], &["127.0.0.1"], &["api.tool.example", "127.0.0.2", "::1"]),
        (vec![ip("::1")], &["::1"], &["127.0.0.1", "2001:db8::1"]),
        (vec![ip("127.0.0.1"), ip("::1")], &["127.0.0.1", "::1"], &["127.0.0.2", "::2"]),
        (
            vec![ip("127.0.0.1"), dns("under_score.example"), dns("1.example")],
            &["127.0.0.1", "a.1.example"],
            &["api.tool.example"],
        ),
        (vec![], &[], &["api.tool.example", "127.0.0.1"]),
    ] {
        let authority = new(&Scope::only(listed.clone()));
        let file = home.path().join("trusted.pem");
        std::fs::write(&file, format!("{}{}", beside.certificate_pem(), authority.certificate_pem())).unwrap();
        let took = |name: &&str| {
            let port = Forged::start(&authority, name).port.to_string();
            let mut command = home.command(client[0]);
            let output = finish(command.args(&client[1..]).args([&port, *name]).arg(&file));
            match output.status.code() {
                Some(0) => true,
                Some(3) => false,
                _ => panic!("{client:?}, {name} in {listed:?}: {}", told(&output)),
            }
        };
        let taken: Vec<&str> = inside.iter().chain(outside).copied().filter(took).collect();
        assert_eq!(taken, inside, "{client:?}, {listed:?}");
    }
}

#[test]
fn openssl_refuses_what_is_outside() {
    refuses_what_is_outside(&["bash", &clients::program("tls_client.sh"), "openssl"]);
}

#[test]
fn curl_refuses_what_is_outside() {
    refuses_what_is_outside(&["bash", &clients::program("tls_client.sh"), "curl"]);
}

#[test]
fn python_refuses_what_is_outside() {
    refuses_what_is_outside(&[&clients::python(), &clients::program("tls_client.py")]);
}

#[test]
fn node_refuses_what_is_outside() {
    refuses_what_is_outside(&["node", &clients::program("tls_client.cjs")]);
}

/// Why a CONNECT was refused, head and body.
fn refusal(serve: &Serve, host: &str) -> String {
    Tunnel::open(serve, &format!("{host}:443"), host, b"http/1.1").err().map(|e| e.to_string()).unwrap_or_default()
}

/// What a request that trusts `ca` alone is answered with: its status, or nothing where the certificate is refused.
fn status(serve: &Serve, ca: &Path, host: &str) -> String {
    let url = format!("https://{host}/");
    let mut command = serve.home.command("curl");
    command.args([
        "-q",
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "--proxy",
        &serve.proxy_url(),
        &url,
        "--cacert",
    ]);
    stdout(&finish(command.arg(ca)))
}

/// From a host that is listed later, over the refusal, to a new CA that clients learn of before it signs.
#[test]
fn a_ca_is_rotated_under_a_service_that_runs() {
    let upstream = Upstream::start();
    let exit = exit(&upstream);
    let serve = keeping(&exit, "egress = \"listed\"\nallow = []\n").serve();
    let at = |name: &str| serve.home.path().join(name);
    let (old, exported) = (at("old.pem"), at("ca.pem"));
    std::fs::copy(&exported, &old).unwrap();
    assert_eq!(
        (status(&serve, &old, BOUND).as_str(), refusal(&serve, OTHER).split("\r\n").next()),
        ("200", Some("HTTP/1.1 403 api.other.example may not be reached through this proxy (locum)"))
    );

    reload(&serve, "allow = []", "allow = [\"api.other.example\"]");
    serve.await_said(|line| line.contains("may not sign for api.other.example"));
    let refused = refusal(&serve, OTHER);
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("locum-refused: ca-unavailable"), "{refused}");
    assert_eq!(status(&serve, &old, BOUND), "200");
    let check = finish(&mut serve.home.locum(&["check"]));
    assert!(
        stdout(&check).contains("may not sign for api.other.example") && stdout(&check).contains("locum ca rotate"),
        "{}",
        told(&check)
    );

    let rotated = finish(&mut serve.home.locum(&["ca", "rotate", "--grace", "1h"]));
    assert!(rotated.status.success(), "{}", told(&rotated));
    serve.await_said(|line| line.starts_with("locum: the CA is being rotated"));
    let both = std::fs::read_to_string(&exported).unwrap();
    assert_eq!(certificates(&both).len(), 2);
    assert_eq!(stdout(&finish(&mut serve.home.locum(&["ca", "export"]))), both);
    let trusted = finish(&mut serve.home.locum(&["env", "--shell", "sh"]));
    let bundle = std::fs::read_to_string(serve.home.state().join("env/ca-bundle.pem")).unwrap();
    assert!(certificates(&both).iter().all(|c| certificates(&bundle).contains(c)), "{}", told(&trusted));
    // the old one signs what it covers, and the new one what nobody could reach
    assert_eq!((status(&serve, &old, BOUND), status(&serve, &exported, OTHER)), ("200".into(), "200".into()));
    let show = |serve: &Serve| -> serde_json::Value {
        serde_json::from_slice(&finish(&mut serve.home.locum(&["ca", "show", "--json"])).stdout).unwrap()
    };
    let told_of = show(&serve);
    assert_eq!(told_of["hosts"], serde_json::json!(["api.openai.com", BOUND]));
    assert_eq!(told_of["next"]["hosts"], serde_json::json!(["api.openai.com", OTHER, BOUND]));
    assert!(told_of["next"]["signs_from"].as_str().is_some_and(|at| at.ends_with('Z')), "{told_of}");
    assert!(!stdout(&finish(&mut serve.home.locum(&["check"]))).contains("may not sign"));

    // once more, with a grace that ends while the test looks on
    let rotated = finish(&mut serve.home.locum(&["ca", "rotate", "--grace", "3s"]));
    assert!(rotated.status.success(), "{}", told(&rotated));
    serve.await_said(|line| line.starts_with("locum: the CA has changed"));
    let alone = std::fs::read_to_string(&exported).unwrap();
    assert!(certificates(&alone).len() == 1 && !both.contains(&alone), "the last one that was made");
    assert_eq!((status(&serve, &exported, BOUND), status(&serve, &old, BOUND)), ("200".into(), "000".into()));
    let told_of = show(&serve);
    assert!(
        stdout(&rotated).contains(told_of["fingerprint_sha256"].as_str().unwrap()) && told_of["next"].is_null(),
        "{told_of}"
    );

    let home = serve.stop();
    let records = home.audit();
    let of_ca = |what: &str| of(&records, "config").iter().filter(|r| r["operation"] == what).count();
    // each rotation once by the command and once by the service
    assert_eq!((of_ca("ca rotate"), of_ca("ca signs")), (4, 1), "{records:#?}");
    let refused: Vec<_> = of(&records, "refusal").into_iter().filter(|r| r["error"] == "ca-unavailable").collect();
    assert_eq!(
        (refused.len(), refused[0]["status"].as_u64(), &refused[0]["host"]),
        (1, Some(503), &serde_json::json!(OTHER))
    );
    assert!(refused[0]["reason"].as_str().unwrap().contains("locum ca rotate"), "{refused:?}");
}

/// Without a grace; and a service that was not running finds the new one.
#[test]
fn a_ca_is_rotated_at_once() {
    let upstream = Upstream::start();
    let exit = exit(&upstream);
    let home = keeping(&exit, "");
    let first = stdout(&finish(&mut home.locum(&["ca", "export"])));
    let rotated = finish(&mut home.locum(&["ca", "rotate", "--now"]));
    assert!(rotated.status.success(), "{}", told(&rotated));
    let second = stdout(&finish(&mut home.locum(&["ca", "export"])));
    assert!(first != second && certificates(&second).len() == 1);
    let serve = home.serve();
    assert_eq!(serve.ca, second);
    assert_eq!(status(&serve, &serve.home.path().join("ca.pem"), BOUND), "200");
}

/// One that was made before the hosts were listed goes on, and is warned of.
#[test]
fn an_unlimited_ca_goes_on_with_a_warning() {
    let upstream = Upstream::start();
    let exit = exit(&upstream);
    let home = keeping(&exit, "egress = \"open\"\n");
    assert!(finish(&mut home.locum(&["ca", "export"])).status.success());
    let text = std::fs::read_to_string(home.config()).unwrap();
    home.write_config(&text.replace("egress = \"open\"", "egress = \"listed\""));
    let serve = home.serve();
    serve.await_said(|line| line.contains("the CA may sign for any host"));
    assert_eq!(status(&serve, &serve.home.path().join("ca.pem"), BOUND), "200");
    let check = finish(&mut serve.home.locum(&["check"]));
    assert!(check.status.success() && stdout(&check).contains("the CA may sign for any host"), "{}", told(&check));
    // the other way round a limited one would keep all other hosts out
    let rotated = finish(&mut serve.home.locum(&["ca", "rotate", "--now"]));
    assert!(rotated.status.success(), "{}", told(&rotated));
    reload(&serve, "egress = \"listed\"", "egress = \"open\"");
    serve.await_said(|line| line.contains("may sign for api.openai.com, api.tool.example alone"));
}

/// One of the user's own, as locum made them before there were intermediates, signs as it did.
#[test]
fn a_root_that_signs_leaves_itself_goes_on() {
    let upstream = Upstream::start();
    let exit = exit(&upstream);
    let home = keeping(&exit, "");
    let script = "umask 077; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out own.pem \
                  -subj /O=own -days 30 -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign \
                  && cat key.pem >> own.pem";
    let made = finish(home.command("sh").args(["-c", script]));
    assert!(made.status.success(), "{}", told(&made));
    let text = std::fs::read_to_string(home.config()).unwrap();
    home.write_config(&text.replace("source = \"auto\"", "source = \"file:own.pem\""));
    let serve = home.serve();
    assert_eq!(shown(&serve, BOUND).len(), 2);
    assert_eq!(status(&serve, &serve.home.path().join("ca.pem"), BOUND), "200");
    let rotated = finish(&mut serve.home.locum(&["ca", "rotate"]));
    assert_eq!(rotated.status.code(), Some(2), "{}", told(&rotated));
    assert!(
        stderr(&rotated).contains("a file of your own") && stderr(&rotated).contains("own.pem"),
        "{}",
        told(&rotated)
    );
}

#[test]
fn a_ca_in_memory_is_not_rotated() {
    let home = Home::with("", "");
    let rotated = finish(&mut home.locum(&["ca", "rotate"]));
    assert_eq!(rotated.status.code(), Some(2), "{}", told(&rotated));
    assert!(stderr(&rotated).contains("start the service again"), "{}", told(&rotated));
    let wrong = finish(&mut home.locum(&["ca", "rotate", "--grace", "soon"]));
    assert_eq!(wrong.status.code(), Some(2), "{}", told(&wrong));
}

/// A handshake that names a host outside of the CA's limits, in a tunnel to one inside, gets an alert and no leaf.
#[test]
fn a_handshake_for_a_host_that_is_not_covered_gets_no_leaf() {
    let upstream = Upstream::start();
    let exit = exit(&upstream);
    let proxy = format!("upstream_proxy = \"http://{}\"\negress = \"listed\"\n", exit.address);
    let serve = Home::with(&proxy, KEY).serve();
    let output = finish(s_client(&serve, BOUND, &["-servername", "evil.example"]).stdin(Stdio::null()));
    assert!(!output.status.success() && certificates(&stdout(&output)).is_empty(), "{}", told(&output));
    assert!(stderr(&output).contains("alert"), "{}", told(&output));
    let records = serve.stop().audit();
    let refused = of(&records, "refusal");
    assert_eq!((refused.len(), &refused[0]["error"]), (1, &serde_json::json!("misdirected")), "{records:#?}");
    assert!(upstream.seen().is_empty());
}

/// A request to `host` by `openssl s_client`, which keeps the session, or brings one along. How it was connected.
fn request(serve: &Serve, host: &str, version: &[&str], session: [&str; 2]) -> String {
    let ca = serve.home.path().join("ca.pem");
    let mut command = s_client(serve, host, &["-ign_eof", session[0], session[1]]);
    command.args(version).arg("-CAfile").arg(ca).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let asked = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    child.stdin.take().unwrap().write_all(asked.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = stdout(&output);
    assert!(text.contains("HTTP/1.1 200"), "{}", told(&output));
    text.lines().find(|l| l.starts_with("New, ") || l.starts_with("Reused, ")).unwrap_or_default().to_owned()
}

/// nginx once let a client in at one host with the session of another (CVE-2025-23419).
#[test]
fn no_session_of_one_host_is_taken_up_at_another() {
    let upstream = Upstream::start();
    let exit = exit(&upstream);
    let serve = Home::with(&format!("upstream_proxy = \"http://{}\"\n", exit.address), KEY).serve();
    for version in [&["-tls1_3"][..], &["-tls1_2"], &["-tls1_2", "-no_ticket"]] {
        let file = format!("session{}", version.concat());
        assert!(request(&serve, BOUND, version, ["-sess_out", &file]).starts_with("New, "), "{version:?}");
        // of TLS 1.3 there may be none to keep
        if !serve.home.path().join(&file).exists() {
            continue;
        }
        for host in [BOUND, OTHER] {
            let connected = request(&serve, host, version, ["-sess_in", &file]);
            assert!(connected.starts_with("New, "), "{version:?} at {host}: {connected}");
        }
    }
}

/// Nor at its own host: by a client that keeps sessions, and says itself whether it took one up.
#[tokio::test]
async fn a_session_is_not_taken_up_at_its_own_host_either() {
    let upstream = Upstream::start();
    let serve = Home::bound(&[&upstream]).serve();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificates(&serve.ca)[0].clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
        for _ in 0..2 {
            let stream = client::tunnel(serve.address, &upstream.authority(), "").await.unwrap();
            let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
            let asked = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", upstream.authority());
            stream.write_all(asked.as_bytes()).await.unwrap();
            // tickets come before the answer
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 200"));
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full), "{version:?}");
        }
    }
}

/// A company's CA alone in `SSL_CERT_FILE` or `SSL_CERT_DIR` adds to what the system trusts, for us and for our clients.
#[test]
fn what_the_environment_trusts_adds_to_what_the_system_does() {
    let upstream = Upstream::start();
    let home = Home::with(&format!("connect_ports = [{}]\n", upstream.port()), "");
    let folder = home.path().join("company");
    std::fs::create_dir(&folder).unwrap();
    // trusted by the variable alone
    let file = folder.join("company.pem");
    std::fs::rename(home.path().join("upstreams.pem"), &file).unwrap();
    let config = std::fs::read_to_string(home.config()).unwrap();
    home.write_config(&config.replace("upstream_ca = [\"upstreams.pem\"]\n", ""));
    let script = format!(
        "curl --silent --fail --noproxy '' https://{}/ >answer || exit; cat \"$SSL_CERT_FILE\"",
        upstream.authority()
    );
    let bundle = |variable: Option<(&str, &Path)>| {
        let mut command = home.locum(&["run", "--", "sh", "-c"]);
        match variable {
            Some((name, value)) => command.env(name, value).arg(&script),
            None => command.arg("cat \"$SSL_CERT_FILE\""),
        };
        let output = finish(&mut command);
        assert!(output.status.success(), "{variable:?}: {}", told(&output));
        let pem = stdout(&output);
        pem.split("-----END CERTIFICATE-----").map(|c| c.trim().to_owned()).collect::<std::collections::HashSet<_>>()
    };
    let ordinary = bundle(None);
    let company = std::fs::read_to_string(&file).unwrap();
    let company: String = company.lines().filter(|l| !l.starts_with("-----")).collect();
    for variable in [("SSL_CERT_FILE", file.as_path()), ("SSL_CERT_DIR", &folder)] {
        let with = bundle(Some(variable));
        // the CA of each run is its own
        assert!(ordinary.difference(&with).count() <= 1, "{variable:?}: {} of {}", with.len(), ordinary.len());
        assert!(with.iter().any(|c| c.lines().skip(1).collect::<String>() == company), "{variable:?}");
    }
}
