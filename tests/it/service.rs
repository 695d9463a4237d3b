//! A running service under control: each command over the control socket, who may give them, and what the socket bears.

use crate::support::client::none;
use crate::support::locum::{TOOL_KEY, finish, stderr, stdout, told};
use crate::support::{HANGS, Home, Http, Serve, Upstream};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a peer that says nothing is borne.
const PATIENCE: Duration = Duration::from_secs(30);

fn socket(serve: &Serve) -> PathBuf {
    serve.home.state().join("control.sock")
}

/// A connection to the control socket.
struct Control(BufReader<UnixStream>);

impl Control {
    fn of(serve: &Serve) -> Self {
        Self::at(&socket(serve))
    }

    fn at(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("a connection");
        stream.set_read_timeout(Some(HANGS)).expect("a timeout");
        Self(BufReader::new(stream))
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).expect("a line");
    }

    /// `None` once it is closed.
    fn read(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("an answer");
        (!line.is_empty()).then(|| serde_json::from_str(&line).expect("a line of JSON"))
    }

    fn ask(&mut self, command: &Value) -> Value {
        self.write(format!("{command}\n").as_bytes());
        self.read().expect("an answer")
    }

    fn command(&mut self, command: &str) -> Value {
        self.ask(&json!({ "command": command }))
    }
}

/// A home whose config binds `<<tool_key>>` to the upstream and takes it from a file, with that config.
fn with_key_in_a_file(upstream: &Upstream) -> (Home, String) {
    let home = Home::with("", "");
    let unbound = std::fs::read_to_string(home.config()).unwrap();
    let bound = format!("{unbound}[key.tool]\nhosts = [\"{}\"]\nsource = \"file:tool.key\"\n", upstream.authority());
    home.write_config(&bound);
    let file = home.path().join("tool.key");
    std::fs::write(&file, TOOL_KEY).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    (home, bound)
}

/// The example of the README, and each command of its table.
#[test]
fn what_the_readme_types_is_answered() {
    let readme = include_str!("../../README.md");
    let serve = Home::with("", "").serve();
    let blocks: Vec<&str> = readme.split("```").filter(|block| block.contains("control.sock")).collect();
    let example = blocks.iter().find_map(|block| block.strip_prefix("sh\n")).expect("an example");
    let example = example.replace("~/.local/state/locum", &serve.home.state().to_string_lossy());
    let output = finish(serve.home.command("sh").args(["-c", &example]));
    let status: Value = serde_json::from_str(&stdout(&output)).unwrap_or_else(|e| panic!("{e}: {}", told(&output)));
    assert_eq!(status["pid"], serve.pid());

    let commands = readme.lines().filter_map(|line| line.strip_prefix("| `{\"command\":")?.split('`').next());
    let commands: Vec<String> = commands.map(|rest| format!("{{\"command\":{rest}")).collect();
    assert_eq!(commands.len(), 5, "{commands:?}");
    let mut control = Control::of(&serve);
    for command in commands {
        control.write(format!("{command}\n").as_bytes());
        let answer = control.read().expect("an answer");
        assert!(answer.get("error").is_none(), "{command}: {answer}");
    }
}

#[tokio::test]
async fn a_service_is_reloaded_and_wiped_over_its_socket() {
    let upstream = Upstream::start();
    let (home, bound) = with_key_in_a_file(&upstream);
    let serve = home.serve();
    let mut control = Control::of(&serve);
    let mut client = serve.client(&upstream, Http::One).await;
    let mut status = async || {
        let request = client.request("GET", "/").header("authorization", "Bearer <<tool_key>>");
        client.ask(request.body(none()).unwrap()).await.status.as_u16()
    };
    assert_eq!(status().await, 200);
    assert_eq!(control.command("wipe"), json!({ "wiped": true }));
    assert_eq!(status().await, 503);
    assert_eq!(control.command("reload"), json!({ "reloaded": true }));
    assert_eq!(status().await, 200);
    // a config that is wrong changes nothing
    serve.home.write_config(&format!("{bound}nonsense"));
    let refused = control.command("reload");
    assert!(refused["error"].as_str().is_some_and(|e| e.starts_with("the config has 1 mistake")), "{refused}");
    assert_eq!(refused["hint"], "'locum check' tells when it is right");
    assert_eq!(status().await, 200);
    // whoever reads its log is told too
    for line in ["locum: all keys are wiped", "locum: reloaded", "locum: not reloaded, all is as it was"] {
        serve.await_said(|said| said.starts_with(line));
    }
    let told = control.command("status");
    assert_eq!(told["counts"], json!({ "substitutions": 3, "refusals": 1, "scrubs": 3 }), "{told}");
}

