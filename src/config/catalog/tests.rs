use super::*;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use std::collections::HashSet;

#[test]
fn every_entry_reads_and_says_where() {
    let all = parse(TEXT).unwrap();
    assert!(all.len() >= 24);
    for p in &all {
        assert!(!p.hosts.is_empty() && !p.places.is_empty() && !p.env.is_empty(), "{}", p.name);
        assert!(p.revoke.starts_with("https://"), "{}", p.name);
        assert!(p.prefixes.iter().all(|x| x.len() >= 2 && x.is_ascii()), "{}", p.name);
        assert!(p.env.iter().all(|v| v.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')), "{}", p.name);
    }
}

#[test]
fn keys_go_to_named_hosts_over_tls_and_to_few_places() {
    for p in providers() {
        for host in &p.hosts {
            assert!(host.exact().is_some() && !host.is_cleartext(), "{}: {host}", p.name);
        }
        let wide = |place: &Place| matches!(place, Place::Header | Place::Query | Place::Body | Place::BodyAny);
        assert!(!p.places.iter().any(wide), "{}", p.name);
    }
}

#[test]
fn a_model_never_reads_a_key_in_a_body() {
    for p in providers().iter().filter(|p| p.model) {
        assert!(!p.places.iter().any(|place| place.in_body() || *place == Place::Ws), "{}", p.name);
    }
}

#[test]
fn a_variable_or_host_means_one_provider() {
    let (mut variables, mut hosts) = (HashSet::new(), HashSet::new());
    for p in providers() {
        for v in &p.env {
            assert!(variables.insert(v), "{v} stands twice");
        }
        for h in &p.hosts {
            assert!(hosts.insert(h.to_string()), "{h} stands twice");
        }
    }
}

/// Keys that a shape allows, since no real one is at hand.
fn keys_of(p: &Provider, runner: &mut TestRunner) -> Vec<String> {
    let Some(shape) = &p.shape else { return Vec::new() };
    let keys = proptest::string::string_regex(shape.pattern()).unwrap();
    (0..32).map(|_| keys.new_tree(runner).unwrap().current()).collect()
}

#[test]
fn a_shape_reads_and_is_that_of_one_providers_keys() {
    let mut runner = TestRunner::deterministic();
    for p in providers() {
        assert!(p.shape.is_none() || p.shape().is_some(), "{}", p.name);
        for key in keys_of(p, &mut runner) {
            assert!(p.shape().is_some_and(|shape| shape.is_match(&key)), "{}: {key}", p.name);
            let prefix = p.prefixes.iter().filter(|prefix| key.starts_with(prefix.as_str())).map(String::len).max();
            assert_eq!(prefix.is_some(), !p.prefixes.is_empty(), "{}: {key}", p.name);
            // what begins as others' keys do may be one of theirs
            for other in providers().iter().filter(|other| other.name != p.name && prefix.is_some_and(|len| len >= 4)) {
                assert!(
                    !other.shape().is_some_and(|shape| shape.is_match(&key)),
                    "{} and {}: {key}",
                    p.name,
                    other.name
                );
            }
        }
    }
}
