//! Keeps the CA between runs, in a store that never holds its key in the clear. Made once, by whoever comes first.

use super::CaError;
use super::authority::Authority;
use super::rotation::{Authorities, Next};
use crate::disk;
use crate::memory::Plaintext;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// Where the CA can be put: a keyring, a vault, a file bound to the machine.
pub trait CaStorage {
    fn describe(&self) -> String;
    /// What was put there, or `None`.
    fn take(&self) -> Result<Option<Plaintext>, String>;
    fn put(&self, pem: &[u8]) -> Result<(), String>;
}

/// The CA on the shelf, if there is one, as it stands there.
///
/// # Errors
/// When the shelf can't be read, or holds something else.
pub fn look(shelf: &dyn CaStorage) -> Result<Option<Authorities>, CaError> {
    let kept = shelf.take().map_err(|why| fail(shelf, why))?;
    kept.map(|kept| Authorities::from_pem(kept.expose(), &shelf.describe())).transpose()
}

/// The CA on the shelf, made and put there if there is none. `lock` is a file that processes which start at once share.
/// Where one is to follow whose time has come, it takes the other's place, whose key is gone then.
///
/// # Errors
/// When the shelf can't be read or written, or holds something else.
pub fn load_or_make(
    shelf: &dyn CaStorage,
    lock: &Path,
    now: SystemTime,
    make: impl FnOnce() -> Result<Authority, CaError>,
) -> Result<Authorities, CaError> {
    let make = || Ok(Plaintext::new(make()?.to_pem_with_key().as_bytes().to_vec()));
    let kept = Authorities::from_pem(take_or_make(shelf, lock, make)?.expose(), &shelf.describe())?;
    if !kept.is_due(now) {
        return Ok(kept);
    }
    let _turn = turn(lock)?;
    // another may have been here, or begun anew
    let kept = look(shelf)?.unwrap_or(kept).at(now);
    if let Err(why) = shelf.put(kept.to_pem_with_keys().as_bytes()) {
        tracing::warn!("the CA that has signed until now can't be taken out of the {}: {why}", shelf.describe());
    }
    Ok(kept)
}

/// Puts a new CA onto the shelf, which is to sign from `signs_from` on, in place of one that has waited for its time. At
/// once where that has come, or none was there.
///
/// # Errors
/// When the shelf can't be read or written, or holds something else.
pub fn rotate(
    shelf: &dyn CaStorage,
    lock: &Path,
    now: SystemTime,
    signs_from: SystemTime,
    make: impl FnOnce() -> Result<Authority, CaError>,
) -> Result<Authorities, CaError> {
    let _turn = turn(lock)?;
    let made = make()?;
    let rotated = match look(shelf)?.map(|kept| kept.at(now)) {
        Some(kept) => Authorities { next: Some(Next { authority: Arc::new(made), signs_from }), ..kept }.at(now),
        None => made.into(),
    };
    shelf.put(rotated.to_pem_with_keys().as_bytes()).map_err(|why| fail(shelf, why))?;
    Ok(rotated)
}

fn fail(shelf: &dyn CaStorage, why: String) -> CaError {
    CaError::File { path: shelf.describe(), why }
}

fn turn(lock: &Path) -> Result<File, CaError> {
    disk::turn(lock).map_err(|e| CaError::File { path: lock.display().to_string(), why: e.to_string() })
}

/// What is on the shelf, whatever it is, made and put there if there is nothing.
///
/// # Errors
/// When the shelf can't be read or written, or nothing can be made.
pub fn take_or_make(
    shelf: &dyn CaStorage,
    lock: &Path,
    make: impl FnOnce() -> Result<Plaintext, CaError>,
) -> Result<Plaintext, CaError> {
    let fail = |why| fail(shelf, why);
    if let Some(kept) = shelf.take().map_err(fail)? {
        return Ok(kept);
    }
    let _turn = turn(lock)?;
    if let Some(kept) = shelf.take().map_err(fail)? {
        return Ok(kept);
    }
    let made = make()?;
    shelf.put(made.expose()).map_err(fail)?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::Scope;
    use std::sync::Mutex;
    use std::time::Duration;

    #[derive(Default)]
    struct Memory(Mutex<Option<Vec<u8>>>);

    impl CaStorage for Memory {
        fn describe(&self) -> String {
            "memory".into()
        }
        fn take(&self) -> Result<Option<Plaintext>, String> {
            Ok(self.0.lock().unwrap().clone().map(Plaintext::new))
        }
        fn put(&self, pem: &[u8]) -> Result<(), String> {
            *self.0.lock().unwrap() = Some(pem.to_vec());
            Ok(())
        }
    }

    fn new() -> Result<Authority, CaError> {
        Authority::generate(SystemTime::now(), "test", &Scope::Any)
    }

    fn kept(shelf: &Memory) -> String {
        String::from_utf8(shelf.0.lock().unwrap().clone().unwrap()).unwrap()
    }

    #[test]
    fn those_who_start_at_once_get_the_same_root() {
        let dir = tempfile::tempdir().unwrap();
        let (shelf, lock) = (Memory::default(), dir.path().join("lock"));
        let make = || load_or_make(&shelf, &lock, SystemTime::now(), new).unwrap().current.fingerprint();
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
        let (shelf, lock) = (Memory::default(), dir.path().join("lock"));
        let now = SystemTime::now();
        let (hour, never) = (Duration::from_secs(3600), || panic!("there is one"));
        let first = load_or_make(&shelf, &lock, now, new).unwrap().current.fingerprint();
        let rotated = rotate(&shelf, &lock, now, now + hour, new).unwrap();
        assert_eq!(rotated.current.fingerprint(), first);
        // once more: the one that has never signed is forgotten
        let rotated = rotate(&shelf, &lock, now, now + hour, new).unwrap();
        let next = rotated.next.unwrap().authority.fingerprint();
        let meanwhile = load_or_make(&shelf, &lock, now + hour / 2, never).unwrap();
        assert_eq!((meanwhile.current.fingerprint(), meanwhile.all().count()), (first, 2));
        assert_eq!(kept(&shelf).matches("PRIVATE KEY").count(), 4);
        let after = load_or_make(&shelf, &lock, now + hour, never).unwrap();
        assert_eq!((after.current.fingerprint(), after.all().count()), (next, 1));
        assert_eq!(kept(&shelf).matches("PRIVATE KEY").count(), 2, "the old key is gone");
    }

    #[test]
    fn where_no_time_is_given_it_takes_over_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let (shelf, lock) = (Memory::default(), dir.path().join("lock"));
        let now = SystemTime::now();
        let made = rotate(&shelf, &lock, now, now + Duration::from_secs(60), new).unwrap();
        assert_eq!(made.all().count(), 1, "there was none before");
        let rotated = rotate(&shelf, &lock, now, now, new).unwrap();
        assert_eq!(rotated.all().count(), 1);
        assert_ne!(rotated.current.fingerprint(), made.current.fingerprint());
    }
}
