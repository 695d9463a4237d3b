//! Keeps the root between runs, in a store that never holds its key in the clear. Made once, by whoever comes first.

use super::{CaError, Root};
use crate::disk;
use crate::memory::Opened;
use std::path::Path;
use std::time::SystemTime;

/// Where the root can be put: a keyring, a vault, a file bound to the machine.
pub trait Shelf {
    fn describe(&self) -> String;
    /// What was put there, or `None`.
    fn take(&self) -> Result<Option<Opened>, String>;
    fn put(&self, pem: &[u8]) -> Result<(), String>;
}

/// The root on the shelf, made and put there if there is none. `lock` is a file that processes which start at once share.
///
/// # Errors
/// When the shelf can't be read or written, or holds something else.
pub fn load_or_make(shelf: &dyn Shelf, lock: &Path, owner: &str, now: SystemTime) -> Result<Root, CaError> {
    let make = || Ok(Opened::new(Root::generate(now, owner)?.to_pem_with_key().as_bytes().to_vec()));
    Root::from_pem(take_or_make(shelf, lock, make)?.expose(), &shelf.describe())
}

/// What is on the shelf, whatever it is, made and put there if there is nothing.
///
/// # Errors
/// When the shelf can't be read or written, or nothing can be made.
pub fn take_or_make(
    shelf: &dyn Shelf,
    lock: &Path,
    make: impl FnOnce() -> Result<Opened, CaError>,
) -> Result<Opened, CaError> {
    let fail = |why: String| CaError::File { path: shelf.describe(), why };
    if let Some(kept) = shelf.take().map_err(fail)? {
        return Ok(kept);
    }
    let _turn = disk::turn(lock).map_err(|e| CaError::File { path: lock.display().to_string(), why: e.to_string() })?;
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
    use std::sync::Mutex;

    #[derive(Default)]
    struct Memory(Mutex<Option<Vec<u8>>>);

    impl Shelf for Memory {
        fn describe(&self) -> String {
            "memory".into()
        }
        fn take(&self) -> Result<Option<Opened>, String> {
            Ok(self.0.lock().unwrap().clone().map(Opened::new))
        }
        fn put(&self, pem: &[u8]) -> Result<(), String> {
            *self.0.lock().unwrap() = Some(pem.to_vec());
            Ok(())
        }
    }

    #[test]
    fn those_who_start_at_once_get_the_same_root() {
        let dir = tempfile::tempdir().unwrap();
        let (shelf, lock) = (Memory::default(), dir.path().join("lock"));
        let make = || load_or_make(&shelf, &lock, "test", SystemTime::now()).unwrap().fingerprint();
        let all: Vec<String> = std::thread::scope(|s| {
            let threads: Vec<_> = (0..8).map(|_| s.spawn(make)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(all.iter().all(|f| *f == all[0]), "{all:?}");
        assert_eq!(make(), all[0]);
    }
}
