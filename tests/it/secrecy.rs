//! The whole process, seen from outside while and after it spends a key: memory, core, /proc, everything it wrote.

use crate::support::client::{BOTH, full, none, tunnel};
use crate::support::locum::{finish, told};
use crate::support::scan::{Found, Scan};
use crate::support::{Client, HANGS, Home, Http, Serve, Upstream};
use base64::Engine as _;
use http::Request;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PLACEHOLDER: &str = "<<tool_key>>";
/// Of each kind of client at each kind of upstream: a thousand in all.
const REQUESTS: usize = 252;
/// Connections of a kind, side by side.
const CLIENTS: usize = 6;
const LAST: usize = REQUESTS / CLIENTS - 1;
/// Longer than a key may stay once nothing happens, and shorter than connections that never held one are kept.
const GONE: Duration = Duration::from_secs(30);

/// What no test has anywhere else, so that all that is found is of this one.
fn random(length: usize) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).expect("random numbers");
    bytes.iter().map(|b| char::from(LETTERS[usize::from(b % 32)])).collect()
}

/// The key in a header, in `Authorization: Basic`, as a value in a body: in turn.
fn spending(client: &Client, number: usize) -> Request<crate::support::client::Sent> {
    // now and then, and in the end, the upstream says the key back
    let path = if number % 5 == LAST % 5 { "/echo" } else { "/upload" };
    let request = client.request("POST", path);
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("user:{PLACEHOLDER}"));
    let request = match number % 4 {
        0 => request.header("authorization", format!("Bearer {PLACEHOLDER}")).body(none()),
        1 => request.header("x-api-key", PLACEHOLDER).body(none()),
        2 => request.header("authorization", format!("Basic {basic}")).body(none()),
        _ => request.header("content-type", "application/json").body(full(format!("{{\"key\": \"{PLACEHOLDER}\"}}"))),
    };
    request.expect("a request")
}

async fn spend(serve: &Serve, upstream: &Upstream, http: Http) -> Vec<Client> {
    let clients = (0..CLIENTS).map(async |_| {
        let mut client = serve.client(upstream, http).await;
        for number in 0..=LAST {
            let request = spending(&client, number);
            assert_eq!(client.ask(request).await.status, 200);
        }
        client
    });
    futures_in_turn(clients).await
}

/// All of them at once, in this task.
async fn futures_in_turn<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = futures.map(|f| (Box::pin(f), None)).collect();
    std::future::poll_fn(|cx| {
        for (future, done) in all.iter_mut().filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(value) = future.as_mut().poll(cx) {
                *done = Some(value);
            }
        }
        if all.iter().all(|(_, done)| done.is_some()) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    all.into_iter().filter_map(|(_, done)| done).collect()
}

