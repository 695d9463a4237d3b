//! Every client that the registries offer, each with nothing set but what `locum run` sets, and a table of what it could do.
//!
//! `tests/matrix` installs them and runs this; it is too much for every change.

mod particular;
mod restarts;

use crate::support::exit::Exit;
use crate::support::locum::{OPENAI_KEY, TOOL_KEY, confinement, finish, of, stdout, told};
use crate::support::upstream::{Kind, Seen};
use crate::support::{Home, Terminal, Upstream, authority, clients, pattern, wire};
use base64::Engine as _;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const PLACEHOLDER: &str = "<<tool_key>>";
const URL: &str = "https://api.tool.example";
/// The columns of the first table.
const STEPS: [&str; 7] = ["header", "basic", "json", "form", "stream", "download", "upload"];

/// A program of the matrix.
fn program(name: &str) -> String {
    clients::program(&format!("matrix/{name}"))
}

/// Where `tests/matrix` has put what npm has.
fn from_npm(path: &str) -> String {
    clients::installed(&format!("matrix/node_modules/{path}"))
}

/// Node of one of its lines.
fn node_of(major: u32) -> String {
    from_npm(&format!("node{major}/bin/node"))
}

/// Where programs are looked for: what `tests/matrix` has put there, and cargo itself rather than what stands for it.
fn path() -> String {
    let cargo = Path::new(env!("CARGO")).parent().map_or_else(String::new, |bin| bin.display().to_string());
    format!("{}:{cargo}:{}", clients::installed("matrix/bin"), std::env::var("PATH").unwrap_or_default())
}

/// A home from which the tests' hosts lead to `address`.
fn home(exit: &Exit) -> Home {
    let proxy = format!("upstream_proxy = \"http://{}\"\n", exit.address);
    let key = "[key.tool]\nhosts = [\"api.tool.example\", \"registry.tool.example\"]\n";
    Home::with(&proxy, key).set("NODE_PATH", &clients::node_path()).set("PATH", &path())
}

/// What became of a client: each step, or why it never came to them.
type Row = Result<Vec<bool>, String>;

/// The steps of `tests/clients/README.md`.
fn steps(client: &[&str]) -> Row {
    let upstream = Upstream::start();
    let exit = Exit::to([("api.tool.example:443", upstream.address)]);
    let home = home(&exit);
    let output = home.run(client);
    let got: Value = serde_json::from_str(&stdout(&output)).map_err(|e| format!("{e}: {}", told(&output)))?;
    if stdout(&output).contains(TOOL_KEY) {
        return Err("it got the key".into());
    }
    let seen = upstream.seen();
    let at = |path: &str| seen.iter().find(|s| s.target.contains(path));
    let header = |path: &str| at(path).and_then(|s| s.header("authorization")).unwrap_or_default();
    let json = |s: &Seen| serde_json::from_slice::<Value>(&s.body).unwrap_or_default();
    let text = "use <<tool_key>> here";
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("user:{TOOL_KEY}"));
    let form = at("/form").map(|s| url::form_urlencoded::parse(&s.body).into_owned().collect::<Vec<_>>());
    let sent: Vec<u8> = b"0123456789".repeat(300_000);
    let done = vec![
        header("/header") == format!("Bearer {TOOL_KEY}") && got["header"].to_string().contains(PLACEHOLDER),
        header("/basic") == format!("Basic {basic}"),
        at("/json").map(json).is_some_and(|body| body["key"] == TOOL_KEY && body["text"] == text),
        form == Some(vec![("key".into(), TOOL_KEY.into()), ("text".into(), text.into())])
            || form == Some(vec![("text".into(), text.into()), ("key".into(), TOOL_KEY.into())]),
        got["stream"]["target"].as_str().is_some_and(|target| target.ends_with("/chunked")),
        got["download"] == pattern::digest(3_000_000),
        got["upload"]["sha256"] == pattern::sha256(&sent),
    ];
    let records = home.audit();
    let whole = of(&records, "exchange").len() == 7 && of(&records, "substitution").len() == 4;
    if whole { Ok(done) } else { Err(format!("the audit tells otherwise: {records:#?}")) }
}

