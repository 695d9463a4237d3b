use super::*;
use crate::name::Host;
use crate::place::Place;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use std::collections::HashMap;

fn all() -> Vec<Arc<Provider>> {
    Catalog::default().providers().to_vec()
}

#[test]
fn every_entry_reads_and_says_where() {
    let mut mistakes = Vec::new();
    let all = embedded(&mut mistakes);
    assert!(mistakes.is_empty(), "{mistakes:?}");
    assert!(all.len() >= 80);
    for p in &all {
        assert!(!p.hosts.is_empty() || !p.tenants.is_empty(), "{}", p.name);
        assert!(!p.places.is_empty() && !p.env.is_empty(), "{}", p.name);
        assert!(p.revoke.is_some() && p.doc.is_some(), "{}", p.name);
        // each is found by its name
        assert!(Catalog::default().provider(p.name.as_str()).is_some_and(|found| found.name == p.name));
    }
}

#[test]
fn what_a_users_file_may_not_say_this_one_does_not_say_either() {
    let (mut mistakes, mut catalog) = (Vec::new(), Catalog { providers: Vec::new() });
    catalog.add(Path::new("own.toml"), TEXT, None, &mut mistakes);
    catalog.tell_variables_apart(&mut mistakes);
    assert!(mistakes.is_empty(), "{mistakes:?}");
}

#[test]
fn keys_go_to_named_hosts_over_tls_and_to_few_places() {
    for p in all() {
        for host in &p.hosts {
            assert!(host.exact().is_some() && !host.is_cleartext(), "{}: {host}", p.name);
        }
        let wide = |place: &Place| matches!(place, Place::Header | Place::Query | Place::Body | Place::BodyAny);
        assert!(!p.places.iter().any(wide), "{}", p.name);
    }
}

#[test]
fn no_host_of_a_customer_is_one_of_all() {
    for p in all() {
        for host in p.hosts.iter().filter_map(|h| h.exact()) {
            // else strangers could have one like it
            let like = |other: &Arc<Provider>| other.tenants.iter().any(|t| t.to_string() != "HOST" && t.covers(host));
            assert!(!all().iter().any(like), "{}: {host}", p.name);
        }
    }
}

#[test]
fn a_model_never_reads_a_key_in_a_body() {
    for p in all().iter().filter(|p| p.model) {
        assert!(!p.places.iter().any(|place| place.in_body() || *place == Place::Ws), "{}", p.name);
    }
}

#[test]
fn a_variable_means_one_key_and_a_host_one_service() {
    let (mut variables, mut hosts) = (HashMap::new(), HashMap::new());
    for p in all() {
        for v in &p.env {
            assert!(variables.insert(v.clone(), p.name.clone()).is_none(), "{v} stands twice");
        }
        for h in &p.hosts {
            // the two secrets of one service are called alike
            let known = hosts.insert(h.to_string(), p.name.clone());
            assert!(known.is_none_or(|known| p.name.as_str().starts_with(known.as_str()) && known != p.name), "{h}");
        }
    }
}

/// Keys that a shape allows, since no real one is at hand.
fn keys_of(p: &Provider, runner: &mut TestRunner) -> Vec<String> {
    let Some(pattern) = p.shape_pattern() else { return Vec::new() };
    let keys = proptest::string::string_regex(pattern).unwrap();
    (0..32).map(|_| keys.new_tree(runner).unwrap().current()).collect()
}

#[test]
fn a_shape_reads_and_is_that_of_one_providers_keys() {
    let mut runner = TestRunner::deterministic();
    let all = all();
    for p in &all {
        assert!(p.shape.is_none() || p.shape().is_some(), "{}", p.name);
        for key in keys_of(p, &mut runner) {
            assert!(p.shape().is_some_and(|shape| shape.is_match(&key)), "{}: {key}", p.name);
            let prefix = p.prefixes.iter().filter(|prefix| key.starts_with(prefix.as_str())).max();
            assert_eq!(prefix.is_some(), !p.prefixes.is_empty(), "{}: {key}", p.name);
            // what begins as others' keys do may be one of theirs
            let shared = |other: &Provider| prefix.is_none_or(|prefix| other.prefixes.contains(prefix));
            for other in all.iter().filter(|other| other.name != p.name && !shared(other)) {
                let is_match = other.shape().is_some_and(|shape| shape.is_match(&key));
                assert!(!is_match, "{} and {}: {key}", p.name, other.name);
            }
        }
    }
}

