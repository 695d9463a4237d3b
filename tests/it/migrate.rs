//! `locum key migrate` on files as they are found: forty of them in and out again, and whatever may get in the way.

use crate::support::Home;
use crate::support::clients;
use crate::support::locum::{finish, stdout, told};
use crate::support::stores::{SecretService, locum, transcript};
use base64::Engine as _;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

const TOOL: &str = "[key.tool]\nhosts = [\"api.tool.example\"]\n";
/// What every run of it says.
const MIGRATE: [&str; 4] = ["key", "migrate", "--store", "machine"];

/// Fake keys of each shape, put together here so that no scanner of secrets takes a fixture for a leak.
fn slots() -> Vec<(&'static str, String)> {
    vec![
        ("@OPENAI@", ["sk-", "proj-", "Gf9Ps2Ua7Ei3oTzQxWnBr4MNOP"].concat()),
        ("@ANTHROPIC@", ["sk-", "ant-", "api03-", &"q8Zt2LwXvR".repeat(9)].concat()),
        ("@DEEPSEEK@", ["sk-", &"5f0c2d9be1a84763".repeat(2)].concat()),
        ("@OPENROUTER@", ["sk-", "or-v1-", &"5f0c2d9be1a84763".repeat(4)].concat()),
        ("@GITHUB@", ["gh", "p_", &"q8Zt2LwXvR4a".repeat(3)].concat()),
        ("@GROQ@", ["gs", "k_", &"q8Zt2LwXvR4aB".repeat(4)].concat()),
        ("@TAVILY@", ["tv", "ly-", "dev-q8Zt2LwXvR4aB5cD6eF7gH8i"].concat()),
        ("@BRAVE@", ["BS", "Aq8Zt2LwXvR4aB5cD6eF7gH8iJ9kL"].concat()),
        ("@STRIPE@", ["sk_", "live_", "q8Zt2LwXvR4aB5cD6eF7gH8i"].concat()),
        ("@SLACK@", ["xox", "b-123456789012-q8Zt2LwXvR4aB5cD6eF7gH8i"].concat()),
        ("@TOOL@", ["tk-5f0c2d9be1-", "q8Zt2LwXvR-WXYZ"].concat()),
        ("@SECRET@", ["Zq4vN8", "tR2kW6yB1mD9sF3h"].concat()),
        ("@AWS@", ["wJ4lrX5tnF6EMI7K8MDENG", "9bPx1RfiCYzq2Rt4Uv"].concat()),
        ("@HEX@", "8f14e45fceea167a".repeat(2)),
        ("@PASSWORD@", ["hunter", "2-of-the-house"].concat()),
    ]
}

/// A fixture with its keys in it: `@NAME@`, and `@B64(…)@` around them.
fn filled(text: &str) -> String {
    let mut text = slots().iter().fold(text.to_owned(), |text, (slot, key)| text.replace(slot, key));
    while let Some(start) = text.find("@B64(") {
        let end = start + text[start..].find(")@").expect("its end");
        let encoded = base64::engine::general_purpose::STANDARD.encode(&text[start + 5..end]);
        text.replace_range(start..end + 2, &encoded);
    }
    text
}

fn fixtures() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/migrate");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let named = |path: &PathBuf| path.strip_prefix(&root).expect("below it").display().to_string();
    files.iter().map(|path| (named(path), fs::read_to_string(path).expect("a fixture"))).collect()
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

/// Whether a line has this in it, or in base64.
fn holds(line: &str, key: &str) -> bool {
    let of_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    let decoded = |word| base64::engine::general_purpose::STANDARD.decode(word).ok();
    let in_base64 = |word| decoded(word).is_some_and(|text| String::from_utf8_lossy(&text).contains(key));
    line.contains(key) || line.split(|c| !of_base64(c)).any(in_base64)
}

