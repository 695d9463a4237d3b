//! What an agent wrote where a placeholder was meant, and is none: it goes on as it is, and nobody has to guess why the host
//! says no.

use crate::support::locum::{TOOL_KEY, finish, of, stderr, stdout, told};
use crate::support::{Home, Upstream};
use serde_json::Value;

/// Each as it stands in a header, and what is said of it.
const MISSES: [(&str, &str); 9] = [
    ("{{tool_key}}", " while braces is off; write <<tool_key>>, or set braces = true under [proxy]"),
    ("<<tool>>", "; write <<tool_key>>"),
    ("<<TOOL_KEY>>", "; write <<tool_key>>"),
    ("<tool_key>", "; write <<tool_key>>"),
    ("&lt;&lt;tool_key&gt;&gt;", ", since nobody decodes it there; write <<tool_key>>"),
    ("%3C%3Ctool_key%3E%3E", ", since nobody decodes it there; write <<tool_key>>"),
    ("<<my-tool-key>>", "; write <<my_tool_key>>"),
    ("<< tool_key >>", "; write <<tool_key>>"),
    ("<<TOOL_API_KEY>>", "; write <<tool_key>>"),
];

/// A second key for the same host, with a name of two words.
fn home(upstream: &Upstream) -> Home {
    let hosts = format!("hosts = [\"{}\"]\n", upstream.authority());
    Home::with("", &format!("[key.tool]\n{hosts}[key.my_tool]\n{hosts}"))
        .set("MY_TOOL_API_KEY", "mt-0123456789abcdef-real")
}

fn curl(upstream: &Upstream, header: &str, path: &str) -> String {
    format!("curl -q -sS --noproxy '' -o /dev/null -H '{header}' {}", upstream.url(path))
}

fn telling(said: &str) -> Vec<&str> {
    said.lines().filter(|line| line.contains("is no placeholder")).collect()
}

#[test]
fn a_near_miss_goes_on_and_is_told_in_log_summary_and_audit() {
    for (written, said) in MISSES {
        let upstream = Upstream::start();
        let home = home(&upstream);
        let curl = curl(&upstream, &format!("X-Api-Key: Token {written}"), "/");
        let output = home.run(&["sh", "-c", &format!("{curl}; {curl}")]);
        let seen = upstream.seen();
        assert_eq!(seen.len(), 2, "{}", told(&output));
        assert_eq!(seen[1].header("x-api-key"), Some(format!("Token {written}")));
        let sentence = format!("localhost is sent {written}, which is no placeholder{said}");
        let lines = stderr(&output);
        let [log, summary] = telling(&lines)[..] else { panic!("{written}: {lines}") };
        assert!(log.contains(" WARN ") && log.contains(&sentence), "{log}");
        assert!(summary.contains("0 substitutions, 0 refusals") && summary.contains(&sentence), "{summary}");
        let records = home.audit();
        let in_full = |record: &&Value| record["reason"].as_str().is_some_and(|why| why == sentence);
        assert_eq!(of(&records, "exchange").into_iter().filter(in_full).count(), 2, "{records:#?}");
    }
}

#[test]
fn a_near_miss_that_the_host_refuses_is_named_with_its_status() {
    for status in [401, 403] {
        let upstream = Upstream::start();
        let home = home(&upstream);
        let curl = curl(&upstream, "Authorization: Bearer {{tool_key}}", &format!("/status/{status}"));
        let output = home.run(&["sh", "-c", &format!("{curl}; {curl}")]);
        let lines = stderr(&output);
        let sentence =
            format!("localhost answered {status} to {{{{tool_key}}}}, which is no placeholder while braces is off");
        let [sent, answered, summary] = telling(&lines)[..] else { panic!("{lines}") };
        assert!(sent.contains("is sent") && answered.contains(&sentence) && summary.contains(&sentence), "{lines}");
        let records = home.audit();
        let reasons = of(&records, "exchange").into_iter().filter_map(|record| record["reason"].as_str());
        assert!(reasons.clone().count() == 2 && reasons.clone().all(|why| why.contains(&sentence)), "{records:#?}");
    }
}

