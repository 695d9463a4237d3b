use super::*;
use proptest::prelude::*;

fn binds(pattern: &str, origin: &str) -> bool {
    let (scheme, rest) = match origin.split_once("://") {
        Some(("http", r)) => (Scheme::Http, r),
        Some((_, r)) => (Scheme::Https, r),
        None => (Scheme::Https, origin),
    };
    Origin::parse(scheme, rest).is_ok_and(|o| pattern.parse::<HostPattern>().unwrap().binds(&o))
}

#[test]
fn a_binding_covers_just_what_it_names() {
    for (pattern, origin, covered) in [
        ("api.openai.com", "api.openai.com", true),
        ("api.openai.com", "API.OPENAI.COM.", true),
        ("api.openai.com", "http://api.openai.com", false),
        ("api.openai.com", "http://api.openai.com:443", false),
        ("api.openai.com", "api.openai.com:8443", false),
        ("openai.com", "evil-openai.com", false),
        ("openai.com", "api.openai.com", false),
        ("openai.com", "openai.com.evil.example", false),
        ("*.tool.example", "a.tool.example", true),
        ("*.tool.example", "tool.example", false),
        ("*.tool.example", "a.b.tool.example", false),
        ("*.tool.example", "eviltool.example", false),
        ("*.tool.example", ".tool.example.evil.example", false),
        ("*.tool.example:8443", "a.tool.example:8443", true),
        ("*.tool.example:8443", "a.tool.example", false),
        ("bücher.example", "xn--bcher-kva.example", true),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", true),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", false),
        ("http://127.0.0.1:8080", "http://0x7f.1:8080", true),
        ("https://[::1]:8443", "[0:0::1]:8443", true),
    ] {
        assert_eq!(binds(pattern, origin), covered, "{pattern} and {origin}");
    }
    assert!("deny.example".parse::<HostPattern>().unwrap().lists(&"deny.example".parse().unwrap(), 8443));
}

#[test]
fn wildcards_over_strangers_and_odd_stars_are_refused() {
    for pattern in [
        "*.com",
        "*.co.uk",
        "*.supabase.co",
        "*.github.io",
        "*",
        "*.*.example.com",
        "a.*.example.com",
        "*a.example.com",
        "*.127.0.0.1",
        "*.example",
        "",
        "ftp://a.example",
        "a.example/path",
        "user@a.example",
        "a.example:99999",
        "a b.example",
    ] {
        assert!(pattern.parse::<HostPattern>().is_err(), "{pattern}");
    }
    for pattern in ["*.example.com", "*.svc.cluster.local", "https://*.x.example:1", "[::1]:80"] {
        assert_eq!(pattern.parse::<HostPattern>().unwrap().to_string(), pattern);
    }
}

#[test]
fn paths_with_two_readings_have_no_canonical_form() {
    for (path, canonical) in [
        ("/v1/chat", Some("/v1/chat")),
        ("/%76%31/chat", Some("/v1/chat")),
        ("/a%20b%c3%a9", Some("/a%20b%C3%A9")),
        ("/v1/", Some("/v1/")),
        ("/", Some("/")),
        ("/v1/%2e%2e/x", None),
        ("/v1%2fx", None),
        ("/v1//x", None),
        ("/%7euser/%41%2d%5F%30", Some("/~user/A-_0")),
        ("/v1/%2E", None),
        ("/v1/%5c", None),
        ("/v1/%7f", None),
        ("/v1/%g0", None),
        ("/v1/%", None),
        ("/v1/a b", None),
        ("/v1/é", None),
        ("/v1/..", None),
        ("/v1/.", None),
        ("/v1/./x", None),
        ("/v1/../x", None),
        ("/v1/%252e", None),
        ("/v1\\x", None),
        ("/v1;a=b/x", None),
        ("/v1/%0", None),
        ("/v1/%00", None),
        ("v1", None),
        ("*", None),
    ] {
        assert_eq!(canonical_path(path).as_deref(), canonical, "{path}");
    }
}