#[test]
fn the_status_says_what_runs_and_shows_no_key() {
    let upstream = Upstream::start();
    let serve = Home::bound(&[&upstream]).serve();
    let status = Control::of(&serve).command("status");
    for (member, value) in [
        ("/version", json!(env!("CARGO_PKG_VERSION"))),
        ("/pid", json!(serve.pid())),
        ("/phase", json!("serving")),
        ("/listen", json!(serve.address.to_string())),
        ("/config", json!(serve.home.config())),
        ("/state", json!(serve.home.state())),
        ("/agents", json!({ "named": 0, "token_needed": false })),
        ("/keys/count", json!(2)),
        ("/ca/kept_in", Value::Null),
        ("/ca/next", Value::Null),
        ("/audit/writable", json!(true)),
        ("/audit/error", Value::Null),
    ] {
        assert_eq!(status.pointer(member), Some(&value), "{member}: {status}");
    }
    let names = status["keys"]["names"].as_array().expect("names");
    assert!(names.contains(&json!("tool")) && names.contains(&json!("openai")), "{status}");
    for time in ["/since", "/ca/expires"] {
        let time = status.pointer(time).and_then(Value::as_str).expect("a time");
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    }
    let fingerprint = status["ca"]["fingerprint_sha256"].as_str().expect("a fingerprint");
    assert_eq!(fingerprint.len(), 32 * 3 - 1, "{fingerprint}");
    assert!(status["audit"]["file"].as_str().is_some_and(|file| Path::new(file).is_file()), "{status}");
    assert!(!status.to_string().contains(TOOL_KEY));
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked_at_once() {
    let upstream = Upstream::start();
    let serve = Home::bound(&[&upstream]).serve();
    let mut control = Control::of(&serve);
    let status = |token: &str| {
        let user = format!("researcher:{token}");
        let sent = ["--proxy-user", &user, "-o", "answer", "-w", "%{http_connect}", &upstream.url("/")];
        stdout(&serve.curl(&sent))
    };
    assert_eq!(control.command("token"), json!({ "tokens": [] }));
    let add = json!({ "command": "token", "action": "add", "agent": "researcher", "keys": ["tool"],
                      "expires": "2999-01-01T00:00:00Z" });
    let made = control.ask(&add);
    let token = made["token"].as_str().expect("a token").to_owned();
    assert_eq!((&made["agent"], &made["replaced"]), (&json!("researcher"), &json!(false)), "{made}");
    assert_eq!((status(&token), status("another")), ("200".into(), "407".into()));
    let listed = control.command("token");
    let listed = &listed["tokens"][0];
    assert_eq!(
        (&listed["agent"], &listed["keys"], &listed["expires"], &listed["origin"]),
        (&json!("researcher"), &json!(["tool"]), &json!("2999-01-01T00:00:00Z"), &json!("agent add"))
    );
    assert!(!listed.to_string().contains(&token), "{listed}");
    // as `locum agent list` has it
    let rows = stdout(&finish(&mut serve.home.locum(&["agent", "list", "--json"])));
    let rows: Value = serde_json::from_str(&rows).expect("JSON");
    assert_eq!((&rows[0]["name"], &rows[0]["keys"]), (&json!("researcher"), &json!("tool")));

    let unknown = json!({ "command": "token", "action": "add", "agent": "researcher", "keys": ["nope"] });
    assert_eq!(
        control.ask(&unknown),
        json!({ "error": "there is no key 'nope'", "hint": "'locum check' lists those there are" })
    );
    let revoke = json!({ "command": "token", "action": "revoke", "agent": "researcher" });
    assert_eq!(control.ask(&revoke), json!({ "agent": "researcher", "revoked": true }));
    assert_eq!(status(&token), "407");
    assert_eq!(
        control.ask(&revoke),
        json!({ "error": "no token was made for researcher", "hint": "'locum agent list' shows those that have one" })
    );
}

/// A second service in the same folder finds the path free as soon as the first drains.
#[tokio::test]
async fn stop_drains_and_told_again_it_cuts() {
    for again in [false, true] {
        let upstream = Upstream::start();
        let feed = upstream.on("/endless", http::Response::builder());
        let serve = Home::bound(&[&upstream]).serve();
        let mut control = Control::of(&serve);
        let mut client = serve.client(&upstream, Http::One).await;
        let request = client.request("GET", "/endless").body(none()).unwrap();
        let response = client.send(request).await.unwrap();
        assert_eq!(control.command("stop"), json!({ "stopping": true }));
        serve.await_said(|line| line.starts_with("locum: draining"));
        let until = Instant::now() + HANGS;
        while socket(&serve).exists() {
            assert!(Instant::now() < until, "the socket stays");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(control.command("status")["phase"], "draining");
        assert_eq!(control.command("reload")["error"], "the service is stopping");
        if again {
            assert_eq!(control.command("stop"), json!({ "stopping": true }));
            serve.await_said(|line| line == "locum: stopping at once");
            assert!(crate::support::client::whole(response).await.is_err());
        } else {
            feed.send("hello!");
            drop(feed);
            assert_eq!(crate::support::client::whole(response).await.expect("all of it").text(), "hello!");
        }
        drop(client);
        let closed = tokio::task::spawn_blocking(move || control.read()).await.expect("an end");
        assert_eq!(closed, None, "it is open until the service has ended");
        serve.drained().await.verify();
    }
}

#[test]
fn nobody_but_its_user_may_open_it_and_run_has_none() {
    let serve = Home::with("", "").serve();
    let found = std::fs::symlink_metadata(socket(&serve)).expect("a socket");
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o7777, 0o600);
    let home = serve.stop();
    assert!(!home.state().join("control.sock").exists(), "it is removed");
    let output = home.run(&["ls", "state"]);
    assert!(output.status.success() && !stdout(&output).contains("control.sock"), "{}", told(&output));
}

/// The mode keeps others out; whoever comes in all the same is asked by the kernel who he is.
#[test]
fn another_user_is_refused_and_told_of() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let serve = Home::with("", "").serve();
    let ask = r#"$s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "$!\n"; print scalar <$s>"#;
    let as_stranger = || {
        let mut command = serve.home.command("setpriv");
        command.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--",
            "/usr/bin/perl",
            "-MIO::Socket::UNIX",
            "-e",
            ask,
        ]);
        finish(command.arg(socket(&serve)))
    };
    let refused = as_stranger();
    assert!(!refused.status.success() && stderr(&refused).contains("Permission denied"), "{}", told(&refused));
    for (path, mode) in [(serve.home.path(), 0o755), (&serve.home.state(), 0o755), (&socket(&serve), 0o666)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
    }
    let refused = as_stranger();
    let line: Value =
        serde_json::from_str(stdout(&refused).trim()).unwrap_or_else(|e| panic!("{e}: {}", told(&refused)));
    assert_eq!(
        line,
        json!({
            "error": "only uid 0 may control this service, and root; this is a program of uid 65534",
            "hint": "run it as the user that runs the service",
        })
    );
    serve.await_said(|line| line.contains("a program of uid 65534 tried to control this service"));
}

