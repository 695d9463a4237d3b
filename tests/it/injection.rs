//! What `inject` adds to requests, and to which it adds nothing.

use crate::support::locum::{OPENAI_KEY, TOOL_KEY, of, stdout, told};
use crate::support::{Home, Upstream};

/// The headers of the last request that came, as far as they carry keys.
fn keys(upstream: &Upstream) -> [Option<String>; 2] {
    let seen = upstream.seen().pop().expect("a request");
    ["x-api-key", "authorization"].map(|name| seen.header(name))
}

fn added(key: &str) -> [Option<String>; 2] {
    [Some(key.to_owned()), None]
}

#[test]
fn a_key_is_added_to_the_requests_that_its_binding_is_about_and_to_no_others() {
    let upstream = Upstream::start();
    let binding = format!(
        "[key.tool]\nhosts = [\"{}\"]\nmethods = [\"GET\"]\npaths = [\"/v1/**\"]\ninject = \"X-Api-Key: <<tool_key>>\"\n",
        upstream.authority()
    );
    let serve = Home::with("", &binding).serve();
    let ask = |args: &[&str]| {
        let sent = serve.curl(&[&["-o", "answer", "-w", "%{http_code}"], args].concat());
        assert_eq!(stdout(&sent), "200", "{args:?}: {}", told(&sent));
        keys(&upstream)
    };
    assert_eq!(ask(&[&upstream.url("/v1/models")]), added(TOOL_KEY));
    // keyless requests are nobody's business
    for args in [&[&*upstream.url("/health")][..], &["-X", "POST", &upstream.url("/v1/models")]] {
        assert_eq!(ask(args), [None, None], "{args:?}");
    }
    // what has a credential of its own gets no second one
    for query in ["X-Amz-Signature=f0", "a=b&x-goog-signature=f0", "sv=2024&sig=f0%3D", "Signature=f0&Key-Pair-Id=K"] {
        assert_eq!(ask(&[&upstream.url(&format!("/v1/object?{query}"))]), [None, None], "{query}");
    }
    let own = Some("Bearer mine".to_owned());
    assert_eq!(ask(&["-H", "Authorization: Bearer mine", &upstream.url("/v1/models")]), [None, own]);
    assert_eq!(ask(&["-H", "X-Api-Key: mine", &upstream.url("/v1/models")]), added("mine"));
    let records = serve.stop().audit();
    assert_eq!(of(&records, "substitution").len(), 1, "{records:#?}");
}

#[test]
fn of_keys_for_one_host_the_one_is_added_whose_paths_are_asked_for() {
    let upstream = Upstream::start();
    let key = |name: &str, path: &str| {
        let host = upstream.authority();
        format!(
            "[key.{name}]\nhosts = [\"{host}\"]\npaths = [\"{path}\"]\nwhere = [\"header\"]\ninject = \"X-Api-Key: <<{name}_key>>\"\n"
        )
    };
    let serve = Home::with("", &(key("openai", "/chat/**") + &key("tool", "/search/**"))).serve();
    for (path, wanted) in [("/chat/a", OPENAI_KEY), ("/search/a", TOOL_KEY)] {
        let sent = serve.curl(&["-o", "answer", "-w", "%{http_code}", &upstream.url(path)]);
        assert_eq!((stdout(&sent).as_str(), keys(&upstream)), ("200", added(wanted)), "{path}: {}", told(&sent));
    }
}

#[test]
fn of_keys_for_one_host_the_one_is_added_that_the_agent_may_use() {
    let upstream = Upstream::start();
    let key = |name: &str| {
        let host = upstream.authority();
        format!("[key.{name}]\nhosts = [\"{host}\"]\nwhere = [\"header\"]\ninject = \"X-Api-Key: <<{name}_key>>\"\n")
    };
    let agent = |name: &str, key: &str| format!("[agent.{name}]\nkeys = [\"{key}\"]\ntoken_file = \"{name}.token\"\n");
    let config = key("openai") + &key("tool") + &agent("chatter", "openai") + &agent("finder", "tool");
    let home = Home::with("", &config);
    for name in ["chatter", "finder"] {
        let file = home.path().join(format!("{name}.token"));
        std::fs::write(&file, format!("{name}-token-5f0c2d9be1a84763")).expect("a token");
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a mode");
    }
    let serve = home.serve();
    for (name, wanted) in [("chatter", OPENAI_KEY), ("finder", TOOL_KEY)] {
        let login = format!("{name}:{name}-token-5f0c2d9be1a84763");
        let url = upstream.url("/a");
        let sent = serve.curl(&["--proxy-user", &login, "-o", "answer", "-w", "%{http_code}", &url]);
        assert_eq!((stdout(&sent).as_str(), keys(&upstream)), ("200", added(wanted)), "{name}: {}", told(&sent));
    }
}
