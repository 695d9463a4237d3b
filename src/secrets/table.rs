//! The table of keys: each with its source and its sealed value. The ones before it, still to be scrubbed, are its past.

use super::past::{MAX_VALUES, Past};
use super::{Freshness, SecretError, Source, SourceError};
use crate::memory::{Plaintext, Sealed};
use crate::name::KeyName;
use crate::policy::Permit;
use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;

/// How often a source is asked whether its value changed: a rotation is in use a second later.
const CHECK_EVERY: Duration = Duration::from_millis(900);
/// A source that keeps failing is asked by itself every minute at last.
const MAX_DOUBLINGS: u32 = 6;

/// No key has it.
const NO_GENERATION: u64 = u64::MAX;

/// A key and where its value comes from.
#[derive(Clone)]
pub struct KeySource {
    pub name: KeyName,
    pub source: Arc<dyn Source>,
}

/// The keys of one set of settings: a request gets those that belong to the rules it was judged by, whatever a reload has
/// brought since.
#[derive(Clone, Default)]
pub struct Table(Arc<HashMap<KeyName, Arc<Entry>, RandomState>>);

/// All keys of the process.
pub struct Secrets {
    table: ArcSwap<HashMap<KeyName, Arc<Entry>, RandomState>>,
    start: Instant,
    wiped: AtomicBool,
    /// How many entries were made: a key that is removed and added again gets generations of its own.
    made: AtomicU64,
    /// Of every key what its values were lately, also of those that are not listed any more: they may come back.
    pasts: std::sync::Mutex<HashMap<KeyName, Arc<Past>>>,
}

/// What one exchange may use and must hide, in the clear; wiped when the last holder drops it.
#[derive(Default)]
pub struct Keys(Vec<Held>);

struct Held {
    name: KeyName,
    value: Result<Arc<Plaintext>, SecretError>,
    older: Vec<Arc<Plaintext>>,
    /// Of the value, as [`Secrets::generation`] tells it.
    generation: u64,
}

/// What is known of one key, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    pub name: KeyName,
    pub source: String,
    /// `…` and the last four characters, from 20 on; shorter ones are shown as `…` alone.
    pub masked: Result<String, SecretError>,
}

impl Secrets {
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
    pub fn reload(&self, keys: impl IntoIterator<Item = KeySource>) -> Table {
        let mut pasts = self.pasts();
        let before = self.table.load();
        let fresh = || State { generation: self.made.fetch_add(1, Ordering::Relaxed) << 32, ..State::default() };
        let entry = |k: KeySource| {
            let state = before.get(&k.name).map_or_else(fresh, |e| e.state.load().stale());
            let past = pasts.entry(k.name.clone()).or_default().clone();
            (k.name.clone(), Arc::new(Entry::new(k, state, past)))
        };
        let table = Table(Arc::new(keys.into_iter().map(entry).collect()));
        for gone in before.values().filter(|e| !table.0.contains_key(&e.key.name)) {
            gone.state.load().value.iter().for_each(|value| gone.past.note(value, self.now()));
        }
        self.table.store(table.0.clone());
        self.wiped.store(false, Ordering::SeqCst);
        table
    }

    /// The keys as they were last listed.
    pub fn table(&self) -> Table {
        Table(self.table.load_full())
    }

    /// Drops every value, and gives none out until the next `reload`.
    pub fn wipe(&self) {
        self.wiped.store(true, Ordering::SeqCst);
        self.table.load().values().for_each(|entry| entry.forget());
        self.pasts().values().for_each(|past| past.clear());
    }

