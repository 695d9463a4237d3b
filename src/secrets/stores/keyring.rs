//! Keys in the desktop's keyring: Secret Service, Keychain or Credential Manager. A keyring that is locked, absent or
//! silent is told as such and never waited for.
//!
//! The kernel's own keyring is left out: what is put there is gone after a reboot.

use super::private_file::{replace_file, stamp, unwritable};
use crate::memory::Plaintext;
use crate::secrets::source::{Freshness, SourceError};
use crate::secrets::store::Store;
use crate::secrets::value::MAX_VALUE;
use keyring_core::{CredentialStore, Entry, Error};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SendError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Under which name the keyring files our entries; the entry's own name is its user.
const SERVICE: &str = "locum";
/// How long a list of names is believed: long enough to look for all keys of the catalog at the start.
const LIST_GOOD_FOR: Duration = Duration::from_millis(900);
/// Other programs may change a value without our notice.
const VALUE_GOOD_FOR: Duration = Duration::from_secs(60);
/// After that the connection to the keyring, with its threads, is closed.
const IDLE_CONNECTION: Duration = Duration::from_secs(5);

type Connect = fn() -> Result<Arc<CredentialStore>, Error>;

/// The keyring of the user's session.
pub struct Keyring {
    name: &'static str,
    connect: Connect,
    limit: Duration,
    notice: PathBuf,
    worker: Mutex<KeyringWorker>,
}

impl Keyring {
    /// The keyring of this system, where it is of a kind that is known. `limit` is how long an answer may take, with
    /// the person who has to unlock it. `notice` is a file that each change touches, so that other processes see it.
    pub fn of_system(limit: Duration, notice: impl Into<PathBuf>) -> Option<Self> {
        let (name, connect) = system()?;
        Some(Self { name, connect, limit, notice: notice.into(), worker: Mutex::default() })
    }

    /// Has `job` done where it may take as long as it likes, and waits for it no longer than the limit.
    fn ask<T: Send + 'static>(
        &self,
        mut job: impl FnMut(&mut KeyringSession) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, SourceError> {
        let (answer, answers) = channel();
        let job: KeyringJob = Box::new(move |session| {
            // Once the time is over nobody listens any more.
            let _ = answer.send(session.attempt(&mut job));
        });
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        worker.give(self.connect, job).map_err(|_| self.silent())?;
        match answers.recv_timeout(self.limit) {
            Ok(done) => done.map_err(|e| self.failed(&e)),
            Err(RecvTimeoutError::Timeout) => {
                worker.jobs = None;
                Err(self.silent())
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.wrong("broke off", "try again")),
        }
    }

    /// Tells other processes that something changed.
    fn announce(&self) -> Result<(), SourceError> {
        replace_file(&self.notice, nonce(self)?.as_bytes()).map_err(|e| unwritable(&self.notice, &e))
    }

    fn wrong(&self, what: impl std::fmt::Display, next: impl Into<String>) -> SourceError {
        SourceError::new(format!("{} {what}", self.describe()), next)
    }

    fn silent(&self) -> SourceError {
        let what = format!("gave no answer in {} s", self.limit.as_secs_f32());
        self.wrong(what, "unlock it, or use the vault ('locum vault init')")
    }

    /// In our words: an error of the library may hold the value itself.
    fn failed(&self, e: &Error) -> SourceError {
        match e {
            Error::NoStorageAccess(why) => self.wrong(
                format_args!("is locked or has no default collection ({why})"),
                "unlock it, or use the vault ('locum vault init')",
            ),
            Error::PlatformFailure(why) => self.wrong(
                format_args!("can't be reached ({why})"),
                "start the desktop's keyring, or use the vault ('locum vault init')",
            ),
            Error::Ambiguous(_) => self.wrong("has several entries of that name", "delete all but one of them there"),
            Error::TooLong(_, most) => {
                self.wrong(format_args!("takes {most} characters at most"), "use the vault ('locum vault init')")
            }
            Error::Invalid(_, why) => self.wrong(format_args!("refused it: {why}"), "choose another store"),
            _ => self.wrong("holds an entry that it can't read", "delete it there and store the key again"),
        }
    }
}

