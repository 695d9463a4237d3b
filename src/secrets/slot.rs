//! One named secret of locum's own in a store of this machine, such as its CA or a signing seed: which store has it, and
//! which is to.

use super::backends::SecretBackends;
use super::source::SourceError;
use super::store::Store;
use crate::disk;
use crate::memory::Plaintext;
use std::path::Path;
use std::sync::Arc;

/// A name in a store, and what is kept there.
pub struct SecretSlot {
    store: Arc<dyn Store>,
    name: &'static str,
}

impl SecretSlot {
    /// The store, as errors and tables say it.
    pub fn describe(&self) -> String {
        self.store.describe()
    }

    /// What is kept; `None` where nothing is.
    ///
    /// # Errors
    /// When the store can't be asked.
    pub fn get(&self) -> Result<Option<Plaintext>, SourceError> {
        self.store.get(self.name)
    }

    /// Keeps this in place of what is there.
    ///
    /// # Errors
    /// When it can't be kept; then what was there is.
    pub fn set(&self, value: &[u8]) -> Result<(), SourceError> {
        self.store.set(self.name, value)
    }

    /// What is kept, made and kept if there is nothing. `lock` is a file that processes which start at once share.
    ///
    /// # Errors
    /// When the store can't be read or written, or nothing can be made.
    pub fn get_or_make(
        &self,
        lock: &Path,
        make: impl FnOnce() -> Result<Plaintext, SourceError>,
    ) -> Result<Plaintext, SourceError> {
        let locked = |e| SourceError::new(format!("{}: {e}", lock.display()), "see that the folder can be written");
        let make = || {
            let made = make()?;
            self.set(made.expose()).map(|()| made)
        };
        disk::found_or_made(lock, locked, || self.get(), make)
    }
}

/// A search of this machine's stores for one name.
pub struct SlotSearch {
    /// In the first store that has it.
    pub holder: Option<SecretSlot>,
    /// In the first one that works and hasn't.
    free: Option<SecretSlot>,
    /// Why the first one that is there could not be asked: it may have it.
    unasked: Option<SourceError>,
}

impl SlotSearch {
    /// Asks one store after the other, up to the first that has it.
    pub fn new(backends: &SecretBackends, name: &'static str) -> Self {
        let vault = backends.vault.clone().filter(|vault| vault.exists()).map(|vault| vault as Arc<dyn Store>);
        let mut search = Self { holder: None, free: None, unasked: None };
        for store in [backends.keyring.clone(), vault, backends.machine.clone()].into_iter().flatten() {
            match store.get(name) {
                Ok(Some(_)) => {
                    search.holder = Some(SecretSlot { store, name });
                    break;
                }
                Ok(None) => search.free = search.free.or(Some(SecretSlot { store, name })),
                // a keyring that nobody runs has nothing
                Err(why) if store.is_there() => search.unasked = search.unasked.or(Some(why)),
                Err(_) => {}
            }
        }
        search
    }

    /// Where it is, or is to be; `None` where no store works. `what` it is, for a warning. Only for what there may be two of,
    /// since one that can't be asked may have another.
    pub fn anywhere(self, what: &str) -> Option<SecretSlot> {
        let used = self.holder.or(self.free)?;
        if let Some(why) = &self.unasked {
            tracing::warn!("{why}, so the {} is used for {what}", used.describe());
        }
        Some(used)
    }

    /// The same for what there is only one of: nothing is made while a store that may have it can't be asked.
    ///
    /// # Errors
    /// Why such a store can't be asked.
    pub fn for_sure(self, what: &str) -> Result<Option<SecretSlot>, SourceError> {
        match (&self.holder, self.unasked) {
            (None, Some(why)) => Err(why),
            (_, unasked) => Ok(Self { unasked, ..self }.anywhere(what)),
        }
    }
}
