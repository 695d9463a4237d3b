//! A connection in the hands of one exchange: given back when the response has ended, if it may serve again.

use super::shared::Stream;
use super::{BoxError, IDLE_PER_ORIGIN, Idle, One, Pool};
use crate::name::Origin;
use http_body::Body;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// What an exchange holds of its connection until the response has ended.
pub struct Lease<B: Body + Send + Unpin + 'static>
where
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    pub(super) pool: Arc<Pool<B>>,
    pub(super) origin: Origin,
    pub ip: IpAddr,
    pub(super) alone: bool,
    pub(super) carrier: Carrier<B>,
}

pub(super) enum Carrier<B> {
    /// The connection, and whether it may serve again. It goes back into the pool when the lease is dropped.
    Http1(Option<One<B>>, bool),
    /// HTTP/2 connections stay with the pool.
    Http2(Stream),
}

impl<B> Lease<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    /// The response has ended well: the connection may serve again.
    pub fn finish(&mut self) {
        match &mut self.carrier {
            Carrier::Http1(_, reuse) => *reuse = !self.alone,
            Carrier::Http2(stream) => stream.end_well(),
        }
    }
}

impl<B> Drop for Lease<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    fn drop(&mut self) {
        let Carrier::Http1(line, reuse) = &mut self.carrier else { return };
        let Some(line) = line.take() else { return };
        let mut origins = self.pool.lock();
        let Some(kept) = origins.get_mut(&self.origin) else { return };
        kept.busy = kept.busy.saturating_sub(1);
        let is_of_now = Arc::ptr_eq(&line.life, &kept.life);
        if *reuse && is_of_now && !line.send.is_closed() && kept.idle.len() < IDLE_PER_ORIGIN {
            kept.idle.push(Idle { line, since: Instant::now() });
        }
    }
}
