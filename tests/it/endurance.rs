//! Many agents at once, a kill in the middle, a disk that is full: the audit accounts for every key that left.

use crate::support::client::{none, tunnel};
use crate::support::locum::{TOOL_KEY, finish, of, stderr, told};
use crate::support::{Client, Home, Http, Serve, Upstream};
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// A request that carries the key to a path of its own.
async fn spend(client: &mut Client, path: &str) -> u16 {
    let request = client.request("GET", path).header("authorization", "Bearer <<tool_key>>");
    client.ask(request.body(none()).unwrap()).await.status.as_u16()
}

#[tokio::test]
async fn two_hundred_agents_at_once_and_each_request_is_accounted_for() {
    const AGENTS: usize = 200;
    const EACH: usize = 50;
    raise_descriptor_limit();
    let upstream = Arc::new(Upstream::start());
    let mut tables = format!("[key.tool]\nhosts = [\"{}\"]\n", upstream.authority());
    for number in 0..AGENTS {
        let _ = writeln!(tables, "[agent.a{number}]\ntoken_file = \"token-{number}\"");
    }
    let home = Home::with("", &tables);
    for number in 0..AGENTS {
        let path = home.path().join(format!("token-{number}"));
        std::fs::write(&path, token(number)).unwrap();
        private(&path);
    }
    let serve = Arc::new(home.serve());
    let agents = (0..AGENTS).map(|number| {
        let (serve, upstream) = (serve.clone(), upstream.clone());
        tokio::spawn(async move {
            let http = if number % 2 == 0 { Http::One } else { Http::Two };
            let authority = upstream.authority();
            let stream = tunnel(serve.address, &authority, &token(number)).await.expect("a tunnel");
            let mut client = Client::over(stream, &serve.ca, &authority, http).await;
            for request in 0..EACH {
                assert_eq!(spend(&mut client, &format!("/{number}/{request}")).await, 200);
            }
        })
    });
    for agent in agents.collect::<Vec<_>>() {
        agent.await.unwrap();
    }
    let serve = Arc::into_inner(serve).unwrap();
    let records = serve.drained().await.audit();

    let seen: HashSet<String> = upstream.seen().iter().map(|s| path_of(&s.target)).collect();
    assert_eq!(seen.len(), AGENTS * EACH);
    for event in ["substitution", "exchange"] {
        let mut by_agent: HashMap<&str, HashSet<&str>> = HashMap::new();
        let of_event = of(&records, event);
        assert_eq!(of_event.len(), AGENTS * EACH, "{event}");
        for record in of_event {
            let (agent, path) = (record["agent"].as_str().unwrap(), record["path"].as_str().unwrap());
            assert!(path.starts_with(&format!("/{}/", &agent[1..])), "{record}");
            by_agent.entry(agent).or_default().insert(path);
        }
        assert_eq!(by_agent.len(), AGENTS);
        assert!(by_agent.values().all(|paths| paths.len() == EACH), "{event}");
    }
    assert!(of(&records, "exchange").iter().all(|r| r["success"] == true && r["status"] == 200));
}

fn token(number: usize) -> String {
    format!("token-of-agent-{number:08}")
}

fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// The path of a target that HTTP/2 gives as a URL.
fn path_of(target: &str) -> String {
    target.parse::<http::Uri>().unwrap().path().to_owned()
}

