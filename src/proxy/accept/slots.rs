//! The places that connections share. Strangers have a part of them, and whoever has proved nothing makes room for the next.

use crate::proxy::limits::STRANGERS_PART;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// How long to wait when the system has no descriptor left.
const RESPITE: Duration = Duration::from_millis(50);
/// How often it is told that connections were closed, while it goes on.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Users that are told apart in it; those of more are counted without a name.
const USERS: usize = 16;

/// All places, and who has them.
pub struct ConnectionSlots {
    most: usize,
    /// So many of them may be strangers'.
    strangers: usize,
    open: Mutex<OpenConnections>,
}

/// The standing of a connection that has proved nothing yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Of a local user who may ask, or has a token at best.
    Newcomer,
    /// Of another user, or from elsewhere: without a token there is nothing for it here.
    Stranger,
}

#[derive(Default)]
struct OpenConnections {
    count: usize,
    next: u64,
    /// Those that have proved nothing, by their number: the oldest first.
    newcomers: BTreeMap<u64, Unproven>,
    strangers: BTreeMap<u64, Unproven>,
    /// What has not been told yet: those that made room, and those for which there was none.
    made_room: Option<TurnedAway>,
    beyond: Option<TurnedAway>,
    told: Option<SystemTime>,
}

struct Unproven {
    user: Option<u32>,
    evicted: Arc<Notify>,
}

/// Connections that were closed for want of places, many in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnedAway {
    /// They had a place, and had proved nothing.
    pub made_room: bool,
    /// How many.
    pub count: u64,
    /// When the first of them was closed.
    pub first: SystemTime,
    /// When the last was.
    pub last: SystemTime,
    /// Of which users, as far as the system tells.
    users: BTreeMap<u32, u64>,
}

impl TurnedAway {
    fn add(fold: &mut Option<Self>, made_room: bool, user: Option<u32>, now: SystemTime) {
        let fold = fold.get_or_insert(Self { made_room, count: 0, first: now, last: now, users: BTreeMap::new() });
        fold.count += 1;
        fold.last = now;
        if let Some(user) = user
            && (fold.users.len() < USERS || fold.users.contains_key(&user))
        {
            *fold.users.entry(user).or_default() += 1;
        }
    }
}

impl fmt::Display for TurnedAway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count;
        match self.made_room {
            true => write!(f, "{count} connections that had proved nothing were closed to make room for others")?,
            false => write!(
                f,
                "{count} connections were closed at once: there are as many as [limits] connections allows, or the system's descriptors"
            )?,
        }
        let users: Vec<String> = self.users.iter().map(|(user, count)| format!("{count} of user {user}")).collect();
        if users.is_empty() { Ok(()) } else { write!(f, " ({})", users.join(", ")) }
    }
}

impl ConnectionSlots {
    /// Places for `most` connections, of which strangers get a part.
    pub fn new(most: usize) -> Self {
        Self { most, strangers: (most / STRANGERS_PART).max(1), open: Mutex::default() }
    }

    /// A place for a connection that was just accepted, where there is one or an older connection has to make room.
    pub(crate) fn take(
        self: &Arc<Self>,
        standing: Standing,
        user: Option<u32>,
        now: SystemTime,
    ) -> Option<ConnectionSlot> {
        let mut open = self.open();
        let full = open.count >= self.most;
        let has_room = match standing {
            Standing::Stranger if full || open.strangers.len() >= self.strangers => open.evict(Standing::Stranger, now),
            Standing::Newcomer if full => open.evict(Standing::Stranger, now) || open.evict(Standing::Newcomer, now),
            _ => true,
        };
        if !has_room {
            TurnedAway::add(&mut open.beyond, false, user, now);
            return None;
        }
        let number = open.next;
        open.next += 1;
        open.count += 1;
        let evicted = Arc::<Notify>::default();
        open.unproven(standing).insert(number, Unproven { user, evicted: evicted.clone() });
        Some(ConnectionSlot { slots: self.clone(), number, standing, evicted, proven: AtomicBool::new(false) })
    }

    /// A connection, where one was made. Where the system has no descriptor left, somebody makes room.
    pub(crate) async fn made(&self, accepted: io::Result<(TcpStream, SocketAddr)>) -> Option<(TcpStream, SocketAddr)> {
        match accepted {
            Ok(made) => return Some(made),
            Err(e) if is_of_one_connection(&e) => {}
            Err(_) => {
                self.make_room(SystemTime::now());
                tokio::time::sleep(RESPITE).await;
            }
        }
        None
    }

    /// Whether any connection ever had a place.
    pub fn were_taken(&self) -> bool {
        self.open().next > 0
    }

    /// Has the oldest connection that has proved nothing go, as the system has no more descriptors.
    pub(crate) fn make_room(&self, now: SystemTime) {
        let mut open = self.open();
        let _ = open.evict(Standing::Stranger, now) || open.evict(Standing::Newcomer, now);
    }

