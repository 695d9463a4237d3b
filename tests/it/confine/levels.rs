//! Where the system refuses namespaces the next best is taken and said, or nothing is started.

use super::setting::{Outside, PYTHON, User};
use crate::support::locum::{TOOL_KEY, finish, stderr, stdout, told};
use std::process::Command;

/// Numbers of x86-64: what Docker's profile refuses to a process without rights, and what AppArmor does to one that has got
/// a user namespace.
const OF_DOCKER: &str = "272,308,165,166,428,429,430,431,432,433,442,248,249,250,321,298,425,426,427";
const MOUNTS: &str = "165,428,429,442";

/// A system in which `locum run` finds no namespaces, each by another reason.
fn systems(user: &User) -> Vec<(&'static str, Vec<String>)> {
    let without = |numbers: &str| {
        let script = user.home.path().join("without.py").to_string_lossy().into_owned();
        vec![PYTHON.to_owned(), script, numbers.to_owned()]
    };
    let none = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    let mut systems = vec![("none are left", ["unshare", "-Ur", "sh", "-c", none, "sh"].map(str::to_owned).to_vec())];
    if cfg!(target_arch = "x86_64") {
        systems.push(("Docker", without(OF_DOCKER)));
        systems.push(("AppArmor", without(MOUNTS)));
    }
    systems
}

/// `locum run` in such a system.
fn run(user: &User, system: &[String], options: &[&str]) -> Command {
    let mut command = user.command(&system[0]);
    let locum = user.home.path().join("locum");
    command.args(&system[1..]).arg(locum).arg("--config").arg(user.home.config());
    command.arg("--state").arg(user.home.state()).arg("run").args(options).arg("--");
    command
}

#[test]
fn the_next_best_is_taken_and_said() {
    let user = User::new();
    let outside = Outside::of(&user);
    for (system, words) in systems(&user) {
        let mut command = run(&user, &words, &["--confine"]);
        let output =
            finish(command.args(["curl", "-q", "-sSf", "-H", "x-api-key: <<tool_key>>", "https://api.tool.example/"]));
        assert!(output.status.success(), "{system}: {}", told(&output));
        let said = stderr(&output);
        assert!(said.contains("confined by Landlock and a filter of system calls"), "{system}: {said}");
        let ways = user.home.path().join("ways.py").to_string_lossy().into_owned();
        let way = |way: &str, target: &str| {
            let output = finish(run(&user, &words, &["--confine", "--quiet"]).args([PYTHON, &ways, way, target]));
            stdout(&output).trim_end().to_owned()
        };
        for (name, target) in ["tcp", "tcp6", "mptcp", "udp", "abstract", "ptrace", "memory", "outer_signal"]
            .map(|name| (name, if matches!(name, "ptrace" | "memory" | "outer_signal") { "pid" } else { name }))
        {
            let said = way(name, &outside.at(target));
            assert!(said.starts_with("shut"), "{system}: {name}: {said}");
        }
        for (name, target) in [("fast_open", outside.at("tcp")), ("vsock", String::new()), ("io_uring", String::new())]
        {
            let said = way(name, &target);
            assert!(said.starts_with("shut"), "{system}: {name}: {said}");
        }
        // what is said to be open is
        assert_eq!(way("path", &outside.at("path")), "open", "{system}");
    }
    let seen = user.upstream.seen();
    assert!(seen.iter().all(|seen| seen.header("x-api-key").as_deref() == Some(TOOL_KEY)));
}

#[test]
fn nothing_is_started_where_the_strictest_is_required() {
    let user = User::new();
    for (system, words) in systems(&user) {
        let output = finish(run(&user, &words, &["--confine=require"]).args(["echo", "started"]));
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(125), ""), "{system}: {}", told(&output));
        assert!(stderr(&output).contains("the command can't be confined here ("), "{system}: {}", told(&output));
    }
}

/// What `doctor` says of a level is what `run` finds.
#[test]
fn doctor_tells_which_levels_there_are() {
    let user = User::new();
    let doctor = |system: &[String], options: &[&str]| {
        let locum = user.home.path().join("locum").to_string_lossy().into_owned();
        let words = [system, &[locum, "doctor".into(), "--confine".into()]].concat();
        finish(user.command(&words[0]).args(&words[1..]).args(options))
    };
    let output = doctor(&[], &[]);
    let shown = stdout(&output);
    assert!(output.status.success() && shown.starts_with("namespaces: here\nLandlock and filter: here\n"), "{shown}");
    assert!(shown.contains("UDP, QUIC"), "{shown}");
    for (system, words) in systems(&user) {
        let output = doctor(&words, &["--json"]);
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let available = |level: usize| told["levels"][level]["available"].as_bool();
        assert_eq!((available(0), available(1)), (Some(false), Some(true)), "{system}: {}", told["levels"]);
        assert!(told["levels"][0]["reason"].is_string() && told["ways"].as_array().is_some_and(|ways| ways.len() > 10));
    }
}

/// A kernel without nf_tables: the ports of the config are taken in, and the others are refused at once.
#[test]
fn without_netfilter_the_ports_of_the_config_are_taken_in() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let user = User::new();
    let script = user.home.path().join("without.py").to_string_lossy().into_owned();
    let words = [PYTHON.to_owned(), script, "netfilter".to_owned()];
    let ask = "curl -q -sSf -H 'x-api-key: <<tool_key>>' https://api.tool.example/ && ! curl -q -sS https://api.tool.example:8443/";
    let path = format!("PATH={}", std::env::var("PATH").unwrap());
    let output = finish(run(&user, &words, &["--confine=require"]).args(["env", "-i", &path, "sh", "-c", ask]));
    let said = stderr(&output);
    assert!(output.status.success(), "{}", told(&output));
    assert!(said.contains("nothing but through the proxy, on port 80, 443"), "{said}");
    assert!(said.contains("curl: (7)"), "refused, and not waited for: {said}");
    assert_eq!(user.upstream.await_seen(1)[0].header("x-api-key").as_deref(), Some(TOOL_KEY));
}
