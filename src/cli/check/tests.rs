//! What `locum check` finds in configs.

use super::*;
use crate::config::settings::CliPaths;
use crate::memory;
use std::fs;
use std::sync::Arc;

/// The report on a config, where some variables held keys at the start.
fn of<const N: usize>(text: &str, variables: [(&str, &str); N]) -> CheckReport {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("locum.toml");
    fs::write(&path, text).unwrap();
    let given = CliPaths { config: Some(path), state: Some(dir.path().join("state")) };
    let environment = Arc::new(memory::SealedEnvironment::from(variables));
    let (settings, mistakes) = Settings::read(&given, &ConfigEnvironment::default());
    report(settings, mistakes, &SecretBackends { environment, ..SecretBackends::default() })
}

const BRAVE: (&str, &str) = ("BRAVE_API_KEY", "BSAq8Zt2LwXv7RkYb5Nc");

#[test]
fn a_key_that_is_found_is_all_it_takes() {
    let report = of("", [BRAVE]);
    assert!(report.ok && report.mistakes.is_empty() && report.warnings.is_empty(), "{report}");
    let brave = KeyLine { name: "brave".into(), source: report.keys[0].source.clone(), found: true };
    assert_eq!(report.keys, [brave]);
    assert!(!report.to_string().contains("q8Zt2LwXv7RkYb5Nc"));
}

#[test]
fn config_and_files_are_wrong_at_once() {
    let text = "[proxy]\nlistne = \"x\"\nupstream_ca = [\"none.pem\"]\n[ca]\nsource = \"file:none\"\n\
                [key.brave]\nsource = \"keyring\"\n[agent.a]\ntoken_file = \"none\"\n";
    let report = of(text, []);
    assert!(!report.ok);
    let shown = report.to_string();
    for said in ["locum.toml:2:1: unknown setting 'listne'", "none.pem: ", "none: ", "key 'brave': there is no keyring"]
    {
        assert!(shown.contains(said), "{said}\n{shown}");
    }
    assert_eq!(report.mistakes.len(), 5, "{shown}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((json["ok"].as_bool(), json["mistakes"][0]["line"].as_u64()), (Some(false), Some(2)));
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let own = |more: &str| format!("[key.tool]\nhosts = [\"api.tool.example\"]\n{more}");
    for (text, value, said) in [
        (own(""), "", "no value"),
        (own(""), "short-key", "is not hidden in responses"),
        (own("scrub = true"), "short-key", "guesses can be tested"),
        (own("source = 'exec:[\"/bin/echo\", \"<<tool_key>>\"]'"), "", "has its own placeholder for a value"),
        (own("where = [\"body:any\"]"), "q8Zt2LwXv7RkYb5Nc", "body:any"),
        (own("placeholder = \"tool-0000-0123456789\""), "xx-tool-0000-0123456789", "part of its value"),
        (own(""), "<<tool_key>>", "no value"),
        ("[key.tool]\nhosts = [\"api.openai.com\"]".into(), "q8Zt2LwXv7RkYb5Nc", "a language model reads them"),
        ("[key.tool]\nhosts = [\"10.0.0.1\"]".into(), "q8Zt2LwXv7RkYb5Nc", "not public"),
        (format!("[proxy]\npassthrough = [\"*.tool.example\"]\n{}", own("")), "q8Zt2LwXv7RkYb5Nc", "unread"),
        (format!("[proxy]\npassthrough = [\"api.tool.example:8443\"]\n{}", own("")), "q8Zt2LwXv7RkYb5Nc", "unread"),
        (
            "[proxy]\npassthrough = [\"api.tool.example\"]\n[key.tool]\nhosts = [\"*.tool.example\"]".into(),
            "q8Zt2LwXv7RkYb5Nc",
            "unread",
        ),
        (format!("[proxy]\ndeny = [\"api.tool.example\"]\n{}", own("")), "q8Zt2LwXv7RkYb5Nc", "is denied"),
    ] {
        let report = of(&text, [("TOOL_API_KEY", value)]);
        let shown = report.to_string();
        assert!(report.ok && report.warnings.iter().any(|w| w.what.contains(said)), "{text}\n{shown}");
        assert!(report.warnings.iter().all(|w| w.at.is_some() || w.what == "no key has a value"), "{shown}");
    }
    assert!(of("", []).warnings.iter().any(|w| w.what == "no key has a value"));
}
