//! Vaults on a disk: kept, locked, damaged, and left by writers that were killed.

use super::*;
use crate::memory::SealedEnvironment;
use crate::secrets::EnvSource;

fn password(text: &str) -> VaultLock {
    VaultLock::Password(Arc::new(EnvSource::new(Arc::new(SealedEnvironment::from([("P", text)])), "P")))
}

fn vault(dir: &Path, with: &str) -> Vault {
    Vault::new(dir.join("state/vault"), password(with))
}

fn machine(dir: &Path) -> Vault {
    let id = dir.join("id");
    let lock = VaultLock::Machine { key_file: dir.join("state/machine.key"), ids: vec![dir.join("none"), id] };
    Vault::new(dir.join("state/machine.store"), lock)
}

fn get(store: &dyn Store, name: &str) -> Result<Option<String>, SourceError> {
    store.get(name).map(|v| v.map(|v| String::from_utf8(v.expose().to_vec()).unwrap()))
}

/// What every store must do.
fn serves(store: &dyn Store) {
    assert_eq!(get(store, "key/a"), Ok(None));
    assert_eq!(store.delete("key/a"), Ok(false));
    store.set("key/b", b"two").unwrap();
    store.set("key/a", b"one").unwrap();
    let stamp = store.freshness();
    store.set("key/a", b"uno").unwrap();
    assert_ne!(store.freshness(), stamp);
    store.set("ca", &[0, 1, 255]).unwrap();
    assert_eq!(get(store, "key/a"), Ok(Some("uno".into())));
    assert_eq!(store.get("ca").unwrap().unwrap().expose(), [0, 1, 255]);
    assert_eq!(store.list().unwrap(), ["ca", "key/a", "key/b"]);
    assert_eq!(store.delete("key/a"), Ok(true));
    assert_eq!(get(store, "key/a"), Ok(None));
    assert_eq!(get(store, "key/b"), Ok(Some("two".into())));
    assert!(store.set("key/c", &vec![0; MAX_VALUE + 1]).is_err());
}

#[test]
fn a_vault_and_a_machines_store_keep_what_is_put_there() {
    let dir = tempfile::tempdir().unwrap();
    let v = vault(dir.path(), "correct horse");
    v.init(Kdf::ARGON2ID).unwrap();
    serves(&v);
    assert_eq!(get(&vault(dir.path(), "correct horse"), "key/b"), Ok(Some("two".into())), "another process reads it");
    fs::write(dir.path().join("id"), "0123\n").unwrap();
    serves(&machine(dir.path()));
    assert_eq!(get(&machine(dir.path()), "key/b"), Ok(Some("two".into())));
}

#[test]
fn each_fault_has_its_own_words_and_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let v = vault(dir.path(), "correct horse");
    assert_eq!(get(&v, "key/a"), Ok(None), "no vault is no value");
    assert!(v.set("key/a", b"x").unwrap_err().next.contains("locum vault init"));
    v.init(Kdf::ARGON2ID).unwrap();
    v.set("key/a", b"sk-secret").unwrap();
    assert!(v.init(Kdf::ARGON2ID).unwrap_err().what.ends_with("exists already"));
    let whole = fs::read(v.path()).unwrap();
    let after = |change: &dyn Fn(&mut Vec<u8>), with: &str| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        fs::write(v.path(), bytes).unwrap();
        let e = get(&vault(dir.path(), with), "key/a").unwrap_err();
        assert!(!e.next.is_empty() && !format!("{e:?}").contains("sk-secret") && !format!("{e:?}").contains("horse"));
        e.what
    };
    for (change, with, said) in [
        (&(|_: &mut Vec<u8>| {}) as &dyn Fn(&mut Vec<u8>), "wrong horse", "does not open with this password"),
        (&|_| {}, "", "is locked: no master password was given"),
        (&|b| b.truncate(100), "correct horse", "is cut short"),
        (&|b| b.truncate(0), "correct horse", "is no vault"),
        (&|b| b[8] = 3, "correct horse", "was written by a newer locum"),
        (&|b| b[90] ^= 1, "correct horse", "was altered or damaged"),
        (&|b| b[25] ^= 1, "correct horse", "was altered or damaged"),
        (&|b| b[8] = 1, "correct horse", "was altered or damaged"),
    ] {
        let what = after(change, with);
        assert!(what.ends_with(said), "{what}");
    }
}