fn mistakes_in(text: &str) -> Vec<Mistake> {
    let (mut catalog, mut mistakes) = (Catalog::default(), Vec::new());
    catalog.add(Path::new("own.toml"), text, None, &mut mistakes);
    catalog.tell_variables_apart(&mut mistakes);
    mistakes
}

#[test]
fn a_mistake_in_a_users_file_has_its_place() {
    let hosts = "[tool]\nhosts = [\"api.tool.example\"]\n";
    for (text, at, said) in [
        (String::new() + "[tool]\n", 1, "neither hosts"),
        ("[Tool]\nhosts = [\"api.tool.example\"]\n".into(), 1, "try 'tool'"),
        ("hosts = []\n".into(), 1, "stands in no provider's table"),
        ("[tool]\nhosts = [\"*.com\"]\n".into(), 2, "public suffix"),
        ("[tool]\nhosts = []\n".into(), 2, "tenant"),
        ("[tool]\nhosts = [\"http://api.tool.example\"]\n".into(), 2, "unencrypted"),
        ("[tool]\ntenant = [\"NAME\"]\n".into(), 2, "customer's part"),
        (format!("{hosts}host = [\"x\"]\n"), 3, "did you mean 'hosts'"),
        (format!("{hosts}value = \"x\"\n"), 3, "keys are never in this file"),
        (format!("{hosts}model = true\nwhere = [\"body\"]\n"), 4, "a language model would read"),
        (format!("{hosts}env = [\"API_KEY\"]\n"), 3, "doesn't say whose"),
        (format!("{hosts}env = [\"PATH\"]\n"), 3, "doesn't say whose"),
        (format!("{hosts}env = [\"OPENAI_API_KEY\"]\n"), 1, "variable of 'openai' already"),
        (format!("{hosts}shape = \"a)(b\"\n"), 3, "unopened group"),
        (format!("{hosts}revoke = \"http://tool.example\"\n"), 3, "no https:// address"),
        (format!("{hosts}test = [\"GET https://evil.example/<<tool_key>>\"]\n"), 3, "none of the provider's hosts"),
        (format!("{hosts}test = [\"GET https://api.tool.example/<<tool_key>>\"]\n"), 3, "'path' is not among"),
    ] {
        let mistakes = mistakes_in(&text);
        let [mistake] = mistakes.as_slice() else { panic!("{text}\n{mistakes:?}") };
        assert!(mistake.to_string().contains(said), "{mistake}");
        assert!(mistake.to_string().starts_with(&format!("own.toml:{at}:")), "{mistake}");
    }
}

#[test]
fn a_users_entry_takes_the_place_of_ours_as_a_whole() {
    let (mut catalog, mut mistakes) = (Catalog::default(), Vec::new());
    let count = catalog.providers().len();
    let text = "[openai]\nhosts = [\"llm.corp.example\"]\n[tool]\nhosts = [\"api.tool.example\"]\n";
    catalog.add(Path::new("own.toml"), text, None, &mut mistakes);
    assert!(mistakes.is_empty(), "{mistakes:?}");
    assert_eq!(catalog.providers().len(), count + 1);
    let openai = catalog.provider("openai").unwrap();
    assert!(!openai.names(&"api.openai.com".parse::<Host>().unwrap()) && openai.revoke.is_none() && !openai.model);
    assert_eq!((openai.title.as_str(), openai.env.as_slice()), ("openai", &["OPENAI_API_KEY".to_owned()][..]));
    // two of the user's own are told apart
    catalog.add(Path::new("more.toml"), text, None, &mut mistakes);
    assert!(mistakes.iter().all(|m| m.to_string().starts_with("more.toml:")) && mistakes.len() == 2, "{mistakes:?}");
}
