//! Names become addresses: as the system is set up for it, for as long as DNS says, and whatever hangs.

use crate::support::client::{none, tunnel};
use crate::support::locum::{TOOL_KEY, finish, stdout};
use crate::support::name_server::NameServer;
use crate::support::{Client, HANGS, Home, Http, Serve, Upstream};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The service of `home`, to which `/etc/resolv.conf` and `/etc/hosts` are files of its folder.
pub fn with_names(home: Home, resolv_conf: &str, hosts: &str) -> Serve {
    std::fs::write(home.path().join("resolv.conf"), resolv_conf).expect("a file");
    std::fs::write(home.path().join("hosts"), hosts).expect("a file");
    let locum = home.locum(&["serve"]);
    let mut command = home.command("unshare");
    let script = "mount --bind resolv.conf /etc/resolv.conf && mount --bind hosts /etc/hosts && exec \"$0\" \"$@\"";
    command.current_dir(home.path());
    command.args(["--mount", "--", "sh", "-c", script]).arg(locum.get_program()).args(locum.get_args());
    Serve::of(home, &mut command)
}

/// Asks in cleartext, on a connection of its own, and reads all of the answer.
async fn ask(serve: &Serve, url: &str) -> String {
    ask_as(serve, url, "").await
}

/// As [`ask`], for the agent with this token.
async fn ask_as(serve: &Serve, url: &str, token: &str) -> String {
    let mut stream = TcpStream::connect(serve.address).await.expect("a connection");
    let authority = url.split('/').nth(2).expect("an authority");
    stream.write_all(request(url, authority, token).as_bytes()).await.expect("a request");
    let mut answer = String::new();
    tokio::time::timeout(HANGS, stream.read_to_string(&mut answer)).await.expect("an answer").expect("an answer");
    answer
}

fn request(url: &str, authority: &str, token: &str) -> String {
    let token = if token.is_empty() { String::new() } else { format!("Proxy-Authorization: Bearer {token}\r\n") };
    format!("GET {url} HTTP/1.1\r\nHost: {authority}\r\n{token}Connection: close\r\n\r\n")
}

/// Says at which address of this machine it was asked, and closes.
async fn says_its_address() -> u16 {
    let listener = TcpListener::bind("0.0.0.0:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let ip = stream.local_addr().expect("an address").ip();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a head"));
            }
            let told = format!("at {ip}");
            let length = told.len();
            let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{told}");
            stream.write_all(answer.as_bytes()).await.expect("an answer");
        }
    });
    port
}

fn at(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 7, last)
}

/// One agent asks for thousands of names that nobody ever answers for, and the honest one for a few of them too. Keys are
/// read from a file, which takes a thread of those that names took once.
#[tokio::test]
async fn a_zone_that_never_answers_holds_up_nobody_else() {
    let Some(dns) = NameServer::start() else { return };
    dns.answers("alive.test", at(1), 60);
    let (upstream, port) = (Upstream::start(), says_its_address().await);
    let proxy = format!("connect_ports = [{}, {port}]", upstream.port());
    let key = format!("[key.tool]\nhosts = [\"{}\"]\nsource = \"file:key\"\n", upstream.authority());
    let home = Home::with(&proxy, &key);
    let file = home.path().join("key");
    std::fs::write(&file, TOOL_KEY).expect("a file");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    let [flood, honest] = ["flood", "honest"].map(|name| {
        let added = finish(&mut home.locum(&["agent", "add", name]));
        stdout(&added).trim().to_owned()
    });
    let serve = with_names(home, &dns.resolv_conf(), "127.0.0.1 localhost\n");
    let stream = tunnel(serve.address, &upstream.authority(), &honest).await.expect("a tunnel");
    let mut client = Client::over(stream, &serve.ca, &upstream.authority(), Http::One).await;
    let keyed = |client: &Client| {
        client.request("GET", "/").header("authorization", "Bearer <<tool_key>>").body(none()).expect("a request")
    };
    assert_eq!(client.ask(keyed(&client)).await.status, 200);
    let mut dead = JoinSet::new();
    for n in 0..3000 {
        let mut stream = TcpStream::connect(serve.address).await.expect("a connection");
        let (host, token) = (format!("n{n}.dead.test:{port}"), if n % 30 == 0 { &honest } else { &flood });
        let request = request(&format!("http://{host}/"), &host, token);
        stream.write_all(request.as_bytes()).await.expect("a request");
        dead.spawn(async move { stream.read_to_end(&mut Vec::new()).await });
    }
    dns.await_asked(".dead.test");
    assert_eq!(client.ask(keyed(&client)).await.status, 200);
    assert!(ask_as(&serve, &format!("http://alive.test:{port}/"), &honest).await.ends_with("at 127.0.7.1"));
    let threads = serve.memory("Threads");
    let ended = std::iter::from_fn(|| dead.try_join_next()).count();
    assert!(ended < 3000, "the others hang meanwhile");
    assert!(threads < 40, "{threads} threads");
}