/// Has a program that reads such files read this one.
fn assert_reads(home: &Home, name: &str) {
    let python = |script: &str| vec![clients::python(), "-c".into(), script.into(), name.into()];
    let last = name.rsplit(['/', '.']).next().unwrap_or_default();
    let command = match last {
        "json" => {
            let script = "const t=require('fs').readFileSync(process.argv[1],'utf8');(0,eval)('('+t+')')";
            vec!["node".to_owned(), "-e".into(), script.into(), name.into()]
        }
        "yaml" | "yml" => python("import sys,yaml; assert all(yaml.safe_load_all(open(sys.argv[1])))"),
        "config" => python("import sys,yaml; assert yaml.safe_load(open(sys.argv[1]))"),
        "toml" => python("import sys,tomllib; tomllib.load(open(sys.argv[1],'rb'))"),
        "netrc" => python("import sys,netrc; n=netrc.netrc(sys.argv[1]); assert n.hosts"),
        "pypirc" | "ini" | "conf" => python(
            "import sys,configparser; c=configparser.RawConfigParser(); c.read(sys.argv[1]); assert c.sections()",
        ),
        "gitconfig" => ["git", "config", "--file", name, "--list"].map(str::to_owned).to_vec(),
        "py" => python("import sys,ast; ast.parse(open(sys.argv[1]).read())"),
        "fish" => ["fish", "--no-execute", name].map(str::to_owned).to_vec(),
        "env" | "bashrc" | "zshrc" | "envrc" => ["bash", "-n", name].map(str::to_owned).to_vec(),
        _ => return,
    };
    let output = finish(home.command(&command[0]).args(&command[1..]));
    assert!(output.status.success(), "{name}: {}\n{}", told(&output), read(home, name));
}

fn read(home: &Home, name: &str) -> String {
    fs::read_to_string(home.path().join(name)).expect("a file")
}

fn write(home: &Home, name: &str, text: &str) {
    let path = home.path().join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(&path, text).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
}

#[test]
fn forty_files_lose_their_keys_and_get_them_back() {
    let all = fixtures();
    assert!(all.len() >= 40, "{}", all.len());
    for (name, fixture) in all {
        let home = Home::bare(TOOL);
        let before = filled(&fixture);
        write(&home, &name, &before);
        let output = locum(&home, &[&MIGRATE[..], &[&name]].concat(), "");
        let said = stdout(&output);
        let after = read(&home, &name);
        // each key has gone, or its line is told
        let mut stay = 0;
        for (number, (line, new)) in before.lines().zip(after.lines()).enumerate() {
            let is_told =
                said.lines().any(|told| told.starts_with(&format!("{name}:{}  ", number + 1)) && told.contains("  …"));
            stay += usize::from(is_told);
            for (slot, key) in slots().iter().filter(|(_, key)| holds(line, key)) {
                assert!(
                    !holds(new, key) || is_told,
                    "{name}:{}: {slot} is left unmentioned\n{}",
                    number + 1,
                    told(&output)
                );
                assert!(!said.contains(key), "{name}: {said}");
            }
        }
        assert_eq!(output.status.code(), Some(i32::from(stay > 0)), "{name}: {}", told(&output));
        if after != before {
            assert_reads(&home, &name);
            let undone = locum(&home, &["key", "migrate", "--undo", &name], "");
            assert!(undone.status.success(), "{name}: {}\n{after}", told(&undone));
        }
        assert_eq!(read(&home, &name), before, "{name}");
    }
}

/// What stands in a shell's file is what a shell then has.
#[test]
fn shells_get_the_placeholders() {
    let text =
        filled("export OPENAI_API_KEY=@OPENAI@ GROQ_API_KEY='@GROQ@'\nURL=https://x:@GITHUB@@github.com/a?b=c\n");
    let home = Home::bare(TOOL);
    write(&home, ".env", &text);
    assert!(locum(&home, &[&MIGRATE[..], &[".env"]].concat(), "").status.success());
    let output = finish(home.command("sh").args(["-c", ". ./.env; echo $OPENAI_API_KEY $GROQ_API_KEY $URL"]));
    assert_eq!(stdout(&output), "<<openai_key>> <<groq_key>> https://x:<<github_key>>@github.com/a?b=c\n");
    assert!(locum(&home, &["key", "migrate", "--undo", ".env"], "").status.success());
    assert_eq!(read(&home, ".env"), text);
}