#[test]
fn a_process_that_has_read_a_newer_one_is_not_misled_by_a_record_that_is_as_old() {
    let dir = tempfile::tempdir().unwrap();
    let m = machine(dir.path());
    m.set("key/a", b"one").unwrap();
    let both = [m.path().to_owned(), m.record_path()];
    let old = both.clone().map(|path| fs::read(path).unwrap());
    m.set("key/a", b"two").unwrap();
    both.iter().zip(&old).for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    assert_eq!(get(&machine(dir.path()), "key/a"), Ok(Some("one".into())), "both are old: who is new can't know");
    assert!(get(&m, "key/a").unwrap_err().what.contains("is older than one that was seen here: generation 1 of 2"));
}

#[test]
fn a_writer_that_was_killed_before_its_record_has_stored_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let m = machine(dir.path());
    m.set("key/a", b"one").unwrap();
    let first = fs::read(m.record_path()).unwrap();
    m.set("key/a", b"two").unwrap();
    fs::write(m.record_path(), first).unwrap();
    assert_eq!(get(&machine(dir.path()), "key/a"), Ok(Some("two".into())));
    fs::remove_file(m.path()).unwrap();
    let own = machine(dir.path());
    own.set("key/a", b"three").unwrap();
    fs::remove_file(own.record_path()).unwrap();
    assert_eq!(get(&machine(dir.path()), "key/a"), Ok(Some("three".into())), "the first has no record yet");
}

#[test]
fn a_vault_that_asks_for_no_stretching_is_not_given_the_password() {
    let dir = tempfile::tempdir().unwrap();
    let m = machine(dir.path());
    m.set("key/a", b"one").unwrap();
    let v = vault(dir.path(), "correct horse");
    fs::rename(m.path(), v.path()).unwrap();
    assert!(get(&v, "key/a").unwrap_err().what.contains("weaker protection"));
    assert!(v.known().secret.is_none());
}

#[test]
fn a_machines_store_opens_nowhere_else_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("id"), "here").unwrap();
    machine(dir.path()).set("key/a", b"one").unwrap();
    fs::write(dir.path().join("id"), "there").unwrap();
    let e = get(&machine(dir.path()), "key/a").unwrap_err();
    assert!(e.what.ends_with("was made on another machine or with another key"), "{e}");
    fs::write(dir.path().join("id"), "here").unwrap();
    assert_eq!(get(&machine(dir.path()), "key/a"), Ok(Some("one".into())));
    fs::remove_file(dir.path().join("state/machine.key")).unwrap();
    assert!(get(&machine(dir.path()), "key/a").unwrap_err().what.contains("has lost its key"));
    assert!(machine(dir.path()).set("key/a", b"two").is_err(), "a new key would hide the loss");
}

#[test]
fn a_new_password_opens_and_the_old_one_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let v = vault(dir.path(), "old password");
    v.init(Kdf::PBKDF2).unwrap();
    v.set("key/a", b"one").unwrap();
    assert!(v.passwd(Plaintext::new(vec![]), Kdf::ARGON2ID).is_err());
    v.passwd(Plaintext::new(b"new password".to_vec()), Kdf::ARGON2ID).unwrap();
    assert_eq!(get(&v, "key/a"), Ok(Some("one".into())), "the one that changed it goes on");
    assert_eq!(get(&vault(dir.path(), "new password"), "key/a"), Ok(Some("one".into())));
    assert!(get(&vault(dir.path(), "old password"), "key/a").is_err());
}

