//! Whole requests against a few rules: each gets its permit or its kind of denial.

use super::*;
use crate::policy::egress::EgressMode;

fn rule(name: &str, hosts: &[&str], places: &[&str]) -> KeyRule {
    KeyRule {
        name: name.parse().unwrap(),
        hosts: hosts.iter().map(|h| h.parse().unwrap()).collect(),
        methods: Vec::new(),
        paths: Vec::new(),
        places: places.iter().map(|p| p.parse().unwrap()).collect(),
        max_uses: 2,
        placeholder: None,
        inject: None,
        scrub: Default::default(),
    }
}

fn rules() -> Rules {
    let mut paths = rule("narrow", &["api.b.example"], &["header", "body"]);
    paths.methods = vec![Method::POST];
    paths.paths = vec!["/v1/**".parse().unwrap()];
    Rules::new(
        [
            rule("a", &["api.a.example", "*.wild.example"], &["header"]),
            rule("both", &["api.a.example"], &["header:x-both", "query:k", "body"]),
            rule("plain", &["http://127.0.0.1:80"], &["header"]),
            paths,
            KeyRule { methods: vec![Method::POST], ..rule("posts", &["api.c.example"], &["header"]) },
            rule("talks", &["api.c.example"], &["ws"]),
        ],
        EgressPolicy::default(),
    )
}

/// What is decided on a request with a body.
fn decided(method: Method, url: &str, mentions: &[(&str, &str)]) -> Result<Permit, Denial> {
    let (scheme, rest) = url.split_once("://").unwrap();
    let scheme = if scheme == "http" { Scheme::Http } else { Scheme::Https };
    let (authority, path) = rest.split_once('/').unwrap();
    let (origin, path) = (Origin::parse(scheme, authority).unwrap(), format!("/{path}"));
    let mentions: Vec<(KeyName, Place)> =
        mentions.iter().map(|(k, p)| (k.parse().unwrap(), p.parse().unwrap())).collect();
    let mut agent = Agent::local();
    agent.keys = Some(["a", "both", "plain", "narrow", "posts", "talks"].map(|k| k.parse().unwrap()).into());
    let (path, query) = path.split_once('?').unwrap_or((&path, ""));
    let headers = HeaderMap::new();
    let question =
        Question { agent: &agent, origin: &origin, method: &method, path, query, headers: &headers, has_body: true };
    let mentions = mentions.iter().map(|(k, p)| Mention { written: "<<x>>", key: Some(k), place: Some(p) });
    rules().decide(question, mentions)
}

/// `permit`, or the kind of denial.
fn ask(method: Method, url: &str, mentions: &[(&str, &str)]) -> String {
    match decided(method, url, mentions) {
        Ok(p) => {
            let names = |n: Vec<String>| n.join("+");
            let body = names(p.body().iter().map(|g| format!("{}:{}", g.rule.name, g.uses_left)).collect());
            let scrub = names(p.scrub().iter().map(|r| r.name.to_string()).collect());
            format!("permit body={body} scrub={scrub}")
        }
        Err(d) => format!("{d:?}").split(' ').next().unwrap().to_owned(),
    }
}

#[test]
fn the_head_is_judged_whole() {
    let auth = "header:authorization";
    for (method, url, mentions, outcome) in [
        (Method::GET, "https://api.a.example/", &[("a", auth)][..], "permit body=both:2 scrub=a+both"),
        (Method::GET, "https://api.a.example/", &[("a", "basic")], "permit body=both:2 scrub=a+both"),
        (Method::GET, "https://x.wild.example/", &[("a", auth)], "permit body= scrub=a"),
        (Method::GET, "https://api.a.example/", &[], "permit body=both:2 scrub=a+both"),
        (Method::GET, "https://other.example/", &[], "permit body= scrub="),
        // a host is the same one on each of its ports
        (Method::GET, "https://api.a.example:8443/", &[], "permit body= scrub=a+both"),
        (Method::GET, "http://api.a.example/", &[], "permit body= scrub=a+both"),
        (Method::GET, "http://x.wild.example:9/", &[], "permit body= scrub=a"),
        (Method::GET, "https://127.0.0.1/", &[], "permit body= scrub=plain"),
        (
            Method::GET,
            "https://api.a.example/",
            &[("both", "header:x-both"), ("both", "query:k")],
            "permit body=both:0 scrub=a+both",
        ),
        (Method::GET, "https://api.a.example/", &[("both", "query:k"); 3], "TooManyUses"),
        (Method::GET, "https://other.example/", &[("a", auth)], "HostNotBound"),
        (Method::GET, "https://api.a.example:8443/", &[("a", auth)], "HostNotBound"),
        (Method::GET, "http://api.a.example/", &[("a", auth)], "Cleartext"),
        (Method::GET, "http://127.0.0.1/", &[("plain", auth)], "permit body= scrub=plain"),
        (Method::GET, "https://127.0.0.1:80/", &[("plain", auth)], "HostNotBound"),
        (Method::GET, "https://api.a.example/", &[("a", "query:q")], "PlaceNotBound"),
        (Method::GET, "https://api.a.example/", &[("a", "header:cookie")], "PlaceNotBound"),
        (Method::GET, "https://api.a.example/", &[("both", auth)], "PlaceNotBound"),
        (Method::GET, "https://api.a.example/", &[("a", auth), ("both", auth)], "PlaceNotBound"),
        (Method::GET, "https://api.a.example/", &[("nosuch", auth)], "UnknownKey"),
        (Method::TRACE, "https://api.a.example/", &[("a", auth)], "Trace"),
        (Method::TRACE, "https://api.a.example/", &[], "permit body= scrub=a+both"),
        (Method::POST, "https://api.b.example/v1/x", &[("narrow", auth)], "permit body=narrow:1 scrub=narrow"),
        (Method::GET, "https://api.b.example/v1/x", &[("narrow", auth)], "MethodNotBound"),
        (Method::POST, "https://api.b.example/v2/x", &[("narrow", auth)], "PathNotBound"),
        (Method::POST, "https://api.b.example/v1/%2e%2e/x", &[("narrow", auth)], "PathAmbiguous"),
        (Method::POST, "https://api.b.example/v2/x", &[], "permit body= scrub=narrow"),
        (Method::POST, "https://api.b.example/v1/x?_method=PUT", &[("narrow", auth)], "MethodOverridden"),
        (Method::POST, "https://api.b.example/v1/x?rest_route=/x", &[("narrow", auth)], "PathOverridden"),
        (Method::POST, "https://api.b.example/v1/x?_method=PUT", &[], "permit body= scrub=narrow"),
        (Method::GET, "https://api.a.example/?_method=PUT", &[("a", auth)], "permit body=both:2 scrub=a+both"),
    ] {
        assert_eq!(ask(method.clone(), url, mentions), outcome, "{method} {url} {mentions:?}");
    }
}

