//! What a person is asked on a terminal, in which order, and that nothing is asked in vain.

use crate::support::Home;
use crate::support::locum::{finish, stderr, told};
use crate::support::stores::{KEY, locum, with_vault};
use crate::support::terminal::on_terminal;

const PASSWORD: &str = "correct horse battery staple";
const MASTER: &str = "master password of the vault";

/// A home with a vault, whose password is to be typed.
fn with_vault_to_unlock() -> Home {
    let home = with_vault(PASSWORD);
    let made = finish(&mut home.locum(&["vault", "init"]));
    assert!(made.status.success(), "{}", told(&made));
    let set = locum(&home, &["key", "set", "tool", "--stdin", "--store", "vault"], KEY);
    assert!(set.status.success(), "{}", told(&set));
    // typed from now on
    home.set("LOCUM_MASTER_PASSWORD", "")
}

#[test]
fn a_wrong_master_password_is_asked_for_once() {
    let home = with_vault_to_unlock();
    for args in
        [&["key", "rotate", "tool"][..], &["key", "set", "tool", "--store", "vault"], &["key", "remove", "tool"]]
    {
        let (shown, code) = on_terminal(&home, args, &[(MASTER, "not the right one")]);
        assert_eq!(shown.matches(MASTER).count(), 1, "{args:?}: {shown}");
        assert_eq!(code, Some(4), "{args:?}: {shown}");
        assert!(shown.contains("does not open with this password"), "{args:?}: {shown}");
        let (shown, _) = on_terminal(&home, args, &[(MASTER, "")]);
        assert_eq!(shown.matches(MASTER).count(), 1, "an empty one is none, {args:?}: {shown}");
    }
}

#[test]
fn a_value_is_asked_for_only_where_it_can_be_kept() {
    let home = with_vault_to_unlock();
    for args in [&["key", "set", "tool", "--store", "vault"][..], &["key", "rotate", "tool"]] {
        let (shown, _) = on_terminal(&home, args, &[(MASTER, "not the right one")]);
        assert!(!shown.contains("value of 'tool'"), "{args:?}: {shown}");
        let (shown, code) = on_terminal(&home, args, &[(MASTER, PASSWORD), ("value of 'tool'", KEY)]);
        assert_eq!(code, Some(0), "{args:?}: {shown}");
        assert!(!shown.contains(KEY) && !shown.contains(PASSWORD), "{shown}");
        assert!(shown.find(MASTER) < shown.find("value of 'tool'"), "{shown}");
    }
}

#[test]
fn the_old_password_is_asked_for_before_the_new_one() {
    let home = with_vault_to_unlock();
    let passwd = ["vault", "passwd"];
    let (shown, code) = on_terminal(&home, &passwd, &[(MASTER, "not the right one")]);
    assert!(!shown.contains("new master password") && code == Some(4), "{code:?}: {shown}");
    let new = "five words that are new";
    let answers = [(MASTER, PASSWORD), ("new master password", new), ("once more", new)];
    let (shown, code) = on_terminal(&home, &passwd, &answers);
    assert!(shown.contains("has a new password") && code == Some(0), "{shown}");
    let (shown, code) = on_terminal(&home, &["key", "rotate", "tool"], &[(MASTER, new), ("value of 'tool'", KEY)]);
    assert_eq!(code, Some(0), "{shown}");
}

/// Where nobody can be asked, what is recommended can be done.
#[test]
fn without_a_terminal_a_way_is_told_that_there_is() {
    let home = Home::bare("[key.tool]\nhosts = [\"api.tool.example\"]\n");
    assert!(locum(&home, &["key", "set", "tool", "--stdin", "--store", "machine"], KEY).status.success());
    for (args, next) in [
        (&["key", "rotate", "--all"][..], "give NAME=VALUE lines or JSON with --stdin, or --from env or a file"),
        (&["key", "rotate", "tool"], "give the value on standard input, with --stdin"),
        (&["key", "set", "tool"], "give the value on standard input, with --stdin"),
    ] {
        // in a session of its own no terminal of whoever runs the tests is left
        let locum = home.locum(args);
        let output = finish(home.command("setsid").arg("--wait").arg(locum.get_program()).args(locum.get_args()));
        let said = stderr(&output);
        assert!(said.contains(&format!("error: there is no terminal to ask on\n  next: {next}\n")), "{args:?}: {said}");
    }
    assert!(locum(&home, &["key", "rotate", "tool", "--stdin"], KEY).status.success());
}
