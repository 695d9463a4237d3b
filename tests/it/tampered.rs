//! What was done to the audit's files since they were written: it is told, and hides nothing that is left.

use crate::support::locum::{finish, stderr, stdout, told};
use crate::support::{HANGS, Home};
use locum::chain::{self, ChainHead};
use serde_json::Value;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// A home in which `runs` commands have run, with their files of the audit, the oldest first.
fn recorded(runs: usize) -> (Home, Vec<PathBuf>) {
    let home = Home::with("", "");
    for _ in 0..runs {
        let output = home.run(&["true"]);
        assert!(output.status.success(), "{}", told(&output));
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(home.audit_dir()).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), runs);
    (home, files)
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn verify(home: &Home, args: &[&str]) -> std::process::Output {
    finish(&mut home.locum(&[&["audit", "verify"], args].concat()))
}

fn last_record(path: &Path) -> Value {
    serde_json::from_str(std::fs::read_to_string(path).unwrap().lines().last().unwrap()).unwrap()
}

/// Whoever is stopped in the middle of tidying up has told of each file that is gone.
#[test]
fn what_is_removed_is_recorded_and_signed_before_it_goes() {
    let (home, files) = recorded(3);
    let config = std::fs::read_to_string(home.config()).unwrap();
    home.write_config(&format!("{config}[audit]\nkeep_for = \"2d\"\n"));
    let day = Duration::from_secs(86_400);
    // the next after the first can't be removed
    let stubborn = home.audit_dir().join("20261101T000000.000000Z-1.jsonl");
    std::fs::create_dir(&stubborn).unwrap();
    for (path, age) in [(&files[0], 9), (&stubborn, 8), (&files[1], 7)] {
        std::fs::File::open(path).unwrap().set_modified(SystemTime::now() - day * age).unwrap();
    }
    let serve = home.serve();
    serve.await_said(|line| line.contains("the audit can't remove"));
    assert!(!files[0].exists() && files[1].exists());
    // at any time, and not just at its end
    std::fs::remove_dir(&stubborn).unwrap();
    let until = Instant::now() + HANGS;
    while !verify(&serve.home, &[]).status.success() {
        assert!(Instant::now() < until, "{}", told(&verify(&serve.home, &[])));
    }
    let home = serve.kill();
    let output = verify(&home, &[]);
    assert!(output.status.success(), "{}", told(&output));
}

/// The members of a record that tells of a removal, as anybody can write them.
fn removal_of(file: &str, head: &str) -> String {
    format!(
        r#""timestamp":"2026-11-21T19:26:53.123456Z","event":"admin","operation":"audit","previous":"{file}","head":"{head}""#
    )
}

/// Appends a record to what is there of a file, with a chain that is right.
fn append(path: &Path, members: &str) {
    let mut bytes = std::fs::read(path).unwrap_or_default();
    let (mut head, mut seq) = (ChainHead::ZERO, 0);
    for line in bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        (head, seq) = (chain::parts(line).unwrap().head, seq + 1);
    }
    chain::link(&head, seq, members.as_bytes(), &mut bytes);
    std::fs::write(path, bytes).unwrap();
}

/// A chain can be written by anybody; what takes the blame for files that are gone has to be signed.
#[test]
fn a_forged_record_of_a_removal_hides_no_file_that_is_gone() {
    let first_line = "\"timestamp\":\"2026-11-21T19:26:53.123456Z\",\"event\":\"start\",\"operation\":\"audit\"";
    for (forged, lines) in [
        // a file of its own, whose one record needs no signature; the same with a first record as all have it
        (Some("20990101T000000.000000Z-1.jsonl"), &[][..]),
        (Some("20990101T000000.000000Z-1.jsonl"), &[first_line]),
        // as if it were from before anything was signed
        (Some("20000101T000000.000000Z-1.jsonl"), &[first_line]),
        // behind the last signature of one that is
        (None, &[]),
    ] {
        let (home, files) = recorded(2);
        assert!(verify(&home, &[]).status.success());
        let head = last_record(&files[0])["hash"].as_str().unwrap().to_owned();
        std::fs::remove_file(&files[0]).unwrap();
        let path = forged.map_or(files[1].clone(), |name| home.audit_dir().join(name));
        lines.iter().for_each(|line| append(&path, line));
        append(&path, &removal_of(name(&files[0]), &head));
        let output = verify(&home, &[]);
        assert_eq!(output.status.code(), Some(1), "{forged:?}: {}", told(&output));
        let missing = format!("{} is missing; {} follows it", name(&files[0]), name(&files[1]));
        assert!(stderr(&output).contains(&missing), "{forged:?}: {}", told(&output));
    }
}

