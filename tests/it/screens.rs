//! What a command shows on a terminal alone: how far it is while it works, and colours.

use crate::support::locum::{finish, stdout, told};
use crate::support::{Home, Terminal};
use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;

/// What takes the line away again.
const GONE: &str = "\r\x1b[K";

/// A file of the audit in this home that nobody reads to its end: it takes no room on the disk. Cut short, it ends at once.
fn endless(home: &Home) -> File {
    DirBuilder::new().mode(0o700).recursive(true).create(home.audit_dir()).expect("a folder");
    let file = File::create(home.audit_dir().join("20261121T192653.123456Z-4711.jsonl")).expect("a file");
    file.set_len(1 << 40).expect("a file with a hole in it");
    file
}

/// What was shown before the line of progress was taken away the last time, and what came then.
fn around_progress(shown: &str) -> (&str, &str) {
    shown.rsplit_once(GONE).unwrap_or_else(|| panic!("nothing was taken away: {shown:?}"))
}

#[test]
fn what_reads_the_whole_audit_says_how_far_it_is() {
    for (args, then) in [
        ("status", "proxy   "),
        ("key list", "KEY "),
        ("audit stats", "0 records"),
        ("audit verify", "FILE "),
        ("audit query >found", ""),
        ("audit export >found", ""),
        ("explain --exchange abcdefghij234567", "\u{1b}[31merror"),
    ] {
        let home = Home::with("", "");
        let file = endless(&home);
        let mut terminal = Terminal::locum(&home, args);
        terminal.await_shown(" TB");
        file.set_len(0).expect("an end");
        let (_, shown) = terminal.ended();
        let (before, after) = around_progress(&shown);
        assert!(before.contains("read "), "{args}: {shown:?}");
        assert!(after.starts_with(then), "{args}: {shown:?}");
    }
}

#[test]
fn programs_and_pipes_are_shown_no_progress() {
    let home = Home::with("", "");
    let file = endless(&home);
    let json = ["status --json", "key list --json", "audit stats --json"];
    let terminals: Vec<Terminal> = json.iter().map(|args| Terminal::locum(&home, args)).collect();
    let piped = Terminal::locum(&home, "status 2>said");
    // it has begun after them, and shows it by then
    let mut told = Terminal::locum(&home, "audit verify");
    told.await_shown(" TB");
    file.set_len(0).expect("an end");
    for terminal in terminals.into_iter().chain([piped]) {
        let (_, shown) = terminal.ended();
        assert!(!shown.contains(GONE) && !shown.contains("read "), "{shown:?}");
    }
    assert_eq!(std::fs::read_to_string(home.path().join("said")).expect("a file"), "");
}

#[test]
fn who_waits_for_a_store_is_told_so() {
    for (args, then) in [("check", ""), ("status", "proxy   "), ("key list", "KEY ")] {
        let home = Home::with("", "");
        let pipe = home.path().join("slow");
        assert!(finish(home.command("mkfifo").arg(&pipe)).status.success());
        let config = std::fs::read_to_string(home.config()).expect("the config");
        let key = format!("[key.slow]\nhosts = [\"api.slow.example\"]\nsource = 'exec:[\"/bin/cat\", {pipe:?}]'\n");
        home.write_config(&format!("{config}{key}"));
        let mut terminal = Terminal::locum(&home, args);
        terminal.await_shown("asking the stores");
        std::fs::write(&pipe, "a-value-that-takes-its-time").expect("a writer");
        let (_, shown) = terminal.ended();
        let (_, after) = around_progress(&shown);
        assert!(after.starts_with(then) && !after.contains("asking the stores"), "{args}: {shown:?}");
    }
}

#[test]
fn a_vault_that_is_made_slowly_says_so() {
    let home = Home::with("", "").set("LOCUM_MASTER_PASSWORD", "correct horse battery staple");
    DirBuilder::new().mode(0o700).create(home.state()).expect("a folder");
    // whoever else writes it
    let turn = File::create(home.state().join("vault.lock")).expect("a file");
    turn.lock().expect("a lock");
    let mut terminal = Terminal::locum(&home, "vault init");
    terminal.await_shown("making the vault");
    drop(turn);
    let (status, shown) = terminal.ended();
    let (_, after) = around_progress(&shown);
    assert!(after.starts_with("made ") && status.success(), "{shown:?}");
}

#[test]
fn the_status_is_green_where_all_is_well_and_faults_stand_out() {
    let well = || Home::with("", "");
    let faulty = || Home::with("", "[key.lost]\nsource = \"env:NOWHERE\"\nhosts = [\"api.lost.example\"]\n");
    let shown = |home: &Home| Terminal::locum(home, "status").ended().1;
    assert!(shown(&well()).ends_with("\u{1b}[32mhealthy\u{1b}[0m\n"), "{:?}", shown(&well()));
    let fault = shown(&faulty());
    assert!(fault.contains("\u{1b}[31m1 to look at:\u{1b}[0m\n  \u{1b}[33m"), "{fault:?}");
    for home in [well, faulty].map(|home| home()) {
        let piped = finish(&mut home.locum(&["status"]));
        assert!(!stdout(&piped).contains('\u{1b}'), "{}", told(&piped));
        let home = home.set("NO_COLOR", "1");
        assert!(!shown(&home).contains("\u{1b}[3"), "{:?}", shown(&home));
    }
}
