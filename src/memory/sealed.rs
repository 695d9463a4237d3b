//! Secrets at rest: in secret memory where the system has it, else encrypted under a key made for this process.
//! Who may open them, and for how long, is the caller's business.
#![allow(unsafe_code, reason = "keeps the cipher's state inside hidden pages, and wipes the stack")]

use super::pages::{HEAD, LEN, Pages, Protection};
use super::plaintext::Plaintext;
use super::wiping::{wipe, wipe_raw};
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use std::fmt;
use std::mem::{MaybeUninit, align_of, size_of};
use std::sync::{LazyLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use zeroize::Zeroizing;

// The cipher's state, with its expanded key, has the head of the pages; slots fill the rest.
const SLOT: usize = 128;
const SLOTS: usize = (LEN - HEAD) / SLOT;
/// A longer secret is encrypted instead, so that one alone can't fill the slots.
const MAX_IN_SLOTS: usize = 2048;
/// A cipher leaves round keys in its frames, from which the key can be had; wiping this much below them leaves none.
const STACK: usize = 32 * 1024;

const _: () = assert!(size_of::<Aes256Gcm>() <= HEAD && align_of::<Aes256Gcm>() <= 4096);
const _: () = assert!(SLOTS <= 128);

static STORE: LazyLock<SealedStore> = LazyLock::new(|| SealedStore::new(Protection::Secret));

/// A secret at rest. It can be opened as often as needed until everything is wiped; dropping it wipes it alone.
pub struct Sealed {
    store: &'static SealedStore,
    epoch: u64,
    len: usize,
    place: SealedPlace,
}

enum SealedPlace {
    /// The first of the slots that hold it in the clear, in secret memory.
    Slots(usize),
    Encrypted {
        nonce: u64,
        tag: [u8; 16],
        text: Box<[u8]>,
    },
}

/// A sealed secret that can't be opened any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnsealError {
    /// Everything was wiped since it was sealed.
    #[error("it was wiped from memory")]
    Wiped,
    /// Its bytes or their tag were changed.
    #[error("its memory was damaged")]
    Damaged,
}

/// How secrets are kept here.
pub fn protection() -> Protection {
    STORE.read().pages.protection
}

/// Wipes every sealed secret of the process. What is sealed later can be opened again.
pub fn wipe_all() {
    STORE.wipe();
}

/// Wipes every sealed secret when it is dropped: the program holds it to its end, be that a panic. One that ends a task or a
/// thread alone costs nobody else a key.
#[derive(Debug)]
pub struct WipeAtEnd;

impl Drop for WipeAtEnd {
    fn drop(&mut self) {
        wipe_all();
    }
}

impl Sealed {
    /// Seals a secret, and wipes the bytes that it came in.
    pub fn seal(secret: Plaintext) -> Self {
        STORE.seal(secret)
    }

    /// A copy in the clear, which wipes itself.
    ///
    /// # Errors
    /// It was wiped or damaged.
    pub fn open(&self) -> Result<Plaintext, UnsealError> {
        // Allocated before the lock, so that nothing under it can panic.
        let mut bytes = Zeroizing::new(vec![0; self.len]);
        let state = self.store.read();
        if state.epoch != self.epoch {
            return Err(UnsealError::Wiped);
        }
        match &self.place {
            SealedPlace::Slots(first) => state.copy_out(*first, &mut bytes)?,
            SealedPlace::Encrypted { nonce, tag, text } => {
                state.decrypt(*nonce, tag, text, &mut bytes)?;
                wipe_stack();
            }
        }
        Ok(Plaintext::from(bytes))
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        if let SealedPlace::Slots(first) = self.place {
            self.store.write().free(first, self.len);
        }
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}

/// All that is sealed. Opening shares the lock; sealing, dropping and wiping hold it alone, for a copy of some bytes.
struct SealedStore(RwLock<SealedState>);

struct SealedState {
    pages: Pages,
    /// Rises at each wipe: what was sealed before is gone.
    epoch: u64,
    /// Never used twice under one key.
    next_nonce: u64,
    /// One bit per slot.
    used: u128,
}

impl SealedStore {
    fn new(best: Protection) -> Self {
        let mut state = SealedState { pages: Pages::map(best), epoch: 0, next_nonce: 0, used: 0 };
        state.renew_cipher();
        wipe_stack();
        Self(RwLock::new(state))
    }

    fn seal(&'static self, secret: Plaintext) -> Sealed {
        let len = secret.expose().len();
        let mut state = self.write();
        if let Some(first) = state.copy_in(secret.expose()) {
            return Sealed { store: self, epoch: state.epoch, len, place: SealedPlace::Slots(first) };
        }
        drop(state);
        let mut text: Box<[u8]> = vec![0; len].into();
        let mut state = self.write();
        let nonce = state.next_nonce;
        state.next_nonce += 1;
        // without a tag it never opens: whoever wants it is told that it is damaged
        let tag = state.encrypt(nonce, secret.expose(), &mut text).unwrap_or_default();
        wipe_stack();
        Sealed { store: self, epoch: state.epoch, len, place: SealedPlace::Encrypted { nonce, tag, text } }
    }