/// How often it is killed. The full run takes more than the usual one.
fn kills() -> u32 {
    std::env::var("LOCUM_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(3)
}

#[tokio::test]
async fn killed_in_the_middle_the_audit_knows_every_key_that_left() {
    for round in 0..kills() {
        let upstream = Arc::new(Upstream::start());
        let serve = Home::bound(&[&upstream]).serve();
        let agents: Vec<_> = (0..20)
            .map(|agent| {
                let (upstream, address, ca) = (upstream.clone(), serve.address, serve.ca.clone());
                tokio::spawn(async move {
                    let http = if agent % 2 == 0 { Http::One } else { Http::Two };
                    let mut client = Client::open(address, &ca, &upstream.authority(), http).await;
                    for request in 0.. {
                        let path = format!("/{agent}/{request}");
                        let request = client.request("GET", &path).header("authorization", "Bearer <<tool_key>>");
                        if client.send(request.body(none()).unwrap()).await.is_err() {
                            return;
                        }
                    }
                })
            })
            .collect();
        let (begun, enough) = (upstream.clone(), 100 + 37 * (round as usize % 50));
        tokio::task::spawn_blocking(move || begun.await_begun(enough)).await.unwrap();
        let home = serve.kill();
        for agent in agents {
            agent.abort();
            let _ = agent.await;
        }
        let records = home.audit();
        let recorded: HashSet<&str> =
            of(&records, "substitution").iter().map(|r| r["path"].as_str().unwrap()).collect();
        for seen in upstream.seen() {
            assert_eq!(seen.header("authorization").unwrap(), format!("Bearer {TOOL_KEY}"));
            assert!(recorded.contains(path_of(&seen.target).as_str()), "{} is nowhere in the audit", seen.target);
        }
        // and a new process goes on beside what the old one left
        let serve = home.serve();
        assert_eq!(spend(&mut serve.client(&upstream, Http::One).await, "/after").await, 200);
        serve.drained().await.verify();
    }
}

#[tokio::test]
async fn a_line_cut_short_is_told_from_one_that_was_changed() {
    let upstream = Upstream::start();
    let serve = Home::bound(&[&upstream]).serve();
    let mut client = serve.client(&upstream, Http::One).await;
    for request in 0..5 {
        spend(&mut client, &format!("/{request}")).await;
    }
    drop(client);
    let home = serve.drained().await;
    let file = std::fs::read_dir(home.audit_dir())
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == "jsonl"));
    let file = file.unwrap();
    let whole = std::fs::read(&file).unwrap();
    // what a kill or a power cut may leave: lines that are whole, and a piece of one
    for cut in [1, 20, 100] {
        std::fs::write(&file, &whole[..whole.len() - cut]).unwrap();
        home.verify();
    }
    let text = String::from_utf8(whole.clone()).unwrap();
    let changed = text.replacen("\"path\":\"/3\"", "\"path\":\"/4\"", 1);
    let lines: Vec<&str> = text.lines().collect();
    let removed = [&lines[..3], &lines[4..]].concat().join("\n") + "\n";
    let moved = [&lines[..3], &[lines[4], lines[3]], &lines[5..]].concat().join("\n") + "\n";
    let inserted = [&lines[..3], &[lines[2]], &lines[3..]].concat().join("\n") + "\n";
    for (what, text) in [("changed", changed), ("removed", removed), ("moved", moved), ("inserted", inserted)] {
        std::fs::write(&file, text).unwrap();
        let output = finish(&mut home.locum(&["audit", "verify"]));
        assert_eq!(output.status.code(), Some(1), "a line was {what}: {}", told(&output));
        assert!(stderr(&output).starts_with("error: "), "{}", told(&output));
    }
}

/// No room for the audit: no key leaves, all else goes on, and it recovers by itself.
async fn without_room(upstream: &Upstream, serve: Serve, fill: impl FnOnce(&Serve), free: impl FnOnce(&Serve)) -> Home {
    let mut client = serve.client(upstream, Http::One).await;
    assert_eq!(spend(&mut client, "/before").await, 200);
    fill(&serve);
    let mut refused = 0;
    for request in 0..2000 {
        // long paths fill what is left of a block
        let path = format!("/full/{request}/{}", "x".repeat(500));
        let sent = client.request("GET", &path).header("authorization", "Bearer <<tool_key>>");
        let answer = client.ask(sent.body(none()).unwrap()).await;
        if answer.status == 503 {
            assert_eq!(answer.header("locum-refused"), Some("audit-unavailable"));
            refused += 1;
            let seen = upstream.seen();
            assert!(!seen.iter().any(|s| s.target == path), "the key left all the same");
        }
        if refused == 3 {
            break;
        }
    }
    assert_eq!(refused, 3, "the disk is full, and keys go on");
    assert_eq!(client.get("/without-a-key").await.status, 200);
    free(&serve);
    assert_eq!(spend(&mut client, "/after").await, 200);
    assert_eq!(upstream.seen().last().unwrap().header("authorization").unwrap(), format!("Bearer {TOOL_KEY}"));
    drop(client);
    let home = serve.drained().await;
    assert!(of(&home.records(), "substitution").iter().any(|r| r["path"] == "/after"));
    home
}