/// Asked once for as long as it says, and again then.
#[tokio::test]
async fn an_address_is_used_for_as_long_as_dns_says() {
    let Some(dns) = NameServer::start() else { return };
    dns.answers("long.test", at(1), 3600);
    dns.answers("short.test", at(1), 1);
    dns.answers("no.test", at(1), 0);
    let port = says_its_address().await;
    let home = Home::with(&format!("connect_ports = [{port}]"), "");
    let serve = with_names(home, &dns.resolv_conf(), "");
    let url = |name: &str| format!("http://{name}:{port}/");
    for name in ["long.test", "short.test", "no.test", "long.test"] {
        assert!(ask(&serve, &url(name)).await.ends_with("at 127.0.7.1"), "{name}");
        dns.answers(name, at(2), 3600);
    }
    assert!(ask(&serve, &url("no.test")).await.ends_with("at 127.0.7.2"));
    while !ask(&serve, &url("short.test")).await.ends_with("at 127.0.7.2") {}
    assert!(ask(&serve, &url("long.test")).await.ends_with("at 127.0.7.1"));
    assert_eq!(dns.asked("long.test"), 1);
}

/// Networks come and go under a service, and one may have none when it starts. Names in `/etc/hosts` are asked of nobody.
#[tokio::test]
async fn how_the_system_is_set_up_for_names_is_followed() {
    let (Some(first), Some(second)) = (NameServer::start(), NameServer::start()) else { return };
    first.answers("api.test", at(1), 3600);
    first.answers("listed.test", at(1), 3600);
    second.answers("api.test", at(2), 3600);
    second.answers("api.corp.test", at(3), 3600);
    let port = says_its_address().await;
    let home = Home::with(&format!("connect_ports = [{port}]"), "");
    let serve = with_names(home, "no such thing\n", "127.0.7.9 listed.test\n");
    let url = |name: &str| format!("http://{name}:{port}/");
    assert!(ask(&serve, &url("listed.test")).await.ends_with("at 127.0.7.9"));
    let set = |text: &str| std::fs::write(serve.home.path().join("resolv.conf"), text).expect("a file");
    set(&first.resolv_conf());
    while !ask(&serve, &url("api.test")).await.ends_with("at 127.0.7.1") {}
    assert!(ask(&serve, &url("listed.test")).await.ends_with("at 127.0.7.9"));
    assert_eq!(first.asked("listed.test"), 0);
    set(&format!("{}search corp.test\n", second.resolv_conf()));
    while !ask(&serve, &url("api.test")).await.ends_with("at 127.0.7.2") {}
    assert!(ask(&serve, &url("api")).await.ends_with("at 127.0.7.3"));
    let unknown = ask(&serve, &url("nobody.test")).await;
    assert!(unknown.starts_with("HTTP/1.1 502 ") && unknown.contains("can't be resolved"), "{unknown}");
    std::fs::write(serve.home.path().join("hosts"), "127.0.7.8 listed.test\n").expect("a file");
    while !ask(&serve, &url("listed.test")).await.ends_with("at 127.0.7.8") {}
}

/// As many names have: a public address for all, and one that only those inside can use. Here the one that may be dialled is
/// of this machine, since no other can be reached.
#[tokio::test]
async fn an_address_that_may_not_be_dialled_is_left_out_of_a_name() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let port = says_its_address().await;
    let hosts = "127.0.7.1 half.test\n10.1.2.3 half.test\nfd00::7 half.test\n\
                 10.1.2.3 other.test\nfd00::7 other.test\n169.254.169.254 other.test\n\
                 fd00::7 first.test\n127.0.7.2 first.test\n";
    let home = Home::with(&format!("connect_ports = [{port}]"), "");
    let serve = with_names(home, "no such thing\n", hosts);
    let url = |name: &str| format!("http://{name}:{port}/");
    assert!(ask(&serve, &url("half.test")).await.ends_with("at 127.0.7.1"));
    assert!(ask(&serve, &url("first.test")).await.ends_with("at 127.0.7.2"));
    let refused = ask(&serve, &url("other.test")).await;
    assert!(refused.starts_with("HTTP/1.1 403 ") && refused.contains("locum-refused: address-refused"), "{refused}");
}
