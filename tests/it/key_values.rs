//! Values as people have them, with marks of the file or the page that they were copied from: told by kind before they are sent.

use crate::support::Home;
use crate::support::locum::{finish, stderr, stdout, told};
use crate::support::stores::locum;

const KEY: &str = "tk-5f0c2d9be1-q8Zt2LwXvR-WXYZ";

/// A value as it lies in a file, and what is said of it.
fn marked() -> [(String, &'static str); 9] {
    [
        (format!("\u{feff}{KEY}\n"), "begins with a byte order mark"),
        (format!("{KEY} \n"), "begins or ends with a blank"),
        (format!("{KEY}\u{a0}\n"), "has a no-break space"),
        (format!("\"{KEY}\"\n"), "stands in quotes"),
        (format!("Bearer {KEY}\n"), "has 'Bearer' in front"),
        (format!("TOOL_API_KEY={KEY}\n"), "is a line NAME=VALUE"),
        (format!("Authorization: {KEY}\n"), "has 'Authorization:' in front"),
        (format!("{KEY}\r\n\r\n"), "as Windows writes them (CRLF)"),
        (KEY.chars().flat_map(|c| [c, '\0']).collect(), "it looks like UTF-16"),
    ]
}

fn with_file(value: &str) -> Home {
    let home = Home::with("", "[key.tool]\nhosts = [\"api.tool.example\"]\nsource = \"file:key\"\n");
    std::fs::write(home.path().join("key"), value).unwrap();
    home
}

#[test]
fn a_mark_on_a_key_file_is_told_by_check_by_serve_and_by_run() {
    for (value, said) in marked() {
        let home = with_file(&value);
        let output = finish(&mut home.locum(&["check"]));
        assert!(stdout(&output).contains(said), "{value:?}: {}", told(&output));
        let output = home.run(&["true"]);
        assert!(stderr(&output).contains(said) && output.status.success(), "{value:?}: {}", told(&output));
        assert!(!told(&output).contains("tk-5f0c"), "{}", told(&output));
        let serve = home.serve();
        serve.await_said(|line| line.contains(said) && !line.contains("tk-5f0c"));
        serve.stop();
    }
    let output = with_file(&format!("{KEY}\r\n")).run(&["true"]);
    assert!(!stderr(&output).contains("warning"), "one line end is no part of it: {}", told(&output));
}

#[test]
fn a_mark_on_a_value_that_is_stored_is_told_then() {
    let table = "[key.tool]\nhosts = [\"api.tool.example\"]\n";
    for (value, said) in marked().into_iter().take(7) {
        let home = Home::bare(table);
        for args in
            [&["key", "set", "tool", "--stdin", "--store", "machine"][..], &["key", "rotate", "tool", "--stdin"]]
        {
            let output = locum(&home, args, &value);
            assert!(stderr(&output).contains(&format!("warning: the value of key 'tool' {said}")), "{}", told(&output));
            assert!(output.status.success(), "{}", told(&output));
        }
        let home = Home::bare(table).set("TOOL_API_KEY", value.trim_end_matches('\n'));
        let output = finish(&mut home.locum(&["key", "import", "--from", "env"]));
        assert!(stderr(&output).contains(said), "{}", told(&output));
    }
}

#[test]
fn a_mark_on_an_agents_token_is_told() {
    let home = Home::bare("[agent.worker]\ntoken_file = \"token\"\n");
    std::fs::write(home.path().join("token"), "\u{feff}0123456789abcdef0123456789abcdef\n").unwrap();
    let output = finish(&mut home.locum(&["check"]));
    assert!(
        stdout(&output).contains("token: warning: what it holds begins with a byte order mark"),
        "{}",
        told(&output)
    );
}

/// Which key can't be had is told at the start and after a reload, and not only to the request that needs it.
#[test]
fn a_key_that_cannot_be_had_is_named_at_the_start() {
    let home = Home::with(
        "",
        "[key.tool]\nhosts = [\"api.tool.example\"]\nsource = \"file:none\"\n\
         [key.other]\nhosts = [\"api.other.example\"]\nsource = \"file:folder\"\n",
    );
    std::fs::create_dir(home.path().join("folder")).unwrap();
    let path = home.path().display().to_string();
    let wanted = [
        format!("locum: warning: key 'tool' has no value: looked in file {path}/none"),
        format!("locum: warning: key 'other': file {path}/folder is no regular file"),
    ];
    let serve = home.serve();
    wanted.iter().for_each(|wanted| drop(serve.await_said(|line| line == wanted)));
    serve.signal(rustix::process::Signal::HUP);
    serve.await_said(|line| line == "locum: reloaded");
    let home = serve.stop();
    let output = home.run(&["true"]);
    assert!(wanted.iter().all(|wanted| stderr(&output).contains(wanted)), "{}", told(&output));
}
