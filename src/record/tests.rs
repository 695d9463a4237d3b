//! Records as they are written: as the contract has them, and whatever is in their texts.

use super::*;
use proptest::prelude::*;
use serde_json::Value;
use std::time::{Duration, UNIX_EPOCH};

fn info() -> ExchangeInfo {
    ExchangeInfo {
        exchange: "abcdefghij234567".into(),
        agent: AgentName::local(),
        pid: Some(42),
        tool: None,
        method: "POST".into(),
        scheme: "https",
        host: "api.openai.com".into(),
        port: 443,
        path: "/v1/chat/completions".into(),
    }
}

fn members(record: &Record) -> String {
    let mut out = Vec::new();
    record.write_members(&mut out);
    String::from_utf8(out).unwrap()
}

fn parsed(record: &Record) -> Value {
    serde_json::from_str(&format!("{{{}}}", members(record))).unwrap()
}

#[test]
fn a_substitution_reads_as_the_contract_says() {
    let mut r = Record::new(UNIX_EPOCH + Duration::from_micros(1_234_567), Event::Substitution, "api.openai");
    r.info = Some(Arc::new(info()));
    r.key_ref = Some(KeyRef::Key("openai".parse().unwrap()));
    r.place = Some("header:authorization".parse().unwrap());
    r.count = Some(1);
    assert_eq!(
        members(&r),
        concat!(
            r#""timestamp":"1970-01-01T00:00:01.234567Z","event":"substitution","operation":"api.openai","#,
            r#""exchange":"abcdefghij234567","agent":"local","pid":42,"key_ref":"<<openai_key>>","#,
            r#""where":"header:authorization","count":1,"method":"POST","scheme":"https","#,
            r#""host":"api.openai.com","port":443,"path":"/v1/chat/completions""#
        )
    );
}

#[test]
fn an_exchange_keeps_its_figures() {
    let mut r = Record::new(UNIX_EPOCH, Event::Exchange, "api.openai");
    r.status = Some(200);
    r.success = Some(true);
    r.duration_ms = Some(12.3456);
    r.bytes_out = Some(0);
    r.bytes_in = Some(u64::MAX);
    r.upstream_ip = Some("2606:4700::6810:84e5".parse().unwrap());
    r.http = Some("2");
    r.scrubbed = Some(2);
    let v = parsed(&r);
    assert_eq!(v["duration_ms"], 12.346);
    assert_eq!(v["bytes_out"], 0);
    assert_eq!(v["bytes_in"], u64::MAX);
    assert_eq!(v["upstream_ip"], "2606:4700::6810:84e5");
    assert_eq!(v["success"], true);
}

#[test]
fn impossible_times_and_durations_still_make_a_record() {
    for (ms, want) in [(f64::NAN, 0.0), (-1.0, 0.0), (0.0004, 0.0), (0.0005, 0.001)] {
        let mut r = Record::new(UNIX_EPOCH - Duration::from_secs(1), Event::Exchange, "x");
        r.duration_ms = Some(ms);
        let v = parsed(&r);
        assert_eq!(v["duration_ms"], want);
        assert_eq!(v["timestamp"], "1970-01-01T00:00:00.000000Z");
    }
    let mut r = Record::new(UNIX_EPOCH, Event::Exchange, "x");
    r.duration_ms = Some(f64::INFINITY);
    assert!(parsed(&r)["duration_ms"].is_number());
}

#[test]
fn texts_are_cut_at_a_character_and_say_so() {
    let cases = [
        ("a".repeat(MAX_TEXT), "a".repeat(MAX_TEXT)),
        ("a".repeat(MAX_TEXT + 1), "a".repeat(MAX_TEXT) + "…"),
        ("é".repeat(MAX_TEXT), "é".repeat(MAX_TEXT / 2) + "…"),
        ("\u{1b}".repeat(MAX_TEXT), "\u{1b}".repeat(MAX_TEXT / 6) + "…"),
    ];
    for (given, want) in cases {
        let mut r = Record::new(UNIX_EPOCH, Event::Refusal, "x");
        r.reason = Some(given);
        assert_eq!(parsed(&r)["reason"], want);
    }
}

proptest! {
    #[test]
    fn hostile_text_neither_forges_a_member_nor_reaches_a_terminal(
        texts in proptest::collection::vec(".*|[\"\\\\\n\r\u{1b}\u{9b}\u{202e}{},:ahs]{0,3000}", 6..=6)
    ) {
        let [path, tool, host, method, error, reason]: [String; 6] = texts.try_into().unwrap();
        let mut r = Record::new(UNIX_EPOCH, Event::Exchange, host.clone());
        r.info = Some(Arc::new(ExchangeInfo {
            path: path.clone(), tool: Some(tool.clone()), host: host.clone(), method: method.clone(), ..info()
        }));
        r.error = Some(error.clone());
        r.reason = Some(reason.clone());
        let line = members(&r);
        prop_assert!(line.len() <= MAX_MEMBERS);
        prop_assert!(!line.chars().any(misleads));
        let v: Value = serde_json::from_str(&format!("{{{line}}}")).unwrap();
        let unknown = [&path, &host, &method].iter().filter(|t| t.is_empty()).count();
        let without_host = usize::from(host.is_empty());
        prop_assert_eq!(v.as_object().unwrap().len(), 14 - unknown - without_host);
        prop_assert_eq!(v["agent"].as_str(), Some("local"));
        prop_assert_eq!(line.matches("\"agent\":").count(), 1);
        for (member, given) in [("path", &path), ("error", &error), ("reason", &reason)] {
            let got = v[member].as_str().unwrap_or_default();
            prop_assert!(got == given.as_str() || given.starts_with(got.strip_suffix('…').unwrap()));
        }
    }
}