#[tokio::test]
async fn no_file_may_grow_any_more() {
    let upstream = Upstream::start();
    let serve = Home::bound(&[&upstream]).serve();
    let limit = |serve: &Serve, bytes: &str| {
        let pid = serve.pid().to_string();
        let output = finish(Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")]));
        assert!(output.status.success(), "{}", told(&output));
    };
    without_room(&upstream, serve, |serve| limit(serve, "16384"), |serve| limit(serve, "unlimited")).await.verify();
}

#[tokio::test]
async fn the_disk_is_full() {
    let upstream = Upstream::start();
    let home = Home::bound(&[&upstream]);
    let disk = home.state();
    std::fs::create_dir(&disk).unwrap();
    let options = ["-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs"];
    let mounted = Command::new("mount").args(options).arg(&disk).output();
    if !mounted.is_ok_and(|m| m.status.success()) {
        eprintln!("no disk can be mounted here: left to no_file_may_grow_any_more");
        return;
    }
    let mount = Mount(disk.clone());
    let filler = disk.join("filler");
    let fill = |_: &Serve| drop(std::fs::write(&filler, vec![0; 1024 * 1024]));
    let free = |_: &Serve| std::fs::remove_file(&filler).unwrap();
    let home = without_room(&upstream, home.serve(), fill, free).await;
    home.verify();
    // its folder can go once nothing is mounted in it
    drop((mount, home));
}

/// The folder is gone, and then something else is in its place.
#[tokio::test]
async fn the_folder_has_vanished() {
    let upstream = Upstream::start();
    for in_its_place in [false, true] {
        let serve = Home::bound(&[&upstream]).serve();
        let dir = serve.home.audit_dir();
        let vanish = |_: &Serve| {
            std::fs::remove_dir_all(&dir).unwrap();
            if in_its_place {
                std::fs::write(&dir, "").unwrap();
            }
        };
        let back = |serve: &Serve| {
            serve.await_said(|line| line.contains("so no key is used until it can; ") && line.contains("state/audit"));
            if in_its_place {
                std::fs::remove_file(&dir).unwrap();
            }
            std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&dir).unwrap();
        };
        let home = without_room(&upstream, serve, vanish, back).await;
        // what was in it is gone, and missed
        let output = finish(&mut home.locum(&["audit", "verify"]));
        assert!(output.status.code() == Some(1) && stderr(&output).contains("jsonl is missing"), "{}", told(&output));
    }
}

#[test]
fn a_disk_that_can_only_be_read_is_told_at_the_start() {
    let home = Home::bare("[proxy]\nlisten = \"127.0.0.1:0\"\n");
    let disk = home.audit_dir();
    std::fs::create_dir(home.state()).unwrap();
    std::fs::create_dir(&disk).unwrap();
    private_dir(&home.state());
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "ro,mode=0700", "tmpfs"]).arg(&disk).output();
    if !mounted.is_ok_and(|m| m.status.success()) {
        eprintln!("no disk can be mounted here: left to the_folder_has_vanished");
        return;
    }
    let mount = Mount(disk);
    let output = finish(&mut home.locum(&["serve"]));
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(stderr(&output).contains("\n  next: mount the disk of "), "{}", told(&output));
    drop((mount, home));
}

fn private_dir(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
}

struct Mount(std::path::PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}
