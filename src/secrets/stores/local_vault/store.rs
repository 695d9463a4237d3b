//! A vault in the file system: opened, read again when it changed, and replaced whole under a lock. Its bytes are
//! `format`'s work.

use super::error::{MAX_FILE, MAX_RECORD, VaultError};
use super::format::{self, LockedVault, VaultEntries};
use super::generation::{Generation, SeenGeneration};
use super::kdf::{Kdf, MasterKey, Salt};
use crate::disk;
use crate::memory::{Plaintext, Sealed};
use crate::secrets::source::{Freshness, SecretSource, SourceError};
use crate::secrets::store::Store;
use crate::secrets::stores::private_file::{make_folder, read_private, replace_file, stamp, unwritable};
use crate::secrets::value::MAX_VALUE;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zeroize::Zeroizing;

/// A password is hard to guess from this length on.
pub const MIN_PASSWORD: usize = 8;
/// Under so many characters it is advised against: who steals the file may guess for years.
const ADVISED_PASSWORD: usize = 12;

/// What to say to whoever chose a password that is allowed, and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordAdvice(());

impl PasswordAdvice {
    fn on(password: &Plaintext) -> Option<Self> {
        let bytes = password.expose();
        let length = std::str::from_utf8(bytes).map_or(bytes.len(), |text| text.chars().count());
        (length < ADVISED_PASSWORD).then_some(Self(()))
    }
}

impl std::fmt::Display for PasswordAdvice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the password has under {ADVISED_PASSWORD} characters: who gets at the file may guess it in time")
    }
}

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
    /// The highest generation that this process has seen, whatever becomes of the record on disk.
    seen: AtomicU64,
}

/// What became of a vault that was to be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acceptance {
    /// There is none.
    NoVault,
    /// It is as new as any that was seen.
    Newest,
    /// It counts from now on, though it was refused for this reason.
    Accepted(VaultError),
}

