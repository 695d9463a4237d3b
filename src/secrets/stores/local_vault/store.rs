//! A vault in the file system: opened, read again when it changed, and replaced whole under a lock. Its bytes are
//! `format`'s work.

use super::error::{MAX_FILE, VaultError};
use super::format::{self, LockedVault, VaultEntries};
use super::kdf::{Kdf, MasterKey, Salt};
use crate::disk;
use crate::memory::{Plaintext, Sealed};
use crate::secrets::source::{Freshness, SecretSource, SourceError};
use crate::secrets::store::Store;
use crate::secrets::stores::private_file::{make_folder, read_private, replace_file, stamp, unwritable};
use crate::secrets::value::MAX_VALUE;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zeroize::Zeroizing;

/// A password is hard to guess from this length on.
pub const MIN_PASSWORD: usize = 8;

/// The secret that opens a vault.
pub enum VaultLock {
    /// The master password, asked for once and held sealed. Its vault is made by `init` alone.
    Password(Arc<dyn SecretSource>),
    /// A random key in a file beside the store, mixed with what names this machine. Whoever can read this user's files
    /// on this machine can open it: weaker than a keyring or a password. It is made when it is first written.
    Machine {
        /// Holds 32 random bytes.
        key_file: PathBuf,
        /// Files that name the machine; the first that exists counts.
        ids: Vec<PathBuf>,
    },
}

/// One encrypted file of named secrets, safe to copy and safe to share among processes.
pub struct Vault {
    path: PathBuf,
    lock: VaultLock,
    known: Mutex<UnlockCache>,
}

/// The secret and the master key that opened the file last, so that nobody is asked and nothing is stretched twice.
#[derive(Default)]
struct UnlockCache {
    secret: Option<Sealed>,
    master: Option<(Kdf, Salt, Sealed)>,
}

impl Vault {
    /// The vault at `path`, which needn't be there yet.
    pub fn new(path: impl Into<PathBuf>, lock: VaultLock) -> Self {
        Self { path: path.into(), lock, known: Mutex::default() }
    }

    /// The machine-bound store in the folder `state`.
    pub fn machine(state: &Path) -> Self {
        let ids = ["/etc/machine-id", "/var/lib/dbus/machine-id"].map(PathBuf::from).into();
        Self::new(state.join("machine.store"), VaultLock::Machine { key_file: state.join("machine.key"), ids })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file is there.
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
        *known = UnlockCache::default();
        let secret = self.ask()?;
        self.refuse_short(&secret)?;
        known.secret = Some(Sealed::seal(secret));
        self.make(&mut known, kdf, &VaultEntries::new())
    }

    /// Puts all entries under a new password, with new salt.
    pub fn passwd(&self, new: Plaintext, kdf: Kdf) -> Result<(), SourceError> {
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
    fn make(&self, known: &mut UnlockCache, kdf: Kdf, entries: &VaultEntries) -> Result<(), SourceError> {
        let mut salt = Salt::default();
        getrandom::fill(&mut salt).map_err(|e| self.wrong(format_args!("can't be made: {e}"), "try again"))?;
        let master = self.master(known, kdf, &salt)?;
        self.replace(&format::write(entries, kdf, &salt, &master).map_err(|e| self.broken(e))?)
    }

    /// All entries; `None` where there is no file.
    fn read(&self, known: &mut UnlockCache) -> Result<Option<VaultEntries>, SourceError> {
        let Some(file) = self.bytes()? else { return Ok(None) };
        self.unlock(known, file.expose()).map(|(entries, _)| Some(entries))
    }

    /// The entries, and what the file has to be written with.
    fn unlock<'a>(
        &self,
        known: &mut UnlockCache,
        file: &'a [u8],
    ) -> Result<(VaultEntries, LockedVault<'a>), SourceError> {
        let locked = LockedVault::parse(file).map_err(|e| self.broken(e))?;
        // Else a changed file could have the password taken without any stretching.
        if (locked.kdf == Kdf::Machine) != matches!(self.lock, VaultLock::Machine { .. }) {
            return Err(self.broken(VaultError::Weakened));
        }
        let master = self.master(known, locked.kdf, &locked.salt)?;
        match locked.unlock(&master) {
            Ok(entries) => Ok((entries, locked)),
            Err(e) => {
                // Another password may be given next time.
                *known = UnlockCache::default();
                Err(self.broken(e))
            }
        }
    }

