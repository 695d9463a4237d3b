//! Keys that change again and again: every value that a host may still show is hidden for its time, whatever comes between.

use crate::support::client::none;
use crate::support::{Client, HANGS, Home, Http, Serve, Upstream};
use http::Response;
use rustix::process::Signal;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

const PLACEHOLDER: &str = "<<tool_key>>";

fn value(number: usize) -> String {
    format!("tk-{number}-5f0c2d9be1a84763a2c4e6f8{number}")
}

/// A key in a file.
struct Rotated {
    upstream: Upstream,
    serve: Serve,
    client: Client,
}

impl Rotated {
    async fn start() -> Self {
        let upstream = Upstream::start();
        let table = format!("[key.tool]\nhosts = [\"{}\"]\nsource = \"file:key\"\n", upstream.authority());
        let ports = format!("connect_ports = [{}]\n", upstream.port());
        let home = Home::with(&ports, &table);
        std::fs::write(home.path().join("key"), value(0)).unwrap();
        let serve = home.serve();
        let client = serve.client(&upstream, Http::Two).await;
        Self { upstream, serve, client }
    }

    fn write(&self, number: usize) {
        std::fs::write(self.serve.home.path().join("key"), value(number)).unwrap();
    }

    fn mode(&self, mode: u32) {
        let path = self.serve.home.path().join("key");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Asks with the placeholder until that ends with this status.
    async fn until(&mut self, status: u16) {
        let until = Instant::now() + HANGS;
        loop {
            let request = self.client.request("GET", "/echo").header("x-api-key", PLACEHOLDER);
            let answer = self.client.ask(request.body(none()).unwrap()).await;
            if answer.status == status {
                return;
            }
            assert!(Instant::now() < until, "{} for good: {}", answer.status, answer.text());
        }
    }

    /// Asks until the upstream is sent this value.
    async fn until_used(&mut self, number: usize) {
        let until = Instant::now() + HANGS;
        loop {
            self.until(200).await;
            let used = self.upstream.seen().pop().unwrap().header("x-api-key");
            if used == Some(value(number)) {
                return;
            }
            assert!(Instant::now() < until, "{used:?} for good");
        }
    }

    async fn rotate(&mut self, number: usize) {
        self.write(number);
        self.until_used(number).await;
    }

    /// What an answer looks like in which the host says all these.
    async fn shown(&mut self, numbers: std::ops::RangeInclusive<usize>) -> String {
        let said: Vec<String> = numbers.map(value).collect();
        self.upstream.on("/all", Response::builder().header("x-last", said.last().unwrap())).send(said.join(" "));
        let answer = self.client.get("/all").await;
        format!("{} / {}", answer.header("x-last").unwrap(), answer.text())
    }

    fn hidden(count: usize) -> String {
        format!("{PLACEHOLDER} / {}", [PLACEHOLDER].repeat(count).join(" "))
    }
}

#[tokio::test]
async fn seven_values_within_a_minute_are_all_hidden() {
    let mut key = Rotated::start().await;
    key.until_used(0).await;
    for number in 1..=7 {
        key.rotate(number).await;
    }
    assert_eq!(key.shown(0..=7).await, Rotated::hidden(8));
}

/// A reload, a source that fails, and a key that is taken out of the config and comes back.
#[tokio::test]
async fn what_comes_between_lets_no_old_value_be_seen() {
    let mut key = Rotated::start().await;
    key.until_used(0).await;
    for number in 1..=3 {
        key.rotate(number).await;
    }
    key.serve.signal(Signal::HUP);
    key.serve.await_said(|line| line == "locum: reloaded");
    assert_eq!(key.shown(0..=3).await, Rotated::hidden(4), "after a reload");
    key.rotate(4).await;

    key.mode(0o666);
    key.write(5);
    key.until(503).await;
    assert_eq!(key.shown(0..=4).await, Rotated::hidden(5), "while the source fails");
    key.mode(0o600);
    key.until_used(5).await;
    key.rotate(6).await;

    let config = std::fs::read_to_string(key.serve.home.config()).unwrap();
    key.serve.home.write_config(config.split("[key.tool]").next().unwrap());
    key.serve.signal(Signal::HUP);
    key.until(403).await;
    // the host is nobody's now, and its bytes pass untouched
    assert_eq!(key.shown(6..=6).await, format!("{0} / {0}", value(6)));
    key.write(7);
    key.serve.home.write_config(&config);
    key.serve.signal(Signal::HUP);
    key.until_used(7).await;
    assert_eq!(key.shown(0..=7).await, Rotated::hidden(8), "after it came back");
}