/// An agent chooses the words, and may choose them anew each time.
#[test]
fn a_flood_of_near_misses_is_a_line_for_each_key_and_kind() {
    let upstream = Upstream::start();
    let home = home(&upstream);
    let variants =
        ["<<TOOL>>", "<<Tool>>", "<<tooL>>", "<<tool>>", "{{tool}}", "<tool-key>", "<<MY_TOOL>>", "{{my_tool_key}}"];
    let script: Vec<String> = variants.iter().map(|written| curl(&upstream, &format!("x: {written}"), "/")).collect();
    let output = home.run(&["sh", "-c", &script.join("; ")]);
    let lines = stderr(&output);
    // misspelt tool, misspelt my_tool, my_tool in braces; and the summary
    assert_eq!(telling(&lines).len(), 4, "{lines}");
}

#[test]
fn what_is_no_near_miss_of_a_key_of_the_host_is_not_told() {
    for (braces, is_bound, header) in [
        (false, true, "x: <<tool_key>>"),
        (false, true, "x: <tool> {tool} {{nobody_key}} <<openai>>"),
        (true, true, "x: {{tool_key}}"),
        (false, false, "x: {{tool_key}}"),
    ] {
        let upstream = Upstream::start();
        let host = if is_bound { upstream.authority() } else { "api.tool.example".into() };
        let proxy = format!("connect_ports = [{}]\nbraces = {braces}\n", upstream.port());
        let home = Home::with(&proxy, &format!("[key.tool]\nhosts = [\"{host}\"]\n"));
        let output = home.run(&["sh", "-c", &curl(&upstream, header, "/")]);
        assert!(upstream.seen().len() == 1 && telling(&stderr(&output)).is_empty(), "{header}: {}", told(&output));
    }
    // in a body it is mere text, as is the placeholder itself
    let upstream = Upstream::start();
    let home = Home::bound(&[&upstream]);
    let body = r#"{"prompt": "use {{tool_key}}"}"#;
    let output = home.run(&["curl", "-q", "-sS", "--noproxy", "", "-o", "/dev/null", "-d", body, &upstream.url("/")]);
    assert!(upstream.seen()[0].text() == body && telling(&stderr(&output)).is_empty(), "{}", told(&output));
}

#[test]
fn explain_and_check_say_what_to_do_about_it() {
    let config = "[key.tool]\nhosts = [\"api.tool.example\"]\nwhere = [\"header\", \"query:key\"]\n";
    let home = Home::bare(config).set("TOOL_API_KEY", TOOL_KEY).set("AUTH", "Bearer {{tool_key}}");
    for (args, said) in [
        (
            &["-H", "Authorization: Bearer {{tool_key}}", "GET", "https://api.tool.example/"][..],
            "  unread    {{tool_key}}, which",
        ),
        (&["GET", "https://api.tool.example/?key={{tool_key}}"], "  unread    {{tool_key}}, which"),
        (
            &["-H", "Authorization: Bearer <<TOOL_KEY>>", "GET", "https://api.tool.example/"],
            "  unread    <<TOOL_KEY>>, which",
        ),
    ] {
        let output = finish(&mut home.locum(&[&["explain"], args].concat()));
        assert!(output.status.success() && stdout(&output).contains(said), "{}", told(&output));
    }
    let output = finish(&mut home.locum(&["check"]));
    let shown = stdout(&output);
    assert!(
        shown.contains("syntax  <<NAME_key>> alone; {{NAME_key}} too with braces = true under [proxy]\n"),
        "{shown}"
    );
    assert!(shown.contains("AUTH holds {{tool_key}}, which is no placeholder while braces is off"), "{shown}");
    home.write_config(&format!("[proxy]\nbraces = true\n{config}"));
    let shown = stdout(&finish(&mut home.locum(&["check"])));
    assert!(shown.contains("syntax  <<NAME_key>> and {{NAME_key}}\n") && !shown.contains("AUTH"), "{shown}");
}

/// As the other syntax stands in a variable, it is no more a key than ours.
#[test]
fn a_placeholder_of_the_other_syntax_is_no_value() {
    let upstream = Upstream::start();
    let hosts = format!("[key.tool]\nhosts = [\"{}\"]\n", upstream.authority());
    let home = Home::with("", &hosts).set("TOOL_API_KEY", "{{tool_key}}");
    let shown = stdout(&finish(&mut home.locum(&["check"])));
    assert!(shown.contains("TOOL_API_KEY holds a placeholder, which is no key"), "{shown}");
    let output = home.run(&["sh", "-c", &curl(&upstream, "x: <<tool_key>>", "/")]);
    assert!(stderr(&output).contains("TOOL_API_KEY holds a placeholder"), "{}", told(&output));
    assert!(upstream.seen().is_empty(), "{}", told(&output));
}
