//! What hides keys follows them for as long as an answer runs: a stream that began under other keys or rules hides those of now.

use crate::support::client::{BOTH, Client, Http, none};
use crate::support::locum::of;
use crate::support::{Home, Serve, Upstream, stores};
use http::Response;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

const OLD: &str = "q8Zt2LwXv7RkYb5NcM1dJhGf";
const NEW: &str = "Ps9UaEi3oTzQxWnBrVyKlC4m";

/// A key from a file, bound to the upstream or not.
fn home(upstream: &Upstream, rest: &str) -> Home {
    let home = Home::with(&format!("connect_ports = [{}]\n", upstream.port()), "");
    std::fs::write(home.path().join("key"), OLD).expect("a file");
    let top = std::fs::read_to_string(home.config()).expect("the config");
    home.write_config(&format!("{top}{rest}"));
    home
}

fn bound(upstream: &Upstream) -> String {
    format!("[key.tool]\nhosts = [\"{}\"]\nsource = \"file:key\"\n", upstream.authority())
}

fn add(serve: &Serve, table: &str) {
    let config = std::fs::read_to_string(serve.home.config()).expect("the config");
    serve.home.write_config(&format!("{config}{table}"));
    reload(serve);
}

fn reload(serve: &Serve) {
    serve.signal(rustix::process::Signal::HUP);
    serve.await_said(|line| line == "locum: reloaded");
}

async fn streamed(client: &mut Client) -> Response<Incoming> {
    let request = client.request("GET", "/stream").body(none()).expect("a request");
    client.send(request).await.expect("an answer")
}

/// Reads until the text holds `end`; or what came before the stream broke off.
async fn until(response: &mut Response<Incoming>, end: &str) -> Result<String, String> {
    let mut came = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&came).into_owned();
        if text.contains(end) {
            return Ok(text);
        }
        match response.body_mut().frame().await {
            Some(Ok(frame)) => came.extend_from_slice(&frame.into_data().unwrap_or_default()),
            _ => return Err(text),
        }
    }
}

/// Why the only exchange ended, as its record says it.
async fn recorded_reason(serve: Serve, client: Client) -> String {
    drop(client);
    let records = serve.drained().await.audit();
    of(&records, "exchange")[0]["error"].as_str().expect("a reason").to_owned()
}

/// Asks for what brings the key, until its new value is there.
async fn await_rotation(serve: &Serve, upstream: &Upstream) {
    loop {
        let mut client = serve.client(upstream, Http::One).await;
        let request = client.request("GET", "/echo").header("x-key", "<<tool_key>>").body(none()).expect("a request");
        client.ask(request).await;
        if upstream.seen().last().and_then(|seen| seen.header("x-key")).as_deref() == Some(NEW) {
            return;
        }
    }
}

#[tokio::test]
async fn a_new_value_is_hidden_in_a_stream_that_began_before_it() {
    for http in BOTH {
        let upstream = Upstream::start();
        let serve = home(&upstream, &bound(&upstream)).serve();
        let feed = upstream.on("/stream", Response::builder());
        let mut client = serve.client(&upstream, http).await;
        let mut response = streamed(&mut client).await;
        feed.send(format!("{OLD}; "));
        assert_eq!(until(&mut response, "; ").await.as_deref(), Ok("<<tool_key>>; "));
        std::fs::write(serve.home.path().join("key"), NEW).expect("a file");
        await_rotation(&serve, &upstream).await;
        feed.send(format!("{NEW} and {OLD}; "));
        assert_eq!(until(&mut response, "; ").await.as_deref(), Ok("<<tool_key>> and <<tool_key>>; "));
    }
}

#[tokio::test]
async fn a_key_that_comes_to_be_bound_is_hidden_in_a_stream_that_began_before_it() {
    for http in BOTH {
        let upstream = Upstream::start();
        let serve = home(&upstream, "").serve();
        let feed = upstream.on("/stream", Response::builder());
        let mut client = serve.client(&upstream, http).await;
        let mut response = streamed(&mut client).await;
        feed.send(format!("{OLD}; "));
        assert_eq!(until(&mut response, "; ").await, Ok(format!("{OLD}; ")), "nothing is bound yet");
        add(&serve, &bound(&upstream));
        feed.send(format!("{OLD}. "));
        assert_eq!(until(&mut response, ". ").await.as_deref(), Ok("<<tool_key>>. "));
    }
}

