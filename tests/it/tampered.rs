//! What was done to the audit's files since they were written: it is told, and hides nothing that is left.

use crate::support::locum::{finish, told};
use crate::support::{HANGS, Home};
use std::path::PathBuf;
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

fn verify(home: &Home, args: &[&str]) -> std::process::Output {
    finish(&mut home.locum(&[&["audit", "verify"], args].concat()))
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