    fn wipe(&self) {
        let mut state = self.write();
        state.epoch += 1;
        wipe(state.pages.rest_mut());
        state.renew_cipher();
        wipe_stack();
    }

    /// A panic elsewhere can't leave the state half changed, so a poisoned lock is taken as it is.
    fn read(&self) -> RwLockReadGuard<'_, SealedState> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, SealedState> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SealedState {
    /// The first of the slots that hold the secret now; `None` where it doesn't fit or the pages aren't secret.
    fn copy_in(&mut self, secret: &[u8]) -> Option<usize> {
        if self.pages.protection != Protection::Secret || secret.len() > MAX_IN_SLOTS {
            return None;
        }
        let first = (0..SLOTS).find(|i| run(*i, secret.len()).is_some_and(|run| self.used & run == 0))?;
        self.used |= run(first, secret.len())?;
        self.pages.rest_mut().get_mut(first * SLOT..)?.get_mut(..secret.len())?.copy_from_slice(secret);
        Some(first)
    }

    fn copy_out(&self, first: usize, to: &mut [u8]) -> Result<(), UnsealError> {
        let start = first * SLOT;
        let from = self.pages.rest().get(start..start + to.len()).ok_or(UnsealError::Damaged)?;
        to.copy_from_slice(from);
        Ok(())
    }

    fn free(&mut self, first: usize, len: usize) {
        if let Some(bytes) = self.pages.rest_mut().get_mut(first * SLOT..).and_then(|s| s.get_mut(..len)) {
            wipe(bytes);
        }
        if let Some(run) = run(first, len) {
            self.used &= !run;
        }
    }

    /// Takes a fresh random key; what was encrypted under the last one is lost.
    #[inline(never)]
    #[expect(clippy::expect_used, reason = "without randomness nothing here may go on")]
    fn renew_cipher(&mut self) {
        let mut key = Zeroizing::new([0; 32]);
        // a cipher whose key is known would hide nothing, and nothing here works without randomness
        getrandom::fill(&mut *key).expect("the system gives random numbers");
        // SAFETY: the head is aligned for the cipher and long enough, both asserted above, and `&mut self` keeps others
        // out. The old state needs no drop beyond being overwritten, and the zeros of a fresh page need none either.
        unsafe { self.pages.head().cast::<Aes256Gcm>().write(Aes256Gcm::new((&*key).into())) };
    }

    fn cipher(&self) -> &Aes256Gcm {
        // SAFETY: written by `renew_cipher` before the state is shared, and changed under `&mut self` only.
        unsafe { self.pages.head().cast().as_ref() }
    }

    #[inline(never)]
    fn encrypt(&self, nonce: u64, secret: &[u8], text: &mut [u8]) -> Option<[u8; 16]> {
        let buffer = InOutBuf::new(secret, text).ok()?;
        self.cipher().encrypt_inout_detached(&expand(nonce), b"", buffer).ok().map(Into::into)
    }

    #[inline(never)]
    fn decrypt(&self, nonce: u64, tag: &[u8; 16], text: &[u8], to: &mut [u8]) -> Result<(), UnsealError> {
        let buffer = InOutBuf::new(text, to).map_err(|_| UnsealError::Damaged)?;
        self.cipher().decrypt_inout_detached(&expand(nonce), b"", buffer, tag.into()).map_err(|_| UnsealError::Damaged)
    }
}

fn expand(nonce: u64) -> aes_gcm::Nonce<aes_gcm::aead::consts::U12> {
    let mut expanded = [0; 12];
    expanded[..8].copy_from_slice(&nonce.to_le_bytes());
    expanded.into()
}

/// The bits of the slots for `len` bytes from slot `first` on, where they exist; an empty secret has one too.
fn run(first: usize, len: usize) -> Option<u128> {
    let count = len.div_ceil(SLOT).max(1);
    if first + count > SLOTS {
        return None;
    }
    Some((u128::MAX >> (128 - count)) << first)
}

/// Overwrites the stack below the caller, where the frames of a cipher that it called were a moment ago.
#[inline(never)]
pub fn wipe_stack() {
    let mut below = MaybeUninit::<[u8; STACK]>::uninit();
    // SAFETY: a local of this length.
    unsafe { wipe_raw(below.as_mut_ptr().cast(), STACK) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keep(best: Protection) -> &'static SealedStore {
        Box::leak(Box::new(SealedStore::new(best)))
    }

    fn each() -> impl Iterator<Item = &'static SealedStore> {
        [Protection::Secret, Protection::Locked, Protection::Unlocked].into_iter().map(keep)
    }

    fn opened(bytes: &[u8]) -> Plaintext {
        Plaintext::new(bytes.to_vec())
    }

