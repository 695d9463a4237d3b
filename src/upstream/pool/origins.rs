//! The connections of a worker's pool by origin: idle connections, shared ones, and which protocols the origin speaks.

use super::connection::{Epoch, Http1Connection, PooledConnection};
use super::http2::Http2Connection;
use super::kept::Kept;
use super::limits::{IDLE, IDLE_PER_ORIGIN, SHARE_FROM};
use crate::name::Origin;
use crate::upstream::UpstreamError;
use crate::upstream::protocol::{AlpnOffer, ProtocolPreference};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Held while an HTTP/2 connection is being made: the requests behind it share that one, or the failure.
pub(super) type Connecting = tokio::sync::Mutex<Option<(Instant, UpstreamError)>>;

/// The connections of one worker, by origin.
pub(super) struct Origins<B> {
    by_origin: Mutex<HashMap<Origin, OriginPool<B>, RandomState>>,
    /// Connections that may idle.
    idle_in_all: usize,
    /// Held by each that idles or is shared, so that it counts them.
    kept: Kept,
}

impl<B> Origins<B> {
    /// None yet, of which so many will be kept while they idle.
    pub fn keeping(idle_in_all: usize) -> Self {
        Self { by_origin: Mutex::default(), idle_in_all, kept: Kept::default() }
    }

    /// Counts a connection that is shared.
    pub fn keep(&self) -> Kept {
        self.kept.clone()
    }

    /// Held for moments only.
    pub fn lock(&self) -> MutexGuard<'_, HashMap<Origin, OriginPool<B>, RandomState>> {
        self.by_origin.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a request with this preference comes by a new connection.
    pub fn plan(&self, origin: &Origin, preference: ProtocolPreference) -> ConnectPlan {
        self.lock().entry(origin.clone()).or_default().plan(preference)
    }

    /// Notes that the origin speaks one of the protocols only, and plans by that.
    pub fn learn(&self, origin: &Origin, preference: ProtocolPreference, speaks: AlpnOffer) -> ConnectPlan {
        let mut origins = self.lock();
        let pool = origins.entry(origin.clone()).or_default();
        pool.speaks = speaks;
        pool.plan(preference)
    }

    /// Counts an HTTP/1.1 exchange as under way.
    pub fn begin(&self, origin: &Origin) {
        self.lock().entry(origin.clone()).or_default().busy += 1;
    }

    /// Ends an HTTP/1.1 exchange; its connection comes back where it may serve again.
    pub fn end(&self, origin: &Origin, reusable: Option<Http1Connection<B>>) {
        let mut origins = self.lock();
        if origins.get_mut(origin).is_some_and(|pool| pool.end(reusable, &self.kept)) {
            self.close_the_oldest(&mut origins);
        }
    }

    /// Takes in an HTTP/2 connection, unless all were let go of while it was made.
    pub fn share(&self, origin: &Origin, connection: Http2Connection<B>, epoch: &Epoch) {
        let mut origins = self.lock();
        let pool = origins.entry(origin.clone()).or_default();
        if Arc::ptr_eq(&pool.epoch, epoch) {
            pool.shared.push(connection);
        }
        self.close_the_oldest(&mut origins);
    }

    /// Closes the oldest of what idles, where that is too much in all: a sweep may be a second off, and many hosts can be
    /// asked in that.
    fn close_the_oldest(&self, origins: &mut HashMap<Origin, OriginPool<B>, RandomState>) {
        if Arc::strong_count(&self.kept) - 1 <= self.idle_in_all {
            return;
        }
        let Some(oldest) = self.oldest_to_stay(origins) else { return };
        for pool in origins.values_mut() {
            pool.idle.retain(|idle| idle.since >= oldest);
            pool.shared.retain(|shared| shared.idle_since().is_none_or(|since| since >= oldest));
        }
    }

    /// When the oldest began to idle of so many that may; all may where there are fewer.
    fn oldest_to_stay(&self, origins: &HashMap<Origin, OriginPool<B>, RandomState>) -> Option<Instant> {
        let mut since: Vec<Instant> = origins.values().flat_map(OriginPool::idle_since).collect();
        let surplus = since.len().checked_sub(self.idle_in_all).filter(|surplus| *surplus > 0)?;
        // where none may, the last one stays until the next
        let last = since.len() - 1;
        let (_, oldest, _) = since.select_nth_unstable(surplus.min(last));
        Some(*oldest)
    }

    /// Closes what has idled for too long.
    pub fn sweep(&self, now: Instant) {
        let mut origins = self.lock();
        // an HTTP/2 connection that was in use when it was last looked at may idle now
        self.close_the_oldest(&mut origins);
        origins.retain(|_, pool| {
            let fresh = |i: &IdleConnection<B>| now.saturating_duration_since(i.since) < IDLE;
            pool.idle.retain(|i| !i.connection.send.is_closed() && fresh(i));
            pool.shared.retain(|s| s.is_open() && !s.is_over(now));
            pool.is_of_use()
        });
    }