#[test]
fn what_is_moved_and_what_stays_is_told() {
    let home = Home::bare(TOOL);
    let text = "# TOOL_API_KEY=@HEX@\nTOOL_API_KEY=@TOOL@\nDB_PASSWORD=@PASSWORD@\n";
    write(&home, ".env", &filled(text));
    let migrate = [&MIGRATE[..], &[".env"]].concat();
    let staying = "STAYS NAME VALUE WHY NEXT\n\
         .env:1 TOOL_API_KEY …167a in a comment, a name or a command take it out by hand\n\
         .env:3 DB_PASSWORD …ouse no key that locum knows locum key set db --host HOST, then the same command again\n";
    let error = "error: 2 values that may be keys stay in clear text, each with its reason above\n  \
                 next: do what is said there, or keep the files where no agent reads them\n[1]\n";
    let table = |said: &str| said.split_whitespace().collect::<Vec<_>>().join(" ");
    let dry = transcript(&home, &[&migrate[..], &["--dry-run"]].concat(), "");
    let diff = "tool would go into the machine-bound store ~/state/machine.store\n--- .env\n+++ .env\n@@ -2 +2 @@\n\
                -TOOL_API_KEY=…WXYZ\n+TOOL_API_KEY=\"<<tool_key>>\"\n";
    assert_eq!(table(&dry), table(&format!("{diff}{staying}{error}")));
    assert_eq!(read(&home, ".env"), filled(text));
    let said = transcript(&home, &migrate, "");
    let moved =
        "tool is in the machine-bound store ~/state/machine.store\nPLACE NAME NOW\n.env:2 TOOL_API_KEY <<tool_key>>\n";
    let next = "next: 'locum key rotate tool' makes all old copies worthless\n";
    assert_eq!(table(&said), table(&format!("{moved}{staying}{next}{error}")));
    // what the state keeps of it has no value
    let kept = fs::read_to_string(home.state().join("migrated.json")).expect("a file");
    assert!(slots().iter().all(|(_, key)| !kept.contains(key.as_str())) && kept.contains("<<tool_key>>"), "{kept}");
    let undone = transcript(&home, &["key", "migrate", "--undo", ".env"], "");
    assert_eq!(
        undone,
        ".env has its values again: tool\nthey are in the store as well: 'locum key remove NAME' takes one out of it\n[0]\n"
    );
    assert_eq!(read(&home, ".env"), filled(text));
    let again = transcript(&home, &["key", "migrate", "--undo", ".env"], "");
    assert!(again.starts_with("error: locum has moved nothing out of .env\n") && again.ends_with("[1]\n"), "{again}");
}

