//! What `locum explain` says is what the proxy does, down to the exit code.

use crate::support::locum::{OPENAI_KEY, TOOL_KEY, finish, stdout, told};
use crate::support::{Home, Upstream};

#[test]
fn what_a_binding_injects_is_explained_as_it_is_sent() {
    let upstream = Upstream::start();
    let key = format!(
        "[key.tool]\nhosts = [\"{}\"]\nmethods = [\"GET\"]\ninject = \"X-Api-Key: <<tool_key>>\"\n",
        upstream.authority()
    );
    let serve = Home::with("", &key).serve();
    for (method, status, code, said) in [
        ("GET", "200", 0, "  replaced  <<tool_key>> in header:x-api-key, 1x: [key.tool] allows it\n"),
        ("DELETE", "200", 0, ""),
    ] {
        let sent = serve.curl(&["-X", method, "-o", "answer", "-w", "%{http_code}", &upstream.url("/a")]);
        assert_eq!(stdout(&sent), status, "{}", told(&sent));
        let output = finish(&mut serve.home.locum(&["explain", method, &upstream.url("/a")]));
        assert!(stdout(&output).contains(said), "{method}: {}", told(&output));
        assert_eq!(output.status.code(), Some(code), "{method}: {}", told(&output));
    }
    for secret in [TOOL_KEY, OPENAI_KEY] {
        let output = finish(&mut serve.home.locum(&["explain", "GET", &upstream.url("/a")]));
        assert!(!told(&output).contains(secret));
    }
}

#[test]
fn a_body_that_is_refused_is_so_for_a_script_too() {
    let home = Home::with("", "[key.tool]\nhosts = [\"api.tool.example\"]\nmax_uses = 2\n");
    let explain = |body: &str| {
        let args = ["explain", "POST", "https://api.tool.example/", "-H", "Content-Type: application/json", "--body"];
        finish(home.locum(&args).arg(body))
    };
    let output = explain(r#"["<<tool_key>>", "use <<tool_key>>"]"#);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let output = explain(r#"["<<tool_key>>", "<<tool_key>>", "<<tool_key>>"]"#);
    assert!(stdout(&output).contains("  refused   "), "{}", told(&output));
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
}

#[test]
fn an_agent_that_there_is_not_is_told_the_same_by_both_commands() {
    for (config, next) in [
        ("", "add a table [agent.nobody] to the config, or make a token with 'locum agent add nobody'"),
        ("[agent.researcher]\nkeys = [\"openai\"]\n", "there is researcher"),
    ] {
        let home = Home::bare(config);
        let want = format!("error: there is no agent 'nobody'\n  next: {next}\n");
        for args in
            [&["explain", "--agent", "nobody", "GET", "https://a.example/"][..], &["run", "--agent", "nobody", "true"]]
        {
            let output = finish(&mut home.locum(args));
            assert_eq!(crate::support::locum::stderr(&output), want, "{args:?}");
        }
    }
}