impl Store for Keyring {
    fn describe(&self) -> String {
        format!("keyring ({})", self.name)
    }

    fn get(&self, name: &str) -> Result<Option<Plaintext>, SourceError> {
        let name = name.to_owned();
        self.ask(move |session| {
            if !session.names()?.contains(&name) {
                return Ok(None);
            }
            match session.entry(&name)?.get_secret() {
                Ok(value) => Ok(Some(Plaintext::new(value))),
                Err(Error::NoEntry) => Ok(None),
                Err(e) => Err(e),
            }
        })
    }

    fn set(&self, name: &str, value: &[u8]) -> Result<(), SourceError> {
        if value.len() > MAX_VALUE {
            return Err(self.wrong(format_args!("takes {MAX_VALUE} bytes at most"), "store less under one name"));
        }
        let (name, value) = (name.to_owned(), Plaintext::new(value.to_vec()));
        self.ask(move |session| {
            session.names = None;
            session.entry(&name)?.set_secret(value.expose())
        })?;
        self.announce()
    }

    fn delete(&self, name: &str) -> Result<bool, SourceError> {
        let name = name.to_owned();
        let there = self.ask(move |session| {
            session.names = None;
            match session.entry(&name)?.delete_credential() {
                Ok(()) => Ok(true),
                Err(Error::NoEntry) => Ok(false),
                Err(e) => Err(e),
            }
        })?;
        if there {
            self.announce()?;
        }
        Ok(there)
    }

    fn list(&self) -> Result<Vec<String>, SourceError> {
        self.ask(|session| Ok(session.names()?.iter().cloned().collect()))
    }

    fn of_program(&self, service: &str, user: &str) -> Result<Option<Plaintext>, SourceError> {
        let (service, user) = (service.to_owned(), user.to_owned());
        self.ask(move |session| match session.store()?.build(&service, &user, None)?.get_secret() {
            Ok(value) => Ok(Some(Plaintext::new(value))),
            Err(Error::NoEntry) => Ok(None),
            Err(e) => Err(e),
        })
    }

    fn freshness(&self) -> Freshness {
        Freshness { stamp: stamp(&self.notice), lifetime: Some(VALUE_GOOD_FOR) }
    }

    fn is_there(&self) -> bool {
        let there = self.ask(|session| match session.names() {
            Err(Error::PlatformFailure(_)) => Ok(false),
            _ => Ok(true),
        });
        there.unwrap_or(true)
    }

    /// Stores a test entry, reads it and deletes it: whether the keyring works.
    fn probe(&self) -> Result<(), SourceError> {
        let name = format!("probe/{}", nonce(self)?);
        let same = self.ask(move |session| {
            let entry = session.entry(&name)?;
            entry.set_secret(name.as_bytes())?;
            let read = entry.get_secret();
            entry.delete_credential()?;
            Ok(read? == name.as_bytes())
        })?;
        if same { Ok(()) } else { Err(self.wrong("does not give back what is stored in it", "use the vault instead")) }
    }
}

type KeyringJob = Box<dyn FnOnce(&mut KeyringSession) + Send>;

/// The thread that talks to the keyring.
#[derive(Default)]
struct KeyringWorker {
    /// `None` once it took too long: then it is given nothing more.
    jobs: Option<Sender<KeyringJob>>,
    /// Dies with the thread.
    life: Weak<()>,
}

impl KeyringWorker {
    /// Hands over the job, or back while the last worker still waits for a keyring that doesn't answer: there is
    /// never more than one such thread.
    fn give(&mut self, connect: Connect, job: KeyringJob) -> Result<(), KeyringJob> {
        if self.life.strong_count() == 0 {
            *self = Self::start(connect);
        }
        match &self.jobs {
            Some(jobs) => jobs.send(job).map_err(|SendError(job)| job),
            None => Err(job),
        }
    }

