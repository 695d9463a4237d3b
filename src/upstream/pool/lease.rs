//! A connection in the hands of one exchange: given back when the response has ended, if it may serve again.

use super::connection::Http1Connection;
use super::http2::Http2Stream;
use super::origins::Origins;
use crate::name::Origin;
use std::net::IpAddr;
use std::sync::Arc;

/// An exchange's hold on its connection until the response has ended.
pub struct Lease<B> {
    origins: Arc<Origins<B>>,
    origin: Origin,
    /// The upstream's address.
    pub ip: IpAddr,
    carrier: Carrier<B>,
}

/// The connection of a lease.
enum Carrier<B> {
    Http1 {
        /// Goes back into the pool when the lease is dropped. Until the response has begun the sender has it.
        connection: Option<Http1Connection<B>>,
        /// For one request alone.
        dedicated: bool,
        reusable: bool,
    },
    /// HTTP/2 connections stay with the pool.
    Http2(Http2Stream),
}

impl<B> Lease<B> {
    /// For an exchange that was counted when its connection was taken: dropped, it counts it back.
    pub(super) fn http1(origins: Arc<Origins<B>>, origin: Origin, ip: IpAddr, dedicated: bool) -> Self {
        Self { origins, origin, ip, carrier: Carrier::Http1 { connection: None, dedicated, reusable: false } }
    }

    /// For an exchange that shares a connection.
    pub(super) fn http2(origins: Arc<Origins<B>>, origin: Origin, ip: IpAddr, stream: Http2Stream) -> Self {
        Self { origins, origin, ip, carrier: Carrier::Http2(stream) }
    }

    /// Takes the connection that the request was sent on.
    pub(super) fn hold(&mut self, sent_on: Http1Connection<B>) {
        if let Carrier::Http1 { connection, .. } = &mut self.carrier {
            *connection = Some(sent_on);
        }
    }

    /// Notes that the response has ended well: the connection may serve again.
    pub fn finish(&mut self) {
        match &mut self.carrier {
            Carrier::Http1 { dedicated, reusable, .. } => *reusable = !*dedicated,
            Carrier::Http2(stream) => stream.end_well(),
        }
    }
}

impl<B> Drop for Lease<B> {
    fn drop(&mut self) {
        if let Carrier::Http1 { connection, reusable, .. } = &mut self.carrier {
            let connection = connection.take().filter(|_| *reusable);
            self.origins.end(&self.origin, connection);
        }
    }
}
