//! Rooms import only from floors below their own, as the picture of the house has it; it reads `crate::` paths.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of each floor, from the ground up.
const FLOORS: [&[&str]; 8] = [
    &["name", "place"],
    &["record", "memory", "disk", "control"],
    &["policy", "rewrite", "chain", "anomaly", "metrics"],
    &["secrets", "ca", "upstream", "audit"],
    &["proxy", "admin"],
    &["config", "telemetry"],
    &["app", "confine", "trust_env"],
    &["cli"],
];

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => sources(&path, found),
            false if path.extension().is_some_and(|e| e == "rs") => found.push(path),
            false => {}
        }
    }
}

/// The rooms that a text imports from: `crate::room`, and each first name in `crate::{…}`.
fn imports(text: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let boundary = text[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '$');
        let path = &text[at + "crate::".len()..];
        let word =
            |s: &str| s.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        if !boundary {
            continue;
        }
        match path.strip_prefix('{') {
            None => rooms.push(word(path)),
            Some(list) => {
                let mut depth = 0;
                let names = list.split(|c: char| {
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    depth < 0 || depth == 0 && c == ','
                });
                rooms.extend(names.take_while(|name| !name.contains(';')).map(word).filter(|name| !name.is_empty()));
            }
        }
    }
    rooms
}

#[test]
fn nothing_imports_from_its_own_floor_or_above() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut files, mut wrong) = (Vec::new(), Vec::new());
    sources(&src, &mut files);
    for file in files.iter().filter(|f| !["lib.rs", "main.rs"].iter().any(|name| **f == src.join(name))) {
        let relative = file.strip_prefix(&src).expect("below src").with_extension("");
        let room = relative.iter().next().expect("a name").to_string_lossy().into_owned();
        let Some(own) = floor(&room) else {
            wrong.push(format!("{room} is on no floor"));
            continue;
        };
        for other in imports(&fs::read_to_string(file).expect("a file")).iter().filter(|other| **other != room) {
            if floor(other).is_none_or(|theirs| theirs >= own) {
                wrong.push(format!("{}: crate::{other} is not below {room}", relative.display()));
            }
        }
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn imports_are_found_in_every_form() {
    for (text, rooms) in [
        ("use crate::name::Host;", vec!["name"]),
        ("use crate::{memory, record::{Event, Record}, ca};", vec!["memory", "record", "ca"]),
        ("let x: crate::proxy::Config = super::y;", vec!["proxy"]),
        ("use mycrate::name;", vec![]),
    ] {
        assert_eq!(imports(text), rooms, "{text}");
    }
}