    fn start(connect: Connect) -> Self {
        let (jobs, waiting) = channel();
        let alive = Arc::new(());
        let life = Arc::downgrade(&alive);
        std::thread::spawn(move || {
            work(connect, &waiting);
            drop(alive);
        });
        Self { jobs: Some(jobs), life }
    }
}

fn work(connect: Connect, jobs: &Receiver<KeyringJob>) {
    let mut session = KeyringSession { connect, store: None, names: None };
    loop {
        let job = match jobs.recv_timeout(IDLE_CONNECTION) {
            Err(RecvTimeoutError::Timeout) => {
                session.store = None;
                jobs.recv().ok()
            }
            job => job.ok(),
        };
        match job {
            Some(job) => job(&mut session),
            None => return,
        }
    }
}

/// The worker's connection to the keyring, and the names that it found there last.
struct KeyringSession {
    connect: Connect,
    store: Option<Arc<CredentialStore>>,
    names: Option<(Instant, BTreeSet<String>)>,
}

impl KeyringSession {
    /// Once more over a new connection, should the keyring have been restarted since the last job.
    fn attempt<T>(&mut self, job: &mut impl FnMut(&mut KeyringSession) -> Result<T, Error>) -> Result<T, Error> {
        let used = self.store.is_some();
        match job(self) {
            Err(Error::PlatformFailure(_)) if used => {
                self.store = None;
                job(self)
            }
            done => done,
        }
    }

    fn store(&mut self) -> Result<Arc<CredentialStore>, Error> {
        match &self.store {
            Some(store) => Ok(store.clone()),
            None => Ok(self.store.insert((self.connect)()?).clone()),
        }
    }

    fn entry(&mut self, name: &str) -> Result<Entry, Error> {
        let label = format!("locum: {name}");
        // What a person sees in the keyring's window; the other two kinds know no labels.
        let modifiers = HashMap::from([("label", label.as_str())]);
        self.store()?.build(SERVICE, name, cfg!(target_os = "linux").then_some(&modifiers))
    }

    fn names(&mut self) -> Result<&BTreeSet<String>, Error> {
        let names = match self.names.take() {
            Some((at, names)) if at.elapsed() < LIST_GOOD_FOR => (at, names),
            _ => {
                let all = self.store()?.search(&HashMap::from([ours()]))?;
                let of_ours = |(service, name): (String, String)| (service == SERVICE).then_some(name);
                (Instant::now(), all.iter().filter_map(|e| e.get_specifiers().and_then(of_ours)).collect())
            }
        };
        Ok(&self.names.insert(names).1)
    }
}

/// What a search for all our entries asks for.
fn ours() -> (&'static str, &'static str) {
    if cfg!(windows) { ("pattern", r"\.locum$") } else { ("service", SERVICE) }
}

#[cfg(target_os = "linux")]
fn system() -> Option<(&'static str, Connect)> {
    has_session_bus().then_some(("Secret Service", || Ok(zbus_secret_service_keyring_store::Store::new()?)))
}

/// Without a bus, as in most containers, there is no Secret Service either, and nothing to report as broken.
#[cfg(target_os = "linux")]
fn has_session_bus() -> bool {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty());
    let own = || format!("/run/user/{}", rustix::process::getuid().as_raw()).into();
    set("DBUS_SESSION_BUS_ADDRESS").is_some()
        || PathBuf::from(set("XDG_RUNTIME_DIR").unwrap_or_else(own)).join("bus").exists()
}

#[cfg(target_os = "macos")]
fn system() -> Option<(&'static str, Connect)> {
    Some(("Keychain", || Ok(apple_native_keyring_store::keychain::Store::new()?)))
}

#[cfg(windows)]
fn system() -> Option<(&'static str, Connect)> {
    Some(("Credential Manager", || Ok(windows_native_keyring_store::Store::new()?)))
}

#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
fn system() -> Option<(&'static str, Connect)> {
    None
}