#[test]
fn what_a_key_in_the_head_limits_its_body_may_not_get_around() {
    let forbids = |url: &str, mentions: &[(&str, &str)]| {
        let permit = decided(Method::POST, url, mentions).unwrap();
        [("_method", "PUT"), ("rest_route", "/x")].map(|(name, value)| permit.limits().forbid(name, value.as_bytes()))
    };
    let key = |name: &'static str| [(name, "header:x-key")];
    assert_eq!(forbids("https://api.c.example/", &key("posts")), [true, false], "methods alone are limited");
    assert_eq!(forbids("https://api.b.example/v1/x", &key("narrow")), [true, true]);
    assert_eq!(forbids("https://api.c.example/", &[]), [false, false]);
}

#[test]
fn messages_hold_the_keys_that_are_bound_to_them() {
    let permit = decided(Method::GET, "https://api.c.example/", &[]).unwrap();
    let names: Vec<_> = permit.messages().iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["talks"]);
}

#[test]
fn a_denial_says_what_is_bound() {
    let told = |mentions: &[(&str, &str)], url| decided(Method::GET, url, mentions).unwrap_err().to_string();
    let host = told(&[("a", "header:x-key")], "https://other.example/");
    assert!(host.contains("is none of api.a.example, *.wild.example in [key.a] hosts"), "{host}");
    let place = told(&[("both", "header:x-key")], "https://api.a.example/");
    assert!(place.contains("is none of header:x-both, query:k, body in [key.both] where"), "{place}");
}

#[test]
fn what_is_not_encrypted_stays_on_this_machine() {
    for (url, stays) in
        [("http://127.0.0.1/", true), ("http://other.example/", true), ("https://other.example/", false)]
    {
        assert_eq!(decided(Method::GET, url, &[]).unwrap().on_loopback_only(), stays, "{url}");
    }
}

#[test]
fn a_host_is_bound_by_its_name_on_any_port() {
    let bound = ["api.a.example", "x.wild.example", "127.0.0.1", "api.b.example"];
    assert!(bound.iter().all(|host| rules().is_bound_host(&host.parse().unwrap())));
    let others = ["other.example", "wild.example", "x.y.wild.example", "127.0.0.2"];
    assert!(!others.iter().any(|host| rules().is_bound_host(&host.parse().unwrap())));
}

#[test]
fn hosts_are_admitted_by_egress() {
    let egress = |mode| EgressPolicy {
        mode,
        allow: vec!["docs.example".parse().unwrap()],
        deny: vec!["*.evil.example".parse().unwrap()],
        connect_ports: vec![443],
        cleartext: false,
    };
    let open = Rules::new([rule("a", &["api.a.example:8443"], &["header"])], egress(EgressMode::Open));
    let listed = Rules::new([rule("a", &["api.a.example:8443"], &["header"])], egress(EgressMode::Listed));
    for (host, port, by_open, by_listed) in [
        ("api.a.example", 8443, true, true),
        ("api.a.example", 443, true, false),
        ("docs.example", 443, true, true),
        ("docs.example", 22, false, false),
        ("x.evil.example", 443, false, false),
        ("any.example", 443, true, false),
    ] {
        let admits = |r: &Rules| r.admit(&Agent::local(), &host.parse().unwrap(), port).is_ok();
        assert_eq!((admits(&open), admits(&listed)), (by_open, by_listed), "{host}:{port}");
    }
}