/// A server of the matrix, which is a program of its own.
struct Server {
    address: SocketAddr,
    child: Child,
    _folder: Home,
}

impl Server {
    fn start(name: &str) -> Self {
        let folder = Home::bare("");
        authority::write(folder.path());
        let mut command = folder.command(clients::python());
        command.args([&program(name), "certificate.pem", "key.pem", ".", TOOL_KEY]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a server");
        let mut port = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut port).expect("its port");
        let address = SocketAddr::from(([127, 0, 0, 1], port.trim().parse().expect("a port")));
        Self { address, child, _folder: folder }
    }

    /// Everything it has to say, once it has ended.
    fn stop(mut self) -> String {
        drop(self.child.stdin.take());
        let mut said = String::new();
        let _ = self.child.stdout.take().expect("a pipe").read_to_string(&mut said);
        let _ = self.child.wait();
        said
    }
}

/// A package manager, or git, against a registry that wants the key.
fn registry(name: &str) -> Row {
    let registries = Server::start("registry_server.py");
    let exit = Exit::to([("registry.tool.example:443", registries.address)]);
    let home = home(&exit);
    // apt's own settings lead elsewhere, as a company's do
    std::fs::write(home.path().join("own.conf"), "Acquire::https::Proxy \"http://127.0.0.1:1\";\n").expect("a file");
    let own = home.path().join("own.conf").display().to_string();
    let home = home.set("APT_CONFIG", &own);
    let output = home.run(&["bash", &program("registry.sh"), name]);
    let refused = registries.stop();
    if !output.status.success() {
        return Err(format!("{}\nthe registry: {refused}", told(&output)));
    }
    let records = home.audit();
    let used = of(&records, "substitution").len();
    Ok(vec![used > 0, !stdout(&output).contains(TOOL_KEY)])
}

/// A client of a cluster whose CA nobody knows but locum: lists its pods, and has one run something over another protocol.
fn kubernetes(client: &[&str], protocol: &str) -> Row {
    let server = Server::start("kube_server.py");
    let exit = Exit::to([("api.other.example:443", server.address)]);
    let home = home(&exit).set("PYTHONPATH", &clients::installed("matrix/python"));
    let output = home.run(client);
    let said = server.stop();
    let listed = stdout(&output).contains("pod") && output.status.success();
    let executed = said.contains(protocol);
    if listed && executed { Ok(vec![listed, executed]) } else { Err(format!("{said}\n{}", told(&output))) }
}

/// A full-screen program while there is something to tell: its picture is left alone, and all is told when it has ended.
fn full_screen() -> Row {
    let home =
        Home::with("", "[anomaly]\nerrors = 2\n[key.tool]\nhosts = [\"api.tool.example\"]\n").set("TERM", "xterm");
    let refused = "for i in 1 2 3 4 5 6 7 8; do curl -so answer -H 'x: <<no_such_key>>' http://api.invalid/; done";
    let script = format!("mkfifo over; ({refused}; echo over >over) & exec vi -u NONE -n page");
    std::fs::write(home.path().join("child.sh"), script).expect("a file");
    std::fs::write(home.path().join("page"), "the page\n").expect("a file");
    let mut terminal = Terminal::locum(&home, "run -- bash child.sh");
    terminal.await_shown("the page");
    std::fs::read_to_string(home.path().join("over")).expect("the end of the refusals");
    terminal.press(":qa!\r");
    let (status, shown) = terminal.ended();
    // what a terminal is told to go back from vi's picture to what was there before
    let (picture, after) = shown.rsplit_once("\u{1b}[?1049l").ok_or("no full screen")?;
    let done = vec![!picture.contains("unusual"), after.contains("unusual: agent local was refused")];
    if status.success() { Ok(done) } else { Err(shown) }
}