    fn pasts(&self) -> MutexGuard<'_, HashMap<KeyName, Arc<Past>>> {
        self.pasts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens what the permit names. A key that the head needs and that can't be had is an error; one that the body
    /// could hold, or that is only to be hidden in the answer, says so in `Keys::missing`.
    ///
    /// While the values are fresh this never waits.
    pub async fn open(&self, table: &Table, permit: &Permit) -> Result<Keys, SecretError> {
        let mut keys = Keys(Vec::with_capacity(permit.keys().len() + permit.scrub().len()));
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
    pub async fn open_to_hide(&self, table: &Table, names: &[KeyName]) -> Keys {
        let mut keys = Keys(Vec::with_capacity(names.len()));
        for name in names {
            self.try_add(table, &mut keys, name).await;
        }
        keys
    }

    async fn add(&self, table: &Table, keys: &mut Keys, name: &KeyName) -> Result<(), SecretError> {
        self.try_add(table, keys, name).await;
        keys.missing(name).map_or(Ok(()), |e| Err(e.clone()))
    }

    async fn try_add(&self, table: &Table, keys: &mut Keys, name: &KeyName) {
        if keys.held(name).is_none() {
            keys.0.push(self.hold(table, name).await);
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
        let works = |entry: &Arc<Entry>| entry.state.load().failed.is_none();
        self.is_current(name, generation) && table.get(name).is_some_and(works)
    }

    /// The same, to hide it: a source that fails is not asked for each piece of an answer, as long as a value is known.
    pub fn is_known(&self, name: &KeyName, generation: u64) -> bool {
        let table = self.table.load();
        let rests = |entry: &Arc<Entry>| {
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
        // side by side, so that one that hangs holds up no other; what fails here is reported when the key is asked for
        let mut asking: Vec<_> = due.map(|entry| Box::pin(self.current(entry))).collect();
        std::future::poll_fn(|cx| {
            asking.retain_mut(|answer| answer.as_mut().poll(cx).is_pending());
            if asking.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Every key by name, each asked for if it wasn't yet.
    pub async fn survey(&self) -> Vec<Survey> {
        let table = self.table();
        let mut entries: Vec<&Arc<Entry>> = table.0.values().collect();
        entries.sort_by(|a, b| a.key.name.cmp(&b.key.name));
        let mut all = Vec::with_capacity(entries.len());
        for entry in entries {
            let name = entry.key.name.clone();
            let masked = self.hold(&table, &name).await.value.map(|v| mask(v.expose()));
            all.push(Survey { name, source: entry.key.source.describe(), masked });
        }
        all
    }

    async fn hold(&self, table: &Table, name: &KeyName) -> Held {
        let nothing =
            |e| Held { name: name.clone(), value: Err(e), older: Vec::new(), generation: self.generation(name) };
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
    async fn current(&self, entry: &Arc<Entry>) -> Result<Arc<State>, SecretError> {
        let flight = entry.flight.clone().lock_owned().await;
        self.not_wiped(entry)?;
        let state = entry.state.load_full();
        let now = self.now();
        if state.is_fresh(now) {
            return Ok(state);
        }
        let asked = entry.clone();
        let answer = tokio::task::spawn_blocking(move || asked.ask(now, flight)).await;
        let state = answer.map_err(|e| SecretError::Source {
            key: entry.key.name.clone(),
            error: SourceError::new(format!("asking {} broke off: {e}", entry.key.source.describe()), "try again"),
        })?;
        // a wipe while the source was asked wins, however late the answer
        self.not_wiped(entry).inspect_err(|_| entry.forget())?;
        Ok(state)
    }

    fn not_wiped(&self, entry: &Entry) -> Result<(), SecretError> {
        if self.wiped.load(Ordering::SeqCst) { Err(SecretError::Wiped(entry.key.name.clone())) } else { Ok(()) }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Keys {
    /// The key's value; `None` where it was not asked for or can't be had.
    pub fn get(&self, name: &KeyName) -> Option<&Arc<Plaintext>> {
        self.held(name)?.value.as_ref().ok()
    }

    /// Which of the key's values it is, as [`Secrets::generation`] tells: of a key that was not asked for none.
    pub fn generation(&self, name: &KeyName) -> u64 {
        self.held(name).map_or(NO_GENERATION, |held| held.generation)
    }

    /// Why a key that was asked for can't be had.
    pub fn missing(&self, name: &KeyName) -> Option<&SecretError> {
        self.held(name)?.value.as_ref().err()
    }

    /// A key that may be there, and of which no value is known to hide: what answers could show it.
    pub fn unhidden(&self) -> Option<&SecretError> {
        let exposed = self.0.iter().filter(|held| held.older.is_empty());
        let mut errors = exposed.filter_map(|held| held.value.as_ref().err());
        errors.find(|e| !matches!(e, SecretError::Absent { .. }))
    }

    /// Every value to be hidden, old ones too.
    pub fn iter(&self) -> impl Iterator<Item = (&KeyName, &Arc<Plaintext>)> {
        self.0.iter().flat_map(|h| h.value.iter().chain(&h.older).map(|v| (&h.name, v)))
    }

    fn held(&self, name: &KeyName) -> Option<&Held> {
        self.0.iter().find(|h| h.name == *name)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|h| &h.name)).finish()
    }
}

struct Entry {
    key: KeySource,
    state: ArcSwap<State>,
    past: Arc<Past>,
    /// Held while the source is asked: all others wait for that one answer.
    flight: Arc<Mutex<()>>,
}

/// What was last learned from the source. Replaced whole, so that readers take no lock.
#[derive(Clone, Default)]
struct State {
    /// Whether the source ever was.
    asked: bool,
    /// The last value that was had, and still is unless `failed`.
    value: Option<Arc<Sealed>>,
    failed: Option<SecretError>,
    generation: u64,
    freshness: Freshness,
    loaded: Duration,
    /// Until then nothing needs to be asked.
    fresh_until: Duration,
    /// How often in a row the source has failed.
    failures: u32,
}

impl Entry {
    fn new(key: KeySource, state: State, past: Arc<Past>) -> Self {
        Self { key, state: ArcSwap::from_pointee(state), past, flight: Arc::default() }
    }

    /// Keeps nothing of what is known.
    fn forget(&self) {
        self.state.rcu(|s| State { generation: s.generation + 1, ..State::default() });
        self.past.clear();
    }

    /// Asks the source whether there is something new, and for it. Blocks.
    fn ask(&self, now: Duration, _flight: OwnedMutexGuard<()>) -> Arc<State> {
        let before = self.state.load_full();
        let freshness = self.key.source.freshness();
        let next = if before.holds_under(freshness, now) {
            State { fresh_until: now + CHECK_EVERY, ..(*before).clone() }
        } else {
            before.after(self, freshness, now)
        };
        let next = Arc::new(next);
        // A wipe meanwhile wins: what was loaded under the state before it is dropped.
        let seen = self.state.compare_and_swap(&before, next.clone());
        if !Arc::ptr_eq(&seen, &before) {
            return self.state.load_full();
        }
        if next.generation != before.generation || before.value.is_none() {
            [&before.value, &next.value].into_iter().flatten().for_each(|value| self.past.note(value, now));
        }
        next
    }

    /// Why a value can't be used: what hides the old ones is full, and none is forgotten before its time.
    fn no_room(&self) -> SecretError {
        let what = format!("it changes too often for its old values to be hidden ({MAX_VALUES} or 1 MiB at most)");
        let next = "change it less often: each value is hidden for a quarter of an hour after its use";
        SecretError::Source { key: self.key.name.clone(), error: SourceError::new(what, next) }
    }
}

impl State {
    fn is_fresh(&self, now: Duration) -> bool {
        self.asked && now < self.fresh_until
    }

    /// Whether it is time to ask by itself, without anybody who waits for the key: a source that keeps failing is left
    /// alone for longer and longer, since it may cost a prompt or a second of work each time.
    fn is_due(&self, now: Duration) -> bool {
        let rest = CHECK_EVERY.saturating_mul(1 << self.failures.min(MAX_DOUBLINGS)) - CHECK_EVERY;
        self.asked && now >= self.fresh_until.saturating_add(rest)
    }

    /// Whether the value that is here is still the source's. One that failed is always asked again.
    fn holds_under(&self, freshness: Freshness, now: Duration) -> bool {
        let alive = freshness.lifetime.is_none_or(|l| now < self.loaded.saturating_add(l));
        self.asked && self.failed.is_none() && self.freshness == freshness && alive
    }

    /// The same, to be loaded again.
    fn stale(&self) -> Self {
        State { asked: false, ..self.clone() }
    }

    /// What follows once the source was asked for the value.
    fn after(&self, entry: &Entry, freshness: Freshness, now: Duration) -> State {
        let Entry { key, past, .. } = entry;
        let mut next = State { asked: true, failed: None, failures: 0, freshness, loaded: now, ..self.clone() };
        next.fresh_until = now + CHECK_EVERY;
        match key.source.load() {
            // The key may be there all the same: connections that carried it stay.
            Err(error) => {
                next.failed = Some(SecretError::Source { key: key.name.clone(), error });
                next.failures = self.failures.saturating_add(1);
            }
            Ok(None) => {
                next.replace(None, self.asked);
                next.failed = Some(SecretError::Absent { key: key.name.clone(), looked: key.source.describe() });
            }
            Ok(Some(value)) if next.is(&value) => {}
            Ok(Some(value)) => match past.known(&value) {
                Some(known) => next.replace(Some(known), self.asked),
                None if past.has_room(value.expose().len(), now) => {
                    next.replace(Some(Arc::new(Sealed::seal(value))), self.asked);
                }
                None => {
                    next.failed = Some(entry.no_room());
                    next.failures = self.failures.saturating_add(1);
                }
            },
        }
        next
    }

    fn is(&self, value: &Plaintext) -> bool {
        self.value.as_ref().and_then(|v| v.open().ok()).is_some_and(|v| v.expose() == value.expose())
    }

    /// `was_asked`: somebody may have been told that there is none.
    fn replace(&mut self, value: Option<Arc<Sealed>>, was_asked: bool) {
        let is_new = value.is_some() && was_asked;
        if std::mem::replace(&mut self.value, value).is_some() || is_new {
            self.generation += 1;
        }
    }

    fn hold(&self, name: &KeyName, past: &Past, now: Duration) -> Held {
        let mut older = past.opened(self.value.as_ref(), now);
        let current = self.value.as_ref().map(|v| v.open().map(Arc::new));
        let value = match (&self.failed, current) {
            (None, Some(Ok(value))) => Ok(value),
            (None, _) => Err(SecretError::Wiped(name.clone())),
            (Some(e), current) => {
                older.extend(current.and_then(Result::ok));
                Err(e.clone())
            }
        };
        Held { name: name.clone(), value, older, generation: self.generation }
    }
}

/// Enough to tell two keys apart, too little to use.
fn mask(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let count = text.chars().count();
    if count < 20 { "…".into() } else { format!("…{}", text.chars().skip(count - 4).collect::<String>()) }
}

#[cfg(test)]
mod tests;
