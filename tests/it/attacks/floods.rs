//! All that slow and hostile clients do, at once: what an honest agent notices of it, and what is left of it afterwards.

use super::frames::{CONTINUATION, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, block, frame, good, preface};
use super::{BOUND, OTHER, Stage, verdicts};
use crate::names::with_names;
use crate::support::client::{Client, Http, none};
use crate::support::name_server::NameServer;
use crate::support::tunnel::answers;
use crate::support::wire::exchange;
use crate::support::{HANGS, Tunnel};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Tunnels that are opened, and in which nothing happens then.
const IDLE_TUNNELS: usize = 5_000;
/// Clients that send a head, or a body, a byte at a time.
const SLOW_CLIENTS: &str = "300";
/// Requests at once to hosts in a zone that is dead.
const NAMES: usize = 1_000;
/// Requests of the honest agent, each tenth on a connection of its own.
const HONEST: usize = 500;
/// No answer to it may take so long, whatever the machine.
const NOTICED: Duration = Duration::from_secs(1);
/// Memory that the service may take, in KiB.
const MOST_MEMORY: u64 = 512 * 1024;

/// Attacks that go on until they are told to stop.
struct Floods {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Floods {
    /// Begins all of them.
    fn begin(stage: &Arc<Stage>) -> Self {
        let mut floods = Self { stop: Arc::default(), rounds: Arc::default(), threads: Vec::new() };
        floods.repeat(stage, |stage| slow_clients(stage, "-H"));
        floods.repeat(stage, |stage| slow_clients(stage, "-B"));
        floods.repeat(stage, rapid_reset);
        floods.repeat(stage, continuation_flood);
        floods.repeat(stage, strangers_heads);
        floods.repeat(stage, names_that_hang);
        floods
    }

    fn repeat(&mut self, stage: &Arc<Stage>, round: fn(&Stage)) {
        let (stage, stop, rounds) = (stage.clone(), self.stop.clone(), self.rounds.clone());
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                round(&stage);
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }

    /// Ends them: how many rounds there were of those that have rounds.
    fn end(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().expect("a flood"));
        self.rounds.load(Ordering::Relaxed)
    }
}

/// Clients that say a head (`-H`) or a body (`-B`) a little at a time, for some seconds.
fn slow_clients(stage: &Stage, kind: &str) {
    let mut tool = Command::new("slowhttptest");
    tool.args([kind, "-c", SLOW_CLIENTS, "-r", SLOW_CLIENTS, "-i", "1", "-l", "10", "-u"]);
    tool.arg(format!("http://{}/", stage.serve.address)).stdin(Stdio::null());
    let ended = tool.stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(ended.is_ok(), "slowhttptest, which .ci/full installs: {ended:?}");
}

/// Streams that are opened and reset at once (CVE-2023-44487).
fn rapid_reset(stage: &Stage) {
    let mut tunnel = preface(stage, BOUND);
    let head = block(&good(&[]));
    let cancel = 8_u32.to_be_bytes();
    for stream in (1..2_000).step_by(2) {
        let pair =
            [frame(HEADERS, END_HEADERS | END_STREAM, stream, &head), frame(RST_STREAM, 0, stream, &cancel)].concat();
        if tunnel.stream.write_all(&pair).and_then(|()| tunnel.stream.flush()).is_err() {
            return;
        }
    }
}

/// A head that never ends (CVE-2024-27316 and its kin).
fn continuation_flood(stage: &Stage) {
    let mut tunnel = preface(stage, BOUND);
    let part = block(&[("x-a", &"b".repeat(8_000))]);
    let mut frames = frame(HEADERS, 0, 1, &block(&good(&[])));
    for _ in 0..1_000 {
        if tunnel.stream.write_all(&frames).and_then(|()| tunnel.stream.flush()).is_err() {
            return;
        }
        frames = frame(CONTINUATION, 0, 1, &part);
    }
}

/// What is no proxy's business, and is refused and recorded each time.
fn strangers_heads(stage: &Stage) {
    for path in ["x".repeat(10), "y".repeat(10_000)] {
        let head = format!("GET /{path} HTTP/1.1\r\nHost: {BOUND}\r\nConnection: close\r\n\r\n");
        let said = answers(exchange(stage.serve.address, head.as_bytes()).as_bytes());
        assert!(matches!(verdicts(&said).as_str(), "400 not-forwarded" | ""), "{said:?}");
    }
}