#[test]
fn its_help_says_how_to_look_first_and_how_to_go_back() {
    let home = Home::bare("");
    let said = transcript(&home, &["key", "migrate", "--help"], "");
    for words in ["--dry-run", "--undo", "the exit code is 1", "locum key migrate --undo .env", "[0]\n"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let both = locum(&home, &["key", "migrate", "--undo", "--dry-run", "x"], "");
    assert_eq!(both.status.code(), Some(2), "{}", told(&both));
}

#[test]
fn undo_changes_nothing_where_it_can_not_be_whole() {
    let home = Home::bare(TOOL);
    let text = filled("TOOL_API_KEY='@TOOL@'\nOPENAI_API_KEY='@OPENAI@'\n");
    write(&home, ".env", &text);
    assert!(locum(&home, &[&MIGRATE[..], &[".env"]].concat(), "").status.success());
    let placed = read(&home, ".env");
    let undo = ["key", "migrate", "--undo", ".env"];
    // a placeholder more than was put there
    write(&home, ".env", &format!("X='<<tool_key>>'\n{placed}"));
    let said = transcript(&home, &undo, "");
    assert!(said.starts_with("error: .env is not as locum left it") && said.ends_with("[1]\n"), "{said}");
    // of a file that was edited meanwhile, a second run takes back what it has moved itself
    let edited = format!("# mine\n{placed}GROQ_API_KEY={}\n", filled("@GROQ@"));
    write(&home, ".env", &edited);
    assert!(locum(&home, &[&MIGRATE[..], &[".env"]].concat(), "").status.success());
    let both = read(&home, ".env");
    assert!(locum(&home, &["key", "remove", "groq"], "").status.success());
    let said = transcript(&home, &undo, "");
    assert!(
        said.starts_with("error: no store of this machine has 'groq' any more\n") && said.ends_with("[4]\n"),
        "{said}"
    );
    assert_eq!(read(&home, ".env"), both);
    assert!(locum(&home, &["key", "set", "groq", "--stdin", "--store", "machine"], &filled("@GROQ@")).status.success());
    let said = transcript(&home, &undo, "");
    assert!(said.starts_with(".env has its values again: groq\n"), "{said}");
    assert_eq!(read(&home, ".env"), edited);
}

#[test]
fn files_that_are_no_text_of_ours_are_left_with_a_word() {
    let home = Home::bare(TOOL);
    let line = filled("TOOL_API_KEY=@TOOL@\n");
    let wide: Vec<u8> = [0xff, 0xfe].into_iter().chain(line.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    fs::write(home.path().join("wide"), wide).expect("a file");
    fs::write(home.path().join("binary"), [line.as_bytes(), b"\0"].concat()).expect("a file");
    fs::write(home.path().join("large"), line.repeat(200_000)).expect("a file");
    for (name, why) in [
        ("wide", "it is UTF-16, and is read as UTF-8 only: save it so"),
        ("binary", "it is binary"),
        ("large", "it is larger than 1 MiB, and no file of settings"),
    ] {
        let said = transcript(&home, &[&MIGRATE[..], &[name]].concat(), "");
        assert_eq!(
            said,
            format!("error: {name}: {why}\n  next: nothing has been changed; mend that, or leave this file out\n[1]\n")
        );
    }
    write(&home, "broken.json", &filled("{\"TOOL_API_KEY\": \"@TOOL@\""));
    let said = transcript(&home, &[&MIGRATE[..], &["broken.json"]].concat(), "");
    assert!(said.starts_with("note: broken.json: it can't be read as JSON: ") && said.ends_with("[1]\n"), "{said}");
    assert!(said.contains("broken.json:1  TOOL_API_KEY  …WXYZ  the file can't be read as what it is"), "{said}");
    assert!(!home.state().join("machine.store").exists());
}

/// The link stays one, and its file has the same owner and mode.
#[test]
fn links_owners_and_modes_are_kept_and_wide_ones_told() {
    let home = Home::bare(TOOL);
    write(&home, "dotfiles/env", &filled("TOOL_API_KEY='@TOOL@'\r\n"));
    let real = home.path().join("dotfiles/env");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o644)).expect("a mode");
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        std::os::unix::fs::chown(&real, Some(1234), Some(4321)).expect("an owner");
    }
    let of = |path: &Path| fs::metadata(path).map(|m| (m.uid(), m.gid(), m.mode() & 0o7777)).expect("a file");
    let before = of(&real);
    symlink("dotfiles/env", home.path().join(".env")).expect("a link");
    let said = transcript(&home, &[&MIGRATE[..], &[".env"]].concat(), "");
    assert!(said.contains("note: other users of this machine could read .env (mode 0644)\n"), "{said}");
    assert!(fs::symlink_metadata(home.path().join(".env")).expect("a link").is_symlink());
    assert_eq!((read(&home, "dotfiles/env").as_str(), of(&real)), ("TOOL_API_KEY='<<tool_key>>'\r\n", before));
    if !is_root {
        return;
    }
    // one who may not write it is told so before anything is changed
    for path in [home.path(), &home.path().join("dotfiles")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("a mode");
    }
    write(&home, "theirs", &filled("TOOL_API_KEY='@TOOL@'\n"));
    fs::set_permissions(home.path().join("theirs"), fs::Permissions::from_mode(0o644)).expect("a mode");
    fs::set_permissions(home.config(), fs::Permissions::from_mode(0o644)).expect("a mode");
    let binary = env!("CARGO_BIN_EXE_locum");
    let mut command = home.command("setpriv");
    command.args(["--reuid", "65534", "--clear-groups", binary, "--config"]).arg(home.config());
    command.arg("--state").arg(home.path().join("others")).args(MIGRATE).arg("theirs");
    let output = finish(&mut command);
    assert!(
        told(&output).contains("error: theirs: it belongs to another user (uid 0), who has to do it"),
        "{}",
        told(&output)
    );
    assert_eq!(read(&home, "theirs"), filled("TOOL_API_KEY='@TOOL@'\n"));
}