/// An agent as its users run it, for one answer of a fake provider: key from the environment, everything else at its default.
fn agent(client: &[&str], host: &str, key: &str) -> Row {
    let provider = Server::start("provider.py");
    let exit = Exit::to([(format!("{host}:443").as_str(), provider.address)]);
    let home = home(&exit).set("ANTHROPIC_API_KEY", ANTHROPIC_KEY);
    let output = home.run(client);
    let asked = provider.stop();
    let answered = stdout(&output).contains("the answer with <<");
    let shown = !asked.is_empty() && asked.lines().all(|line| line.ends_with(key));
    let hidden = !told(&output).contains(key);
    if answered && shown && hidden {
        Ok(vec![shown, answered, hidden])
    } else {
        Err(format!("{asked}\n{}", told(&output)))
    }
}

const GITHUB_TOKEN: &str = "ghp_Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4zAb3d";
const ANTHROPIC_KEY: &str = "sk-ant-api03-Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4z";

/// A headless Chromium that opens a page of the upstream; proxy and CA it can't be told by variables.
fn chromium() -> Row {
    let upstream = Upstream::start();
    let exit = Exit::to([("api.tool.example:443", upstream.address)]);
    let home = home(&exit);
    let output = home.run(&["bash", &program("chromium.sh"), "https://api.tool.example/chunked"]);
    let seen = upstream.seen().iter().any(|s| s.target.ends_with("/chunked"));
    let got = stdout(&output).contains("/chunked");
    // confined it is in a network of its own, and nobody asks which of its processes connects
    let known = confinement().is_some() || of(&home.audit(), "exchange").iter().any(|r| r["pid"].is_u64());
    if seen && got { Ok(vec![got, known]) } else { Err(told(&output)) }
}

/// GitHub's own client, with the token that its users give it.
fn gh() -> Row {
    let upstream = Upstream::start();
    let exit = Exit::to([("api.github.com:443", upstream.address)]);
    let home = home(&exit).set("GH_TOKEN", GITHUB_TOKEN);
    let output = home.run(&["gh", "api", "/echo"]);
    let seen = upstream.seen();
    let used = seen.iter().any(|s| s.header("authorization") == Some(format!("token {GITHUB_TOKEN}")));
    let hidden = stdout(&output).contains("token <<") && !told(&output).contains(GITHUB_TOKEN);
    if used && hidden { Ok(vec![used, hidden]) } else { Err(format!("{seen:?}\n{}", told(&output))) }
}

/// The AWS CLI, unsigned.
fn aws() -> Row {
    let upstream = Upstream::start();
    let exit = Exit::to([("api.tool.example:443", upstream.address)]);
    let output = home(&exit).run(&["bash", &program("aws.sh")]);
    let seen = upstream.seen().iter().any(|s| s.target == "/bucket/object");
    let got = stdout(&output).contains("/bucket/object");
    if seen && got { Ok(vec![got]) } else { Err(told(&output)) }
}

fn is_installed(command: &str) -> bool {
    finish(Command::new("sh").args(["-c", "command -v \"$1\"", "sh", command]).env("PATH", path())).status.success()
}

fn line(table: &mut String, name: &str, row: &Row, columns: usize) -> bool {
    let cells = match row {
        Ok(done) => done.iter().map(|ok| if *ok { "  yes" } else { "  NO " }).collect::<String>(),
        Err(_) => "  NO ".repeat(columns),
    };
    let _ = writeln!(table, "{name:<24}{cells}");
    row.as_ref().is_ok_and(|done| done.iter().all(|ok| *ok))
}

