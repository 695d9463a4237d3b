//! What each command says, to the letter: the files in `transcripts/` have what is typed, and what comes of it.
//!
//! A file is a list of scenarios, each in a home of its own:
//!
//! ```text
//! === what it shows
//! file .config/locum/locum.toml       a file, and below it its text
//! | [proxy]
//! env OPENAI_API_KEY=sk-…             a variable
//! + chmod 700 folder                  a line of shell that is to succeed, and is not looked at
//! $ locum key list                    a line of shell; `< text` below it is its standard input
//! : KEY …                             standard output
//! ! error: …                          standard error
//! = 1                                 the exit code, where it isn't 0
//! ```
//!
//! What differs from run to run is masked, as a home by `HOME` and a time by `TIME`; columns that hold such a thing are two
//! blanks apart. `LOCUM_TRANSCRIPTS=write` writes down what is said now: read it as a user would before it is kept.

use crate::support::Home;
use crate::support::locum::finish;
use regex::Regex;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::LazyLock;

/// What stands in place of what differs; the first that fits counts.
static MASKS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?", "TIME"),
        (r"\b20\d\d-\d\d-\d\d\b", "DATE"),
        (r"\b\d{8}T\d{6}\.\d{6}Z-\d+", "AUDIT-FILE"),
        (r"process \d+", "process PID"),
        (r"(127\.0\.0\.1|\[::1\]):\d{4,5}\b", "$1:PORT"),
        (r"\b([0-9A-F]{2}:){31}[0-9A-F]{2}\b", "FINGERPRINT"),
        (r"\b[0-9a-f]{64}\b", "HASH"),
        (r"\b\d+ ms\b", "N ms"),
        (r"\b\d+(\.\d+)? k?B\b", "N B"),
        (r"\blocum \d+\.\d+\.\d+", "locum VERSION"),
        (r"\bby user \d+", "by user UID"),
    ]
    .map(|(pattern, mask)| (Regex::new(&format!("(?-u){pattern}")).expect("a pattern"), mask))
    .into()
});

/// What is between columns.
static GAP: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"([^ \n])   +").expect("a pattern"));

/// A home that is looked at from within: `locum` is found by its name, and has its files where it has them of itself.
struct Scene(Home);

impl Scene {
    fn new() -> Self {
        let home = Home::bare("");
        fs::remove_file(home.config()).expect("an empty home");
        let folder = Path::new(env!("CARGO_BIN_EXE_locum")).parent().expect("a folder");
        let path = std::env::var("PATH").unwrap_or_default();
        Self(home.set("PATH", &format!("{}:{path}", folder.display())))
    }

    /// Files in folders for their owner alone, as locum makes them.
    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
    }

    fn sh(&self, line: &str, input: &str) -> Output {
        let stdin = tempfile::NamedTempFile::new().expect("a file");
        fs::write(stdin.path(), input).expect("a file");
        finish(self.0.command("sh").args(["-c", line]).stdin(File::open(stdin.path()).expect("a file")))
    }

    fn masked(&self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes).replace(&self.0.path().display().to_string(), "HOME");
        let masked = MASKS.iter().fold(text, |text, (pattern, mask)| pattern.replace_all(&text, *mask).into_owned());
        // columns are as wide as what was masked
        if masked.as_bytes() == bytes { masked } else { GAP.replace_all(&masked, "$1  ").into_owned() }
    }
}

/// Each line behind a mark; the last one ends with a line feed, or with `\` where it has none.
fn marked(mark: char, text: &str, out: &mut String) {
    for line in text.split_inclusive('\n') {
        let whole = line.strip_suffix('\n');
        let _ = writeln!(
            out,
            "{}",
            format!("{mark} {}{}", whole.unwrap_or(line), if whole.is_some() { "" } else { "\\" }).trim_end()
        );
    }
}

/// Plays a file of scenarios, and gives it as it came out.
fn played(script: &str) -> String {
    let mut out = String::new();
    let mut scene = Scene::new();
    let mut lines = script.lines().peekable();
    while let Some(line) = lines.next() {
        // what was said before is said anew
        if line.starts_with([':', '!', '=']) && !line.starts_with("===") {
            continue;
        }
        let _ = writeln!(out, "{line}");
        let mut below = |mark: &str| {
            let mut text = String::new();
            while let Some(line) = lines.next_if(|line| line.starts_with(mark)) {
                let _ = writeln!(out, "{line}");
                text += line[1..].strip_prefix(' ').unwrap_or(&line[1..]);
                text.push('\n');
            }
            text
        };
        match line.split_once(' ').unwrap_or((line, "")) {
            ("===", _) => scene = Scene::new(),
            ("env", set) => {
                let (name, value) = set.split_once('=').expect("NAME=VALUE");
                scene = Scene(scene.0.set(name, value));
            }
            ("file", path) => scene.write(path, &below("|")),
            ("+", line) => {
                let done = scene.sh(line, &below("<"));
                assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
            }
            ("$", line) => {
                let output = scene.sh(line, &below("<"));
                marked(':', &scene.masked(&output.stdout), &mut out);
                marked('!', &scene.masked(&output.stderr), &mut out);
                let code = output.status.code().expect("an exit code");
                if code != 0 {
                    let _ = writeln!(out, "= {code}");
                }
            }
            _ => assert!(line.is_empty() || line.starts_with('#'), "what is '{line}'?"),
        }
    }
    out
}

fn holds(group: &str) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/it/transcripts", &format!("{group}.txt")].iter().collect();
    let script = fs::read_to_string(&path).expect("a file of scenarios");
    let now = played(&script);
    if std::env::var_os("LOCUM_TRANSCRIPTS").is_some_and(|told| told == "write") {
        fs::write(&path, now).expect("the file");
        return;
    }
    let differs = now.lines().zip(script.lines()).position(|(now, then)| now != then);
    if let Some(at) = differs {
        let scenario = now.lines().take(at + 1).filter(|line| line.starts_with("===")).last().unwrap_or_default();
        let around = |text: &str| text.lines().skip(at.saturating_sub(2)).take(8).collect::<Vec<_>>().join("\n");
        panic!("{group}.txt:{} ({scenario})\nwas:\n{}\nis:\n{}", at + 1, around(&script), around(&now));
    }
    assert_eq!(now.lines().count(), script.lines().count(), "{group}.txt");
}

/// A test for each file of scenarios.
macro_rules! groups {
    ($($group:ident)*) => {
        $(#[test]
        fn $group() {
            holds(stringify!($group));
        })*

        /// A file that no test reads would say what it likes.
        #[test]
        fn every_file_is_played() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/transcripts");
            let mut files: Vec<_> = fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()).collect();
            files.sort();
            let names: Vec<_> = files.iter().filter_map(|file| file.file_stem()?.to_str()).collect();
            let mut known = [$(stringify!($group)),*];
            known.sort_unstable();
            assert_eq!(names, known);
            for file in &files {
                let lines = fs::read_to_string(file).expect("a file").lines().count();
                assert!(lines < 400, "{} has {lines} lines", file.display());
            }
        }
    };
}

groups! {
    agents audit ca checks help_first help_keys help_others help_reading key_values keys migrate running services stores usage
}
