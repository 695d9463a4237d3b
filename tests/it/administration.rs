//! Administration in the audit: whatever an operator does to keys, agents, stores and the service, by whom, and how it ended.

use crate::support::locum::{finish, of, stderr, stdout, told};
use crate::support::stores::locum;
use crate::support::{HANGS, Home, Serve};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::Instant;

/// Values that no record may hold.
const VALUE: &str = "sk-administered-0123456789abcdefWXYZ";
const NEW_VALUE: &str = "sk-administered-anew-0123456789abcdef";
const PASSWORD: &str = "correct horse battery";

fn uid() -> Value {
    rustix::process::getuid().as_raw().into()
}

/// The acts that are recorded of an operator, each with what it was done to and how it ended, the oldest first.
fn acts(records: &[Value]) -> Vec<(String, String, bool)> {
    let text = |record: &Value, name: &str| record[name].as_str().unwrap_or_default().to_owned();
    let is_act = |r: &&Value| !r["action"].is_null() && r["event"] != "start" && r["event"] != "stop";
    let act = |r: &Value| {
        let of = if r["agent"].is_null() { text(r, "operation") } else { text(r, "agent") };
        (text(r, "action"), of, r["success"] == true)
    };
    records.iter().filter(is_act).map(act).collect()
}

fn act(action: &str, of: &str, success: bool) -> (String, String, bool) {
    (action.into(), of.into(), success)
}

#[test]
fn what_a_command_does_is_recorded_with_who_did_it_and_no_value() {
    let home = Home::with("", "").set("LOCUM_MASTER_PASSWORD", PASSWORD).set("BRAVE_API_KEY", VALUE);
    let file = home.path().join("keys.env");
    std::fs::write(&file, format!("GROQ_API_KEY={NEW_VALUE}\n")).unwrap();
    let file = file.to_string_lossy().into_owned();
    let home = home.set("TOOL_API_KEY", "").set("OPENAI_API_KEY", "");
    type Case<'a> = (&'a [&'a str], &'a str, i32, &'a [(&'a str, &'a str, bool)]);
    let cases: [Case<'_>; 15] = [
        (&["vault", "init"], "", 0, &[("vault init", "vault", true)]),
        (&["vault", "init"], "", 4, &[("vault init", "vault", false)]),
        (
            &["key", "set", "tool", "--stdin", "--host", "api.tool.example", "--store", "vault"],
            VALUE,
            0,
            &[("key set", "api.tool", true)],
        ),
        (&["key", "set", "nowhere", "--stdin"], VALUE, 1, &[("key set", "api.nowhere", false)]),
        (&["key", "rotate", "tool", "--stdin"], NEW_VALUE, 0, &[("key rotate", "api.tool", true)]),
        (&["key", "rotate", "nowhere", "--stdin"], NEW_VALUE, 1, &[("key rotate", "key rotate", false)]),
        (&["key", "migrate", &file, "--dry-run"], "", 0, &[]),
        (&["key", "migrate", &file], "", 0, &[("key migrate", "api.groq", true), ("key migrate", "file", true)]),
        (&["key", "import", "--from", "env"], "", 0, &[("key import", "api.brave", true)]),
        (&["key", "list"], "", 0, &[]),
        (&["key", "remove", "tool"], "", 0, &[("key remove", "api.tool", true)]),
        (&["key", "remove", "tool"], "", 1, &[("key remove", "api.tool", false)]),
        (&["agent", "add", "researcher"], "", 0, &[("agent add", "researcher", true)]),
        (&["agent", "revoke", "researcher"], "", 0, &[("agent revoke", "researcher", true)]),
        (&["agent", "revoke", "researcher"], "", 1, &[("agent revoke", "researcher", false)]),
    ];
    // whatever has a key to sign with signs
    assert!(home.run(&["true"]).status.success());
    let mut known = Vec::new();
    for (args, input, code, want) in cases {
        let output = locum(&home, args, input);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", told(&output));
        let records = home.audit();
        let all = acts(&records);
        let want: Vec<_> = want.iter().map(|(action, of, success)| act(action, of, *success)).collect();
        assert_eq!(all.strip_prefix(&known[..]), Some(&want[..]), "{args:?}: {records:#?}");
        known = all;
    }
    let records = home.records();
    assert!(records.iter().all(|r| r["action"].is_null() || r["uid"] == uid()), "{records:#?}");
    let failed = records.iter().filter(|r| !r["action"].is_null() && r["success"] == false);
    assert!(failed.clone().count() == 5 && failed.clone().all(|r| r["error"].is_string()), "{records:#?}");
    // what is about to be done stands there before it is
    let begun = of(&records, "start");
    assert!(begun.iter().any(|r| r["action"] == "key rotate"), "{begun:#?}");
    for entry in std::fs::read_dir(home.audit_dir()).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(![VALUE, NEW_VALUE, PASSWORD].iter().any(|secret| text.contains(secret)), "{text}");
    }
    let query = finish(&mut home.locum(&["audit", "query", "--key", "tool", "--event", "key"]));
    assert!(stdout(&query).contains(&format!("key rotate  by user {}", uid())), "{}", told(&query));
    let query = finish(&mut home.locum(&["audit", "query", "--agent", "researcher", "--failed"]));
    assert!(stdout(&query).contains("agent revoke"), "{}", told(&query));
    let export = finish(&mut home.locum(&["audit", "export"]));
    assert!(stdout(&export).contains(&format!(",api.tool,key remove,{},", uid())), "{}", told(&export));
}

