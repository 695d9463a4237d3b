//! Every number that bounds what an agent or an upstream can make grow or wait here, with its unit and its reason.
//!
//! The main ones are settings, `[limits]` in the config; those that nobody has a reason to change are constants. What bounds
//! kept connections stands beside them in `upstream::pool`, what bounds parsing beside each parser.

use std::time::Duration;

/// The bounds that an operator can set (`[limits]`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open connections of all clients together. Beyond, the oldest that has proved nothing makes room, and where each has,
    /// the new one is closed at once. Each takes a few tens of KiB.
    pub connections: usize,
    /// Requests and tunnels under way to all upstreams together; one host may have half of them, one agent a quarter. Each
    /// may take a connection. Where the system gives fewer descriptors it is fewer.
    pub under_way: usize,
    /// The head of a request, and the list of headers in HTTP/2, in bytes. Servers take 8 to 64 KiB.
    pub head: usize,
    /// A body of declared length up to this, in bytes, is held and rewritten whole, so that its length is exact.
    pub held_body: u64,
    /// The time that an upstream may take to begin its answer, from when the last of the request has left. None by default:
    /// models think long, and who gives up asks again and pays twice. Those who are gone are noticed all the same.
    pub first_byte: Option<Duration>,
    /// The time that what is under way may take to end once the proxy stops; then it is cut. With all that follows it has to
    /// fit into the ten seconds after which Docker kills.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16 * 1024,
            under_way: 16 * 1024,
            head: 64 * 1024,
            held_body: 256 * 1024,
            first_byte: None,
            drain: Duration::from_secs(5),
        }
    }
}

/// One host may have this part of all that is under way to upstreams, so that one that hangs leaves room for others.
pub const HOST_SHARE: usize = 2;
/// One agent may have this part of it: no two of them can keep the others out.
pub const AGENT_SHARE: usize = 4;
/// The time that a request may wait for others to end, where as many are under way as may be.
pub const PLACE_TIMEOUT: Duration = Duration::from_secs(10);
/// Strangers together have one in so many of the places for connections: they show a token at once, or have nothing to do here.
pub const STRANGERS_PART: usize = 4;
/// The largest head that a connection may begin with, in bytes: a CONNECT, or the first request in absolute form.
pub const FIRST_HEAD: usize = 16 * 1024;
/// Header lines in it.
pub const FIRST_HEAD_LINES: usize = 64;
/// The time that a client may take for its first head.
pub const FIRST_HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Answers of 407 that one connection gets before it is closed.
pub const AUTHENTICATION_TRIES: usize = 4;
/// From the end of CONNECT to the end of the TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// The time that a redirected client whose host may go on unread has for its first byte: then the server is to speak first.
pub const SERVER_SPEAKS_FIRST: Duration = Duration::from_secs(2);
/// The time that a client's kept connection may wait for its next request, or for more of what it has begun.
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Requests that one HTTP/2 connection may have under way.
pub const CONCURRENT_STREAMS: u32 = 256;
/// Body bytes that a client may send on one HTTP/2 stream before they are taken.
pub const STREAM_WINDOW: u32 = 1 << 20;
/// The same for all streams of a connection together.
pub const CONNECTION_WINDOW: u32 = 2 << 20;
/// The time that a client may take to read why it is cut off.
pub const LINGER: Duration = Duration::from_secs(2);
/// Bytes that are read and dropped of what a client goes on sending meanwhile.
pub const LINGER_BYTES: u64 = 16 * 1024 * 1024;
/// The time that an upstream may take to say that it wants a body (RFC 9110, section 10.1.1): many never do. curl waits as long.
pub const CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);
/// A held body may be so many times as long as `held_body` once its codings are closed again: the same text can be coded
/// better than we do.
pub const HELD_AGAIN: u64 = 16;
/// Portions of a decoded body that may be worked on before others on the same thread get their turn.
pub const PORTIONS_A_TURN: usize = 16;
/// A response body of declared length up to this, in bytes, is held and scrubbed whole, so that its length is exact; of a coded
/// one, which opens to this much.
pub const HELD_RESPONSE: u64 = 64 * 1024;
/// Memory for the windows of coded request bodies, of all agents together, in bytes: a few bytes of a body fill one.
pub const DECODE_BUDGET: u64 = 512 * 1024 * 1024;
/// Memory that any coding takes at least, with all that is around its window, in bytes.
pub const DECODE_LEAST: u64 = 64 * 1024;
/// Hosts whose patterns of keys are kept at once; beyond, patterns are made for each exchange.
pub const CACHED_SCRUBBERS: usize = 64;
/// A copy buffer of a tunnel that is not read, in bytes, each way: larger ones save system calls, and idle tunnels hold them.
pub const TUNNEL_BUFFER: usize = 64 * 1024;
/// A copy buffer of a WebSocket that is not read, in bytes, each way.
pub const WEBSOCKET_BUFFER: usize = 16 * 1024;
/// The time that the other side of a WebSocket may take to answer a close frame.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Refusals of one agent that it can ask about again: its newest, and
pub const REFUSALS_REMEMBERED: usize = 32;
/// for so long.
pub const REFUSAL_MEMORY: Duration = Duration::from_secs(60 * 60);
/// Agents whose refusals are remembered: those that were refused last.
pub const AGENTS_REMEMBERED: usize = 256;
/// So much of a refusal's reason is remembered, in bytes: it may repeat what the agent wrote. With all of them that is 8 MiB at
/// most.
pub const REASON_REMEMBERED: usize = 512;
/// The longest that the end of a token is slept for: the clock may be set meanwhile, or stand still with the machine.
pub const EXPIRY_NAP: Duration = Duration::from_secs(60);
