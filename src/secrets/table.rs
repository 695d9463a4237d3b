//! The table of keys: each with its source and its sealed value. The ones before it, still to be scrubbed, are its past.

use super::entry::{KeyEntry, KeySource, SourceState};
use super::error::SecretError;
use super::keys::{Keys, NO_GENERATION, OpenedKey};
use super::past::PastValues;
use super::source::SourceError;
use crate::name::KeyName;
use crate::policy::Permit;
use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;

/// The keys of one set of settings: a request gets those that belong to the rules it was judged by, whatever a reload has
/// brought since.
#[derive(Clone, Default)]
pub struct KeyTable(Arc<HashMap<KeyName, Arc<KeyEntry>, RandomState>>);

/// All keys of the process.
pub struct Secrets {
    table: ArcSwap<HashMap<KeyName, Arc<KeyEntry>, RandomState>>,
    start: Instant,
    wiped: AtomicBool,
    /// How many entries were made: a key that is removed and added again gets generations of its own.
    made: AtomicU64,
    /// Of every key what its values were lately, also of those that are not listed any more: they may come back.
    pasts: std::sync::Mutex<HashMap<KeyName, Arc<PastValues>>>,
}

/// A key as tables show it, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySurvey {
    /// The key's name.
    pub name: KeyName,
    /// Its source, as tables say it.
    pub source: String,
    /// `…` and the last four characters, from 20 on; shorter ones are shown as `…` alone.
    pub masked: Result<String, SecretError>,
}

impl Secrets {
    /// A table of these keys, none of which has been asked for.
    pub fn new(keys: impl IntoIterator<Item = KeySource>) -> Self {
        let secrets = Self {
            table: ArcSwap::default(),
            start: Instant::now(),
            wiped: AtomicBool::new(false),
            made: 0.into(),
            pasts: std::sync::Mutex::default(),
        };
        secrets.reload(keys);
        secrets
    }

    /// Takes a new list of keys, and loads every value again when it is next asked for. Old values of a key that
    /// stays, or comes back, are scrubbed for a while.
    pub fn reload(&self, keys: impl IntoIterator<Item = KeySource>) -> KeyTable {
        let mut pasts = self.pasts();
        let before = self.table.load();
        let fresh = || SourceState::new(self.made.fetch_add(1, Ordering::Relaxed) << 32);
        let entry = |k: KeySource| {
            let state = before.get(&k.name).map_or_else(fresh, |e| e.state.load().stale());
            let past = pasts.entry(k.name.clone()).or_default().clone();
            (k.name.clone(), Arc::new(KeyEntry::new(k, state, past)))
        };
        let table = KeyTable(Arc::new(keys.into_iter().map(entry).collect()));
        for gone in before.values().filter(|e| !table.0.contains_key(&e.key.name)) {
            gone.state.load().value.iter().for_each(|value| gone.past.note(value, self.now()));
        }
        self.table.store(table.0.clone());
        self.wiped.store(false, Ordering::SeqCst);
        table
    }

    /// The keys as they were last listed.
    pub fn table(&self) -> KeyTable {
        KeyTable(self.table.load_full())
    }

    /// Drops every value, and gives none out until the next `reload`.
    pub fn wipe(&self) {
        self.wiped.store(true, Ordering::SeqCst);
        self.table.load().values().for_each(|entry| entry.forget());
        self.pasts().values().for_each(|past| past.clear());
    }

    fn pasts(&self) -> MutexGuard<'_, HashMap<KeyName, Arc<PastValues>>> {
        self.pasts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens what the permit names. A key that the head needs and that can't be had is an error; one that the body
    /// could hold, or that is only to be hidden in the answer, says so in `Keys::missing`.
    ///
    /// While the values are fresh this never waits.
    pub async fn open(&self, table: &KeyTable, permit: &Permit) -> Result<Keys, SecretError> {
        let in_body = permit.body().iter().map(|grant| &grant.rule);
        let named = permit.keys().iter().chain(in_body.chain(permit.scrub()).map(|rule| &rule.name));
        self.ask_for(table, named).await;
        let mut keys = Keys::with_capacity(permit.keys().len() + permit.scrub().len());
        for name in permit.keys() {
            self.add(table, &mut keys, name).await?;
        }
        for grant in permit.body() {
            self.try_add(table, &mut keys, &grant.rule.name).await;
        }
        for rule in permit.scrub() {
            self.try_add(table, &mut keys, &rule.name).await;
        }
        Ok(keys)
    }

    /// Opens what is only to be hidden in an answer. What can't be had is told by [`Keys::unhidden`].
    pub async fn open_to_hide(&self, table: &KeyTable, names: &[KeyName]) -> Keys {
        self.ask_for(table, names.iter()).await;
        let mut keys = Keys::with_capacity(names.len());
        for name in names {
            self.try_add(table, &mut keys, name).await;
        }
        keys
    }

