//! A vault in the file system: opened, read again when it changed, and replaced whole under a lock. Its bytes are
//! `format`'s work.

use super::format::{self, Entries, Locked, MAX_FILE, VaultError};
use super::kdf::{Kdf, Master, Salt};
use crate::disk;
use crate::memory::{Opened, Sealed};
use crate::secrets::disk::{make_folder, read_private, replace_file, stamp, unwritable};
use crate::secrets::{Freshness, MAX_VALUE, Source, SourceError, Store};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zeroize::Zeroizing;

/// A password is hard to guess from this length on.
pub const MIN_PASSWORD: usize = 8;

/// What opens a vault.
pub enum Lock {
    /// The master password, asked for once and held sealed. Its vault is made by `init` alone.
    Password(Arc<dyn Source>),
    /// A random key in a file beside the store, mixed with what names this machine. Whoever can read this user's files
    /// on this machine can open it: weaker than a keyring or a password. It is made when it is first written.
    Machine {
        key_file: PathBuf,
        /// Files that name the machine; the first that exists counts.
        ids: Vec<PathBuf>,
    },
}

/// One encrypted file of named secrets, safe to copy and safe to share among processes.
pub struct Vault {
    path: PathBuf,
    lock: Lock,
    known: Mutex<Known>,
}

/// What opened the file last, so that nobody is asked and nothing is stretched twice.
#[derive(Default)]
struct Known {
    secret: Option<Sealed>,
    master: Option<(Kdf, Salt, Sealed)>,
}

impl Vault {
    pub fn new(path: impl Into<PathBuf>, lock: Lock) -> Self {
        Self { path: path.into(), lock, known: Mutex::default() }
    }

    /// The machine-bound store in the folder `state`.
    pub fn machine(state: &Path) -> Self {
        let ids = ["/etc/machine-id", "/var/lib/dbus/machine-id"].map(PathBuf::from).into();
        Self::new(state.join("machine.store"), Lock::Machine { key_file: state.join("machine.key"), ids })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Makes an empty vault for the password that its source gives.
    pub fn init(&self, kdf: Kdf) -> Result<(), SourceError> {
        let _writing = self.write_lock()?;
        if self.exists() {
            return Err(self.wrong("exists already", "change its password with 'locum vault passwd'"));
        }
        let mut known = self.known();
        *known = Known::default();
        let secret = self.ask()?;
        self.refuse_short(&secret)?;
        known.secret = Some(Sealed::seal(secret));
        self.make(&mut known, kdf, &Entries::new())
    }

    /// Puts all entries under a new password, with new salt.
    pub fn passwd(&self, new: Opened, kdf: Kdf) -> Result<(), SourceError> {
        self.refuse_short(&new)?;
        let _writing = self.write_lock()?;
        let mut known = self.known();
        let entries = self.read(&mut known)?.ok_or_else(|| self.none())?;
        let before = std::mem::take(&mut *known);
        known.secret = Some(Sealed::seal(new));
        let made = self.make(&mut known, kdf, &entries);
        if made.is_err() {
            *known = before;
        }
        made
    }

    /// A new file, for the secret that is known or that the source gives.
    fn make(&self, known: &mut Known, kdf: Kdf, entries: &Entries) -> Result<(), SourceError> {
        let mut salt = Salt::default();
        getrandom::fill(&mut salt).map_err(|e| self.wrong(format_args!("can't be made: {e}"), "try again"))?;
        let master = self.master(known, kdf, &salt)?;
        self.replace(&format::write(entries, kdf, &salt, &master).map_err(|e| self.broken(e))?)
    }

    /// All entries; `None` where there is no file.
    fn read(&self, known: &mut Known) -> Result<Option<Entries>, SourceError> {
        let Some(file) = self.bytes()? else { return Ok(None) };
        self.unlock(known, file.expose()).map(|(entries, _)| Some(entries))
    }

    /// The entries, and what the file has to be written with.
    fn unlock<'a>(&self, known: &mut Known, file: &'a [u8]) -> Result<(Entries, Locked<'a>), SourceError> {
        let locked = Locked::parse(file).map_err(|e| self.broken(e))?;
        // Else a changed file could have the password taken without any stretching.
        if (locked.kdf == Kdf::Machine) != matches!(self.lock, Lock::Machine { .. }) {
            return Err(self.broken(VaultError::Weakened));
        }
        let master = self.master(known, locked.kdf, &locked.salt)?;
        match locked.unlock(&master) {
            Ok(entries) => Ok((entries, locked)),
            Err(e) => {
                // Another password may be given next time.
                *known = Known::default();
                Err(self.broken(e))
            }
        }
    }