#[test]
fn copies_beside_it_and_the_history_of_git_are_told() {
    let home = Home::bare(TOOL);
    let text = filled("TOOL_API_KEY='@TOOL@'\n");
    for name in [".env", ".env~", ".env.bak", "#.env#"] {
        write(&home, name, &text);
    }
    fs::write(home.path().join(".env.swp"), [b"b0VIM\0", text.as_bytes()].concat()).expect("a file");
    write(&home, ".env.example", "TOOL_API_KEY=\n");
    write(&home, "repo/.env", &text);
    let git = |args: &[&str]| {
        let with = ["-C", "repo", "-c", "user.name=me", "-c", "user.email=me@example.org"];
        let output = finish(home.command("git").args(with).args(args));
        assert!(output.status.success(), "{}", told(&output));
    };
    git(&["init", "-q"]);
    git(&["add", ".env"]);
    git(&["commit", "-q", "-m", "x"]);
    // taken out of it since, and ignored
    git(&["rm", "-q", "--cached", ".env"]);
    write(&home, "repo/.gitignore", ".env\n");
    let said = transcript(&home, &[&MIGRATE[..], &[".env", "repo/.env"]].concat(), "");
    for copy in [".env~", ".env.bak", "#.env#", ".env.swp"] {
        assert!(
            said.contains(&format!("note: ~/{copy} still has a key of .env: migrate it or remove it\n")),
            "{copy}: {said}"
        );
    }
    assert!(!said.contains(".env.example"), "{said}");
    let see = "git -C ~/repo log --all -p -- .env";
    assert!(
        said.contains(&format!("note: the history of git has repo/.env as it was, if it was ever committed: {see}\n")),
        "{said}"
    );
    let shown = finish(home.command("sh").args(["-c", &see.replace('~', &home.path().display().to_string())]));
    assert!(stdout(&shown).contains(&text.trim_end().to_owned()), "{}", told(&shown));
}

/// Set for a run of this program within the session of a keyring.
const KEPT_BY_NANOFOLKS: &str = "LOCUM_TEST_KEPT_BY_NANOFOLKS";

/// Does what nanofolks does with a key, in the session of who starts it: a session is a matter of the whole process.
#[test]
fn nanofolks_keeps_a_key() {
    use keyring_core::api::CredentialStoreApi as _;
    let Ok(value) = std::env::var(KEPT_BY_NANOFOLKS) else { return };
    let store = zbus_secret_service_keyring_store::Store::new().expect("the keyring");
    store.build("nanofolks.ai", "groq", None).and_then(|entry| entry.set_password(&value)).expect("an entry");
}

/// nanofolks keeps a key in the keyring and a marker in its file.
#[test]
fn what_a_marker_stands_for_is_brought_over_from_the_keyring() {
    let home = Home::bare("");
    let service = SecretService::start(&home, true);
    let home = home.set("DBUS_SESSION_BUS_ADDRESS", &service.address);
    let mut keep = home.command(std::env::current_exe().expect("this program"));
    keep.args(["--exact", "migrate::nanofolks_keeps_a_key"]).env(KEPT_BY_NANOFOLKS, filled("@GROQ@"));
    let kept = finish(&mut keep);
    assert!(kept.status.success(), "{}", told(&kept));
    let marked =
        "{\"providers\": {\"groq\": {\"api_key\": \"__KEYRING__\"}, \"xai\": {\"api_key\": \"__KEYRING__\"}}}\n";
    write(&home, "config.json", marked);
    let said = transcript(&home, &[&MIGRATE[..], &["config.json"]].concat(), "");
    for line in [
        "config.json:1: brought over from nanofolks.ai/groq in the keyring, where it stays as well\n",
        "config.json:1: providers.xai.api_key: its key is said to be in the keyring as nanofolks.ai/xai, and isn't there\n",
        "groq is in the machine-bound store",
    ] {
        assert!(said.contains(line) && said.ends_with("[0]\n"), "{said}");
    }
    assert_eq!(read(&home, "config.json"), marked.replacen("__KEYRING__", "<<groq_key>>", 1));
    assert!(transcript(&home, &["key", "list"], "").contains("…R4aB"), "its value");
    assert!(locum(&home, &["key", "migrate", "--undo", "config.json"], "").status.success());
    assert_eq!(read(&home, "config.json"), marked);
}

