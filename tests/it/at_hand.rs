//! `configure`, `status` and `key rotate --all`, as a person meets them on a terminal and a script without one.

use crate::support::locum::{OPENAI_KEY, TOOL_KEY, finish, of, stderr, stdout, told};
use crate::support::terminal::on_terminal;
use crate::support::{Home, Http, Upstream};
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::{Output, Stdio};

const NEW_KEY: &str = "tk-0123456789abcdef-new1";

fn ran(home: &Home, args: &[&str]) -> Output {
    finish(&mut home.locum(args))
}

fn given(home: &Home, args: &[&str], input: &str) -> Output {
    let mut child =
        home.locum(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("locum");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("input");
    child.wait_with_output().expect("an end")
}

/// A home whose machine-bound store has these keys, of its own.
fn stored(keys: &[(&str, &str)]) -> Home {
    let tables: String =
        keys.iter().map(|(name, _)| format!("[key.{name}]\nhosts = [\"api.{name}.example\"]\n")).collect();
    let home = Home::bare(&tables);
    for (name, value) in keys {
        let output = given(&home, &["key", "set", name, "--stdin"], value);
        assert!(output.status.success(), "{}", told(&output));
    }
    home
}

fn status(home: &Home) -> (Value, Option<i32>) {
    let output = ran(home, &["status", "--json"]);
    let report = serde_json::from_str(&stdout(&output)).unwrap_or_else(|e| panic!("{e}: {}", told(&output)));
    (report, output.status.code())
}

/// All on a terminal, from nothing: a key of the catalog that is found, one that is typed, and one of one's own.
#[test]
fn a_person_is_led_from_nothing_to_keys_in_use() {
    let home = Home::bare("").set("OPENAI_API_KEY", OPENAI_KEY);
    std::fs::remove_file(home.config()).expect("no config");
    std::fs::write(home.path().join(".env"), format!("GROQ_API_KEY=gsk_{}\n", "a1B2c3D4".repeat(6))).expect("a file");
    let (shown, code) = on_terminal(
        &home,
        &["configure"],
        &[
            ("keep it in the machine-bound store", "y"),
            ("another key?", "Wrong-Name"),
            ("another key?", "anthropic"),
            ("value of 'anthropic'", "sk-ant-api03-mistyped-0123456789"),
            ("it ends in …6789: right?", "n"),
            ("value of 'anthropic'", "sk-ant-api03-well-typed-0123456789ab"),
            ("it ends in …89ab: right?", ""),
            ("another key?", "my_tool"),
            ("the host that its key may go to", "*.com"),
            ("the host that its key may go to", "api.my.example"),
            ("value of 'my_tool'", TOOL_KEY),
            ("it ends in …real: right?", "Y"),
            ("another key?", ""),
        ],
    );
    assert_eq!(code, Some(0), "{shown}");
    for part in [
        "new keys go there",
        "made now",
        "openai       …xY4z",
        "keys lie open in ",
        "locum key migrate --dry-run ",
        "next: locum run -- YOUR-AGENT    (it writes <<anthropic_key>>)",
    ] {
        let part = part.replace("xY4z", &OPENAI_KEY[OPENAI_KEY.len() - 4..]);
        assert!(shown.contains(&part), "{part}: {shown}");
    }
    for secret in [OPENAI_KEY, TOOL_KEY, "well-typed", "gsk_"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    let written = std::fs::read_to_string(home.config()).expect("a config");
    assert!(
        written.starts_with("# Which keys may go where.")
            && written.contains("[key.my_tool]\nhosts = [\"api.my.example\"]"),
        "{written}"
    );

    // run again it finds all that is there, and asks for none of it
    let again = ran(&home, &["configure", "--yes"]);
    assert!(again.status.success(), "{}", told(&again));
    let shown = stdout(&again);
    for (name, place) in [("anthropic", "store"), ("my_tool", "store"), ("openai", "environment OPENAI_API_KEY")] {
        assert!(shown.lines().any(|line| line.starts_with(name) && line.contains(place)), "{name}: {shown}");
    }
    assert_eq!(shown.matches("/.env").count(), 2, "named once, and in the command: {shown}");
    assert!(!shown.contains("made now"), "{shown}");
}

#[test]
fn configure_without_a_terminal_says_what_is_missing() {
    let home = Home::bare("").set("OPENAI_API_KEY", OPENAI_KEY);
    let output = ran(&home, &["configure"]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    assert!(
        stderr(&output).contains("there is no terminal to ask on\n  next: --yes takes what is found"),
        "{}",
        told(&output)
    );
    let output = ran(&home, &["configure", "--yes", "openai"]);
    assert!(output.status.success() && stdout(&output).contains("(it writes <<openai_key>>)"), "{}", told(&output));
    let output = ran(&home, &["configure", "--yes", "--provider", "anthropic"]);
    assert_eq!(output.status.code(), Some(4), "{}", told(&output));
    assert!(stderr(&output).contains("'anthropic' has no value\n  next: set ANTHROPIC_API_KEY"), "{}", told(&output));
    let output = ran(&home, &["configure", "--yes", "my_tool"]);
    assert!(stderr(&output).contains("locum key set my_tool --host HOST"), "{}", told(&output));
    let broken = Home::bare("[key.tool\n");
    assert_eq!(ran(&broken, &["configure", "--yes"]).status.code(), Some(1));
}

/// What the screen says is what the JSON says.
#[tokio::test]
async fn the_status_tells_what_runs_and_what_was_refused() {
    let upstream = Upstream::start();
    let serve = Home::bound(&[&upstream]).serve();
    let mut client = crate::support::Client::open(serve.address, &serve.ca, &upstream.authority(), Http::One).await;
    let ask = |client: &crate::support::Client, placeholder: &str| {
        client
            .request("GET", "/")
            .header("x-api-key", placeholder)
            .body(crate::support::client::none())
            .expect("a request")
    };
    let (used, refused) =
        (ask(&client, "<<tool_key>>"), ask(&client, "<<nobody\u{1b}_key>>".replace('\u{1b}', "").as_str()));
    assert_eq!(client.ask(used).await.status, 200);
    assert_eq!(client.ask(refused).await.status, 403);
    let (report, code) = status(&serve.home);
    assert_eq!((report["healthy"].as_bool(), code), (Some(true), Some(0)), "{report:#}");
    assert_eq!(report["service"]["listen"], serve.address.to_string());
    assert_eq!(report["service"]["counts"], json!({"substitutions": 1, "refusals": 1, "scrubs": 1}), "{report:#}");
    let refusals = report["refusals"].as_array().expect("a list");
    assert!(
        refusals.len() == 1 && refusals[0]["reason"].as_str().expect("why").contains("no key of that name"),
        "{report:#}"
    );
    let tool = report["keys"].as_array().expect("a list").iter().find(|key| key["name"] == "tool").expect("a key");
    assert_eq!((&tool["masked"], tool["last_used"].is_string()), (&json!("…real"), true), "{tool:#}");
    assert!(report["audit"]["bytes"].as_u64() > Some(0) && report["audit"]["files"] == 1, "{report:#}");
    let screen = stdout(&ran(&serve.home, &["status"]));
    for part in [
        &format!("proxy   serving on {}", serve.address),
        "1 substitution, 1 refusal",
        "last refusals",
        "<<nobody_key>>",
        "healthy\n",
    ] {
        assert!(screen.contains(part), "{part}: {screen}");
    }
    assert!(!screen.contains(TOOL_KEY) && !report.to_string().contains(TOOL_KEY), "{screen}");
    let home = serve.stop();
    let (report, code) = status(&home);
    assert_eq!((&report["service"], code), (&Value::Null, Some(0)), "{report:#}");
    assert!(stdout(&ran(&home, &["status"])).contains("no service runs"));
}

/// Not by itself, but by what would have to be done.
#[test]
fn the_status_fails_where_something_needs_attention() {
    let home = stored(&[("tool", TOOL_KEY)]);
    assert_eq!(status(&home).1, Some(0));
    home.write_config(
        "[key.tool]\nhosts = [\"api.tool.example\"]\nrotate_after = \"90d\"\n[key.gone]\nhosts = [\"a.example\"]\n",
    );
    let (report, code) = status(&home);
    assert_eq!(code, Some(1), "{report:#}");
    assert_eq!(report["problems"].as_array().expect("a list").len(), 1, "{report:#}");
    assert!(report["problems"][0]["what"].as_str().expect("what").contains("key gone has no value"), "{report:#}");

    // ninety-one days later
    let ages = home.state().join("key-ages.json");
    let since = "2020-01-01T00:00:00Z";
    std::fs::write(&ages, json!({ "tool": since }).to_string()).expect("a file");
    let (report, _) = status(&home);
    let due = report["problems"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|p| p["what"].as_str().unwrap_or_default().contains("a new value of 'tool'"));
    assert_eq!(due.expect("a reminder")["next"], "locum key rotate tool", "{report:#}");
    let row = report["keys"].as_array().expect("a list").iter().find(|key| key["name"] == "tool").expect("a key");
    assert_eq!((&row["since"], &row["rotate_due"]), (&json!(since), &json!("2020-03-31T00:00:00Z")), "{row:#}");
    assert!(stdout(&ran(&home, &["check"])).contains("a new value of 'tool' has been due"));
    let run = ran(&home, &["run", "-q", "--", "true"]);
    assert!(stderr(&run).contains("a new value of 'tool' has been due"), "{}", told(&run));
    // and as soon as it has one
    let output = given(&home, &["key", "rotate", "tool", "--stdin"], NEW_KEY);
    assert!(output.status.success(), "{}", told(&output));
    assert!(!stdout(&ran(&home, &["check"])).contains("a new value"));

    home.write_config("[key.tool]\nhosts = 5\n");
    let (report, code) = status(&home);
    let told = report["problems"].to_string();
    assert!(code == Some(1) && told.contains("locum.toml:2:9: 'hosts' is a list of texts"), "{report:#}");
}

#[test]
fn all_keys_get_new_values_on_a_terminal() {
    let home = stored(&[
        ("one", "one-0123456789abcdefgh"),
        ("three", "three-0123456789abcdef"),
        ("two", "two-0123456789abcdefgh"),
    ]);
    let (shown, code) = on_terminal(
        &home,
        &["key", "rotate", "--all"],
        &[
            ("new value of 'one', or nothing to leave it", "one-new-0123456789abcd"),
            ("new value of 'three'", ""),
            ("new value of 'two'", "two-0123456789abcdefgh"),
        ],
    );
    assert_eq!(code, Some(0), "{shown}");
    for part in [
        "one has a new value in the machine-bound store",
        "…abcd",
        "three stays as it is",
        "two has this value already",
        "other machines with a store of their own still have the old values",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("one-new"), "{shown}");
    let rotated = home.audit();
    let records = of(&rotated, "key");
    let names: Vec<_> = records.iter().filter(|r| r["action"] == "key rotate").map(|r| &r["operation"]).collect();
    assert_eq!(names, ["api.one"], "{records:#?}");
}

#[test]
fn all_keys_get_new_values_without_a_terminal() {
    let keys = [("one", "one-0123456789abcdefgh"), ("two", "two-0123456789abcdefgh")];
    let masked = |home: &Home| {
        let rows: Value = serde_json::from_str(&stdout(&ran(home, &["key", "list", "--json"]))).expect("JSON");
        rows.as_array()
            .expect("rows")
            .iter()
            .map(|row| row["masked"].as_str().unwrap_or("none").to_owned())
            .collect::<Vec<_>>()
    };
    let lines = "# new\nexport one=one-0123456789abcdef-AAA1\nTWO_API_KEY=\"two-0123456789abcdef-AAA2\"\n";
    let object = r#"{"one": "one-0123456789abcdef-AAA1", "TWO_API_KEY": "two-0123456789abcdef-AAA2"}"#;
    for (args, input) in [
        (&["key", "rotate", "--all", "--stdin"][..], lines),
        (&["key", "rotate", "--all", "--stdin"], object),
        (&["key", "rotate", "one", "two", "--stdin"], lines),
        (&["key", "rotate", "--all", "--from", "new.env"], ""),
        (&["rotate", "--all", "--from", "file:new.env"], ""),
    ] {
        let home = stored(&keys);
        std::fs::write(home.path().join("new.env"), lines).expect("a file");
        let output = given(&home, args, input);
        assert!(output.status.success(), "{args:?}: {}", told(&output));
        assert_eq!(masked(&home), ["…AAA1", "…AAA2"], "{args:?}");
    }
    let home = stored(&keys).set("TWO_API_KEY", "two-0123456789abcdef-BBB2");
    let output = ran(&home, &["key", "rotate", "--all", "--from", "env"]);
    assert!(
        output.status.success() && stdout(&output).contains("note: TWO_API_KEY is set here, and counts first"),
        "{}",
        told(&output)
    );

    // all or nothing, and never a value in a message
    for (args, input, says) in [
        (
            &["--all", "--stdin"][..],
            "one=one-0123456789abcdef-CCC1\nthree=x-secret-value\n",
            "'three' is none of the keys",
        ),
        (&["one", "two", "--stdin"], "one=one-0123456789abcdef-CCC1\n", "there is no new value of 'two'"),
        (&["--all", "--stdin"], "", "there is no new value of any key"),
        (&["--all", "--stdin"], "x-secret-value\n", "line 1 is no NAME=VALUE"),
        (
            &["--all", "--stdin"],
            "one=a-0123456789abcdef-DDD1\none=x-secret-value\n",
            "line 2 gives 'one' a second time",
        ),
        (&["--all", "--stdin"], r#"{"one": "x-secret-value""#, "the JSON can't be read at line 1"),
        (
            &["--all", "--stdin"],
            r#"{"one": "a-0123456789abcdef-DDD1", "two": "b-0123456789abcdef-DDD1", "one": "x-secret-value"}"#,
            "the JSON gives 'one' a second time",
        ),
        (&["--all", "--stdin"], "one=x-secret\u{7}-value\ntwo=x-secret-value\n", "control character"),
        (&["--all", "--from", "nowhere.env"], "", "nowhere.env"),
        (&["--all", "--from", "pipe"], "", "pipe: it is no regular file"),
        (&["--all"], "", "there is no terminal to ask on"),
    ] {
        let home = stored(&keys);
        assert!(finish(home.command("mkfifo").arg("pipe")).status.success());
        let output = given(&home, &[&["key", "rotate"], args].concat(), input);
        assert!(!output.status.success() && stderr(&output).contains(says), "{args:?} {input:?}: {}", told(&output));
        assert!(!told(&output).contains("x-secret"), "{}", told(&output));
        assert_eq!(masked(&home), ["…efgh", "…efgh"], "{args:?} {input:?}");
    }
}

#[test]
fn times_are_in_the_local_zone_unless_asked_otherwise() {
    let home = stored(&[("tool", TOOL_KEY)]).set("TZ", "Pacific/Kiritimati");
    std::fs::write(home.state().join("key-ages.json"), json!({ "tool": "2026-01-01T12:00:00Z" }).to_string())
        .expect("a file");
    let local = stdout(&ran(&home, &["key", "list"]));
    assert!(local.contains("2026-01-02"), "{local}");
    for args in [&["--utc", "key", "list"][..], &["key", "list", "--utc"], &["status", "--utc"]] {
        let shown = stdout(&ran(&home, args));
        assert!(shown.contains("2026-01-01") && !shown.contains("2026-01-02"), "{args:?}: {shown}");
    }
}