/// Its value has gone to the host, which may show it however the binding reads now.
#[tokio::test]
async fn an_answer_ends_once_a_key_that_it_may_show_is_bound_no_longer() {
    for http in BOTH {
        let upstream = Upstream::start();
        let serve = home(&upstream, &bound(&upstream)).serve();
        let unbound = std::fs::read_to_string(serve.home.config()).expect("the config").replace(&bound(&upstream), "");
        let feed = upstream.on("/stream", Response::builder());
        let (gate, waiting) = upstream.hold("/waits", Response::builder().header("x-key", OLD));
        let mut client = serve.client(&upstream, http).await;
        let mut response = streamed(&mut client).await;
        feed.send("before; ");
        assert!(until(&mut response, "; ").await.is_ok());
        let mut other = serve.client(&upstream, http).await;
        let request = other.request("GET", "/waits").header("x-key", "<<tool_key>>").body(none()).expect("a request");
        let asked = tokio::spawn(async move { other.send(request).await });
        while upstream.begun() < 2 {
            tokio::task::yield_now().await;
        }
        serve.home.write_config(&unbound);
        reload(&serve);
        feed.send(format!("{OLD}. "));
        assert_eq!(until(&mut response, ". ").await, Err(String::new()), "{http:?}");
        drop((gate, waiting));
        let answer = asked.await.expect("no panic").expect("an answer");
        assert_eq!((answer.status().as_u16(), answer.headers().get("x-key")), (503, None), "{http:?}");
    }
}

#[tokio::test]
async fn a_key_that_has_no_value_yet_is_hidden_once_it_has_one() {
    for http in BOTH {
        let upstream = Upstream::start();
        let home = home(&upstream, &bound(&upstream));
        std::fs::remove_file(home.path().join("key")).expect("a file");
        let table = bound(&upstream).replace("source = \"file:key\"", "source = \"machine\"");
        let config = std::fs::read_to_string(home.config()).expect("the config").replace(&bound(&upstream), &table);
        home.write_config(&config);
        let serve = home.serve();
        let feed = upstream.on("/stream", Response::builder());
        let mut client = serve.client(&upstream, http).await;
        let mut response = streamed(&mut client).await;
        feed.send("before; ");
        assert!(until(&mut response, "; ").await.is_ok());
        let set = stores::locum(&serve.home, &["key", "set", "tool", "--stdin", "--store", "machine"], NEW);
        assert!(set.status.success(), "{set:?}");
        await_rotation(&serve, &upstream).await;
        feed.send(format!("{NEW}. "));
        assert_eq!(until(&mut response, ". ").await.as_deref(), Ok("<<tool_key>>. "), "{http:?}");
    }
}

#[tokio::test]
async fn a_stream_that_could_not_be_searched_ends_once_a_key_is_bound() {
    for http in BOTH {
        let upstream = Upstream::start();
        let serve = home(&upstream, "").serve();
        let feed = upstream.on("/stream", Response::builder().header("content-encoding", "gzip"));
        let mut client = serve.client(&upstream, http).await;
        let mut response = streamed(&mut client).await;
        feed.send("not really gzip; ");
        assert!(until(&mut response, "; ").await.is_ok());
        add(&serve, &bound(&upstream));
        feed.send(format!("{OLD}. "));
        assert_eq!(until(&mut response, ". ").await, Err(String::new()));
        let error = recorded_reason(serve, client).await;
        assert!(error.contains("a key is bound to the host now"), "{error}");
    }
}

#[tokio::test]
async fn a_stream_ends_with_a_reason_once_its_keys_are_wiped() {
    for http in BOTH {
        let upstream = Upstream::start();
        let serve = home(&upstream, &bound(&upstream)).serve();
        let feed = upstream.on("/stream", Response::builder());
        let mut client = serve.client(&upstream, http).await;
        let mut response = streamed(&mut client).await;
        feed.send("before; ");
        assert!(until(&mut response, "; ").await.is_ok());
        serve.signal(rustix::process::Signal::USR2);
        serve.await_said(|line| line.contains("wiped"));
        feed.send(format!("{OLD}. "));
        assert_eq!(until(&mut response, ". ").await, Err(String::new()));
        let error = recorded_reason(serve, client).await;
        assert!(error.contains("wiped"), "{error}");
    }
}

#[tokio::test]
async fn an_unrelated_reload_leaves_streams_alone() {
    for http in BOTH {
        let upstream = Upstream::start();
        let serve = home(&upstream, &bound(&upstream)).serve();
        let feed = upstream.on("/stream", Response::builder());
        let mut client = serve.client(&upstream, http).await;
        let mut response = streamed(&mut client).await;
        let (half, rest) = OLD.split_at(10);
        feed.send(format!("one; {half}"));
        assert_eq!(until(&mut response, "; ").await.as_deref(), Ok("one; "));
        add(&serve, "[key.other]\nhosts = [\"other.example\"]\n");
        feed.send(format!("{rest}. "));
        assert_eq!(until(&mut response, ". ").await.as_deref(), Ok("<<tool_key>>. "));
    }
}