    #[test]
    fn what_was_sealed_opens_to_the_same_at_every_length() {
        for keep in each() {
            for len in [0, 1, 127, 128, 129, MAX_IN_SLOTS, MAX_IN_SLOTS + 1, 65536] {
                let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
                let sealed = keep.seal(opened(&bytes));
                assert_eq!(sealed.open().unwrap().expose(), bytes, "{len}");
                assert_eq!((sealed.len(), sealed.is_empty()), (len, len == 0));
            }
            assert_eq!(keep.read().used, 0, "every slot was given back");
        }
    }

    #[test]
    fn full_slots_overflow_into_encryption_and_come_free_again() {
        let keep = keep(Protection::Secret);
        if keep.read().pages.protection != Protection::Secret {
            return;
        }
        let many: Vec<Sealed> = (0..SLOTS + 3).map(|i| keep.seal(opened(format!("key {i}").as_bytes()))).collect();
        let encrypted = many.iter().filter(|s| matches!(s.place, SealedPlace::Encrypted { .. })).count();
        assert_eq!(encrypted, 3);
        for (i, s) in many.iter().enumerate() {
            assert_eq!(s.open().unwrap().expose(), format!("key {i}").as_bytes());
        }
        drop(many);
        assert!(matches!(keep.seal(opened(b"again")).place, SealedPlace::Slots(0)));
    }

    #[test]
    fn a_wipe_takes_all_and_leaves_room_for_new_ones() {
        for keep in each() {
            let old = [keep.seal(opened(b"old")), keep.seal(opened(&[7; 5000]))];
            keep.wipe();
            assert!(old.iter().all(|s| matches!(s.open(), Err(UnsealError::Wiped))));
            assert!(keep.read().pages.rest().iter().all(|b| *b == 0));
            let new = keep.seal(opened(b"new"));
            drop(old);
            assert_eq!(new.open().unwrap().expose(), b"new");
        }
    }

    #[test]
    fn a_dropped_secret_leaves_no_byte_in_its_slot() {
        let keep = keep(Protection::Secret);
        drop(keep.seal(opened(b"sk-0123456789")));
        assert!(keep.read().pages.rest().iter().all(|b| *b == 0));
    }

    #[test]
    fn an_encrypted_secret_shows_nothing_and_no_change_goes_unseen() {
        let keep = keep(Protection::Locked);
        let mut sealed = keep.seal(opened(b"sk-0123456789"));
        for i in 0..13 + 16 {
            let SealedPlace::Encrypted { tag, text, .. } = &mut sealed.place else { panic!("not encrypted") };
            assert_ne!(**text, *b"sk-0123456789");
            let byte = if i < 13 { &mut text[i] } else { &mut tag[i - 13] };
            *byte ^= 1;
            assert!(matches!(sealed.open(), Err(UnsealError::Damaged)), "{i}");
            let SealedPlace::Encrypted { tag, text, .. } = &mut sealed.place else { panic!("not encrypted") };
            let byte = if i < 13 { &mut text[i] } else { &mut tag[i - 13] };
            *byte ^= 1;
        }
        assert!(sealed.open().is_ok());
    }

    #[test]
    fn threads_that_seal_open_drop_and_wipe_see_whole_secrets_or_none() {
        for keep in each() {
            let shared = keep.seal(opened(&[9; 300]));
            let shared = &shared;
            std::thread::scope(|s| {
                for t in 0..4_u8 {
                    s.spawn(move || {
                        for i in 0..500_usize {
                            let bytes = vec![t; 1 + i % 400];
                            let own = keep.seal(opened(&bytes));
                            match own.open() {
                                Ok(o) => assert_eq!(o.expose(), bytes),
                                Err(e) => assert_eq!(e, UnsealError::Wiped),
                            }
                            match shared.open() {
                                Ok(o) => assert_eq!(o.expose(), [9; 300]),
                                Err(e) => assert_eq!(e, UnsealError::Wiped),
                            }
                            if t == 0 && i % 100 == 99 {
                                keep.wipe();
                            }
                        }
                    });
                }
            });
            assert_eq!(shared.open().unwrap_err(), UnsealError::Wiped);
        }
    }

    proptest! {
        /// Any order of sealing and dropping leaves all others whole.
        #[test]
        fn slots_never_overlap(steps in proptest::collection::vec((0_usize..1500, 0_usize..8), 1..60)) {
            let keep = keep(Protection::Secret);
            let mut held: Vec<(Vec<u8>, Sealed)> = Vec::new();
            for (i, (len, drop_at)) in steps.into_iter().enumerate() {
                let bytes = vec![i as u8 + 1; len];
                let sealed = keep.seal(opened(&bytes));
                held.push((bytes, sealed));
                if drop_at < held.len() {
                    held.swap_remove(drop_at);
                }
                for (bytes, sealed) in &held {
                    let opened = sealed.open().unwrap();
                    prop_assert_eq!(opened.expose(), &bytes[..]);
                }
            }
        }
    }
}