/// Sixteen random bytes in hex.
fn nonce(keyring: &Keyring) -> Result<String, SourceError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| keyring.wrong(format_args!("can't be used: {e}"), "try again"))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::RwLock;

    fn keyring(connect: Connect, limit: Duration, dir: &tempfile::TempDir) -> Keyring {
        Keyring { name: "test", connect, limit, notice: dir.path().join("keyring.notice"), worker: Mutex::default() }
    }

    #[test]
    fn a_silent_keyring_is_left_alone_until_it_speaks_again() {
        static GATE: RwLock<()> = RwLock::new(());
        let dir = tempfile::tempdir().unwrap();
        let keyring = keyring(
            || {
                drop(GATE.read());
                Err(Error::NoStorageAccess("a prompt was dismissed".into()))
            },
            Duration::from_millis(20),
            &dir,
        );
        let shut = GATE.write().unwrap();
        for _ in 0..3 {
            let e = keyring.get("key/a").unwrap_err();
            assert_eq!(e.what, "keyring (test) gave no answer in 0.02 s");
        }
        drop(shut);
        let life = keyring.worker.lock().unwrap().life.clone();
        while life.strong_count() > 0 {
            std::thread::yield_now();
        }
        let keyring = Keyring { limit: Duration::from_secs(60), ..keyring };
        let e = keyring.get("key/a").unwrap_err();
        assert!(e.what.ends_with("is locked or has no default collection (a prompt was dismissed)"), "{e}");
    }

    #[test]
    fn a_keyring_that_is_not_there_says_so_and_how_to_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let keyring = keyring(|| Err(Error::PlatformFailure("no bus".into())), Duration::from_secs(60), &dir);
        for e in [
            keyring.get("key/a").unwrap_err(),
            keyring.set("key/a", b"x").unwrap_err(),
            keyring.list().unwrap_err(),
            keyring.probe().unwrap_err(),
        ] {
            assert_eq!(e.what, "keyring (test) can't be reached (no bus)");
            assert!(e.next.contains("locum vault init"));
        }
    }

    #[test]
    fn an_error_that_holds_the_value_does_not_show_it() {
        let dir = tempfile::tempdir().unwrap();
        let keyring = keyring(
            || Err(Error::BadDataFormat(b"sk-secret".to_vec(), "sk-secret".into())),
            Duration::from_secs(60),
            &dir,
        );
        let e = keyring.get("key/a").unwrap_err();
        assert!(!format!("{e:?}").contains("sk-secret"), "{e:?}");
    }

    /// Needs a session bus with an unlocked keyring; the test runner starts one.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_real_secret_service_stores_reads_rotates_and_deletes() {
        if std::env::var_os("LOCUM_TEST_SECRET_SERVICE").is_none() {
            eprintln!("skipped: LOCUM_TEST_SECRET_SERVICE is not set, so no Secret Service was started for the tests");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let open = || Keyring::of_system(Duration::from_secs(60), dir.path().join("notice")).unwrap();
        let (one, other) = (open(), open());
        one.probe().unwrap();
        assert_eq!(one.describe(), "keyring (Secret Service)");
        let stamp = other.freshness();
        one.set("key/real", b"sk-one").unwrap();
        assert_ne!(other.freshness(), stamp, "another process is told");
        let read = |k: &Keyring, name| k.get(name).unwrap().map(|v| v.expose().to_vec());
        assert_eq!(read(&other, "key/real"), Some(b"sk-one".to_vec()));
        assert_eq!(read(&other, "key/none"), None);
        one.set("key/real", b"sk-two").unwrap();
        assert_eq!(read(&other, "key/real"), Some(b"sk-two".to_vec()));
        one.set("ca", &[0, 159, 146, 150]).unwrap();
        assert_eq!(one.list().unwrap(), ["ca", "key/real"]);
        assert_eq!(read(&one, "ca"), Some(vec![0, 159, 146, 150]));
        for name in ["ca", "key/real"] {
            assert_eq!(one.delete(name), Ok(true));
            assert_eq!(one.delete(name), Ok(false));
        }
        assert_eq!(read(&one, "key/real"), None);
        assert_eq!(one.list().unwrap(), [""; 0]);
    }
}
