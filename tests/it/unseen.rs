//! What an unconfined command does past the proxy, as far as `run` can tell, is said.

use crate::support::locum::{finish, stderr, stdout, told};
use crate::support::{Home, Upstream};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn what_run_does_not_protect_from_is_said_once() {
    let home = Home::with("", "");
    let said = || stderr(&home.run(&["true"])).contains("locum: not confined: ");
    assert!(said() && !said());
    let other = Home::with("", "");
    let output = finish(&mut other.locum(&["run", "--quiet", "--", "true"]));
    assert!(!stderr(&output).contains("not confined"), "{}", told(&output));
}

#[test]
fn a_command_that_never_asks_the_proxy_is_named() {
    let upstream = Upstream::start();
    let home = Home::bound(&[&upstream]);
    let sentence = "made no connection to the proxy";
    let long = stderr(&home.run(&["sh", "-c", "sleep 4.5"]));
    assert!(long.contains(sentence), "{long}");
    let used = format!("curl -q -s --noproxy '' -o /dev/null {}; sleep 4.5", upstream.url("/"));
    let used = stderr(&home.run(&["sh", "-c", &used]));
    assert!(!used.contains(sentence), "{used}");
    assert!(!stderr(&home.run(&["true"])).contains(sentence));
}

#[cfg(target_os = "linux")]
#[test]
fn what_outlives_the_command_is_named() {
    let home = Home::with("", "");
    let output = home.run(&["sh", "-c", "setsid tail -f /dev/null >/dev/null 2>&1 & echo $!"]);
    let pid: i32 = stdout(&output).trim().parse().unwrap();
    let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
    let said = stderr(&output);
    assert!(said.contains(&format!("locum: still running, and without their proxy from now on: {pid} (")), "{said}");
    assert!(!stderr(&home.run(&["true"])).contains("still running"));
}

/// With roots of its own a client breaks the handshake off; the summary has what to do.
#[test]
fn a_client_with_roots_of_its_own_is_named() {
    let upstream = Upstream::start();
    let home = Home::bound(&[&upstream]);
    let roots = home.path().join("upstreams.pem");
    let curl = format!("curl -q -s --noproxy '' --cacert {} -o /dev/null {}", roots.display(), upstream.url("/"));
    let said = stderr(&home.run(&["sh", "-c", &format!("{curl}; {curl}; true")]));
    assert!(
        said.contains("a client refused locum's certificate for localhost, since it has roots of its own"),
        "{said}"
    );
    assert!(said.contains("passthrough"), "{said}");
}

/// Before the command starts, and by `check`.
#[test]
fn an_entry_of_no_proxy_that_covers_a_key_is_named() {
    let home =
        Home::with("", "[key.tool]\nhosts = [\"api.tool.example\"]\n").set("NO_PROXY", "internal.example,tool.example");
    let named = "NO_PROXY ('tool.example') leads clients past the proxy to api.tool.example";
    let said = stderr(&home.run(&["true"]));
    assert!(said.contains(named), "{said}");
    let output = finish(&mut home.locum(&["check"]));
    assert!(told(&output).contains(named), "{}", told(&output));
    let unset = Home::with("", "[key.tool]\nhosts = [\"api.tool.example\"]\n");
    let output = finish(&mut unset.locum(&["check"]));
    assert!(!told(&output).contains("NO_PROXY"), "{}", told(&output));
}
