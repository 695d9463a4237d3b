//! Clients without a single variable, which are not told of the proxy: each is led to it, trusts it, and has its key put in.

use super::setting::{PYTHON, User};
use crate::support::exit::Exit;
use crate::support::locum::{TOOL_KEY, finish, of, stdout, told};
use crate::support::{Home, Upstream};
use std::io::{Read as _, Write as _};
use std::process::Command;

const URL: &str = "https://api.tool.example";

fn is_there(program: &str) -> bool {
    finish(Command::new("sh").args(["-c", &format!("command -v {program}")])).status.success()
}

/// What each program's request was, and what it got, is looked at on both sides.
#[test]
fn clients_that_know_of_no_proxy_go_through_it() {
    let user = User::new();
    let java = user.home.path().join("Get.java");
    std::fs::write(
        &java,
        format!(
            "public class Get {{ public static void main(String[] a) throws Exception {{ \
             var c = new java.net.URL(\"{URL}/java\").openConnection(); \
             c.setRequestProperty(\"x-api-key\", \"<<tool_key>>\"); c.getInputStream().readAllBytes(); }} }}"
        ),
    )
    .unwrap();
    let go = format!(
        r#"package main
import "net/http"
func main() {{
    r, _ := http.NewRequest("GET", "{URL}/go", nil)
    r.Header.Set("x-api-key", "<<tool_key>>")
    if _, e := http.DefaultClient.Do(r); e != nil {{ panic(e) }}
}}
"#
    );
    std::fs::write(user.home.path().join("get.go"), go).unwrap();
    let mut clients = vec![
        ("curl", format!("curl -q -sSf -o /dev/null -H 'x-api-key: <<tool_key>>' {URL}/curl")),
        ("curl", format!("curl -q -sSf -4 --http1.1 -o /dev/null -H 'x-api-key: <<tool_key>>' {URL}/curl-4")),
        ("curl", format!("curl -q -sSf -6 -o /dev/null -H 'x-api-key: <<tool_key>>' {URL}/curl-6")),
        ("wget", format!("wget --no-config -q -O /dev/null --header 'x-api-key: <<tool_key>>' {URL}/wget")),
        (
            "python3",
            format!(
                "{PYTHON} -c \"import urllib.request as r; r.urlopen(r.Request('{URL}/python', \
                 headers={{'x-api-key': '<<tool_key>>'}})).read()\""
            ),
        ),
        ("java", format!("java {}", java.display())),
        ("go", format!("cd {} && HOME=$PWD CGO_ENABLED=0 go build -o got get.go && ./got", user.home.path().display())),
        ("git", format!("git -c http.extraHeader='x-api-key: <<tool_key>>' ls-remote {URL}/git >/dev/null 2>&1; true")),
    ];
    clients.retain(|(program, _)| is_there(program));
    assert!(clients.iter().any(|(program, _)| *program == "curl"));
    user.own(user.home.path());
    for (program, script) in &clients {
        let before = user.upstream.seen().len();
        let output = user.bare(script);
        assert!(output.status.success(), "{program}: {}", told(&output));
        let seen = user.upstream.await_seen(before + 1);
        let key = seen.last().and_then(|seen| seen.header("x-api-key"));
        assert_eq!(key.as_deref(), Some(TOOL_KEY), "{program}: {}", told(&output));
    }
    let records = user.home.audit();
    assert!(of(&records, "substitution").len() >= clients.len());
}

/// Node brings its own roots, and is told of ours by the one variable that it has.
#[test]
fn node_needs_no_more_than_its_roots() {
    let upstream = Upstream::start();
    let exit = Exit::to([("api.tool.example:443", upstream.address)]);
    let proxy = format!("upstream_proxy = \"http://{}\"\n", exit.address);
    let home = Home::with(&proxy, "[key.tool]\nhosts = [\"api.tool.example\"]\n");
    let script = format!(
        "unset HTTPS_PROXY https_proxy NODE_OPTIONS NODE_USE_ENV_PROXY; \
         node -e \"fetch('{URL}/node', {{headers: {{'x-api-key': '<<tool_key>>'}}}}).then(r => r.text())\""
    );
    let mut run = home.locum(&["run", "--confine=require", "--", "sh", "-c", &script]);
    let output = finish(&mut run);
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(upstream.await_seen(1)[0].header("x-api-key").as_deref(), Some(TOOL_KEY), "{}", told(&output));
}

/// What takes its roots from the system's bundle alone, and no credentials.
#[test]
fn apt_needs_no_settings() {
    const HELPER: &str = "/usr/lib/apt/apt-helper";
    if !is_there(HELPER) {
        return;
    }
    let user = User::new();
    let output = user.bare(&format!("{HELPER} download-file {URL}/apt {}", user.home.path().join("got").display()));
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(user.upstream.await_seen(1)[0].target, "/apt");
}

/// What isn't allowed is refused as everywhere, and told.
#[test]
fn the_same_policy_holds_for_who_is_led_there() {
    let user = User::with("deny = [\"denied.example\"]\n", "");
    let output = user.bare(
        "curl -q -sS -o /dev/null -w '%{http_code} ' https://denied.example/; \
         curl -q -sS -o /dev/null -w '%{http_code} ' -H 'x: <<tool_key>>' https://other.example/; \
         curl -q -sSk -o /dev/null -w '%{http_code}' https://10.1.2.3/",
    );
    assert_eq!(stdout(&output), "403 403 403", "{}", told(&output));
    let reasons: Vec<String> = of(&user.home.audit(), "refusal").iter().map(|r| r["reason"].to_string()).collect();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    // SSH speaks on another port, where nothing is allowed; it is over at once, and on record
    let output = user.bare("timeout 20 sh -c 'exec 3<>/dev/tcp/host.example/22' 2>&1 || timeout 20 bash -c 'exec 3<>/dev/tcp/host.example/22; cat <&3'");
    assert!(output.status.code().is_some_and(|code| code != 124), "{}", told(&output));
}

/// Its own servers are its own; one of this machine is there where it is listed as one that may be reached.
#[test]
fn services_on_loopback_are_its_own_but_for_those_that_are_listed() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 1024];
            let _ = stream.read(&mut head);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\noutside");
        }
    });
    let ask = format!("curl -q -sS http://127.0.0.1:{port}/");
    let listed =
        User::with(&format!("private_addresses = [\"127.0.0.1:{port}\"]\nconnect_ports = [443, {port}]\n"), "");
    assert_eq!(stdout(&listed.bare(&ask)), "outside");
    let user = User::new();
    let output = user.bare(&ask);
    assert_eq!((stdout(&output).as_str(), output.status.code()), ("", Some(7)), "{}", told(&output));
    let own = format!(
        "{PYTHON} -c '
import http.server, threading, urllib.request
class Own(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b\"own\")
    def log_message(self, *_): pass
server = http.server.HTTPServer((\"localhost\", 0), Own)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(urllib.request.urlopen(\"http://localhost:%d/\" % server.server_port).read().decode())
'"
    );
    assert_eq!(stdout(&user.bare(&own)), "own\n");
    let output = user.confined(&["--confine=require"], &["sh", "-c", &own]);
    assert_eq!(stdout(&output), "own\n", "with the variables: {}", told(&output));
}