/// Scans until nothing is found.
async fn await_gone(scan: &Scan, pid: u32) {
    let until = Instant::now() + GONE;
    loop {
        let found = scan.memory(pid);
        if found.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "it stays in memory: {found:?}\n{}", scan.places(pid));
        tokio::task::yield_now().await;
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[tokio::test]
async fn after_a_thousand_requests_no_copy_of_the_key_is_left() {
    if !is_root() {
        eprintln!("skipped: only root may read the memory of a process that is closed to its own user");
        return;
    }
    let key = random(44);
    let scan = Scan::of(&key);
    let upstreams = [Upstream::speaking(&["http/1.1"]), Upstream::speaking(&["h2"])];
    let hosts: Vec<String> = upstreams.iter().map(|u| format!("\"{}\"", u.authority())).collect();
    let home = Home::with("", &format!("[key.tool]\nhosts = [{}]\n", hosts.join(", ")));
    let serve = home.set("TOOL_API_KEY", &key).serve();
    let mut clients = Vec::new();
    for upstream in &upstreams {
        for http in BOTH {
            // connections stay open, as those of agents do
            clients.push(spend(&serve, upstream, http).await);
        }
    }
    // a connection that no key came back on, and that is kept
    let kept = spending(&clients[0][0], 0);
    assert_eq!(clients[0][0].ask(kept).await.status, 200);
    let kept = upstreams[0].seen().last().expect("a request").connection;
    let seen: usize = upstreams.iter().map(|u| u.seen().len()).sum();
    assert!(seen >= 1000, "{seen}");
    await_gone(&scan, serve.pid()).await;

    // it was not given up for that
    assert_eq!(clients[0][0].get("/upload").await.status, 200);
    assert_eq!(upstreams[0].seen().last().expect("one more").connection, kept);

    await_gone(&scan, serve.pid()).await;
    assert_eq!(core_of(&serve, &scan), Found::new(), "in a core dump");
    let environ = std::fs::read(format!("/proc/{}/environ", serve.pid())).expect("its environment");
    assert_eq!(scan.bytes(&environ), Found::new());
    assert_eq!(scan.bytes(serve.said().as_bytes()), Found::new(), "in what it said");
    drop(clients);
    let home = serve.drained().await;
    assert_eq!(scan.files(home.path()), []);
    assert!(!home.audit().is_empty());
}

/// The same scan finds a key that is in use, and what no one hides, in each form: else it would prove nothing.
#[tokio::test]
async fn the_scan_finds_a_key_in_use_and_what_is_not_hidden() {
    if !is_root() {
        eprintln!("skipped: only root may read the memory of a process that is closed to its own user");
        return;
    }
    let (key, marker) = (random(44), random(44));
    let (scan, shown) = (Scan::of(&key), Scan::of(&marker));
    let upstream = Upstream::speaking(&["h2"]);
    let home = Home::with("", &format!("[key.tool]\nhosts = [\"{}\"]\n", upstream.authority()));
    let serve = home.set("TOOL_API_KEY", &key).serve();
    let mut client = serve.client(&upstream, Http::Two).await;
    let (gate, feed) = upstream.hold("/held", http::Response::builder());
    let request = client.request("GET", "/held").header("x-api-key", PLACEHOLDER).header("x-marker", &marker);
    let answer = client.begin(request.body(none()).expect("a request")).await;
    let begun = tokio::task::spawn_blocking(move || (upstream.await_begun(1), upstream).1);
    let _upstream = begun.await.expect("a request under way");
    let found = shown.memory(serve.pid());
    assert!(found.contains_key("plain") && found.contains_key("HPACK"), "{found:?}");
    let found = scan.memory(serve.pid());
    assert!(found.contains_key("plain") && found.contains_key("HPACK"), "{found:?}");
    drop((gate, feed));
    assert_eq!(answer.await.expect("an answer").status(), 200);
    await_gone(&scan, serve.pid()).await;
}

/// As the user that locum runs as, who is no other than the one that runs the tests where that is not root.
fn as_user(home: &Home, program: &str) -> Command {
    if !is_root() {
        return home.command(program);
    }
    let mut command = home.command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--", program]);
    command
}

/// Gives all of a home to the user of [`as_user`], with a program that this user can reach.
fn hand_over(home: &Home) -> String {
    let program = home.path().join("locum");
    std::fs::copy(env!("CARGO_BIN_EXE_locum"), &program).expect("a copy of the program");
    if is_root() {
        let output = finish(home.command("chown").args(["-R", "65534:65534"]).arg(home.path()));
        assert!(output.status.success(), "{}", told(&output));
    }
    program.to_string_lossy().into_owned()
}

#[test]
fn a_process_of_the_same_user_sees_neither_its_memory_nor_its_environment() {
    let key = random(44);
    let home = Home::with("", "[key.tool]\nhosts = [\"api.tool.example\"]\n").set("TOOL_API_KEY", &key);
    let program = hand_over(&home);
    let mut command = as_user(&home, &program);
    command.arg("--config").arg(home.config()).arg("--state").arg(home.state()).arg("serve");
    let serve = Serve::of(home, &mut command);
    // another program of that user is open to it: so it is not the tests that are shut out
    let mut open = as_user(&serve.home, "sleep").arg("600").spawn().expect("a program");
    let read = |pid: u32, file: &str| {
        finish(as_user(&serve.home, "head").args(["-c", "1", &format!("/proc/{pid}/{file}")])).status.success()
    };
    let until = Instant::now() + HANGS;
    while !read(open.id(), "environ") {
        assert!(Instant::now() < until, "nobody's environment can be read");
    }
    for file in ["environ", "mem", "maps", "auxv", "stack"] {
        assert!(!read(serve.pid(), file), "{file}");
    }
    let attach = |pid: u32| {
        let args = ["-nx", "-batch", "-ex", "info proc", "-p", &pid.to_string()].map(str::to_owned);
        told(&finish(as_user(&serve.home, "gdb").args(args)))
    };
    let refused = |said: &str| said.contains("ptrace: Operation not permitted");
    let said = attach(serve.pid());
    assert!(refused(&said), "{said}");
    // where the system lets no one attach to anything, this is no proof of ours
    let said = attach(open.id());
    assert!(!refused(&said) || Path::new("/proc/sys/kernel/yama/ptrace_scope").exists(), "{said}");
    assert!(!serve.said().contains(&key));
    open.kill().expect("its end");
    open.wait().expect("its end");
}

/// What is found in a core dump, made as a debugger makes it.
fn core_of(serve: &Serve, scan: &Scan) -> Found {
    let folder = tempfile::tempdir().expect("a folder");
    let output = finish(Command::new("gcore").arg("-o").arg(folder.path().join("core")).arg(serve.pid().to_string()));
    let core = folder.path().join(format!("core.{}", serve.pid()));
    assert!(output.status.success() && core.exists(), "{}", told(&output));
    scan.bytes(&std::fs::read(core).expect("a core dump"))
}

/// A key that changes while the service runs: the new value is used, nothing more goes where the old one went, and the old
/// one is hidden all the same.
#[tokio::test]
async fn a_rotated_key_is_in_use_without_a_restart_and_the_old_one_stays_hidden() {
    for alpn in [&["http/1.1"][..], &["h2"]] {
        let upstream = Upstream::speaking(if alpn == ["h2"] { &["h2"] } else { &["http/1.1"] });
        let (old, new) = (random(44), random(44));
        let home = Home::with("", "").set("TOOL_API_KEY", "");
        let told_key = |home: &Home, args: &[&str], value: &str| {
            let mut child = home.locum(args).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("locum");
            child.stdin.take().expect("a pipe").write_all(value.as_bytes()).expect("its input");
            assert!(child.wait().expect("its end").success(), "{args:?}");
        };
        let set = ["key", "set", "tool", "--stdin", "--store", "machine", "--host", &upstream.authority()];
        told_key(&home, &set, &old);
        let serve = home.serve();
        let mut client = serve.client(&upstream, Http::One).await;
        let request = |client: &Client, path: &str| {
            client.request("GET", path).header("x-api-key", PLACEHOLDER).body(none()).expect("a request")
        };
        // one exchange is under way, with the old key
        let mut slow = serve.client(&upstream, Http::Two).await;
        let (gate, feed) = upstream.hold("/slow", http::Response::builder().header("x-old", &old));
        let slow_request = request(&slow, "/slow");
        let answer = slow.begin(slow_request).await;
        assert_eq!(client.ask(request(&client, "/")).await.status, 200);
        let first = upstream.await_seen(2);
        assert!(first.iter().all(|seen| seen.header("x-api-key").as_deref() == Some(&old)));

        told_key(&serve.home, &["key", "rotate", "tool", "--stdin"], &new);
        let until = Instant::now() + HANGS;
        let after = loop {
            assert_eq!(client.ask(request(&client, "/")).await.status, 200);
            let last = upstream.seen().pop().expect("a request");
            // the keeper of connections looks at its keys once a second
            if last.header("x-api-key").as_deref() == Some(&new)
                && first.iter().all(|f| f.connection != last.connection)
            {
                break last;
            }
            assert!(Instant::now() < until, "it goes on as before: {last:?}");
        };
        assert_eq!(after.header("x-api-key").as_deref(), Some(&*new));
        // the one that was under way ends as it began, and what it says of the old key is hidden
        drop((gate, feed));
        let answer = crate::support::client::whole(answer.await.expect("an answer")).await.expect("its end");
        assert_eq!((answer.status.as_u16(), answer.header("x-old")), (200, Some(PLACEHOLDER)));
        // and so is the old one in an answer to a request with the new one
        let feed = upstream.on("/old", http::Response::builder().header("x-old", &old));
        feed.send(format!("it was {old}"));
        drop(feed);
        let answer = client.ask(request(&client, "/old")).await;
        assert_eq!(answer.header("x-old"), Some(PLACEHOLDER));
        assert_eq!(answer.text(), format!("it was {PLACEHOLDER}"));
        drop((client, slow));
        serve.drained().await.verify();
    }
}

/// `run` takes its keys out of its own environment, and holds no other copy while its child runs.
#[test]
fn while_a_child_runs_nothing_but_sealed_memory_holds_its_keys() {
    if !is_root() {
        eprintln!("skipped: only root may read the memory of a process that is closed to its own user");
        return;
    }
    let (key, password) = (random(44), random(44));
    let home = Home::with("", "[key.tool]\nhosts = [\"api.tool.example\"]\n");
    let home = home.set("TOOL_API_KEY", &key).set("LOCUM_MASTER_PASSWORD", &password);
    let home = home.set("COPY", &key).set("AUTH", &format!("Bearer {key}"));
    let mut command = home.locum(&["run", "--", "sh", "-c", "echo up; read _ || true"]);
    let mut run = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("locum");
    let mut up = String::new();
    BufReader::new(run.stdout.as_mut().expect("a pipe")).read_line(&mut up).expect("its child");
    assert_eq!(up, "up\n");
    for secret in [&key, &password] {
        assert_eq!(Scan::of(secret).memory(run.id()), Found::new());
    }
    drop(run.stdin.take());
    assert!(run.wait().expect("its end").success());
}

/// After a wipe nobody is let in who wasn't before, and nothing passes that could show a key that was wiped.
#[tokio::test]
async fn a_wipe_opens_nothing() {
    let upstream = Upstream::start();
    let token = random(40);
    let serve = Home::bound(&[&upstream]).set("LOCUM_PROXY_TOKEN", &token).serve();
    let mut client = Client::over(
        tunnel(serve.address, &upstream.authority(), &token).await.expect("a tunnel"),
        &serve.ca,
        &upstream.authority(),
        Http::One,
    )
    .await;
    assert_eq!(client.get("/").await.status, 200);
    serve.signal(rustix::process::Signal::USR2);
    serve.await_said(|said| said.contains("wiped"));
    let answer = client.get("/").await;
    assert_eq!((answer.status.as_u16(), answer.header("locum-refused")), (503, Some("key-unavailable")));
    serve.signal(rustix::process::Signal::HUP);
    serve.await_said(|said| said.contains("reloaded"));
    let refused = tunnel(serve.address, &upstream.authority(), "").await.unwrap_err().to_string();
    assert!(refused.contains("407"), "{refused}");
    assert!(tunnel(serve.address, &upstream.authority(), &token).await.is_ok());
    assert_eq!(upstream.begun(), 1);
    serve.drained().await.verify();
}

/// An exchange that was under way when the keys changed ends as it began, and nothing else goes over its connection.
#[tokio::test]
async fn a_connection_that_was_in_use_when_keys_changed_serves_no_more() {
    let upstream = Upstream::speaking(&["http/1.1"]);
    let serve = Home::bound(&[&upstream]).serve();
    let mut client = serve.client(&upstream, Http::Two).await;
    let (gate, feed) = upstream.hold("/slow", http::Response::builder());
    let slow = client.request("GET", "/slow").header("x-api-key", PLACEHOLDER).body(none()).expect("a request");
    let answer = client.begin(slow).await;
    let begun = tokio::task::spawn_blocking(move || {
        upstream.await_begun(1);
        upstream
    });
    let upstream = begun.await.expect("the upstream");
    serve.signal(rustix::process::Signal::HUP);
    serve.await_said(|line| line == "locum: reloaded");
    feed.send("as it began");
    drop((gate, feed));
    let answer = crate::support::client::whole(answer.await.expect("an answer")).await.expect("its end");
    assert_eq!(answer.text(), "as it began");
    for _ in 0..3 {
        assert_eq!(client.get("/").await.status, 200);
    }
    let connections: Vec<usize> = upstream.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0, 1, 1, 1]);
}
