//! Keeps the CA between runs, in a keystore that never holds its key in the clear. Made once, by whoever comes first.

use super::authority::Authority;
use super::error::CaError;
use super::rotation::{Authorities, NextAuthority};
use crate::disk;
use crate::memory::Plaintext;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// The keystore of the CA, for one text of PEM: in a keyring, a vault or a file bound to the machine.
pub trait CaKeystore {
    /// As errors and tables say it: `keyring (Secret Service)`.
    fn describe(&self) -> String;

    /// What was saved; `None` where nothing was.
    ///
    /// # Errors
    /// When it can't be read.
    fn load(&self) -> Result<Option<Plaintext>, String>;

    /// Saves this in place of what was there.
    ///
    /// # Errors
    /// When it can't be written.
    fn save(&self, pem: &[u8]) -> Result<(), String>;
}

/// The CA in the keystore, if there is one, as it is there.
///
/// # Errors
/// When the keystore can't be read, or holds something else.
pub fn look(keystore: &dyn CaKeystore) -> Result<Option<Authorities>, CaError> {
    let kept = keystore.load().map_err(|why| fail(keystore, why))?;
    kept.map(|kept| Authorities::from_pem(kept.expose(), &keystore.describe())).transpose()
}

/// The CA in the keystore, made and put there if there is none. `lock` is a file that processes which start at once share.
/// Where one is to follow whose time has come, it takes the other's place, whose key is gone then.
///
/// # Errors
/// When the keystore can't be read or written, or holds something else.
pub fn load_or_make(
    keystore: &dyn CaKeystore,
    lock: &Path,
    now: SystemTime,
    make: impl FnOnce() -> Result<Authority, CaError>,
) -> Result<Authorities, CaError> {
    let make = || {
        let made = Plaintext::new(make()?.to_pem_with_key().as_bytes().to_vec());
        keystore.save(made.expose()).map_err(|why| fail(keystore, why)).map(|()| made)
    };
    let load = || keystore.load().map_err(|why| fail(keystore, why));
    let kept = disk::found_or_made(lock, |e| unlockable(lock, &e), load, make)?;
    let kept = Authorities::from_pem(kept.expose(), &keystore.describe())?;
    if !kept.is_due(now) {
        return Ok(kept);
    }
    let _turn = turn(lock)?;
    // another may have been here, or begun anew
    let kept = look(keystore)?.unwrap_or(kept).at(now);
    if let Err(why) = keystore.save(kept.to_pem_with_keys().as_bytes()) {
        tracing::warn!("the CA that has signed until now can't be taken out of the {}: {why}", keystore.describe());
    }
    Ok(kept)
}

/// Puts a new CA into the keystore, which is to sign from `signs_from` on, in place of one that has waited for its time. At
/// once where that has come, or none was there.
///
/// # Errors
/// When the keystore can't be read or written, or holds something else.
pub fn rotate(
    keystore: &dyn CaKeystore,
    lock: &Path,
    now: SystemTime,
    signs_from: SystemTime,
    make: impl FnOnce() -> Result<Authority, CaError>,
) -> Result<Authorities, CaError> {
    let _turn = turn(lock)?;
    let made = make()?;
    let rotated = match look(keystore)?.map(|kept| kept.at(now)) {
        Some(kept) => {
            Authorities { next: Some(NextAuthority { authority: Arc::new(made), signs_from }), ..kept }.at(now)
        }
        None => made.into(),
    };
    keystore.save(rotated.to_pem_with_keys().as_bytes()).map_err(|why| fail(keystore, why))?;
    Ok(rotated)
}

fn fail(keystore: &dyn CaKeystore, why: String) -> CaError {
    CaError::File { path: keystore.describe(), why }
}

fn turn(lock: &Path) -> Result<File, CaError> {
    disk::turn(lock).map_err(|e| unlockable(lock, &e))
}

fn unlockable(lock: &Path, e: &io::Error) -> CaError {
    CaError::File { path: lock.display().to_string(), why: e.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::Scope;
    use std::sync::Mutex;
    use std::time::Duration;

    #[derive(Default)]
    struct Memory(Mutex<Option<Vec<u8>>>);

    impl CaKeystore for Memory {
        fn describe(&self) -> String {
            "memory".into()
        }
        fn load(&self) -> Result<Option<Plaintext>, String> {
            Ok(self.0.lock().unwrap().clone().map(Plaintext::new))
        }
        fn save(&self, pem: &[u8]) -> Result<(), String> {
            *self.0.lock().unwrap() = Some(pem.to_vec());
            Ok(())
        }
    }

    fn new() -> Result<Authority, CaError> {
        Authority::generate(SystemTime::now(), "test", &Scope::Any)
    }

    fn kept(keystore: &Memory) -> String {
        String::from_utf8(keystore.0.lock().unwrap().clone().unwrap()).unwrap()
    }

    #[test]
    fn those_who_start_at_once_get_the_same_root() {
        let dir = tempfile::tempdir().unwrap();
        let (keystore, lock) = (Memory::default(), dir.path().join("lock"));
        let make = || load_or_make(&keystore, &lock, SystemTime::now(), new).unwrap().current.fingerprint();
        let all: Vec<String> = std::thread::scope(|s| {
            let threads: Vec<_> = (0..8).map(|_| s.spawn(make)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(all.iter().all(|f| *f == all[0]), "{all:?}");
        assert_eq!(make(), all[0]);
    }

    #[test]
    fn a_new_one_waits_for_its_time_and_then_is_all_that_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (keystore, lock) = (Memory::default(), dir.path().join("lock"));
        let now = SystemTime::now();
        let (hour, never) = (Duration::from_secs(3600), || panic!("there is one"));
        let first = load_or_make(&keystore, &lock, now, new).unwrap().current.fingerprint();
        let rotated = rotate(&keystore, &lock, now, now + hour, new).unwrap();
        assert_eq!(rotated.current.fingerprint(), first);
        // once more: the one that has never signed is forgotten
        let rotated = rotate(&keystore, &lock, now, now + hour, new).unwrap();
        let next = rotated.next.unwrap().authority.fingerprint();
        let meanwhile = load_or_make(&keystore, &lock, now + hour / 2, never).unwrap();
        assert_eq!((meanwhile.current.fingerprint(), meanwhile.all().count()), (first, 2));
        assert_eq!(kept(&keystore).matches("PRIVATE KEY").count(), 4);
        let after = load_or_make(&keystore, &lock, now + hour, never).unwrap();
        assert_eq!((after.current.fingerprint(), after.all().count()), (next, 1));
        assert_eq!(kept(&keystore).matches("PRIVATE KEY").count(), 2, "the old key is gone");
    }

    #[test]
    fn where_no_time_is_given_it_takes_over_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (keystore, lock) = (Memory::default(), dir.path().join("lock"));
        let now = SystemTime::now();
        let made = rotate(&keystore, &lock, now, now + Duration::from_secs(60), new).unwrap();
        assert_eq!(made.all().count(), 1, "there was none before");
        let rotated = rotate(&keystore, &lock, now, now, new).unwrap();
        assert_eq!(rotated.all().count(), 1);
        assert_ne!(rotated.current.fingerprint(), made.current.fingerprint());
    }
}