#[test]
fn a_socket_that_was_left_is_replaced_and_a_file_is_not() {
    let serve = Home::with("", "").serve();
    let path = socket(&serve);
    let home = serve.kill();
    assert!(path.exists() && UnixStream::connect(&path).is_err());
    let serve = home.serve();
    assert_eq!(Control::of(&serve).command("status")["pid"], serve.pid());
    let home = serve.stop();
    std::fs::write(&path, "mine").expect("a file");
    let serve = home.serve();
    let warning = serve.await_said(|line| line.starts_with("locum: warning") && line.contains("control.sock"));
    assert!(warning.contains("it is there, and no socket"), "{warning}");
    serve.stop();
    assert!(!path.exists() || std::fs::read_to_string(&path).expect("the file") == "mine");
}

#[test]
fn of_two_services_the_second_goes_on_by_signals_alone() {
    let first = Home::with("", "").serve();
    let home = Home::with("", "");
    let mut command = home.command(env!("CARGO_BIN_EXE_locum"));
    command.arg("--config").arg(home.config()).arg("--state").arg(first.home.state()).arg("serve");
    let second = Serve::of(home, &mut command);
    let warning = second.await_said(|line| line.starts_with("locum: warning") && line.contains("control.sock"));
    let whose = format!("belongs to another service that runs (process {})", first.pid());
    assert!(warning.contains(&whose), "{warning}");
    assert_eq!(Control::of(&first).command("status")["pid"], first.pid());
    second.signal(rustix::process::Signal::HUP);
    second.await_said(|line| line == "locum: reloaded");
    second.stop();
    assert_eq!(Control::of(&first).command("status")["pid"], first.pid(), "it was the first one's");
}