#[test]
#[ignore = "tests/matrix installs what it needs, and runs it"]
fn table() {
    let (python, node) = (clients::python(), "node".to_owned());
    let own = |name: &str| clients::program(name);
    let old_httpx = clients::installed("matrix/httpx-0.24");
    let of_steps: Vec<(&str, Vec<String>)> = vec![
        ("curl, HTTP/1.1", vec![own("curl_client.sh"), URL.into(), "--http1.1".into()]),
        ("curl, HTTP/2", vec![own("curl_client.sh"), URL.into(), "--http2".into()]),
        ("wget", vec![own("wget_client.sh"), URL.into()]),
        ("Python requests", vec![python.clone(), own("requests_client.py"), URL.into()]),
        ("Python httpx", vec![python.clone(), own("httpx_client.py"), URL.into()]),
        (
            "Python httpx 0.24.0",
            vec!["env".into(), format!("PYTHONPATH={old_httpx}"), python.clone(), own("httpx_client.py"), URL.into()],
        ),
        ("Python aiohttp", vec![python.clone(), own("aiohttp_client.py"), URL.into()]),
        ("Python urllib", vec![python, own("urllib_client.py"), URL.into()]),
        ("Node fetch", vec![node.clone(), own("fetch_client.cjs"), URL.into()]),
        ("Node 18 fetch", vec![node_of(18), own("fetch_client.cjs"), URL.into()]),
        ("Node 20 fetch", vec![node_of(20), own("fetch_client.cjs"), URL.into()]),
        ("Node 22 fetch", vec![node_of(22), own("fetch_client.cjs"), URL.into()]),
        ("Node 24 fetch", vec![node_of(24), own("fetch_client.cjs"), URL.into()]),
        ("Node fetch, HTTP/2", vec![node.clone(), own("fetch_client.cjs"), URL.into(), "h2".into()]),
        ("Node axios", vec![node.clone(), own("axios_client.cjs"), URL.into()]),
        ("Node axios 0.27", vec![node.clone(), own("axios_client.cjs"), URL.into(), "axios-0.27".into()]),
        ("Node axios 1.7", vec![node, own("axios_client.cjs"), URL.into(), "axios-1.7".into()]),
        ("Go", vec![clients::installed("matrix/bin/go_client"), URL.into()]),
        ("Rust reqwest", vec![clients::installed("matrix/bin/rust_client"), URL.into(), "reqwest".into()]),
        ("Rust ureq", vec![clients::installed("matrix/bin/rust_client"), URL.into(), "ureq".into()]),
        ("Java", vec!["java".into(), program("Client.java"), URL.into()]),
        ("Ruby", vec!["ruby".into(), program("client.rb"), URL.into()]),
        ("PHP curl", vec!["php".into(), program("client.php"), URL.into()]),
        ("Perl LWP", vec!["perl".into(), program("client.pl"), URL.into()]),
        (
            "Deno",
            vec![from_npm("@deno/linux-x64-glibc/deno"), "run".into(), "-A".into(), program("client.mjs"), URL.into()],
        ),
        ("Bun", vec![from_npm("@oven/bun-linux-x64/bin/bun"), program("client.mjs"), URL.into()]),
    ];
    let mut table = format!("{:<24}", "CLIENT");
    STEPS.iter().for_each(|step| table.push_str(&format!(" {step:>4.4}")));
    table.push('\n');
    let mut failed = Vec::new();
    let mut add = |table: &mut String, name: &str, row: Row, columns: usize| {
        if !line(table, name, &row, columns) {
            failed.push(format!("{name}: {}", row.err().unwrap_or_else(|| "a step failed".into())));
        }
    };
    for (name, client) in &of_steps {
        let words: Vec<&str> = client.iter().map(String::as_str).collect();
        let row = if is_installed(words[0]) { steps(&words) } else { Err("it is not installed".into()) };
        add(&mut table, name, row, STEPS.len());
    }
    let _ = writeln!(table, "\n{:<24} used hidden", "REGISTRY");
    for name in ["git", "pip", "pip-conf", "uv", "npm", "pnpm", "yarn", "cargo", "apt"] {
        let program = name.trim_end_matches("-conf").replace("apt", "apt-get");
        // root's apt becomes another user, whom a confined command has not
        if name == "apt" && confinement().is_some() && rustix::process::geteuid().is_root() {
            continue;
        }
        let row = if is_installed(&program) { registry(name) } else { Err("it is not installed".into()) };
        add(&mut table, name, row, 2);
    }
    let _ = writeln!(table, "\n{:<24}  all", "WEBSOCKET, GRPC");
    let others: [(&str, fn()); 9] = [
        ("Node 18, every way", || crate::clients::node_ways(&node_of(18))),
        ("Node 20, every way", || crate::clients::node_ways(&node_of(20))),
        ("Node 22, every way", || crate::clients::node_ways(&node_of(22))),
        ("Node 24, every way", || crate::clients::node_ways(&node_of(24))),
        ("Python websockets", crate::websocket::python_websockets),
        ("Python aiohttp", crate::websocket::python_aiohttp),
        ("Node ws", crate::websocket::node_ws),
        ("Python grpcio", crate::grpc::python_grpcio),
        ("Node grpc-js", crate::grpc::node_grpc_js),
    ];
    for (name, whole) in others {
        let row = std::panic::catch_unwind(whole).map(|()| vec![true]).map_err(|_| "it says above what".to_owned());
        add(&mut table, name, row, 1);
    }
    let _ = writeln!(table, "\n{:<24} list exec", "CLUSTER");
    add(&mut table, "kubectl, SPDY", kubernetes(&["bash", &program("kubectl.sh")], "SPDY/3.1 80030001"), 2);
    let client = [clients::python(), program("kube_client.py")];
    add(&mut table, "Python kubernetes", kubernetes(&client.each_ref().map(String::as_str), "websocket"), 2);
    let _ = writeln!(table, "\n{:<24} held told", "FULL SCREEN");
    add(&mut table, "vi", full_screen(), 2);
    let _ = writeln!(table, "\n{:<24}  key  said hidden", "AGENT");
    let claude = ["claude", "-p", "say it"];
    add(&mut table, "Claude Code", agent(&claude, "api.anthropic.com", ANTHROPIC_KEY), 3);
    let codex = "printenv OPENAI_API_KEY | codex login --with-api-key && codex exec --skip-git-repo-check 'say it'";
    add(&mut table, "Codex", agent(&["bash", "-c", codex], "api.openai.com", OPENAI_KEY), 3);
    let _ = writeln!(table, "\n{:<24} used hidden", "COMMAND");
    add(&mut table, "gh", gh(), 2);
    let _ = writeln!(table, "\n{:<24} page", "UNSIGNED");
    add(&mut table, "aws", aws(), 1);
    let _ = writeln!(table, "\n{:<24} page  pid", "BROWSER");
    let row = if is_installed("chromium") { chromium() } else { Err("it is not installed".into()) };
    add(&mut table, "Chromium", row, 2);
    println!("{table}\n{WHY_NOT}");
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// What clients of the list can't do, and why.
const WHY_NOT: &str = "aws: signs the request with its key, which a placeholder in its place makes wrong: only what is unsigned works\n\
    Chromium: is told the proxy by an option and the CA by its NSS store, since no variable does; it sends no token";

#[test]
#[ignore = "tests/matrix installs what it needs, and runs it"]
fn many_requests_of_go() {
    for (version, over) in [("h1", "1.1"), ("h2", "2")] {
        crate::clients::load(&[&clients::installed("matrix/bin/go_load"), URL, version], over);
    }
}

/// Java passes over the constraints of what it trusts, so it is the intermediate's that it heeds.
#[test]
#[ignore = "tests/matrix installs what it needs, and runs it"]
fn java_refuses_what_is_outside_of_the_cas_constraints() {
    crate::certificates::refuses_what_is_outside(&["java", &program("Tls.java")]);
}

#[test]
#[ignore = "tests/matrix installs what it needs, and runs it"]
fn go_refuses_what_is_outside_of_the_cas_constraints() {
    crate::certificates::refuses_what_is_outside(&[&clients::installed("matrix/bin/go_tls")]);
}

#[test]
#[ignore = "tests/matrix installs what it needs, and runs it"]
fn chromium_refuses_what_is_outside_of_the_cas_constraints() {
    crate::certificates::refuses_what_is_outside(&["bash", &program("chromium_tls.sh")]);
}

/// Debian's own Squid, which leads CONNECT nowhere but to port 443 (here the upstream's), and wants a login.
struct Squid {
    address: SocketAddr,
    child: Child,
    folder: Home,
}

impl Squid {
    fn start(tls: &Upstream) -> Self {
        let folder = Home::bare("");
        let (path, address) = (folder.path().display(), SocketAddr::from(([127, 0, 0, 1], wire::closed_port())));
        let config = format!(
            "http_port {address}\nhosts_file {path}/hosts\npid_filename none\ncache deny all\npinger_enable off\n\
             access_log stdio:{path}/access.log\ncache_log {path}/cache.log\ncoredump_dir {path}\n\
             auth_param basic program /usr/lib/squid/basic_fake_auth\nacl known proxy_auth REQUIRED\n\
             acl SSL_ports port {}\nacl CONNECT method CONNECT\nhttp_access deny CONNECT !SSL_ports\n\
             http_access allow known\nhttp_access deny all\n",
            tls.port()
        );
        std::fs::write(folder.path().join("squid.conf"), config).expect("a file");
        std::fs::write(folder.path().join("hosts"), "127.0.0.1 api.tool.example plain.example\n").expect("a file");
        // started by root it becomes another user
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).expect("its mode");
        let mut command = folder.command("squid");
        command.args(["-N", "-f", "squid.conf"]).env("PATH", "/usr/sbin:/usr/bin:/bin");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("squid");
        while std::net::TcpStream::connect(address).is_err() {
            let status = child.try_wait().expect("a status");
            assert!(status.is_none(), "{status:?}: {:?}", std::fs::read_to_string(folder.path().join("cache.log")));
            std::thread::yield_now();
        }
        Self { address, child, folder }
    }
}

