//! Who may ask, as the commands on agents have it and as the service does.

use crate::support::client::none;
use crate::support::locum::{finish, of, stderr, stdout, told};
use crate::support::stores::{KEY, locum, transcript};
use crate::support::wire::exchange;
use crate::support::{Home, Http, Upstream};
use rustix::process::Signal;
use std::os::unix::fs::PermissionsExt as _;

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

/// More than any table of a fixed size had room for.
const MANY: usize = 1100;

#[test]
fn the_last_of_many_agents_is_watched_as_the_first_is() {
    let token = |n: usize| format!("a-token-of-agent-{n}");
    let tables: String = (0..MANY).map(|n| format!("[agent.a{n}]\ntoken_file = \"token-{n}\"\n")).collect();
    let home = Home::with("deny = [\"denied.example\"]\n", &tables);
    for n in 0..MANY {
        let path = home.path().join(format!("token-{n}"));
        std::fs::write(&path, token(n)).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    }
    let serve = home.serve();
    let refused = |n: usize| {
        let head = "GET http://denied.example/ HTTP/1.1\r\nHost: denied.example\r\nConnection: close\r\n";
        let said =
            exchange(serve.address, format!("{head}Proxy-Authorization: Bearer {}\r\n\r\n", token(n)).as_bytes());
        assert!(said.starts_with("HTTP/1.1 403 "), "{said}");
    };
    (0..MANY).for_each(refused);
    (0..4).for_each(|_| refused(MANY - 1));
    let records = serve.stop().audit();
    let reasons: Vec<_> = of(&records, "anomaly").iter().map(|record| record["reason"].to_string()).collect();
    assert!(reasons.len() == 1 && reasons[0].contains("agent a1099 was refused 5 times in a row"), "{reasons:?}");
}

#[test]
fn an_agent_that_was_added_is_known_to_explain_and_run() {
    let config = "[key.tool]\nhosts = [\"api.tool.example\"]\n[key.other]\nhosts = [\"api.other.example\"]\n";
    let tables = format!("{config}[agent.narrowed]\nkeys = [\"tool\", \"other\"]\n");
    for (config, agent) in [(config, "researcher"), (&tables, "narrowed")] {
        let home = Home::bare(config).set("TOOL_API_KEY", KEY).set("OTHER_API_KEY", KEY);
        let output = locum(&home, &["agent", "add", agent, "--keys", "tool"], "");
        assert!(output.status.success(), "{}", told(&output));
        for (key, code) in [("tool", 0), ("other", 3)] {
            let (header, url) = (format!("X-Key: <<{key}_key>>"), format!("https://api.{key}.example/"));
            let output = finish(&mut home.locum(&["explain", "--agent", agent, "-H", &header, "GET", &url]));
            assert_eq!(output.status.code(), Some(code), "{agent} {key}: {}", told(&output));
        }
        let output = finish(&mut home.locum(&["run", "--agent", agent, "--", "sh", "-c", "echo $TOOL_API_KEY"]));
        assert_eq!(stdout(&output), "<<tool_key>>\n", "{}", told(&output));
    }
    let home = Home::bare("");
    assert!(locum(&home, &["agent", "add", "researcher"], "").status.success());
    let output = finish(&mut home.locum(&["explain", "--agent", "nobody", "GET", "https://a.example/"]));
    assert_eq!(stderr(&output), "error: there is no agent 'nobody'\n  next: there is researcher\n");
}

#[test]
fn the_list_says_who_may_ask_without_a_token() {
    for (config, said) in [
        (
            "",
            "no agent has a token: whoever runs as your user is 'local' (make one with 'locum agent add NAME')\n[0]\n",
        ),
        (
            "[agent.researcher]\nrate = \"60/min\"\n",
            "no agent has a token, and the config has agents, so nobody may ask: make one with 'locum agent add researcher'\n[0]\n",
        ),
    ] {
        assert_eq!(transcript(&Home::bare(config), &["agent", "list"], ""), said);
    }
}