/// A vault in the clear, and what it has to be written with.
struct Unlocked<'a> {
    entries: VaultEntries,
    generation: Generation,
    locked: LockedVault<'a>,
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
        Self { path: path.into(), lock, known: Mutex::default(), seen: AtomicU64::new(0) }
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
    pub fn init(&self, kdf: Kdf) -> Result<Option<PasswordAdvice>, SourceError> {
        let _writing = self.write_lock()?;
        if self.exists() {
            return Err(self.wrong("exists already", "change its password with 'locum vault passwd'"));
        }
        let mut known = self.known();
        *known = UnlockCache::default();
        let secret = self.ask()?;
        self.refuse_short(&secret)?;
        let advice = PasswordAdvice::on(&secret);
        known.secret = Some(Sealed::seal(secret));
        // what was seen of a vault that is gone is nothing to this one
        self.make(&mut known, kdf, &VaultEntries::new(), self.next(&Generation::default(), &SeenGeneration::Nothing)?)?;
        Ok(advice)
    }

    /// Puts all entries under a new password, with new salt.
    pub fn passwd(&self, new: Plaintext, kdf: Kdf) -> Result<Option<PasswordAdvice>, SourceError> {
        self.refuse_short(&new)?;
        let advice = PasswordAdvice::on(&new);
        let _writing = self.write_lock()?;
        let mut known = self.known();
        let (seen, file) = (self.seen_on_disk()?, self.bytes()?.ok_or_else(|| self.none())?);
        let Unlocked { entries, generation, .. } = self.unlock_newest(&mut known, &seen, file.expose())?;
        let before = std::mem::take(&mut *known);
        known.secret = Some(Sealed::seal(new));
        let made = self.next(&generation, &seen).and_then(|next| self.make(&mut known, kdf, &entries, next));
        if made.is_err() {
            *known = before;
        }
        made.map(|()| advice)
    }

    /// Takes a vault for the newest that reading refuses as older than one that was seen, or as unknown here: what a person
    /// has restored from a backup, or moved to this machine. Written anew, it is newer than all that were seen.
    ///
    /// # Errors
    /// It can't be opened or written.
    pub fn accept(&self) -> Result<Acceptance, SourceError> {
        let _writing = self.write_lock()?;
        let mut known = self.known();
        let seen = self.seen_on_disk()?;
        let Some(file) = self.bytes()? else { return Ok(Acceptance::NoVault) };
        let Unlocked { entries, generation, locked } = self.unlock(&mut known, file.expose())?;
        let Err(reason) = generation.follows(&seen) else { return Ok(Acceptance::Newest) };
        let master = self.master(&mut known, locked.kdf, &locked.salt)?;
        self.write(&entries, &self.next(&generation, &seen)?, locked.kdf, &locked.salt, &master)?;
        Ok(Acceptance::Accepted(reason))
    }

    /// A new file, for the secret that is known or that the source gives.
    fn make(
        &self,
        known: &mut UnlockCache,
        kdf: Kdf,
        entries: &VaultEntries,
        generation: Generation,
    ) -> Result<(), SourceError> {
        let mut salt = Salt::default();
        getrandom::fill(&mut salt).map_err(|e| self.wrong(format_args!("can't be made: {e}"), "try again"))?;
        let master = self.master(known, kdf, &salt)?;
        self.write(entries, &generation, kdf, &salt, &master)
    }

    /// All entries; `None` where there is no file.
    fn read(&self, known: &mut UnlockCache) -> Result<Option<VaultEntries>, SourceError> {
        // in this order, since a writer replaces the vault first
        let seen = self.seen_on_disk()?;
        let Some(file) = self.bytes()? else { return Ok(None) };
        self.unlock_newest(known, &seen, file.expose()).map(|unlocked| Some(unlocked.entries))
    }

    /// The entries, unless the file is older than what was `seen`.
    fn unlock_newest<'a>(
        &self,
        known: &mut UnlockCache,
        seen: &SeenGeneration,
        file: &'a [u8],
    ) -> Result<Unlocked<'a>, SourceError> {
        let unlocked = self.unlock(known, file)?;
        let found = unlocked.generation.number;
        unlocked.generation.follows(seen).map_err(|e| self.broken(e))?;
        let seen = self.seen.fetch_max(found, Ordering::Relaxed);
        if found < seen {
            return Err(self.broken(VaultError::RolledBack { found, seen }));
        }
        Ok(unlocked)
    }

    /// The entries, and what the file has to be written with.
    fn unlock<'a>(&self, known: &mut UnlockCache, file: &'a [u8]) -> Result<Unlocked<'a>, SourceError> {
        let locked = LockedVault::parse(file).map_err(|e| self.broken(e))?;
        // Else a changed file could have the password taken without any stretching.
        if (locked.kdf == Kdf::Machine) != matches!(self.lock, VaultLock::Machine { .. }) {
            return Err(self.broken(VaultError::Weakened));
        }
        let master = self.master(known, locked.kdf, &locked.salt)?;
        match locked.unlock(&master) {
            Ok((entries, generation)) => Ok(Unlocked { entries, generation, locked }),
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
        let seen = self.seen_on_disk()?;
        let Some(file) = self.bytes()? else {
            if matches!(self.lock, VaultLock::Password(_)) {
                return Err(self.none());
            }
            let mut entries = VaultEntries::new();
            let Some(changed) = change(&mut entries) else { return Ok(None) };
            let first = self.next(&Generation::default(), &SeenGeneration::Nothing)?;
            return self.make(&mut known, Kdf::Machine, &entries, first).map(|()| Some(changed));
        };
        let Unlocked { mut entries, generation, locked } = self.unlock_newest(&mut known, &seen, file.expose())?;
        let Some(changed) = change(&mut entries) else { return Ok(None) };
        let next = self.next(&generation, &seen)?;
        let kdf = locked.kdf.renewed();
        if kdf != locked.kdf {
            return self.make(&mut known, kdf, &entries, next).map(|()| Some(changed));
        }
        let master = self.master(&mut known, kdf, &locked.salt)?;
        self.write(&entries, &next, kdf, &locked.salt, &master).map(|()| Some(changed))
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

    /// Replaces the file, and then the record of which generation was seen: killed between the two, it has a record that
    /// is older than it, which is right.
    fn write(
        &self,
        entries: &VaultEntries,
        generation: &Generation,
        kdf: Kdf,
        salt: &Salt,
        master: &MasterKey,
    ) -> Result<(), SourceError> {
        let bytes = format::write(entries, generation, kdf, salt, master).map_err(|e| self.broken(e))?;
        replace_file(&self.path, &bytes).map_err(|e| unwritable(&self.path, &e))?;
        self.seen.fetch_max(generation.number, Ordering::Relaxed);
        let record = generation.record().unwrap_or_default();
        if let Err(e) = replace_file(&self.record_path(), record.as_bytes()) {
            // what was to be stored is; the next write keeps its own
            tracing::warn!("{}", unwritable(&self.record_path(), &e));
        }
        Ok(())
    }

    fn next(&self, generation: &Generation, seen: &SeenGeneration) -> Result<Generation, SourceError> {
        generation.next(seen).map_err(|e| self.broken(e))
    }

    fn seen_on_disk(&self) -> Result<SeenGeneration, SourceError> {
        let record = read_private(&self.record_path(), MAX_RECORD)?;
        Ok(record.map_or(SeenGeneration::Nothing, |text| SeenGeneration::parse(text.expose())))
    }

    fn record_path(&self) -> PathBuf {
        self.beside(".seen")
    }

    /// The path of a file of this one's.
    fn beside(&self, ending: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(ending);
        path.into()
    }

    /// Held by whoever reads in order to write: of two, the second reads what the first wrote.
    fn write_lock(&self) -> Result<File, SourceError> {
        let path = self.beside(".lock");
        let turn = || {
            make_folder(&path)?;
            let turn = disk::turn(&path)?;
            disk::sweep(&self.path)?;
            disk::sweep(&self.record_path())?;
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
            (VaultError::NoVault, _) => {
                "restore it from a backup, or move it away and make one with 'locum vault init'"
            }
            (VaultError::RolledBack { .. } | VaultError::Unrecorded { .. } | VaultError::ForeignRecord, _) => {
                "if you restored or moved it, run 'locum vault accept'; if not, restore the newest copy, and see who can write to \
                 its folder"
            }
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
