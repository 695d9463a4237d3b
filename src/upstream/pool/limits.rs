//! The numbers that bound the pool.

use std::time::Duration;

/// How long a connection may idle: less than the minute or so after which most servers close.
pub const IDLE: Duration = Duration::from_secs(50);
/// How long an HTTP/2 connection may idle that a key went over or came back on: its buffers still hold it.
pub const IDLE_WITH_KEY: Duration = Duration::from_millis(500);
/// Idle HTTP/1.1 connections kept to one origin.
pub const IDLE_PER_ORIGIN: usize = 64;
/// Idle connections that one worker keeps to all origins, where there are descriptors enough.
pub const IDLE_IN_ALL: usize = 256;
/// From so many HTTP/1.1 exchanges under way at once on, an HTTP/2 client's requests share an HTTP/2 connection.
pub const SHARE_FROM: usize = 8;

/// Connections that are made for one request, where each is gone before anything of the request was sent.
pub const DIALS: usize = 3;

/// Exchanges that share one HTTP/2 connection.
pub const MAX_STREAMS: usize = 32;
/// Bytes that an upstream may send of one body that nobody reads (RFC 9113, section 6.9).
pub const STREAM_WINDOW: u32 = 1 << 20;
/// The windows of all streams fit into the connection's: bodies that nobody reads must not hold up the others.
pub const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MAX_STREAMS as u32;
/// Streams that are opened on a connection before the upstream has said how many it allows: its word comes with the end of
/// the handshake, and what it refuses could not be sent again (RFC 9113, section 5.1.2).
pub const STREAMS_AT_FIRST: usize = 1;
/// Header lines of one HTTP/1.1 answer. Room for all of them is made anew, and wiped, for each answer.
pub const MAX_HEADERS: usize = 128;
/// Bytes of one head that an upstream may send, uncompressed (RFC 9113, section 6.5.2).
pub const MAX_HEADER_LIST: u32 = 64 * 1024;