    /// Reads, changes and writes as one step; `None` from `change` means that there is nothing to write.
    fn change<T>(&self, change: impl FnOnce(&mut Entries) -> Option<T>) -> Result<Option<T>, SourceError> {
        // Asks for the password, should it have to, while others may still write.
        self.read(&mut self.known())?;
        let _writing = self.write_lock()?;
        let mut known = self.known();
        let Some(file) = self.bytes()? else {
            if matches!(self.lock, Lock::Password(_)) {
                return Err(self.none());
            }
            let mut entries = Entries::new();
            let Some(changed) = change(&mut entries) else { return Ok(None) };
            return self.make(&mut known, Kdf::Machine, &entries).map(|()| Some(changed));
        };
        let (mut entries, locked) = self.unlock(&mut known, file.expose())?;
        let Some(changed) = change(&mut entries) else { return Ok(None) };
        let master = self.master(&mut known, locked.kdf, &locked.salt)?;
        let new = format::write(&entries, locked.kdf, &locked.salt, &master).map_err(|e| self.broken(e))?;
        self.replace(&new).map(|()| Some(changed))
    }

    fn master(&self, known: &mut Known, kdf: Kdf, salt: &Salt) -> Result<Master, SourceError> {
        if let Some((k, s, sealed)) = &known.master
            && (*k, s) == (kdf, salt)
            && let Ok(opened) = sealed.open()
            && let Ok(master) = opened.expose().try_into()
        {
            return Ok(Zeroizing::new(master));
        }
        let secret = match known.secret.as_ref().and_then(|s| s.open().ok()) {
            Some(secret) => secret,
            None => self.ask()?,
        };
        let master = kdf.derive(secret.expose(), salt).map_err(|e| self.broken(e))?;
        known.secret = Some(Sealed::seal(secret));
        known.master = Some((kdf, *salt, Sealed::seal(Opened::new(master.to_vec()))));
        Ok(master)
    }

    fn ask(&self) -> Result<Opened, SourceError> {
        match &self.lock {
            Lock::Password(source) => {
                let locked = || {
                    let next = "set LOCUM_MASTER_PASSWORD, or [vault] password_file, or run where it can be asked for";
                    self.wrong("is locked: no master password was given", next)
                };
                source.load()?.ok_or_else(locked)
            }
            Lock::Machine { key_file, ids } => self.machine_secret(key_file, ids),
        }
    }

    fn machine_secret(&self, key_file: &Path, ids: &[PathBuf]) -> Result<Opened, SourceError> {
        let key = match read_private(key_file, 64)? {
            Some(key) if key.expose().len() == 32 => key,
            Some(_) => {
                return Err(SourceError::new(
                    format!("{} does not hold 32 bytes", key_file.display()),
                    format!(
                        "restore it from a backup, or remove it with {} and store the keys again",
                        self.path.display()
                    ),
                ));
            }
            // Without its key the file is lost, and a new key must not hide that.
            None if self.exists() => {
                return Err(self.wrong(
                    format_args!("has lost its key {}", key_file.display()),
                    "restore that file, or remove both and store the keys again",
                ));
            }
            None => self.make_machine_key(key_file)?,
        };
        let id = ids.iter().find_map(|p| fs::read(p).ok().filter(|id| !id.is_empty())).unwrap_or_default();
        let id = id.trim_ascii();
        let mut secret = Opened::new(vec![0; 32 + id.len()]);
        let (first, second) = secret.bytes_mut().split_at_mut(32);
        first.copy_from_slice(key.expose());
        second.copy_from_slice(id);
        Ok(secret)
    }

    /// Called under the write lock, since only a writer finds no store.
    fn make_machine_key(&self, path: &Path) -> Result<Opened, SourceError> {
        let mut key = Opened::new(vec![0; 32]);
        getrandom::fill(key.bytes_mut()).map_err(|e| self.wrong(format_args!("can't be made: {e}"), "try again"))?;
        replace_file(path, key.expose()).map_err(|e| unwritable(path, &e))?;
        Ok(key)
    }

    fn bytes(&self) -> Result<Option<Opened>, SourceError> {
        read_private(&self.path, MAX_FILE)
    }

    /// Wherever it comes from: who has the file can try short ones.
    fn refuse_short(&self, password: &Opened) -> Result<(), SourceError> {
        if password.expose().len() < MIN_PASSWORD {
            let what = format!("needs a password of {MIN_PASSWORD} characters at least");
            return Err(self.wrong(what, "give a longer one"));
        }
        Ok(())
    }

    fn replace(&self, bytes: &[u8]) -> Result<(), SourceError> {
        replace_file(&self.path, bytes).map_err(|e| unwritable(&self.path, &e))
    }