#[test]
fn what_is_no_command_is_answered_and_nothing_stops_for_it() {
    let serve = Home::with("", "").serve();
    let mut control = Control::of(&serve);
    for line in [&b"\n"[..], b"status\n", b"\0\xff\xfe\n", b"{\"command\":\"status\"\n", b"[[[[[[[[\n", b"{}\n"] {
        control.write(line);
        let answer = control.read().expect("an answer");
        assert!(answer["error"].as_str().is_some_and(|e| e.starts_with("this is no command")), "{answer}");
        assert!(answer["hint"].is_string(), "{answer}");
    }
    let unknown = control.command("dance");
    assert_eq!(unknown["error"], "there is no command 'dance'");
    assert_eq!(control.command("status")["phase"], "serving");
    // the last line of a file needs no end
    control.write(br#"{"command":"token"}"#);
    control.0.get_ref().shutdown(std::net::Shutdown::Write).expect("an end");
    assert_eq!(control.read(), Some(json!({ "tokens": [] })));
    assert_eq!(control.read(), None);

    let mut control = Control::of(&serve);
    let blank = format!("{}\n", " ".repeat(60 * 1024));
    control.write(format!("{{\"command\":\"token\"{blank}").trim_end_matches('\n').as_bytes());
    control.write(b"}\n");
    assert_eq!(control.read(), Some(json!({ "tokens": [] })), "a line of 60 KiB");
    control.write(&[b' '; 64 * 1024]);
    assert_eq!(control.read().expect("an answer")["error"], "the line is over 64 KiB");
    let mut rest = Vec::new();
    let _ = control.0.read_to_end(&mut rest);
    assert_eq!(rest, b"");
    assert_eq!(Control::of(&serve).command("status")["phase"], "serving");
}

#[test]
fn connections_are_bounded_and_who_is_slow_is_cut() {
    let serve = Home::with("", "").serve();
    let began = Instant::now();
    let mut slow: Vec<Control> = (0..8).map(|_| Control::of(&serve)).collect();
    // each has its place once it was answered
    for control in &mut slow {
        assert_eq!(control.command("token"), json!({ "tokens": [] }));
    }
    let mut ninth = Control::of(&serve);
    assert_eq!(ninth.read().expect("an answer")["error"], "8 programs control this service already");
    assert_eq!(ninth.read(), None);
    let mut trickle = slow[0].0.get_ref().try_clone().expect("a socket");
    let trickled = std::thread::spawn(move || {
        while trickle.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    for mut control in slow {
        assert_eq!(control.read().expect("an answer")["error"], "no command came within 30 s");
    }
    assert!(began.elapsed() >= PATIENCE && began.elapsed() < PATIENCE + HANGS);
    trickled.join().expect("a thread");
    assert_eq!(Control::of(&serve).command("status")["phase"], "serving");
}

/// Neither by its environment nor, where `locum env` sets up a shell, by that shell's.
#[test]
fn no_secret_variable_of_our_own_reaches_a_child() {
    let own = ["MASTER_PASSWORD", "PROXY_TOKEN", "WEBHOOK_SECRET", "SECRET_KEY", "API_KEYS"];
    let own = own.map(|name| format!("LOCUM_{name}"));
    let home = own.iter().fold(Home::with("", ""), |home, name| home.set(name, "a secret of this test"));
    let output = home.run(&["env", "-0"]);
    assert!(output.status.success(), "{}", told(&output));
    let env = stdout(&output);
    assert!(env.contains("HTTPS_PROXY=") && !env.contains("a secret of this test"), "{env}");
    assert!(own.iter().all(|name| !env.contains(name.as_str())), "{env}");

    let serve = home.serve();
    let shell = stdout(&finish(&mut serve.home.locum(&["env", "--shell", "sh"])));
    for name in &own {
        assert!(shell.contains(&format!("unset {name}")), "{name}: {shell}");
    }
}

/// As the kernel has it in a file of `/proc`.
fn line_of<'t>(text: &'t str, start: &str) -> Vec<&'t str> {
    let line = text.lines().find_map(|line| line.strip_prefix(start)).expect("a line");
    line.split_whitespace().collect()
}

#[test]
fn a_service_can_dump_no_core_and_gain_no_rights_and_a_child_of_run_can() {
    let serve = Home::with("", "").serve();
    let of_process = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", serve.pid())).expect("a file");
    assert_eq!(line_of(&of_process("limits"), "Max core file size")[..2], ["0", "0"]);
    assert_eq!(line_of(&of_process("status"), "NoNewPrivs:"), ["1"]);

    let home = Home::with("", "");
    let asked = ["sh", "-c", "cat /proc/self/limits /proc/self/status"];
    let inside = stdout(&home.run(&asked));
    let outside = stdout(&finish(home.command(asked[0]).args(&asked[1..])));
    for start in ["Max core file size", "NoNewPrivs:"] {
        assert_eq!(line_of(&inside, start), line_of(&outside, start), "{start}");
    }
    assert_eq!(line_of(&inside, "NoNewPrivs:"), ["0"]);
}
