//! What outranks the variables that clients are led by: settings in the user's files, and the user's own NO_PROXY.

use crate::support::exit::Exit;
use crate::support::locum::{finish, stderr, stdout, told};
use crate::support::{Home, Upstream, clients};
use std::path::Path;

const NOWHERE: &str = "http://127.0.0.1:1";

fn write(home: &Home, file: &str, text: &str) {
    let path = home.path().join(file);
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn settings_in_the_users_files_lead_no_client_past_the_proxy() {
    let upstream = Upstream::start();
    let exit = Exit::to([("api.tool.example:443", upstream.address)]);
    let proxy = format!("upstream_proxy = \"http://{}\"\n", exit.address);
    let home = Home::with(&proxy, "[key.tool]\nhosts = [\"api.tool.example\"]\n").set("GIT_TERMINAL_PROMPT", "0");
    write(&home, ".curlrc", &format!("proxy = \"{NOWHERE}\"\ncacert = /none.pem\nuser-agent = \"mine\"\n"));
    write(&home, ".config/pip/pip.conf", &format!("[global]\nproxy = {NOWHERE}\n"));
    let git = format!(
        "[http \"https://api.tool.example/\"]\nproxy = {NOWHERE}\n[remote \"up\"]\nproxy = {NOWHERE}\n\
         url = https://api.tool.example/by-remote.git\n"
    );
    write(&home, ".gitconfig", &git);
    let pip = format!("{} -m pip", clients::python());
    for (client, path) in [
        ("curl -sS https://api.tool.example/curl", "/curl"),
        ("git ls-remote https://api.tool.example/by-url.git", "/by-url.git/info/refs"),
        ("git ls-remote up", "/by-remote.git/info/refs"),
        (
            &format!("{pip} --retries 0 --no-cache-dir index versions --index-url https://api.tool.example/pip thing"),
            "/pip/thing/",
        ),
    ] {
        // what they make of the answer is their business
        let output = home.run(&client.split(' ').collect::<Vec<_>>());
        let seen = upstream.seen();
        assert!(seen.iter().any(|s| s.target.contains(path)), "{client}: {seen:#?} {}", told(&output));
    }
    let seen = upstream.seen();
    let by_curl = seen.iter().find(|s| s.target.ends_with("/curl")).unwrap();
    assert_eq!(by_curl.header("user-agent").as_deref(), Some("mine"), "what else was set is kept");
}

#[test]
fn a_host_of_a_key_that_no_proxy_covers_is_named() {
    let key = "[key.tool]\nhosts = [\"api.tool.example\", \"eu.tool.example\", \"api.other.example\"]\n";
    let home = Home::with("", key).set("NO_PROXY", "x.example, .tool.example");
    let said = "NO_PROXY ('.tool.example') leads clients past the proxy to api.tool.example, eu.tool.example, where";
    let output = home.run(&["true"]);
    assert!(stderr(&output).contains(said), "{}", told(&output));
    let serve = home.serve();
    let output = finish(&mut serve.home.locum(&["env"]));
    assert!(stderr(&output).contains(said), "{}", told(&output));
    let home = serve.stop().set("NO_PROXY", "other.tool.example");
    assert!(!stderr(&home.run(&["true"])).contains("NO_PROXY"));
}

/// The JVM shows its variable on standard error, and httpx 0.24.0 fails where an entry of NO_PROXY has a colon.
#[test]
fn no_variable_gives_the_token_away_or_makes_a_client_fail() {
    let output =
        Home::with("", "").run(&["sh", "-c", "echo \"$JAVA_TOOL_OPTIONS\"; echo \"$NO_PROXY\"; echo $HTTPS_PROXY"]);
    let said = stdout(&output);
    let [java, past, proxy] = said.lines().collect::<Vec<_>>()[..] else { panic!("{}", told(&output)) };
    let token = proxy.split(['@', ':']).nth(2).filter(|token| token.len() == 64);
    assert!(token.is_some_and(|token| !java.contains(token)), "{said}");
    assert!(java.contains("proxyHost") && !past.contains(':'), "{said}");
}
