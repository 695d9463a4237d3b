//! The keys that a body may need: which of them may go where, how often, and what has been used. It finds and writes nothing.

use super::escape::{EscapeStyle, UnwritableValue};
use super::location::Location;
use crate::memory::Plaintext;
use crate::name::KeyName;
use crate::place::Place;
use crate::record::KeyUse;
use crate::rewrite::finder::PlaceholderHit;
use bytes::Bytes;
use std::sync::Arc;

/// A key that policy allows in the body of this request.
#[derive(Debug, Clone)]
pub struct BodyKey {
    /// The key.
    pub key: KeyName,
    /// `None` where it can't be had: that matters only once the key is asked for.
    pub value: Option<Arc<Plaintext>>,
    /// Those of its places that are in bodies.
    pub places: Vec<Place>,
    /// How often, in this body.
    pub max_uses: u32,
}

/// A fault by which a body can't go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// `max_uses` of the binding is spent.
    #[error("the body uses key '{key}' more than {max} times")]
    TooManyUses {
        /// The key.
        key: KeyName,
        /// The uses that were left to this body.
        max: u32,
    },
    /// No source has the value, or it was wiped.
    #[error("the value of key '{key}' can't be had")]
    Unavailable {
        /// The key.
        key: KeyName,
    },
    /// The value would break out of its place.
    #[error(transparent)]
    Unwritable(#[from] UnwritableValue),
    /// Its flag says that it is compressed (gRPC over HTTP2, "Length-Prefixed-Message").
    #[error("a compressed gRPC message can't be searched for placeholders")]
    CompressedMessage,
    /// It is held as a whole, so there is a bound to it, in bytes.
    #[error("a gRPC message of {length} bytes is longer than the {max} that can be searched for placeholders")]
    LongMessage {
        /// The length that its prefix tells, in bytes.
        length: u64,
        /// The longest that is searched, in bytes.
        max: usize,
    },
    /// A content coding can't be opened or closed.
    #[error(transparent)]
    Coding(#[from] crate::rewrite::coding::CodingError),
}

/// The uses of keys in one body: how many there were, and how many are left.
#[derive(Debug)]
pub(crate) struct UsageLedger {
    keys: Vec<BodyKey>,
    /// For each key.
    spent: Vec<u32>,
    /// Whether each key is to be asked for again before it is used.
    doubted: Vec<bool>,
    /// The one that is, where the body waits for it.
    wanted: Option<KeyName>,
    uses: Vec<KeyUse>,
    kept: u64,
}

impl UsageLedger {
    /// Nothing is used yet.
    pub fn new(keys: Vec<BodyKey>) -> Self {
        let (spent, doubted) = (vec![0; keys.len()], vec![false; keys.len()]);
        Self { keys, spent, doubted, wanted: None, uses: Vec::new(), kept: 0 }
    }

    /// The places of all keys.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.keys.iter().flat_map(|k| &k.places)
    }

    /// Which keys were written where, in the order of their first use.
    pub fn uses(&self) -> &[KeyUse] {
        &self.uses
    }

    /// How many placeholders were left as they are.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// Says of each key whether it is to be asked for again before its next use.
    pub fn doubt(&mut self, is_doubtful: impl Fn(&KeyName) -> bool) {
        let keys = self.keys.iter().zip(&mut self.doubted);
        keys.for_each(|(key, doubted)| *doubted = is_doubtful(&key.key));
    }

    /// Whether some key is to be asked for again.
    pub fn has_doubts(&self) -> bool {
        self.doubted.contains(&true)
    }

    /// The key that a body waits for.
    pub fn wanted(&self) -> Option<&BodyKey> {
        let wanted = self.wanted.as_ref()?;
        self.keys.iter().find(|key| key.key == *wanted)
    }

    /// What a key is now: what was used of it before counts on.
    pub fn renew(&mut self, renewed: BodyKey) {
        self.wanted = None;
        let keys = self.keys.iter_mut().zip(&mut self.doubted);
        if let Some((key, doubted)) = keys.into_iter().find(|(key, _)| key.key == renewed.key) {
            (*key, *doubted) = (renewed, false);
        }
    }

    /// Whether the placeholder at this location has to wait, since its key is to be asked for again.
    pub fn must_wait(&mut self, hit: &PlaceholderHit, location: &Location) -> bool {
        let index = self.keys.iter().position(|k| Some(&k.key) == hit.key.as_ref());
        let key = index.filter(|i| self.doubted.get(*i) == Some(&true)).and_then(|i| self.keys.get(i));
        let Some(key) = key.filter(|key| allowed(key, location).is_some()) else { return false };
        self.wanted = Some(key.key.clone());
        true
    }

    /// A placeholder stays as it is.
    pub fn keep(&mut self) {
        self.kept += 1;
    }

    /// What to write for a placeholder at this location; `None` is to leave it.
    pub fn settle(&mut self, hit: &PlaceholderHit, location: &Location) -> Result<Option<Bytes>, BodyFault> {
        let index = self.keys.iter().position(|k| Some(&k.key) == hit.key.as_ref());
        let Some((key, spent)) = index.and_then(|i| Some((self.keys.get(i)?, self.spent.get_mut(i)?))) else {
            self.keep();
            return Ok(None);
        };
        let Some(place) = allowed(key, location) else {
            self.keep();
            return Ok(None);
        };
        if *spent >= key.max_uses {
            return Err(BodyFault::TooManyUses { key: key.key.clone(), max: key.max_uses });
        }
        let value = key.value.as_ref().ok_or_else(|| BodyFault::Unavailable { key: key.key.clone() })?;
        let escape = match location.escape {
            EscapeStyle::Plain if *place == Place::Ws => EscapeStyle::Text,
            escape => escape,
        };
        let written = escape.write(value.expose()).map_err(|why| UnwritableValue {
            key: key.key.clone(),
            place: place.clone(),
            why,
        })?;
        *spent += 1;
        match self.uses.iter_mut().find(|u| u.key == key.key && u.place == *place) {
            Some(used) => used.count += 1,
            None => self.uses.push(KeyUse { key: key.key.clone(), place: place.clone(), count: 1 }),
        }
        Ok(Some(written))
    }
}

/// The narrowest of a key's places that covers the location.
fn allowed<'k>(key: &'k BodyKey, location: &Location) -> Option<&'k Place> {
    let narrow = |place: &&Place| match place {
        Place::BodyPointer(pointer) => location.whole && location.pointer == Some(pointer),
        Place::BodyField(field) => location.whole && location.field.as_deref() == Some(field.as_bytes()),
        _ => false,
    };
    key.places
        .iter()
        .find(narrow)
        .or_else(|| key.places.iter().find(|p| **p == Place::Body && location.whole))
        .or_else(|| key.places.iter().find(|p| **p == Place::BodyAny))
        .or_else(|| key.places.iter().find(|p| **p == Place::Ws && location.in_message()))
}
