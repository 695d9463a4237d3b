//! What may be under way to upstreams at once, for one agent, to one host and in all; and what is kept of it afterwards.

use crate::support::client::{Answer, none, tunnel, whole};
use crate::support::locum::{finish, stdout, told};
use crate::support::websocket::{self, Socket};
use crate::support::{Client, HANGS, Home, Http, Serve, Upstream};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// With so few places an agent has four, and four of its requests may wait.
const FEW: &str = "[limits]\nunder_way = 16\n";

/// Asks for all of these paths at once, each over a connection of its own for the agent with this token, and tells of the
/// answers as they come. Whoever drops the set hangs up.
fn ask_at_once(
    serve: &Serve,
    upstream: &Upstream,
    wanted: impl IntoIterator<Item = (String, String)>,
) -> (JoinSet<()>, mpsc::UnboundedReceiver<Answer>) {
    let (tell, told) = mpsc::unbounded_channel();
    let mut asking = JoinSet::new();
    for (token, path) in wanted {
        let (address, ca, authority, tell) = (serve.address, serve.ca.clone(), upstream.authority(), tell.clone());
        asking.spawn(async move {
            let stream = tunnel(address, &authority, &token).await.expect("a tunnel");
            let mut client = Client::over(stream, &ca, &authority, Http::One).await;
            let _ = tell.send(client.get(&path).await);
        });
    }
    (asking, told)
}

fn paths(numbers: std::ops::Range<usize>) -> Vec<(String, String)> {
    numbers.map(|n| (String::new(), format!("/{n}"))).collect()
}

async fn begun(upstream: &Arc<Upstream>, count: usize) {
    let upstream = upstream.clone();
    tokio::task::spawn_blocking(move || upstream.await_begun(count)).await.expect("the upstream");
}

fn add_agent(home: &Home, name: &str) -> String {
    let added = finish(&mut home.locum(&["agent", "add", name]));
    assert!(added.status.success(), "{}", told(&added));
    stdout(&added).trim().to_owned()
}

/// The service of `home`, which may have so many descriptors.
fn with_descriptors(home: Home, most: usize) -> Serve {
    let locum = home.locum(&["serve"]);
    let mut command = home.command("sh");
    let script = format!("ulimit -n {most}; exec \"$0\" \"$@\"");
    command.args(["-c", &script]).arg(locum.get_program()).args(locum.get_args());
    Serve::of(home, &mut command)
}

/// The next answer: its status, why it is a refusal, and its text.
async fn next(told: &mut mpsc::UnboundedReceiver<Answer>) -> (u16, Option<String>, String) {
    let answer = tokio::time::timeout(HANGS, told.recv()).await.expect("an answer").expect("an answer");
    (answer.status.as_u16(), answer.header("locum-refused").map(str::to_owned), answer.text())
}

/// As many again wait, and who comes then is told at once.
#[tokio::test]
async fn an_agent_has_only_so_much_under_way() {
    let upstream = Arc::new(Upstream::start());
    let serve = Home::with(&format!("connect_ports = [{}]", upstream.port()), FEW).serve();
    let paths = paths(0..9);
    let held: Vec<_> = paths.iter().map(|(_, path)| upstream.hold(path, http::Response::builder())).collect();
    let (_asking, mut answered) = ask_at_once(&serve, &upstream, paths);
    let (status, refused, text) = next(&mut answered).await;
    assert_eq!((status, refused.as_deref()), (429, Some("too-many-requests")), "{text}");
    assert!(text.contains("4 requests under way") && text.contains("[limits] under_way"), "{text}");
    begun(&upstream, 4).await;
    assert_eq!(upstream.begun(), 4, "the others wait");
    drop(held);
    for _ in 0..8 {
        assert_eq!(next(&mut answered).await.0, 200);
    }
    assert_eq!(upstream.begun(), 8);
}

