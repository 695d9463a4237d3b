//! Ways out: each is open to the same program unconfined, and shut to it confined.

use super::setting::{Outside, PYTHON, User, other_address, script, setuid_program};
use crate::support::locum::{finish, stdout, told};
use crate::support::{Home, Terminal};
use std::os::fd::AsRawFd as _;

const NAMESPACES: &[&str] = &["--confine=require", "--quiet"];

/// Each way with its target, and whether it needs rights that no ordinary user has: then it is shut to everybody.
fn ways(user: &User, outside: &Outside) -> Vec<(&'static str, String)> {
    let mut ways: Vec<(&str, String)> =
        ["tcp", "tcp6", "mptcp", "udp", "abstract", "path"].into_iter().map(|way| (way, outside.at(way))).collect();
    ways.extend(["ptrace", "memory", "root", "outer_signal"].map(|way| (way, outside.at("pid"))));
    ways.extend(["vsock", "netfilter", "io_uring", "keyring"].map(|way| (way, String::new())));
    let path = outside.at("path");
    ways.push(("fast_open", outside.at("tcp")));
    ways.push(("user_namespace", outside.at("tcp")));
    ways.push(("unmounted", format!("{path}::{path}")));
    ways.push(("file", user.home.config().to_string_lossy().into_owned()));
    ways.extend(setuid_program(user).map(|program| ("setuid", program)));
    if let Some(address) = other_address() {
        ways.push(("other_address", format!("{address}:{}", outside.at("tcp"))));
        ways.push(("udp_elsewhere", format!("{address}:{}", outside.at("udp"))));
    }
    ways
}

#[test]
fn nothing_gets_out_of_the_namespaces() {
    let user = User::new();
    let outside = Outside::of(&user);
    for (way, target) in ways(&user, &outside) {
        assert_eq!(user.way(&[], way, &target), "open", "{way} {target}, unconfined");
        let said = user.way(NAMESPACES, way, &target);
        assert!(said.starts_with("shut"), "{way} {target}: {said}");
    }
    for way in ["raw", "packet", "route"] {
        assert!(user.way(NAMESPACES, way, "").starts_with("shut"), "{way}");
    }
}

/// What a shell has opened for a command, and leads outside: a connection, and a folder that is hidden.
#[test]
fn what_was_open_before_leads_nowhere() {
    let user = User::new();
    let outside = Outside::of(&user);
    let hidden = user.home.path().join("hidden");
    std::fs::create_dir(&hidden).unwrap();
    std::fs::write(hidden.join("note"), "text").unwrap();
    user.own(&hidden);
    let stream = std::net::TcpStream::connect(("127.0.0.1", outside.at("tcp").parse().unwrap())).unwrap();
    let folder = std::fs::File::open(&hidden).unwrap();
    let file = std::fs::File::open(hidden.join("note")).unwrap();
    for descriptor in [stream.as_raw_fd(), folder.as_raw_fd(), file.as_raw_fd()] {
        #[allow(unsafe_code, reason = "a flag of a descriptor that is this test's")]
        // SAFETY: nothing but the flag is changed.
        unsafe {
            libc::fcntl(descriptor, libc::F_SETFD, 0);
        }
    }
    let hide = hidden.to_string_lossy().into_owned();
    let options = ["--confine=require", "--quiet", "--hide", &hide];
    let descriptor = stream.as_raw_fd().to_string();
    let below = format!("{}::note", folder.as_raw_fd());
    for (way, target) in [("descriptor", &descriptor), ("folder", &below)] {
        assert_eq!(user.way(&[], way, target), "open", "{way}");
        let said = user.way(&options, way, target);
        assert!(said.starts_with("shut"), "{way}: {said}");
    }
    // files and pipes are handed on, as `cat /dev/fd/3 3<file` and process substitution need it
    let output = user.confined(&options, &["cat", &format!("/dev/fd/{}", file.as_raw_fd())]);
    assert_eq!(stdout(&output), "text", "{}", told(&output));
}

#[test]
fn nothing_is_typed_into_the_terminal_of_whoever_started_it() {
    let home = Home::with("", "");
    let ways = script("ways.py");
    let typed = |options: &str| {
        let line = format!("run --quiet {options} -- {PYTHON} {} typed", ways.display());
        let (_, shown) = Terminal::locum(&home, &line).ended();
        shown
    };
    let legacy = std::fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti").unwrap_or_else(|_| "1".into());
    if legacy.trim() == "1" {
        assert!(typed("").contains("open"), "unconfined");
    }
    let shown = typed("--confine=require");
    assert!(shown.contains("shut: [Errno 1] Operation not permitted"), "{shown}");
}

/// What the command has started goes with it, whatever it did to be left alone: the pipe would be open for ever.
#[test]
fn a_daemon_ends_with_the_command() {
    let user = User::new();
    let mut piped = user.command("sh");
    piped.args(["-c", "\"$@\" | timeout 30 cat", "sh"]);
    let run = user.locum_run(NAMESPACES);
    let words: Vec<_> = run.get_args().map(|word| word.to_owned()).collect();
    let locum = words.iter().position(|word| word.to_string_lossy().ends_with("/locum")).map_or(0, |at| at);
    piped.args(&words[locum..]).args(["sh", "-c", "setsid tail -f /dev/null & echo started"]);
    let output = finish(&mut piped);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), "started\n"), "{}", told(&output));
}