/// Killed as it does any of the calls by which it changes files: the old text is there or the new, and the key is in the store
/// before it has left the file; and the next run ends it.
#[test]
fn killed_at_any_moment_it_leaves_the_old_file_or_the_new() {
    let text = filled("TOOL_API_KEY='@TOOL@'\n");
    let new = "TOOL_API_KEY='<<tool_key>>'\n";
    let (mut killed, mut has_new) = (0, 0);
    for call in ["rename", "renameat", "renameat2", "fsync", "fchmod", "ftruncate", "unlink", "unlinkat"] {
        for nth in 1.. {
            let home = Home::bare(TOOL);
            write(&home, ".env", &text);
            let mut command = home.command("strace");
            command.args(["-f", "-o", "/dev/null", "-e", &format!("trace={call}")]);
            command.args(["-e", &format!("inject={call}:signal=KILL:when={nth}"), env!("CARGO_BIN_EXE_locum")]);
            command.arg("--config").arg(home.config()).arg("--state").arg(home.state()).args(MIGRATE).arg(".env");
            let output = finish(&mut command);
            if output.status.success() {
                break;
            }
            killed += 1;
            let now = read(&home, ".env");
            assert!(now == text || now == new, "{call} {nth}: {now}");
            has_new += usize::from(now == new);
            let again = locum(&home, &[&MIGRATE[..], &[".env"]].concat(), "");
            assert_eq!(again.status.success(), now == text, "{call} {nth}: {}", told(&again));
            let list = transcript(&home, &["key", "list"], "");
            assert!(list.contains("…WXYZ"), "{call} {nth}: {list}");
            let undone = locum(&home, &["key", "migrate", "--undo", ".env"], "");
            assert!(undone.status.success(), "{call} {nth}: {}", told(&undone));
            assert_eq!(read(&home, ".env"), text, "{call} {nth}");
        }
    }
    assert!(killed > 10 && has_new > 0, "{killed} {has_new}");
}

/// An agent can write where a person types: that puts no value where the agent says, and runs nothing of its.
#[test]
fn what_was_prepared_by_another_gets_no_key_and_runs_nothing() {
    let home = Home::bare("");
    let (path, key) = (home.path().join(".env"), filled("@OPENAI@"));
    fs::write(&path, format!("OPENAI_API_KEY={key}\n")).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
    // a repository in whose settings programs stand, if anything asked git
    fs::create_dir(home.path().join(".git")).expect("a folder");
    let bin = home.path().join("bin");
    fs::create_dir(&bin).expect("a folder");
    fs::write(bin.join("git"), "#!/bin/sh\ntouch \"$HOME/ran\"\n").expect("a program");
    fs::set_permissions(bin.join("git"), fs::Permissions::from_mode(0o755)).expect("its mode");
    let paths = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let home = home.set("PATH", &paths);
    let said = transcript(&home, &[&MIGRATE[..], &[".env"]].concat(), "");
    assert!(said.contains("if it was ever committed: git -C "), "{said}");
    assert!(!home.path().join("ran").exists());

    let left = fs::read_to_string(&path).expect("a file");
    let undo = ["key", "migrate", "--undo", ".env"];
    let webhook = "WEBHOOK=https://api.other.example/?k=\"<<openai_key>>\"\n".to_owned();
    for (text, mode) in [(webhook, 0o600), (format!("{left}\n"), 0o600), (left.clone(), 0o644)] {
        fs::write(&path, &text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
        let said = transcript(&home, &undo, "");
        assert!(said.contains(".env is not as locum left it") && said.ends_with("[1]\n"), "{said}");
        assert_eq!(fs::read_to_string(&path).expect("a file"), text);
    }
    // nor does the placeholder become the key
    let said = transcript(&home, &["key", "rotate", "--all", "--from", ".env"], "");
    assert!(said.contains("what is given is a placeholder, and no key"), "{said}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
    let said = transcript(&home, &undo, "");
    assert!(said.ends_with("[0]\n"), "{said}");
    assert_eq!(fs::read_to_string(&path).expect("a file"), format!("OPENAI_API_KEY={key}\n"));
}

/// What would never end, or need all memory, is told or left.
#[test]
fn no_file_holds_up_or_exhausts_who_reads_it() {
    let home = Home::bare("");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        home.path().join(".env"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from(0o600),
        0,
    )
    .expect("a pipe");
    let said = transcript(&home, &["key", "migrate", "--dry-run", ".env"], "");
    assert!(said.contains("it is no file of settings"), "{said}");
    let deep = format!("{{\"a\":{}{}{}}}", "[".repeat(400), vec!["1"; 100_000].join(","), "]".repeat(400));
    fs::write(home.path().join("config.json"), deep).expect("a file");
    let locum = home.locum(&["configure", "--yes"]);
    let line = std::iter::once(locum.get_program()).chain(locum.get_args()).map(|word| word.to_string_lossy());
    let line = format!("ulimit -v 2000000; exec {}", line.collect::<Vec<_>>().join(" "));
    let output = finish(home.command("bash").args(["-c", &line]));
    assert!(output.status.success(), "{}", told(&output));
}