impl Drop for Squid {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "tests/matrix installs what it needs, and runs it"]
fn through_squid() {
    let tls = Upstream::start();
    let plain = Upstream::of(Kind { tls: false, ..Kind::default() });
    let squid = Squid::start(&tls);
    let urls = [tls.port(), plain.port()];
    let urls = [format!("https://api.tool.example:{}/echo", urls[0]), format!("http://plain.example:{}/echo", urls[1])];
    for (login, status) in [("me:secret@", "200"), ("", "502")] {
        let proxy = format!(
            "upstream_proxy = \"http://{login}{}\"\nconnect_ports = [{}, {}]\n",
            squid.address,
            tls.port(),
            plain.port()
        );
        let key = format!("[key.tool]\nhosts = [\"api.tool.example:{}\"]\n", tls.port());
        let serve = Home::with(&proxy, &key).serve();
        for url in &urls {
            let key = if url.starts_with("https:") { "x-api-key: <<tool_key>>" } else { "x-no: key" };
            let answer = serve.curl(&["-w", "%{http_code}", "-H", key, url]);
            assert!(stdout(&answer).ends_with(status), "{login} {url}: {}", told(&answer));
            assert!(!login.is_empty() || stdout(&answer).contains("user and password"), "{}", told(&answer));
        }
    }
    assert_eq!(tls.only().header("x-api-key").as_deref(), Some(TOOL_KEY));
    assert!(plain.only().header("via").is_some_and(|via| via.contains("squid")));
    let log = std::fs::read_to_string(squid.folder.path().join("access.log")).expect("its log");
    assert!(log.contains("TCP_MISS/200") && log.contains("TCP_DENIED/407"), "{log}");
}