#[test]
fn a_wrong_password_is_forgotten_so_that_the_next_one_counts() {
    let dir = tempfile::tempdir().unwrap();
    vault(dir.path(), "right password").init(Kdf::ARGON2ID).unwrap();
    let v = vault(dir.path(), "wrong password");
    assert!(v.list().is_err());
    assert!(v.known().secret.is_none() && v.known().master.is_none());
}

#[cfg(unix)]
#[test]
fn its_files_are_its_owners_alone_and_wider_ones_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let m = machine(dir.path());
    m.set("key/a", b"one").unwrap();
    let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(m.path().parent().unwrap()), 0o700);
    for entry in fs::read_dir(m.path().parent().unwrap()).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
    fs::set_permissions(m.path(), fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(m.list().unwrap_err().next, format!("chmod 600 {}", m.path().display()));
}

#[test]
fn a_write_that_fails_leaves_the_old_one_whole() {
    let dir = tempfile::tempdir().unwrap();
    let m = machine(dir.path());
    m.set("key/a", b"one").unwrap();
    let left = m.path().with_file_name(".machine.store.x.new");
    fs::create_dir(&left).unwrap();
    assert!(m.set("key/a", b"two").unwrap_err().what.contains("can't be written"));
    assert_eq!(get(&m, "key/a"), Ok(Some("one".into())));
    fs::remove_dir(&left).unwrap();
    fs::write(&left, "what a killed writer left").unwrap();
    m.set("key/a", b"two").unwrap();
    assert_eq!(get(&m, "key/a"), Ok(Some("two".into())));
    assert!(!left.exists());
}

#[test]
fn ten_writers_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|s| {
        for w in 0..10 {
            let path = dir.path();
            s.spawn(move || {
                let own = machine(path);
                for i in 0..10 {
                    own.set(&format!("key/k{w}_{i}"), format!("{w}-{i}").as_bytes()).unwrap();
                }
            });
        }
    });
    let m = machine(dir.path());
    assert_eq!(m.list().unwrap().len(), 100);
    for (w, i) in [(0, 0), (9, 9), (4, 7)] {
        assert_eq!(get(&m, &format!("key/k{w}_{i}")), Ok(Some(format!("{w}-{i}"))));
    }
}

const WRITER: &str = "LOCUM_TEST_VAULT_WRITER";

/// Not a test of its own: the child that the next one kills. It counts up, and says each number once it is stored.
#[test]
fn writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(WRITER) else { return };
    let m = machine(Path::new(&dir));
    let from: u64 = get(&m, "count").unwrap().map_or(0, |n| n.parse().unwrap());
    for n in from + 1.. {
        m.set("count", n.to_string().as_bytes()).unwrap();
        println!("stored {n} of many");
    }
}

/// The full run kills it two hundred times.
#[cfg(unix)]
#[test]
fn killed_at_any_moment_it_holds_what_was_last_stored() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let dir = tempfile::tempdir().unwrap();
    let mut stored = 0;
    let kills = std::env::var("LOCUM_TEST_VAULT_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_u32);
    for round in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "secrets::stores::local_vault::store::tests::writes_until_it_is_killed", "--nocapture"])
            .env(WRITER, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let number = |line: String| line.split("stored ").nth(1)?.split(' ').next()?.parse::<u64>().ok();
        let mut numbers = said.filter_map(number);
        for _ in 0..=round % 3 {
            stored = numbers.next().expect("the child stores until it is killed");
        }
        let mut delay = [0; 2];
        getrandom::fill(&mut delay).unwrap();
        (0..u16::from_ne_bytes(delay)).for_each(|_| std::hint::spin_loop());
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said before the kill was still in the pipe.
        stored = numbers.last().unwrap_or(stored);
        let found: u64 = get(&machine(dir.path()), "count").unwrap().unwrap().parse().unwrap();
        assert!(found == stored || found == stored + 1, "round {round}: said {stored}, found {found}");
    }
}