#[test]
fn a_token_that_could_be_guessed_lets_nobody_in() {
    for token in [" ", "short", "fifteen-letters"] {
        let output = finish(&mut Home::with("", "").set("LOCUM_PROXY_TOKEN", token).locum(&["serve"]));
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        assert!(stderr(&output).contains("LOCUM_PROXY_TOKEN has under 16 characters"), "{}", told(&output));
    }
    let home = Home::with("", "[agent.a]\ntoken_file = \"token\"\n");
    let file = home.path().join("token");
    std::fs::write(&file, "fifteen-letters\n").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    for command in ["check", "serve"] {
        let output = finish(&mut home.locum(&[command]));
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        assert!(told(&output).contains("has under 16 characters"), "{}", told(&output));
    }
}

/// The row of an agent in `agent list --json`.
fn row(home: &Home, agent: &str) -> serde_json::Value {
    let rows = stdout(&locum(home, &["agent", "list", "--json"], ""));
    let rows: Vec<serde_json::Value> = serde_json::from_str(&rows).unwrap_or_else(|e| panic!("{e}: {rows}"));
    rows.into_iter().find(|row| row["name"] == agent).unwrap_or_else(|| panic!("no row of {agent}"))
}

/// Lets an agent's time have ended long ago.
fn expire(home: &Home) {
    let path = home.state().join("agents.json");
    let mut rows: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    rows[0]["expires"] = 1.into();
    std::fs::write(path, rows.to_string()).unwrap();
}

#[test]
fn a_new_token_gives_no_more_than_the_one_before() {
    let home = Home::bare("[key.tool]\nhosts = [\"api.tool.example\"]\n[key.other]\nhosts = [\"api.other.example\"]\n");
    let add = |args: &[&str]| locum(&home, &[&["agent", "add", "researcher"], args].concat(), "");
    assert!(add(&["--keys", "tool"]).status.success());
    let renewed = add(&["--expires", "2999-01-01"]);
    assert!(renewed.status.success(), "{}", told(&renewed));
    assert!(stderr(&renewed).contains("its keys are those of before: tool ("), "{}", told(&renewed));
    let first = row(&home, "researcher");
    assert_eq!((&first["keys"], &first["expired"]), (&"tool".into(), &false.into()), "{first}");

    // nor for longer
    let renewed = add(&["--keys", "other,tool"]);
    assert!(stderr(&renewed).contains("it counts until 2999-01-0"), "{}", told(&renewed));
    assert!(!stderr(&renewed).contains("its keys"), "{}", told(&renewed));
    let second = row(&home, "researcher");
    assert_eq!((&second["keys"], &second["expires"]), (&"other,tool".into(), &first["expires"]), "{second}");

    // what was over stays over until another end is said
    expire(&home);
    let refused = add(&["--keys", "tool"]);
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    assert!(stderr(&refused).contains("--expires 30d, or --expires never"), "{}", told(&refused));
    assert_eq!(row(&home, "researcher")["keys"], "other,tool");
    assert!(add(&["--expires", "never"]).status.success());
    assert_eq!(row(&home, "researcher")["expires"], serde_json::Value::Null);

    // who was revoked begins anew
    assert!(locum(&home, &["agent", "revoke", "researcher"], "").status.success());
    assert!(add(&[]).status.success());
    assert_eq!(row(&home, "researcher")["keys"], "all");
}

#[test]
fn the_list_tells_whose_time_is_over() {
    let home = Home::bare("");
    assert!(locum(&home, &["agent", "add", "researcher", "--expires", "1d"], "").status.success());
    assert_eq!(row(&home, "researcher")["expired"], false);
    expire(&home);
    assert_eq!(row(&home, "researcher")["expired"], true);
    let list = transcript(&home, &["agent", "list"], "");
    assert!(list.contains("expired 1970-01-01 00:00"), "{list}");
}