#[test]
fn path_globs() {
    for (glob, path, covered) in [
        ("/v1/**", "/v1/chat/completions", true),
        ("/v1/**", "/v1/", true),
        ("/v1/**", "/v1", false),
        ("/v1/**", "/v10/x", false),
        ("/**", "/", true),
        ("/v1/*", "/v1/a", true),
        ("/v1/*", "/v1/a/b", false),
        ("/v1/models/*:generate", "/v1/models/m-1:generate", true),
        ("/v1/models/*:generate", "/v1/models/m-1:delete", false),
        ("/a/**/z", "/a/z", true),
        ("/a/**/z", "/a/b/c/z", true),
        ("/a/*b*c", "/a/xbyc", true),
        ("/a/*b*c", "/a/xcyb", false),
        ("/a/*b*b", "/a/xb", false),
        ("/a/*bcd*d", "/a/bcd", false),
        ("/a/*b*c*d", "/a/1b2c3d", true),
        ("/a/*b*c*d", "/a/1c2b3d", false),
        ("/**/b/**", "/a/b/c", true),
        ("/**/b/**", "/a/b", false),
        ("/a", "/a/b", false),
        ("/a/b", "/a", false),
        ("/a/b", "/x/b", false),
        ("/x", "/x", true),
        ("/x", "/X", false),
    ] {
        assert_eq!(glob.parse::<PathGlob>().unwrap().covers(path), covered, "{glob} and {path}");
    }
    for glob in ["v1", "/a**", "/**a/b", "/a//b", "/a/../b", "/a?x", "/a#x", "/%2e", "/%41", "/**/**/**"] {
        assert!(glob.parse::<PathGlob>().is_err(), "{glob}");
    }
    assert_eq!("/v1/*/**".parse::<PathGlob>().unwrap().to_string(), "/v1/*/**");
}

/// What `check` warns of, and what pools and name constraints are made from.
#[test]
fn a_binding_tells_its_port_whether_it_is_in_the_clear_and_what_it_names() {
    for (written, port, clear, exact, origin, parent) in [
        ("a.example", 443, false, Some("a.example"), Some("https://a.example"), None),
        ("http://a.example", 80, true, Some("a.example"), Some("http://a.example"), None),
        ("https://a.example:8443", 8443, false, Some("a.example"), Some("https://a.example:8443"), None),
        ("http://127.0.0.1:8080", 8080, true, Some("127.0.0.1"), Some("http://127.0.0.1:8080"), None),
        ("*.tool.example", 443, false, None, None, Some("tool.example")),
    ] {
        let pattern: HostPattern = written.parse().unwrap();
        assert_eq!((pattern.binding_port(), pattern.is_cleartext()), (port, clear), "{written}");
        assert_eq!(pattern.exact().map(Host::to_string).as_deref(), exact, "{written}");
        let told = pattern.origin().map(|o| format!("{}://{}", o.scheme.as_str(), o.authority()));
        assert_eq!(told.as_deref(), origin, "{written}");
        assert_eq!(pattern.parent(), parent, "{written}");
    }
}

#[test]
fn a_list_names_a_host_on_every_port_or_on_the_one_it_says() {
    let lists =
        |pattern: &str, host: &str, port| pattern.parse::<HostPattern>().unwrap().lists(&host.parse().unwrap(), port);
    assert!(lists("a.example", "a.example", 443) && lists("a.example", "a.example", 8443));
    assert!(lists("a.example:8443", "a.example", 8443) && !lists("a.example:8443", "a.example", 443));
    assert!(!lists("a.example", "b.example", 443) && !lists("a.example:8443", "b.example", 8443));
}

#[test]
fn a_header_to_add_is_one_line_of_a_header() {
    let inject: Inject = "X-Api-Key:  <<tool_key>> ".parse().unwrap();
    assert_eq!((inject.name.as_str(), inject.value.to_str().unwrap()), ("x-api-key", "<<tool_key>>"));
    for (line, why) in [
        ("X-Api-Key", "is no header line"),
        ("X Api: a", "has no valid header name"),
        ("X-Api-Key: a\nb", "has no valid header value"),
    ] {
        let told = line.parse::<Inject>().unwrap_err().to_string();
        let line = line.escape_debug();
        assert_eq!(told, format!("'{line}' {why}; write it as \"Name: value\""));
    }
}

#[test]
fn an_agent_is_shown_the_look_alike_where_there_is_one() {
    let mut rule = KeyRule {
        name: "tool".parse().unwrap(),
        hosts: vec!["a.example".parse().unwrap()],
        methods: Vec::new(),
        paths: Vec::new(),
        places: vec![Place::Header, Place::Body, Place::Ws],
        max_uses: 1,
        placeholder: None,
        inject: None,
        scrub: Scrubbing::Auto,
    };
    assert_eq!(rule.shown_placeholder(), "<<tool_key>>");
    rule.placeholder = Some("tool-00000000000000000000".into());
    assert_eq!(rule.shown_placeholder(), "tool-00000000000000000000");
    assert!(rule.body_places().eq([&Place::Body]));
    assert!(rule.covers(&Origin::parse(Scheme::Https, "a.example").unwrap()));
    assert!(!rule.covers(&Origin::parse(Scheme::Https, "b.example").unwrap()));
}

/// What a pattern means, without a thought for how long it takes to find out.
fn covers_plainly(pattern: &[&str], path: &[&str], covers: &mut impl FnMut(&str, &str) -> bool) -> bool {
    match (pattern, path) {
        ([], []) => true,
        (["**"], rest) => !rest.is_empty(),
        (["**", more @ ..], _) => (0..=path.len()).any(|i| covers_plainly(more, &path[i..], covers)),
        ([p, more @ ..], [s, rest @ ..]) => covers(p, s) && covers_plainly(more, rest, covers),
        _ => false,
    }
}