    /// Reads, changes and writes as one step; `None` from `change` means that there is nothing to write.
    fn change<T>(&self, change: impl FnOnce(&mut VaultEntries) -> Option<T>) -> Result<Option<T>, SourceError> {
        // Asks for the password, should it have to, while others may still write.
        self.read(&mut self.known())?;
        let _writing = self.write_lock()?;
        let mut known = self.known();
        let Some(file) = self.bytes()? else {
            if matches!(self.lock, VaultLock::Password(_)) {
                return Err(self.none());
            }
            let mut entries = VaultEntries::new();
            let Some(changed) = change(&mut entries) else { return Ok(None) };
            return self.make(&mut known, Kdf::Machine, &entries).map(|()| Some(changed));
        };
        let (mut entries, locked) = self.unlock(&mut known, file.expose())?;
        let Some(changed) = change(&mut entries) else { return Ok(None) };
        let master = self.master(&mut known, locked.kdf, &locked.salt)?;
        let new = format::write(&entries, locked.kdf, &locked.salt, &master).map_err(|e| self.broken(e))?;
        self.replace(&new).map(|()| Some(changed))
    }

    fn master(&self, known: &mut UnlockCache, kdf: Kdf, salt: &Salt) -> Result<MasterKey, SourceError> {
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
        known.master = Some((kdf, *salt, Sealed::seal(Plaintext::new(master.to_vec()))));
        Ok(master)
    }

    fn ask(&self) -> Result<Plaintext, SourceError> {
        match &self.lock {
            VaultLock::Password(source) => {
                let locked = || {
                    let next = "set LOCUM_MASTER_PASSWORD, or [vault] password_file, or run where it can be asked for";
                    self.wrong("is locked: no master password was given", next)
                };
                source.load()?.ok_or_else(locked)
            }
            VaultLock::Machine { key_file, ids } => self.machine_secret(key_file, ids),
        }
    }

    fn machine_secret(&self, key_file: &Path, ids: &[PathBuf]) -> Result<Plaintext, SourceError> {
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
        let mut secret = Plaintext::new(vec![0; 32 + id.len()]);
        let (first, second) = secret.bytes_mut().split_at_mut(32);
        first.copy_from_slice(key.expose());
        second.copy_from_slice(id);
        Ok(secret)
    }

    /// Called under the write lock, since only a writer finds no store.
    fn make_machine_key(&self, path: &Path) -> Result<Plaintext, SourceError> {
        let mut key = Plaintext::new(vec![0; 32]);
        getrandom::fill(key.bytes_mut()).map_err(|e| self.wrong(format_args!("can't be made: {e}"), "try again"))?;
        replace_file(path, key.expose()).map_err(|e| unwritable(path, &e))?;
        Ok(key)
    }

    fn bytes(&self) -> Result<Option<Plaintext>, SourceError> {
        read_private(&self.path, MAX_FILE)
    }

    /// Wherever it comes from: who has the file can try short ones.
    fn refuse_short(&self, password: &Plaintext) -> Result<(), SourceError> {
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

    fn known(&self) -> MutexGuard<'_, UnlockCache> {
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
            (VaultError::WrongKey, VaultLock::Password(_)) => "try again with the right master password",
            (VaultError::WrongKey, VaultLock::Machine { .. }) => {
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
            VaultLock::Password(_) => format!("vault {}", self.path.display()),
            VaultLock::Machine { .. } => format!("machine-bound store {}", self.path.display()),
        }
    }

    fn get(&self, name: &str) -> Result<Option<Plaintext>, SourceError> {
        Ok(self.read(&mut self.known())?.and_then(|mut entries| entries.remove(name)))
    }

    fn set(&self, name: &str, value: &[u8]) -> Result<(), SourceError> {
        if value.len() > MAX_VALUE {
            return Err(
                self.wrong(format_args!("takes {MAX_VALUE} bytes a value at most"), "store less under one name")
            );
        }
        let value = Plaintext::new(value.to_vec());
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
mod tests;
