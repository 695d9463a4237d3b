//! Who may ask, as the commands on agents have it and as the service does.

use crate::support::client::none;
use crate::support::locum::stdout;
use crate::support::stores::{locum, transcript};
use crate::support::{Home, Http, Upstream};
use rustix::process::Signal;

#[test]
fn revoking_a_token_that_there_never_was_locks_nobody_out() {
    let home = Home::bare("");
    assert_eq!(
        transcript(&home, &["agent", "revoke", "nobody"], ""),
        "error: no token was made for nobody\n  next: 'locum agent list' shows those that have one\n[1]\n"
    );
    assert!(!home.state().join("agents.json").exists());
    let list = transcript(&home, &["agent", "list"], "");
    assert!(list.starts_with("no agent has a token: whoever runs as your user is 'local'"), "{list}");
}

/// A file that is gone revokes what was in it. Only a new start does without tokens.
#[tokio::test]
async fn a_reload_without_the_file_of_tokens_lets_nobody_in() {
    let upstream = Upstream::start();
    let home = Home::bound(&[&upstream]);
    assert!(locum(&home, &["agent", "add", "researcher"], "").status.success());
    let serve = home.serve();
    let status = || {
        let sent = serve.curl(&["-o", "answer", "-w", "%{http_connect}", &upstream.url("/")]);
        stdout(&sent)
    };
    assert_eq!(status(), "407");
    std::fs::remove_file(serve.home.state().join("agents.json")).expect("the file of tokens");
    serve.signal(Signal::HUP);
    serve.await_said(|line| line == "locum: reloaded");
    assert_eq!(status(), "407", "{}", serve.said());
    assert_eq!(upstream.connections(), 0);
    let serve = serve.drained().await.serve();
    let mut client = serve.client(&upstream, Http::One).await;
    let answer = client.ask(client.request("GET", "/").body(none()).unwrap()).await;
    assert_eq!(answer.status, 200, "a new start does without");
}