fn covers_segment_plainly(pattern: &[u8], segment: &[u8]) -> bool {
    match (pattern, segment) {
        ([], []) => true,
        ([b'*', more @ ..], _) => (0..=segment.len()).any(|i| covers_segment_plainly(more, &segment[i..])),
        ([p, more @ ..], [s, rest @ ..]) => p == s && covers_segment_plainly(more, rest),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_path_glob_covers_what_it_says_however_it_is_found_out(
        pattern in proptest::collection::vec(prop_oneof![2 => Just("**".to_owned()), 3 => "[ab]{0,2}(\\*[ab]{0,2}){0,3}"], 1..6),
        path in proptest::collection::vec("[ab]{0,4}", 1..7),
    ) {
        // two stars side by side in a segment are refused by the parser
        let pattern: Vec<String> =
            pattern.iter().map(|s| if s == "**" { s.clone() } else { s.replace("**", "*") }).collect();
        let pattern: Vec<&str> = pattern.iter().map(String::as_str).collect();
        let segments: Vec<&str> = path.iter().map(String::as_str).collect();
        let plainly = covers_plainly(&pattern, &segments, &mut |p: &str, s: &str| {
            covers_segment_plainly(p.as_bytes(), s.as_bytes())
        });
        let glob = PathGlob(format!("/{}", pattern.join("/")).into());
        prop_assert_eq!(glob.covers(&format!("/{}", segments.join("/"))), plainly);
    }
}

proptest! {
    /// Whether two patterns meet is found out without a path that both cover; one that both cover shows it.
    #[test]
    fn patterns_that_cover_one_path_meet(
        patterns in proptest::collection::vec(
            proptest::collection::vec(prop_oneof![1 => Just("**".to_owned()), 3 => "[ab]?\\*?[ab]?"], 1..4),
            2,
        ),
        paths in proptest::collection::vec(proptest::collection::vec("[ab]{0,2}", 1..4), 64),
    ) {
        let globs: Vec<_> = patterns.iter().map(|segments| PathGlob(format!("/{}", segments.join("/")).into())).collect();
        let paths = paths.iter().map(|segments| format!("/{}", segments.join("/")));
        let shared = paths.into_iter().find(|path| globs.iter().all(|glob| glob.covers(path)));
        prop_assert!(shared.is_none() || globs[0].meets(&globs[1]), "{globs:?} cover {shared:?}");
        prop_assert_eq!(globs[0].meets(&globs[1]), globs[1].meets(&globs[0]));
    }
}

#[test]
fn patterns_that_no_path_can_fit_do_not_meet() {
    let meet = |a: &str, b: &str| a.parse::<PathGlob>().unwrap().meets(&b.parse().unwrap());
    for (a, b) in [("/v1/*", "/v2/*"), ("/a", "/a/b"), ("/a*", "/b*"), ("/*/x", "/a/y"), ("/a/**/b", "/a/c")] {
        assert!(!meet(a, b), "{a} and {b}");
    }
    for (a, b) in [("/v1/*", "/*/models"), ("/**", "/a/b"), ("/a*", "/*b"), ("/a/**/z", "/**/y/*"), ("/x", "/x")] {
        assert!(meet(a, b), "{a} and {b}");
    }
}

/// Each segment is looked at once for each of the pattern's at most; that a look is linear is `str::find`'s promise.
#[test]
fn no_pattern_and_no_path_make_a_match_take_more_than_linear_time() {
    fn looks(pattern: &str, path: &str, plainly: bool) -> (usize, usize) {
        let pattern: Vec<&str> = pattern.split('/').skip(1).collect();
        let path: Vec<&str> = path.split('/').skip(1).collect();
        let mut looks = 0;
        let mut covers = |p: &str, s: &str| {
            looks += 1;
            covers_segment(p, s)
        };
        if plainly {
            covers_plainly(&pattern, &path, &mut covers);
        } else {
            covers_segments(&pattern, &path, covers);
        }
        (looks, pattern.len() * path.len())
    }
    let long = |count: usize| format!("{}/c", "/a".repeat(count));
    for pattern in ["/**/a/**/b", "/**/a/a/a/a/b/**", "/**/a*/**/*b", "/**/*/**/b", "/**/a/a/b/**/a/b", "/**/**"] {
        let (looks, most) = looks(pattern, &long(30_000), false);
        assert!(looks <= most, "{pattern}: {looks} looks");
    }
    let (looks, most) = looks("/**/a/**/b", &long(300), true);
    assert!(looks > 30 * most, "what the adversary hopes for: {looks} looks");
}