    /// Asks for all of these keys side by side, where it is time to: a slow source holds up none of the others.
    async fn ask_for<'n>(&self, table: &KeyTable, names: impl Iterator<Item = &'n KeyName>) {
        let now = self.now();
        let stale = |entry: &&Arc<KeyEntry>| !entry.state.load().is_fresh(now);
        let mut entries: Vec<_> = names.filter_map(|name| table.0.get(name)).filter(stale).collect();
        if entries.len() > 1 && !self.wiped.load(Ordering::SeqCst) {
            entries.sort_by(|a, b| a.key.name.cmp(&b.key.name));
            entries.dedup_by(|a, b| Arc::ptr_eq(a, b));
            self.side_by_side(entries.into_iter()).await;
        }
    }

    /// Asks the sources of all of these, each of which may hang. What fails is told whoever asks for the key then.
    async fn side_by_side<'e>(&self, entries: impl Iterator<Item = &'e Arc<KeyEntry>>) {
        let mut asking: Vec<_> = entries.map(|entry| Box::pin(self.current(entry))).collect();
        std::future::poll_fn(|cx| {
            asking.retain_mut(|answer| answer.as_mut().poll(cx).is_pending());
            if asking.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    async fn add(&self, table: &KeyTable, keys: &mut Keys, name: &KeyName) -> Result<(), SecretError> {
        self.try_add(table, keys, name).await;
        keys.missing(name).map_or(Ok(()), |e| Err(e.clone()))
    }

    async fn try_add(&self, table: &KeyTable, keys: &mut Keys, name: &KeyName) {
        if !keys.has(name) {
            keys.push(self.hold(table, name).await);
        }
    }

    /// A number that changes whenever the key's value does, or the key is removed or wiped: what carried it under another
    /// number is to be closed.
    pub fn generation(&self, name: &KeyName) -> u64 {
        self.table.load().get(name).map_or(NO_GENERATION, |e| e.state.load().generation)
    }

    /// Whether the value of this generation may be used without asking for it again: it is known to have been the source's
    /// a moment ago.
    pub fn is_current(&self, name: &KeyName, generation: u64) -> bool {
        let table = self.table.load();
        let Some(entry) = table.get(name) else { return false };
        let state = entry.state.load();
        !self.wiped.load(Ordering::SeqCst) && state.generation == generation && state.is_fresh(self.now())
    }

    /// The same, to put it into a request: a source that fails may have taken it back.
    pub fn may_be_used(&self, name: &KeyName, generation: u64) -> bool {
        let table = self.table.load();
        let works = |entry: &Arc<KeyEntry>| entry.state.load().failed.is_none();
        self.is_current(name, generation) && table.get(name).is_some_and(works)
    }

    /// The same, to hide it: a source that fails is not asked for each piece of an answer, as long as a value is known.
    pub fn is_known(&self, name: &KeyName, generation: u64) -> bool {
        let table = self.table.load();
        let rests = |entry: &Arc<KeyEntry>| {
            let state = entry.state.load();
            state.generation == generation
                && state.failed.is_some()
                && state.value.is_some()
                && !state.is_due(self.now())
        };
        self.is_current(name, generation) || !self.wiped.load(Ordering::SeqCst) && table.get(name).is_some_and(rests)
    }

    /// Asks every source that may have something new. For a timer, so that keys that nobody uses are noticed as well.
    pub async fn refresh(&self) {
        let now = self.now();
        let table = self.table.load_full();
        // one that an entry holds may yet get values
        self.pasts().retain(|_, past| past.tidy(now) || Arc::strong_count(past) > 1);
        let due = table.values().filter(|entry| entry.state.load().is_due(now));
        self.side_by_side(due).await;
    }

    /// Every key by name, each asked for if it wasn't yet.
    pub async fn survey(&self) -> Vec<KeySurvey> {
        let table = self.table();
        let mut entries: Vec<&Arc<KeyEntry>> = table.0.values().collect();
        entries.sort_by(|a, b| a.key.name.cmp(&b.key.name));
        let mut all = Vec::with_capacity(entries.len());
        for entry in entries {
            let name = entry.key.name.clone();
            let masked = self.hold(&table, &name).await.value.map(|v| masked(v.expose()));
            all.push(KeySurvey { name, source: entry.key.source.describe(), masked });
        }
        all
    }

    async fn hold(&self, table: &KeyTable, name: &KeyName) -> OpenedKey {
        let nothing =
            |e| OpenedKey { name: name.clone(), value: Err(e), older: Vec::new(), generation: self.generation(name) };
        if self.wiped.load(Ordering::SeqCst) {
            return nothing(SecretError::Wiped(name.clone()));
        }
        let Some(entry) = table.0.get(name) else { return nothing(SecretError::Unknown(name.clone())) };
        let (state, now) = (entry.state.load(), self.now());
        if state.is_fresh(now) {
            return state.hold(name, &entry.past, now);
        }
        drop(state);
        match self.current(entry).await {
            Ok(state) => state.hold(name, &entry.past, self.now()),
            Err(e) => nothing(e),
        }
    }

    /// The state after its source was asked, if it is time to.
    async fn current(&self, entry: &Arc<KeyEntry>) -> Result<Arc<SourceState>, SecretError> {
        let flight = entry.flight.clone().lock_owned().await;
        self.not_wiped(entry)?;
        let state = entry.state.load_full();
        if state.is_fresh(self.now()) {
            return Ok(state);
        }
        let (asked, start) = (entry.clone(), self.start);
        let answer = tokio::task::spawn_blocking(move || asked.ask(|| start.elapsed(), flight)).await;
        let state = answer.map_err(|e| SecretError::Source {
            key: entry.key.name.clone(),
            error: SourceError::new(format!("asking {} broke off: {e}", entry.key.source.describe()), "try again"),
        })?;
        // a wipe while the source was asked wins, however late the answer
        self.not_wiped(entry).inspect_err(|_| entry.forget())?;
        Ok(state)
    }

    fn not_wiped(&self, entry: &KeyEntry) -> Result<(), SecretError> {
        if self.wiped.load(Ordering::SeqCst) { Err(SecretError::Wiped(entry.key.name.clone())) } else { Ok(()) }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Enough to tell two keys apart, too little to use: the last four characters, from 20 on.
pub fn masked(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let count = text.chars().count();
    if count < 20 { "…".into() } else { format!("…{}", text.chars().skip(count - 4).collect::<String>()) }
}

#[cfg(test)]
mod tests;