#[test]
fn a_folder_that_was_emptied_is_told_of_whatever_is_asked() {
    let (home, files) = recorded(1);
    let public = std::fs::read_to_string(home.state().join("audit.pub")).unwrap();
    let key = public.split(' ').nth(1).unwrap();
    std::fs::remove_file(&files[0]).unwrap();
    for args in [&[][..], &["--json"], &["--signed-by", key], &["--signed-by", key, "--json"]] {
        let output = verify(&home, args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", told(&output));
        assert!(stderr(&output).contains("records have been signed here since 2"), "{args:?}: {}", told(&output));
    }
}

/// Nothing was recorded where the first start failed, and so nothing is missing.
#[test]
fn a_first_start_that_fails_leaves_no_promise_of_records() {
    let home = Home::with("", "");
    std::fs::DirBuilder::new().mode(0o700).create(home.state()).unwrap();
    std::fs::DirBuilder::new().mode(0o755).create(home.audit_dir()).unwrap();
    let output = home.run(&["true"]);
    assert!(stderr(&output).contains("is open to others"), "{}", told(&output));
    let output = verify(&home, &[]);
    assert!(output.status.success(), "{}", told(&output));
}

#[test]
fn a_file_that_can_not_be_read_hides_no_other() {
    let (home, _) = recorded(1);
    // a name that leads to itself can't be opened, and half of a compressed file can't be read to its end
    let looped = home.audit_dir().join("20261101T000000.000000Z-1.jsonl");
    let cut = home.audit_dir().join("20261102T000000.000000Z-1.jsonl.zst");
    let packed = zstd::encode_all(&[b'\n'; 1000][..], 1).unwrap();
    for damage in [&looped, &cut] {
        match damage == &looped {
            true => symlink(&looped, &looped).unwrap(),
            false => std::fs::write(&cut, &packed[..packed.len() / 2]).unwrap(),
        }
        let read = |args: &[&str]| {
            let output = finish(&mut home.locum(&[&["audit"], args].concat()));
            assert_eq!(output.status.code(), Some(1), "{args:?}: {}", told(&output));
            assert!(
                stderr(&output).contains(&format!("the audit can't read {}", damage.display())),
                "{}",
                told(&output)
            );
            stdout(&output)
        };
        for args in [&["tail"][..], &["query"]] {
            assert!(read(args).contains("locum"), "{args:?}: {}", read(args));
        }
        let array: Value = serde_json::from_str(&read(&["export", "--format", "json"])).expect("a whole array");
        let stats: Value = serde_json::from_str(&read(&["stats", "--json"])).expect("an object");
        assert!(!array.as_array().unwrap().is_empty());
        assert_eq!(stats["records"], array.as_array().unwrap().len());
        let output = verify(&home, &["--json"]);
        assert_eq!(output.status.code(), Some(1), "{}", told(&output));
        let verdicts: Vec<Value> = stdout(&output).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let sound: Vec<&Value> = verdicts.iter().map(|v| &v["sound"]).collect();
        assert_eq!(sound, [false, true], "{}", told(&output));
        std::fs::remove_file(damage).unwrap();
    }
}

/// The files of another machine's audit, beside the files that were written here.
fn moved(from: &[PathBuf], to: &Home) {
    for file in from {
        std::fs::copy(file, to.audit_dir().join(name(file))).unwrap();
    }
}

/// Who can't check a signature says that, and doesn't say that something was changed.
#[test]
fn an_audit_from_elsewhere_is_checked_as_far_as_it_can_be() {
    let (elsewhere, files) = recorded(3);
    let public = std::fs::read_to_string(elsewhere.state().join("audit.pub")).unwrap();
    let (here, _) = recorded(1);
    moved(&files, &here);
    let own = std::fs::read_to_string(here.state().join("audit.pub")).unwrap();
    for with_own_key in [true, false] {
        if !with_own_key {
            std::fs::remove_file(here.state().join("audit.pub")).unwrap();
        }
        let output = verify(&here, &[]);
        let said = stdout(&output) + &stderr(&output);
        assert_eq!(output.status.code(), Some(4), "{}", told(&output));
        let count = if with_own_key { 3 } else { 4 };
        assert!(said.contains(&format!("{count} of 4 files are signed by another one")), "{}", told(&output));
        assert!(said.contains("all chains are whole") && said.contains("--signed-by KEY"), "{}", told(&output));
        assert!(!said.contains("BROKEN") && !said.contains("was changed"), "{}", told(&output));
        assert!(said.contains(&format!("{count} files up to ")), "{}", told(&output));
        let verdicts = stdout(&verify(&here, &["--json"]));
        let verdicts: Vec<Value> = verdicts.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let unproven = verdicts.iter().filter(|v| v["unproven"] == true && v["sound"] == false).count();
        assert_eq!((verdicts.len(), unproven), (4, count), "{verdicts:#?}");
    }
    // with both keys beside it, or named
    std::fs::write(here.state().join("audit.pub"), format!("{public}{own}")).unwrap();
    let output = verify(&here, &[]);
    assert!(output.status.success(), "{}", told(&output));
    let keys = [&public, &own].map(|line| line.split(' ').nth(1).unwrap());
    let output = verify(&here, &["--signed-by", keys[0], "--signed-by", keys[1]]);
    assert!(output.status.success(), "{}", told(&output));
    // what was changed all the same is told file by file
    let edited = here.audit_dir().join(name(&files[1]));
    let text = std::fs::read_to_string(&edited).unwrap();
    std::fs::write(&edited, text.replacen("locum", "lokum", 1)).unwrap();
    std::fs::write(here.state().join("audit.pub"), &own).unwrap();
    let output = verify(&here, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
    let line = stdout(&output).lines().find(|line| line.starts_with(name(&files[1]))).map(str::to_owned);
    assert!(line.is_some_and(|line| line.contains("BROKEN at line 1")), "{}", told(&output));
}

/// The store that holds the signing key belongs to another machine, so what is written from now on isn't signed.
#[test]
fn what_is_written_without_the_signing_key_was_not_changed() {
    let (home, _) = recorded(1);
    let key_of_the_store = home.state().join("machine.key");
    assert!(key_of_the_store.exists());
    std::fs::write(&key_of_the_store, [7; 32]).unwrap();
    let output = home.run(&["true"]);
    assert!(stderr(&output).contains("heads are not signed"), "{}", told(&output));
    let output = verify(&home, &[]);
    assert_eq!(output.status.code(), Some(4), "{}", told(&output));
    let said = stdout(&output) + &stderr(&output);
    assert!(said.contains("1 of 2 files are not signed") && !said.contains("was changed"), "{}", told(&output));
}

#[test]
fn runs_that_are_whole_are_one_line() {
    let (home, files) = recorded(6);
    let output = verify(&home, &[]);
    assert!(output.status.success(), "{}", told(&output));
    let rows: Vec<String> = stdout(&output).lines().filter(|line| line.contains(".jsonl")).map(str::to_owned).collect();
    let [row] = &rows[..] else { panic!("{}", told(&output)) };
    let head = last_record(&files[5])["hash"].as_str().unwrap().to_owned();
    let named = format!("6 files up to {}", name(&files[5]));
    assert!(row.starts_with(&named) && row.contains(&head) && row.ends_with("ok"), "{}", told(&output));
    assert_eq!(stdout(&verify(&home, &["--json"])).lines().count(), 6);
}