/// Names that no server ever answers for.
fn names_that_hang(stage: &Stage) {
    let head = |n| format!("GET http://n{n}.dead.test/ HTTP/1.1\r\nHost: n{n}.dead.test\r\nConnection: close\r\n\r\n");
    let ask = |n| {
        let mut stream = std::net::TcpStream::connect(stage.serve.address)?;
        stream.write_all(head(n).as_bytes())?;
        Ok::<_, std::io::Error>(stream)
    };
    let _asking: Vec<_> = (1..NAMES).map(ask).collect();
    let said = answers(exchange(stage.serve.address, head(0).as_bytes()).as_bytes());
    assert!(said.iter().all(|told| matches!(told.status, 429 | 502 | 503 | 504)), "{said:?}");
}

/// Opens tunnels in which nothing happens.
fn idle_tunnels(stage: &Stage) -> Vec<Tunnel> {
    let open = || {
        let mut tunnel = Tunnel::open(&stage.serve, &format!("{OTHER}:443"), OTHER, b"http/1.1").ok()?;
        while tunnel.stream.conn.is_handshaking() {
            tunnel.stream.conn.complete_io(&mut tunnel.stream.sock).ok()?;
        }
        Some(tunnel)
    };
    (0..IDLE_TUNNELS).filter_map(|_| open()).collect()
}

/// One keyed request, and how long it took.
async fn ask(client: &mut Client) -> Duration {
    let begun = Instant::now();
    let request = client.request("GET", "/echo").header("x-api-key", "<<tool_key>>").body(none()).expect("a request");
    assert_eq!(client.ask(request).await.status, 200);
    begun.elapsed()
}

fn descriptors(stage: &Stage) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", stage.serve.pid())).expect("a process").count()
}

#[tokio::test]
#[ignore = ".ci/full floods installs what it needs, and runs it"]
async fn an_honest_agent_does_not_notice_what_others_do() {
    let raised = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let limit = rustix::process::Rlimit { current: raised, maximum: raised };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).expect("descriptors");
    let dns = NameServer::start().expect("root, for a name server");
    let past_the_proxy = "upstream_proxy_bypass = [\"dead.test\"]\n";
    let start = |home| with_names(home, &dns.resolv_conf(), "127.0.0.1 localhost\n");
    let stage = Arc::new(Stage::started(past_the_proxy, "", start));
    let client = || Client::open(stage.serve.address, &stage.serve.ca, "api.tool.example:443", Http::One);
    let mut kept = client().await;
    ask(&mut kept).await;
    let before = descriptors(&stage);
    let (idle, floods) = {
        let stage = stage.clone();
        let begin = move || (idle_tunnels(&stage), Floods::begin(&stage));
        tokio::task::spawn_blocking(begin).await.expect("the floods")
    };
    assert_eq!(idle.len(), IDLE_TUNNELS, "tunnels that stand");

    let mut waits = Vec::new();
    for n in 0..HONEST {
        waits.push(if n % 10 == 0 { ask(&mut client().await).await } else { ask(&mut kept).await });
    }
    let rounds = tokio::task::spawn_blocking(|| floods.end()).await.expect("the floods");
    waits.sort();
    let (median, longest) = (waits[HONEST / 2], waits[HONEST - 1]);
    println!("honest requests: median {median:?}, longest {longest:?}; {rounds} rounds of floods beside them");
    let memory = stage.serve.memory("VmHWM");
    println!("memory at most {} MiB", memory / 1024);
    assert!(longest < NOTICED, "{longest:?}");
    assert!(memory < MOST_MEMORY, "{memory} KiB");
    assert!(rounds > 10, "{rounds} rounds are no flood");

    dns.await_asked("dead.test");
    drop(idle);
    drop(kept);
    // what is kept to upstreams is closed by itself
    let until = Instant::now() + 2 * HANGS;
    while descriptors(&stage) > before + 64 {
        assert!(Instant::now() < until, "{} descriptors are left, of {before} before", descriptors(&stage));
        ask(&mut client().await).await;
    }
}