    /// Held by whoever reads in order to write: of two, the second reads what the first wrote.
    fn write_lock(&self) -> Result<File, SourceError> {
        let mut path = self.path.clone().into_os_string();
        path.push(".lock");
        let path = PathBuf::from(path);
        let turn = || {
            make_folder(&path)?;
            let turn = disk::turn(&path)?;
            disk::sweep(&self.path)?;
            Ok(turn)
        };
        turn().map_err(|e| unwritable(&path, &e))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrong(&self, what: impl std::fmt::Display, next: impl Into<String>) -> SourceError {
        SourceError::new(format!("{} {what}", self.describe()), next)
    }

    fn none(&self) -> SourceError {
        self.wrong("doesn't exist", "make it with 'locum vault init'")
    }

    fn broken(&self, e: VaultError) -> SourceError {
        let next = match (e, &self.lock) {
            (VaultError::Newer, _) => "use the locum that wrote it, or a later one; if there is none, restore a backup",
            (VaultError::WrongKey, Lock::Password(_)) => "try again with the right master password",
            (VaultError::WrongKey, Lock::Machine { .. }) => {
                return self.wrong("was made on another machine or with another key", "store the keys again here");
            }
            (VaultError::Full, _) => "remove keys that are no longer used",
            (VaultError::NoVault, _) => "see that the path is right",
            (VaultError::Random, _) => "this machine is not fit for it",
            _ => "restore it from a backup, and see who can write to its folder",
        };
        self.wrong(e, next)
    }
}

impl Store for Vault {
    fn describe(&self) -> String {
        match self.lock {
            Lock::Password(_) => format!("vault {}", self.path.display()),
            Lock::Machine { .. } => format!("machine-bound store {}", self.path.display()),
        }
    }

    fn get(&self, name: &str) -> Result<Option<Opened>, SourceError> {
        Ok(self.read(&mut self.known())?.and_then(|mut entries| entries.remove(name)))
    }

    fn set(&self, name: &str, value: &[u8]) -> Result<(), SourceError> {
        if value.len() > MAX_VALUE {
            return Err(
                self.wrong(format_args!("takes {MAX_VALUE} bytes a value at most"), "store less under one name")
            );
        }
        let value = Opened::new(value.to_vec());
        self.change(|entries| {
            entries.insert(name.to_owned(), value);
            Some(())
        })?;
        Ok(())
    }

    fn delete(&self, name: &str) -> Result<bool, SourceError> {
        if !self.exists() {
            return Ok(false);
        }
        Ok(self.change(|entries| entries.remove(name))?.is_some())
    }

    fn list(&self) -> Result<Vec<String>, SourceError> {
        Ok(self.read(&mut self.known())?.unwrap_or_default().into_keys().collect())
    }

    fn freshness(&self) -> Freshness {
        Freshness { stamp: stamp(&self.path), lifetime: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Environment;
    use crate::secrets::EnvSource;

    fn password(text: &str) -> Lock {
        Lock::Password(Arc::new(EnvSource::new(Arc::new(Environment::from([("P", text)])), "P")))
    }

    fn vault(dir: &Path, with: &str) -> Vault {
        Vault::new(dir.join("state/vault"), password(with))
    }

    fn machine(dir: &Path) -> Vault {
        let id = dir.join("id");
        let lock = Lock::Machine { key_file: dir.join("state/machine.key"), ids: vec![dir.join("none"), id] };
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
        assert_eq!(
            get(&vault(dir.path(), "correct horse"), "key/b"),
            Ok(Some("two".into())),
            "another process reads it"
        );
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
            assert!(
                !e.next.is_empty() && !format!("{e:?}").contains("sk-secret") && !format!("{e:?}").contains("horse")
            );
            e.what
        };
        for (change, with, said) in [
            (&(|_: &mut Vec<u8>| {}) as &dyn Fn(&mut Vec<u8>), "wrong horse", "does not open with this password"),
            (&|_| {}, "", "is locked: no master password was given"),
            (&|b| b.truncate(100), "correct horse", "is cut short"),
            (&|b| b.truncate(0), "correct horse", "is no vault"),
            (&|b| b[8] = 2, "correct horse", "was written by a newer locum"),
            (&|b| b[90] ^= 1, "correct horse", "was altered or damaged"),
            (&|b| b[25] ^= 1, "correct horse", "was altered or damaged"),
        ] {
            let what = after(change, with);
            assert!(what.ends_with(said), "{what}");
        }
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
        assert!(v.passwd(Opened::new(vec![]), Kdf::ARGON2ID).is_err());
        v.passwd(Opened::new(b"new password".to_vec()), Kdf::ARGON2ID).unwrap();
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
                .args(["--exact", "secrets::vault::store::tests::writes_until_it_is_killed", "--nocapture"])
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
}