    /// Lets go of everything that is kept to some origins.
    pub fn close(&self, which: impl Fn(&Origin) -> bool) {
        self.lock().iter_mut().filter(|(origin, _)| which(origin)).for_each(|(_, pool)| pool.close());
    }
}

/// The connections to one origin.
pub(super) struct OriginPool<B> {
    /// A stack: the one used last is the least likely to be stale.
    idle: Vec<IdleConnection<B>>,
    shared: Vec<Http2Connection<B>>,
    /// HTTP/1.1 exchanges under way.
    busy: usize,
    speaks: AlpnOffer,
    connecting: Arc<Connecting>,
    epoch: Epoch,
}

struct IdleConnection<B> {
    connection: Http1Connection<B>,
    since: Instant,
    _kept: Kept,
}

/// A plan for a new connection, by what is known of the origin.
pub(super) struct ConnectPlan {
    pub speaks: AlpnOffer,
    /// Over an HTTP/2 connection that others will share.
    pub shared: bool,
    pub connecting: Arc<Connecting>,
    pub epoch: Epoch,
}

impl<B> Default for OriginPool<B> {
    fn default() -> Self {
        let (connecting, epoch) = Default::default();
        Self { idle: Vec::new(), shared: Vec::new(), busy: 0, speaks: AlpnOffer::Both, connecting, epoch }
    }
}

impl<B> OriginPool<B> {
    /// A connection that is open and of which `leads_there` says that it leads where the request may go; for a later
    /// attempt a shared one, newer than this.
    pub fn take(
        &mut self,
        preference: ProtocolPreference,
        newer_than: Option<Instant>,
        leads_there: impl Fn(IpAddr) -> bool,
    ) -> Option<PooledConnection<B>> {
        self.shared.retain(Http2Connection::is_open);
        if preference == ProtocolPreference::Dedicated {
            return None;
        }
        if self.wants_shared(preference) {
            // the newest first: an old one may be on its way out, and idles the sooner
            let is_new = |connection: &Http2Connection<B>| newer_than.is_none_or(|before| connection.made > before);
            let mut with_room =
                self.shared.iter().rev().filter(|connection| connection.has_room() && is_new(connection));
            return with_room.find(|connection| leads_there(connection.ip)).map(PooledConnection::sharing);
        }
        if newer_than.is_some() {
            return None;
        }
        let connection = self.pop_idle(leads_there)?;
        self.busy += 1;
        Some(PooledConnection::Http1(connection))
    }

    /// From the top of the stack. Those that aren't ready yet, or lead elsewhere, stay.
    fn pop_idle(&mut self, leads_there: impl Fn(IpAddr) -> bool) -> Option<Http1Connection<B>> {
        let mut passed_over = Vec::new();
        let mut found = None;
        while let Some(idle) = self.idle.pop() {
            if idle.connection.send.is_closed() {
                continue;
            }
            if idle.connection.send.is_ready() && leads_there(idle.connection.ip) {
                found = Some(idle.connection);
                break;
            }
            passed_over.push(idle);
        }
        self.idle.extend(passed_over);
        found
    }

    /// Whether a request goes over the HTTP/2 connection rather than one of its own.
    fn wants_shared(&self, preference: ProtocolPreference) -> bool {
        match (self.speaks, preference) {
            (_, ProtocolPreference::Dedicated) | (AlpnOffer::Http1, _) => false,
            (AlpnOffer::Http2, _) | (AlpnOffer::Both, ProtocolPreference::Http2) => true,
            (AlpnOffer::Both, ProtocolPreference::Http1) => false,
            (AlpnOffer::Both, ProtocolPreference::Either) => self.busy >= SHARE_FROM,
        }
    }

    fn plan(&self, preference: ProtocolPreference) -> ConnectPlan {
        let (connecting, epoch) = (self.connecting.clone(), self.epoch.clone());
        ConnectPlan { speaks: self.speaks, shared: self.wants_shared(preference), connecting, epoch }
    }

    /// Whether one idles more than before.
    fn end(&mut self, reusable: Option<Http1Connection<B>>, kept: &Kept) -> bool {
        self.busy = self.busy.saturating_sub(1);
        let Some(connection) = reusable else { return false };
        let is_of_now = Arc::ptr_eq(&connection.epoch, &self.epoch);
        let stays = is_of_now && !connection.send.is_closed() && self.idle.len() < IDLE_PER_ORIGIN;
        if stays {
            self.idle.push(IdleConnection { connection, since: Instant::now(), _kept: kept.clone() });
        }
        stays
    }

    /// Since when each connection idles that does.
    fn idle_since(&self) -> impl Iterator<Item = Instant> {
        self.idle.iter().map(|idle| idle.since).chain(self.shared.iter().filter_map(Http2Connection::idle_since))
    }

    /// Whether anything is there that somebody could still want.
    fn is_of_use(&self) -> bool {
        // who has or makes a connection holds on to its epoch
        self.busy > 0 || !self.shared.is_empty() || Arc::strong_count(&self.epoch) > 1
    }

    fn close(&mut self) {
        self.idle.clear();
        self.shared.clear();
        self.epoch = Arc::default();
    }
}