/// Be it from the queue or from the upstream that agents go: nobody stands in for them.
#[tokio::test]
async fn who_has_gone_holds_no_place() {
    let upstream = Arc::new(Upstream::start());
    let serve = Home::with(&format!("connect_ports = [{}]", upstream.port()), FEW).serve();
    let paths = paths(0..7);
    let _held: Vec<_> = paths.iter().map(|(_, path)| upstream.hold(path, http::Response::builder())).collect();
    let (asking, _answered) = ask_at_once(&serve, &upstream, paths);
    begun(&upstream, 4).await;
    drop(asking);
    assert_eq!(serve.client(&upstream, Http::One).await.get("/free").await.status, 200);
}

/// Whatever the agents, one host that hangs leaves room for the others.
#[tokio::test]
async fn a_host_has_only_so_much_under_way_to_it() {
    let (hangs, answers) = (Arc::new(Upstream::start()), Upstream::start());
    let home = Home::with(&format!("connect_ports = [{}, {}]", hangs.port(), answers.port()), FEW);
    let tokens = ["a", "b", "c", "d", "e"].map(|name| add_agent(&home, name));
    let serve = home.serve();
    let asked = [4, 4, 4, 4, 1].into_iter().zip(&tokens).flat_map(|(count, token)| std::iter::repeat_n(token, count));
    let asked: Vec<_> = asked.enumerate().map(|(n, token)| (token.clone(), format!("/{n}"))).collect();
    let held: Vec<_> = asked.iter().map(|(_, path)| hangs.hold(path, http::Response::builder())).collect();
    let (_asking, mut answered) = ask_at_once(&serve, &hangs, asked);
    let (status, refused, text) = next(&mut answered).await;
    assert_eq!((status, refused.as_deref()), (503, Some("upstream-busy")), "{text}");
    assert!(text.contains("8 requests to this host are under way, and as many wait"), "{text}");
    begun(&hangs, 8).await;
    assert_eq!(hangs.begun(), 8);
    // all places of one agent at least are taken, but not those of all that hang
    let elsewhere = [(tokens[4].clone(), "/".to_owned())];
    let (_other, mut other) = ask_at_once(&serve, &answers, elsewhere);
    assert_eq!(next(&mut other).await.0, 200);
    drop(held);
    for _ in 0..16 {
        assert_eq!(next(&mut answered).await.0, 200);
    }
}

/// A tunnel that is not read takes a place for as long as it is open.
#[tokio::test]
async fn a_tunnel_that_is_not_read_counts_while_it_lives() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = upstream.local_addr().expect("an address").port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = upstream.accept().await.expect("a connection");
            tokio::spawn(async move { tokio::io::copy(&mut stream, &mut tokio::io::sink()).await });
        }
    });
    let serve = Home::with(&format!("connect_ports = [{port}]\npassthrough = [\"localhost\"]"), FEW).serve();
    let mut opening = JoinSet::new();
    for _ in 0..9 {
        let address = serve.address;
        opening.spawn(async move { tunnel(address, &format!("localhost:{port}"), "").await });
    }
    let (mut open, mut refused) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        match opening.join_next().await.expect("a tunnel").expect("no panic") {
            Ok(stream) => open.push(stream),
            Err(e) => refused.push(e.to_string()),
        }
    }
    assert_eq!((open.len(), refused.len()), (4, 1), "{refused:?}");
    assert!(refused[0].starts_with("HTTP/1.1 429 "), "{refused:?}");
    drop(open);
    for _ in 0..4 {
        opening.join_next().await.expect("a tunnel").expect("no panic").expect("a place");
    }
}

/// So does a WebSocket.
#[tokio::test]
async fn a_websocket_counts_while_it_lives() {
    let upstream = Arc::new(Upstream::start());
    let sockets: Vec<Socket> = (0..4).map(|_| Socket::open(|mut peer| assert_eq!(peer.next(), None))).collect();
    let ports: Vec<String> = sockets.iter().map(|socket| socket.address.port().to_string()).collect();
    let ports = format!("connect_ports = [{}, {}]", upstream.port(), ports.join(", "));
    let serve = Home::with(&ports, FEW).serve();
    let open = |socket: &Socket| websocket::open(&serve, &socket.authority(), "").expect("a WebSocket").1;
    let peers: Vec<_> = sockets.iter().map(open).collect();
    let (_asking, mut answered) = ask_at_once(&serve, &upstream, paths(0..5));
    assert_eq!(next(&mut answered).await.0, 429);
    assert_eq!(upstream.begun(), 0);
    drop(peers);
    for _ in 0..4 {
        assert_eq!(next(&mut answered).await.0, 200);
    }
    sockets.into_iter().for_each(|socket| drop(socket.finish()));
}

