//! Any text as a file of settings in which `locum key migrate` looks for keys: what it finds is within the text, in order and
//! apart, and once that is replaced it is found no more.

#![no_main]

use libfuzzer_sys::fuzz_target;
use locum::config::key_scan::{ValueVerdict, find, replaced};
use locum::config::settings::{CliPaths, ConfigEnvironment, Settings};
use std::path::Path;
use std::sync::LazyLock;

const FILES: [&str; 8] =
    [".env", "config.json", "config.toml", "values.yaml", "settings.ini", ".netrc", ".bashrc", ".npmrc"];

static SETTINGS: LazyLock<Settings> = LazyLock::new(|| {
    let env = ConfigEnvironment::from_iter([("HOME".into(), "/home/u".into())]);
    let tool = "[key.tool]\nhosts = [\"api.tool.example\"]\n";
    Settings::trial(Path::new("/etc/locum.toml"), tool, &CliPaths::default(), &env).expect("settings")
});

fuzz_target!(|input: (u8, &str)| {
    let (choice, text) = input;
    let file = Path::new(FILES[usize::from(choice) % FILES.len()]);
    let scan = find(file, text, &SETTINGS.keys);
    assert!(scan.values.windows(2).all(|pair| pair[0].at.end <= pair[1].at.start));
    let is_key = |verdict: &ValueVerdict| matches!(verdict, ValueVerdict::Key(_));
    let keys = scan.values.iter().filter(|value| is_key(&value.verdict));
    let parts: Vec<_> = keys.map(|value| (value.at.clone(), "<<tool_key>>".to_owned())).collect();
    let after = replaced(text, &parts);
    let again = find(file, &after, &SETTINGS.keys);
    assert!(!again.values.iter().any(|value| is_key(&value.verdict) && after[value.at.clone()].contains("<<")));
});