/// What has to go goes, whether or not it can be recorded.
#[test]
fn what_can_not_be_recorded_is_said_and_done() {
    let home = Home::with("", "");
    assert!(locum(&home, &["agent", "add", "researcher"], "").status.success());
    std::fs::set_permissions(home.audit_dir(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let output = locum(&home, &["agent", "revoke", "researcher"], "");
    assert!(output.status.success(), "{}", told(&output));
    let said = stderr(&output);
    assert!(said.contains("warning: 'agent revoke' is not in the audit: ") && said.contains("chmod 700"), "{said}");
    let list = locum(&home, &["agent", "list"], "");
    assert!(!stdout(&list).contains("researcher"), "{}", told(&list));
}

/// Gives a command over the control socket.
fn ask(serve: &Serve, command: &Value) -> Value {
    let mut stream = UnixStream::connect(serve.home.state().join("control.sock")).expect("a connection");
    stream.set_read_timeout(Some(HANGS)).expect("a timeout");
    stream.write_all(format!("{command}\n").as_bytes()).expect("a line");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("an answer");
    serde_json::from_str(&line).expect("a line of JSON")
}

/// Waits for so many acts in the audit of a running service.
fn await_acts(serve: &Serve, count: usize) -> Vec<Value> {
    let until = Instant::now() + HANGS;
    loop {
        let records = serve.home.records();
        if acts(&records).len() >= count {
            return records;
        }
        assert!(Instant::now() < until, "{records:#?}");
        std::thread::yield_now();
    }
}

#[test]
fn what_a_service_is_told_is_recorded_with_who_told_it() {
    let serve = Home::with("", "").serve();
    let config = std::fs::read_to_string(serve.home.config()).unwrap();
    ask(&serve, &json!({ "command": "reload" }));
    ask(&serve, &json!({ "command": "wipe" }));
    ask(&serve, &json!({ "command": "token", "action": "add", "agent": "researcher" }));
    ask(&serve, &json!({ "command": "token", "action": "revoke", "agent": "researcher" }));
    ask(&serve, &json!({ "command": "token", "action": "revoke", "agent": "researcher" }));
    serve.home.write_config(&format!("{config}nonsense"));
    ask(&serve, &json!({ "command": "reload" }));
    let want = [
        act("reload", "reload", true),
        act("wipe", "wipe", true),
        act("agent add", "researcher", true),
        act("agent revoke", "researcher", true),
        act("agent revoke", "researcher", false),
        act("reload", "reload", false),
    ];
    let records = await_acts(&serve, want.len());
    assert_eq!(acts(&records), want, "{records:#?}");
    assert!(records.iter().all(|r| r["action"].is_null() || r["uid"] == uid()), "{records:#?}");

    // a signal doesn't tell who sent it
    serve.signal(Signal::USR2);
    await_acts(&serve, want.len() + 1);
    serve.signal(Signal::HUP);
    let records = await_acts(&serve, want.len() + 2);
    let [wipe, reload] = &records.iter().filter(|r| !r["action"].is_null()).collect::<Vec<_>>()[want.len() + 1..]
    else {
        panic!("{records:#?}")
    };
    assert_eq!((&wipe["action"], &wipe["uid"]), (&"wipe".into(), &Value::Null));
    assert_eq!(
        (&reload["action"], &reload["success"], &reload["uid"]),
        (&"reload".into(), &false.into(), &Value::Null)
    );
    assert_eq!(ask(&serve, &json!({ "command": "stop" })), json!({ "stopping": true }));
    let home = serve.stopped();
    home.write_config(&config);
    let records = home.audit();
    let start = of(&records, "start")[0];
    assert_eq!((&start["action"], &start["uid"]), (&"start".into(), &uid()), "{start}");
    let stop = of(&records, "stop")[0];
    assert_eq!((&stop["action"], &stop["uid"], &stop["success"]), (&"stop".into(), &uid(), &true.into()), "{stop}");
}

/// Whoever sits at a terminal is known by it.
#[test]
fn the_terminal_of_who_did_it_is_recorded() {
    let home = Home::with("", "");
    const PROGRAM: &str = "import os, pty, sys\n\
        status = pty.spawn(sys.argv[1:])\n\
        sys.exit(os.waitstatus_to_exitcode(status))\n";
    let mut command = home.command("/usr/bin/python3");
    command.args(["-c", PROGRAM, env!("CARGO_BIN_EXE_locum"), "--config"]).arg(home.config());
    let output = finish(command.arg("--state").arg(home.state()).args(["agent", "add", "researcher"]));
    assert!(output.status.success(), "{}", told(&output));
    let records = home.audit();
    let added = of(&records, "agent")[0];
    assert!(added["tty"].as_str().is_some_and(|tty| tty.starts_with("/dev/pts/")), "{added}");
    // and of one without a terminal there is none to tell
    let mut setsid = home.command("setsid");
    setsid.args(["--wait", env!("CARGO_BIN_EXE_locum"), "--config"]).arg(home.config());
    let output = finish(setsid.arg("--state").arg(home.state()).args(["agent", "revoke", "researcher"]));
    assert!(output.status.success(), "{}", told(&output));
    let records = home.audit();
    let revoked = of(&records, "agent")[1];
    assert_eq!((&revoked["action"], &revoked["tty"]), (&"agent revoke".into(), &Value::Null), "{revoked}");
}
