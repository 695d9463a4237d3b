//! Files and sockets: what a confined command finds, and what it may change.

use super::setting::{Outside, User};
use crate::support::locum::{stderr, stdout, told};

fn said(user: &User, options: &[&str], script: &str) -> String {
    let options = [&["--confine=require", "--quiet"], options].concat();
    let output = user.confined(&options, &["sh", "-c", script]);
    assert!(output.status.success(), "{}", told(&output));
    stdout(&output)
}

#[test]
fn what_is_locums_is_not_there() {
    let user = User::new();
    let keyrings = user.home.path().join(".local/share/keyrings");
    std::fs::create_dir_all(&keyrings).unwrap();
    std::fs::write(keyrings.join("login.keyring"), "text").unwrap();
    user.own(&user.home.path().join(".local"));
    let state = user.home.state();
    let script =
        format!("cat {}; ls -A {} {}; ls ways.py", user.home.config().display(), state.display(), keyrings.display());
    let shown = said(&user, &[], &script);
    let folder = |path: &std::path::Path| format!("{}:\n", path.display());
    let mut folders = [folder(&state), folder(&keyrings)];
    folders.sort();
    assert_eq!(shown, format!("{}\n{}ways.py\n", folders[0], folders[1]), "{shown}");
}

#[test]
fn files_are_hidden_and_sockets_allowed_as_the_user_says() {
    let user = User::with("", "[confine]\nhide = [\"notes\"]\n");
    for folder in ["notes", "drafts"] {
        std::fs::create_dir(user.home.path().join(folder)).unwrap();
        std::fs::write(user.home.path().join(folder).join("page"), "text").unwrap();
        user.own(&user.home.path().join(folder));
    }
    assert_eq!(said(&user, &[], "ls notes drafts"), "drafts:\npage\n\nnotes:\n");
    assert_eq!(said(&user, &["--hide", "drafts"], "ls notes drafts"), "drafts:\n\nnotes:\n");
    let outside = Outside::of(&user);
    let path = outside.at("path");
    let options = ["--confine=require", "--quiet", "--allow-socket", &path];
    assert_eq!(user.way(&options, "path", &path), "open");
    assert!(user.way(&options[..2], "path", &path).starts_with("shut"));
    let output = user.confined(&["--confine", "--hide", "no-such-file"], &["true"]);
    assert!(
        output.status.code() == Some(2) && stderr(&output).contains("no-such-file is not there"),
        "{}",
        told(&output)
    );
    let output = user.confined(&["--confine", "--hide", "."], &["true"]);
    assert!(stderr(&output).contains("the working folder is in"), "{}", told(&output));
    let output = user.confined(&["--read-only"], &["true"]);
    assert!(output.status.code() == Some(2) && stderr(&output).contains("--confine"), "{}", told(&output));
}

#[test]
fn a_read_only_command_writes_where_it_works_and_nowhere_else() {
    let user = User::new();
    let folder = |name: &str| {
        let path = user.home.path().join(name);
        std::fs::create_dir(&path).unwrap();
        user.own(&path);
        path.to_string_lossy().into_owned()
    };
    let (work, cache, temporary) = (folder("work"), folder("cache"), folder("temporary"));
    folder("other");
    let script = format!(
        "cd {work} && for f in here ../cache/f ../other/f ../temporary/f /dev/null; do \
         if (echo text > $f) 2>/dev/null; then echo may; else echo may not; fi; done"
    );
    let run = |options: &[&str]| {
        let mut command = user.locum_run(&[&["--confine=require", "--quiet"], options].concat());
        command.current_dir(&work).env("TMPDIR", &temporary);
        let output = crate::support::locum::finish(command.args(["sh", "-c", &script]));
        assert!(output.status.success(), "{}", told(&output));
        stdout(&output).replace('\n', ",")
    };
    assert_eq!(run(&[]), "may,may,may,may,may,");
    assert_eq!(run(&["--read-only"]), "may,may not,may not,may,may,");
    assert_eq!(run(&["--read-only", "--allow-write", &cache]), "may,may,may not,may,may,");
}

/// Bundles and folders of roots hold locum's CA inside, and are as they were outside, before and after.
#[test]
fn roots_are_as_they_were_outside() {
    let user = User::new();
    let script = "grep -c BEGIN /etc/ssl/certs/ca-certificates.crt; ls /etc/ssl/certs | wc -l; cat /etc/resolv.conf";
    let outside = || stdout(&crate::support::locum::finish(user.command("sh").args(["-c", script])));
    let before = outside();
    let inside = said(&user, &[], script);
    assert_eq!(outside(), before);
    let numbers = |text: &str| -> Vec<usize> { text.lines().filter_map(|line| line.parse().ok()).collect() };
    let ([bundle, folder], [inner_bundle, inner_folder]) =
        (<[usize; 2]>::try_from(numbers(&before)).unwrap(), <[usize; 2]>::try_from(numbers(&inside)).unwrap());
    assert!(inner_bundle > bundle && inner_folder > folder, "{before}{inside}");
    assert!(inside.ends_with("nameserver 127.0.0.1\noptions edns0\n"), "{inside}");
}