    /// What is to be told by now: not more often than once in a while, but for the last time.
    pub(crate) fn turned_away(&self, now: SystemTime, at_last: bool) -> impl Iterator<Item = TurnedAway> + use<> {
        let mut open = self.open();
        let since = open.told.map(|told| now.duration_since(told).unwrap_or_default());
        let is_time = at_last || since.is_none_or(|since| since >= TELL_EVERY);
        let news = if is_time { [open.made_room.take(), open.beyond.take()] } else { [None, None] };
        if news.iter().any(Option::is_some) {
            open.told = Some(now);
        }
        news.into_iter().flatten()
    }

    fn open(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_of_one_connection(e: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(e.kind(), ConnectionAborted | ConnectionReset | ConnectionRefused | Interrupted)
}

impl OpenConnections {
    fn unproven(&mut self, standing: Standing) -> &mut BTreeMap<u64, Unproven> {
        match standing {
            Standing::Newcomer => &mut self.newcomers,
            Standing::Stranger => &mut self.strangers,
        }
    }

    /// Has the oldest of this standing go. Whether there was one.
    fn evict(&mut self, standing: Standing, now: SystemTime) -> bool {
        let Some((_, oldest)) = self.unproven(standing).pop_first() else { return false };
        oldest.evicted.notify_one();
        self.count -= 1;
        TurnedAway::add(&mut self.made_room, true, oldest.user, now);
        true
    }
}

/// One of the places; given back when dropped.
pub(crate) struct ConnectionSlot {
    slots: Arc<ConnectionSlots>,
    number: u64,
    standing: Standing,
    evicted: Arc<Notify>,
    proven: AtomicBool,
}

impl ConnectionSlot {
    /// Whoever has the place may ask: it is theirs as long as they stay.
    pub fn prove(&self) {
        if self.proven.load(Ordering::Relaxed) {
            return;
        }
        let mut open = self.slots.open();
        // one that was evicted in this moment goes
        let still_there = open.unproven(self.standing).remove(&self.number).is_some();
        self.proven.store(still_there, Ordering::Relaxed);
    }

    /// Resolves once the place is another's.
    pub async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut open = self.slots.open();
        if open.unproven(self.standing).remove(&self.number).is_some() || self.proven.load(Ordering::Relaxed) {
            open.count -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(second)
    }

    async fn is_evicted(slot: &ConnectionSlot) -> bool {
        tokio::time::timeout(Duration::ZERO, slot.evicted()).await.is_ok()
    }

    #[tokio::test]
    async fn strangers_leave_room_and_the_oldest_goes_first() {
        let slots = Arc::new(ConnectionSlots::new(16));
        let strangers: Vec<_> = (0..6).map(|_| slots.take(Standing::Stranger, Some(7), at(1)).unwrap()).collect();
        for (i, stranger) in strangers.iter().enumerate() {
            assert_eq!(is_evicted(stranger).await, i < 2, "{i}");
        }
        // one with a token stays
        strangers[2].prove();
        let newcomers: Vec<_> = (0..12).map(|_| slots.take(Standing::Newcomer, Some(0), at(2)).unwrap()).collect();
        assert!(!is_evicted(&strangers[3]).await);
        let more = slots.take(Standing::Newcomer, Some(0), at(3)).unwrap();
        assert!(is_evicted(&strangers[3]).await && !is_evicted(&strangers[2]).await);
        newcomers.iter().for_each(ConnectionSlot::prove);
        let told: Vec<_> = slots.turned_away(at(3), false).map(|told| told.to_string()).collect();
        assert_eq!(told, ["3 connections that had proved nothing were closed to make room for others (3 of user 7)"]);
        // the last two strangers and the last newcomer make room, and then nobody
        let last: Vec<_> = (0..3).map(|_| slots.take(Standing::Newcomer, Some(0), at(4)).unwrap()).collect();
        assert!(is_evicted(&more).await);
        last.iter().for_each(ConnectionSlot::prove);
        assert!(slots.take(Standing::Newcomer, Some(0), at(4)).is_none());
        assert!(slots.take(Standing::Stranger, None, at(4)).is_none());
        drop((strangers, more));
        assert!(slots.take(Standing::Newcomer, Some(0), at(4)).is_some(), "the proven stranger has left");
        drop((newcomers, last));
        assert_eq!(slots.open().count, 0);
    }

    #[test]
    fn what_is_closed_is_told_once_in_a_while() {
        let slots = Arc::new(ConnectionSlots::new(4));
        let mut held = Vec::new();
        let mut flood =
            |second| (0..100).for_each(|_| held.extend(slots.take(Standing::Stranger, Some(7), at(second))));
        let counts = |second, at_last| slots.turned_away(at(second), at_last).map(|t| t.count).collect::<Vec<_>>();
        flood(1);
        assert_eq!(counts(1, false), [99]);
        flood(2);
        assert_eq!(counts(60, false), Vec::<u64>::new());
        assert_eq!(counts(61, false), [100]);
        flood(62);
        assert_eq!((counts(63, true), counts(64, true)), (vec![100], vec![]));
    }

    #[test]
    fn who_has_proved_nothing_makes_room_where_descriptors_are_used_up() {
        let slots = Arc::new(ConnectionSlots::new(40));
        let held: Vec<_> = (0..20).filter_map(|_| slots.take(Standing::Stranger, None, at(1))).collect();
        assert_eq!((held.len(), slots.open().count), (20, 10));
        slots.make_room(at(1));
        assert_eq!(slots.open().count, 9);
    }
}