/// The descriptors of one process are for all: a flood of requests that hang is answered before they are used up.
#[tokio::test]
async fn what_hangs_leaves_descriptors_to_others() {
    let (hangs, answers) = (Upstream::start(), Upstream::start());
    let home = Home::with(&format!("connect_ports = [{}, {}]", hangs.port(), answers.port()), "");
    let [flood, other] = ["flood", "other"].map(|name| add_agent(&home, name));
    let serve = with_descriptors(home, 400);
    let (tell, mut answered) = mpsc::unbounded_channel();
    let mut held = Vec::new();
    let mut clients = Vec::new();
    for connection in 0..3 {
        let stream = tunnel(serve.address, &hangs.authority(), &flood).await.expect("a tunnel");
        let mut client = Client::over(stream, &serve.ca, &hangs.authority(), Http::Two).await;
        for n in 0..250 {
            let path = format!("/{connection}/{n}");
            held.push(hangs.hold(&path, http::Response::builder()));
            let (answer, tell) = (client.begin(client.request("GET", &path).body(none()).unwrap()).await, tell.clone());
            tokio::spawn(async move {
                let _ = tell.send(whole(answer.await.expect("an answer")).await.expect("all of it"));
            });
        }
        clients.push(client);
    }
    // of 400 descriptors 64 are for other things; of the rest half is for clients, an eighth for what is kept, and a few for
    // lookups; of the 106 that are left one agent has a quarter, and as many wait
    let refused = 750 - 2 * 26;
    for _ in 0..refused {
        let (status, _, text) = next(&mut answered).await;
        assert_eq!(status, 429, "{text}");
    }
    let (_other, mut other) = ask_at_once(&serve, &answers, [(other, "/".into())]);
    assert_eq!(next(&mut other).await.0, 200);
    drop(held);
    for _ in refused..750 {
        // who waited may have waited for too long
        let (status, _, text) = next(&mut answered).await;
        assert!(matches!(status, 200 | 429), "{status} {text}");
    }
}

/// Answers whatever is asked on any address of this machine, and tells how many connections are open.
async fn many_hosts() -> (u16, watch::Receiver<usize>) {
    let listener = TcpListener::bind("0.0.0.0:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (open, told) = watch::channel(0);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            open.send_modify(|open| *open += 1);
            let open = open.clone();
            tokio::spawn(async move {
                let mut lines = BufReader::new(stream).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    if line.is_empty() {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                        lines.get_mut().write_all(answer).await.expect("an answer");
                    }
                }
                open.send_modify(|open| *open -= 1);
            });
        }
    });
    (port, told)
}

/// One host after the other is asked once: what is kept of them leaves descriptors to others.
#[tokio::test]
async fn connections_that_idle_are_few_in_all() {
    let (port, mut open) = many_hosts().await;
    let serve = with_descriptors(Home::with(&format!("connect_ports = [{port}]"), ""), 400);
    let mut stream = TcpStream::connect(serve.address).await.expect("a connection");
    for n in 0..300 {
        let authority = format!("127.0.{}.{}:{port}", 1 + n / 250, 1 + n % 250);
        let request = format!("GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("a request");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nok") {
            answer.push(stream.read_u8().await.expect("an answer"));
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    }
    // an eighth of the 336 descriptors for connections; well before they are old enough to be closed for that
    let few = tokio::time::timeout(HANGS / 2, open.wait_for(|open| *open <= 42)).await.is_ok();
    assert!(few, "{} are open", *open.borrow());
}
