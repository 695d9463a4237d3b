//! The first request on a connection: which agent asks, and for which host. Everything after it is for others.

use super::descendants::Descendant;
use super::{intercept, tunnel};
use crate::io::read_ahead::ReadAhead;
use crate::name::{AgentName, Host, Origin, Scheme, split_port};
use crate::policy::Agent;
use crate::policy::agent::{AuthError, TokenProof};
use crate::proxy::exchange::conn::Conn;
use crate::proxy::exchange::serve::{hang_up, serve};
use crate::proxy::refusal::Refusal;
use crate::proxy::{Ruleset, Worker, early_info};
use crate::system::socket_owner;
use bytes::BytesMut;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// The largest head of a CONNECT, in bytes.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// How long a client may take for its first head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How many answers of 407 one connection gets.
const MAX_TRIES: usize = 4;

const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection Established\r\n\r\n";

/// What a first head turned out to be.
enum First {
    Connect {
        host: Host,
        port: u16,
        authorization: Option<Vec<u8>>,
    },
    /// Plain requests for `http://` hosts, this one and those after it; each says for itself who asks.
    Absolute {
        authorized: bool,
    },
}

/// A client's connection, with what came after the head.
pub(crate) struct Client {
    pub stream: TcpStream,
    pub read: BytesMut,
    pub peer: SocketAddr,
}

impl Client {
    /// The stream with what was read of it already put back.
    pub fn into_stream(self) -> ReadAhead<TcpStream> {
        ReadAhead::with(self.read, self.stream)
    }
}

/// Serves one client's connection to its end.
pub(crate) async fn connection(worker: Arc<Worker>, stream: TcpStream, peer: SocketAddr, stop: watch::Receiver<bool>) {
    let mut client = Client { stream, read: BytesMut::with_capacity(1024), peer };
    let mut stopping = stop.clone();
    for _ in 0..MAX_TRIES {
        let read = tokio::select! {
            read = tokio::time::timeout(HEAD_TIMEOUT, read_head(&mut client)) => read,
            _ = stopping.wait_for(|stopped| *stopped) => return,
        };
        let head = match read {
            Ok(Ok(Some(len))) => first(&client.read[..len]).map(|first| (first, len)),
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(refusal)) => Err(refusal),
        };
        match head {
            Ok((First::Absolute { authorized }, _)) => {
                let user = local_user(&worker.shared.ruleset.load(), &client);
                let descendant = if authorized { None } else { descendant(&worker, &client).await };
                return match user {
                    Ok(()) => serve(Conn::absolute(worker, descendant), client.into_stream(), false, stop).await,
                    Err(refusal) => refuse(&worker, &mut client, &refusal, AgentName::local(), None, true).await,
                };
            }
            Ok((First::Connect { host, port, authorization }, len)) => {
                let _ = client.read.split_to(len);
                match admit(&worker, &client, &host, port, authorization.as_deref()).await {
                    Ok(asked) => return connected(worker, client, asked, host, port, stop).await,
                    Err((agent, refusal)) => {
                        let again = matches!(refusal, Refusal::Unauthenticated(_));
                        refuse(&worker, &mut client, &refusal, agent, Some((&host, port)), !again).await;
                        if !again {
                            return;
                        }
                    }
                }
            }
            Err(refusal) => {
                return refuse(&worker, &mut client, &refusal, AgentName::local(), None, true).await;
            }
        }
    }
}

/// Who asks without a token has to be a local user who may (the kernel tells which it is).
pub(crate) fn local_user(ruleset: &Ruleset, client: &Client) -> Result<(), Refusal> {
    if ruleset.agents.need_token() || !cfg!(any(target_os = "linux", target_os = "android")) {
        return Ok(());
    }
    let uid = client.stream.local_addr().ok().and_then(|own| socket_owner::of(client.peer, own)).map(|peer| peer.uid);
    match uid {
        Some(uid) if ruleset.uids.contains(&uid) => Ok(()),
        uid => Err(Refusal::Stranger { uid }),
    }
}

async fn admit(
    worker: &Worker,
    client: &Client,
    host: &Host,
    port: u16,
    authorization: Option<&[u8]>,
) -> Result<Admitted, (AgentName, Refusal)> {
    let known = worker.shared.ruleset.load().agents.authenticate(authorization, SystemTime::now());
    let admitted = match known {
        Ok((agent, proof)) => Admitted { agent, proof, pid: None },
        Err(e) => {
            let descendant = if e == AuthError::Missing { descendant(worker, client).await } else { None };
            let stranger = (AgentName::local(), Refusal::Unauthenticated(e));
            let Descendant { agent, proof, pid } = descendant.ok_or(stranger)?;
            Admitted { agent, proof, pid: Some(pid) }
        }
    };
    let ruleset = worker.shared.ruleset.load();
    let agent = &admitted.agent;
    local_user(&ruleset, client).map_err(|r| (agent.name.clone(), r))?;
    ruleset.rules.admit(agent, host, port).map_err(|d| (agent.name.clone(), Refusal::Denied(d)))?;
    Ok(admitted)
}

/// Who has opened a tunnel, and from which process, where that is known.
pub(crate) struct Admitted {
    pub agent: Arc<Agent>,
    pub proof: TokenProof,
    pub pid: Option<u32>,
}

/// The descendant behind a connection without a token, where such are let in.
async fn descendant(worker: &Worker, client: &Client) -> Option<Descendant> {
    let descendants = worker.shared.descendants.as_ref()?;
    descendants.knows(client.peer, client.stream.local_addr().ok()?).await
}

async fn connected(
    worker: Arc<Worker>,
    mut client: Client,
    admitted: Admitted,
    host: Host,
    port: u16,
    stop: watch::Receiver<bool>,
) {
    let unread = worker.shared.ruleset.load().leaves_unread(&host, port);
    let origin = Origin { scheme: Scheme::Https, host, port };
    if unread {
        return tunnel::run(worker, client, admitted, origin).await;
    }
    if !worker.shared.leaves.covers(&origin.host) {
        let Origin { host, port, .. } = origin;
        let refusal = Refusal::NotCovered { host: host.clone(), remedy: worker.shared.config.ca_remedy };
        return refuse(&worker, &mut client, &refusal, admitted.agent.name.clone(), Some((&host, port)), true).await;
    }
    if client.stream.write_all(ESTABLISHED).await.is_ok() {
        intercept::run(client, Conn::tunnel(worker, admitted, origin), stop).await;
    }
}

/// Answers a refusal on a connection that no HTTP library serves yet.
pub(crate) async fn refuse(
    worker: &Worker,
    client: &mut Client,
    refusal: &Refusal,
    agent: AgentName,
    target: Option<(&Host, u16)>,
    close: bool,
) {
    let origin = target.map(|(host, port)| Origin { scheme: Scheme::Https, host: host.clone(), port });
    let method = if origin.is_some() { "CONNECT" } else { "" };
    let info = early_info(&worker.shared, agent, method, origin.as_ref());
    worker.shared.record_refusal(info.clone(), refusal);
    let answer = refusal.raw(&info.exchange, target.map(|(h, _)| h), close);
    if client.stream.write_all(&answer).await.is_ok() && close {
        hang_up(&mut client.stream, false).await;
    }
}

/// Reads until a head is whole: its length, or `None` when the client left.
async fn read_head(client: &mut Client) -> Result<Option<usize>, Refusal> {
    let mut searched = 0;
    loop {
        if let Some(end) = memchr::memmem::find(&client.read[searched..], b"\r\n\r\n") {
            return Ok(Some(searched + end + 4));
        }
        if let Some(odd) = not_a_head(&client.read) {
            return Err(Refusal::Malformed(odd.into()));
        }
        if client.read.len() >= MAX_HEAD {
            return Err(Refusal::TooLarge("the head of the request is over 16 KiB"));
        }
        searched = client.read.len().saturating_sub(3);
        match client.stream.read_buf(&mut client.read).await {
            Ok(0) | Err(_) => return Ok(None),
            Ok(_) => {}
        }
    }
}

/// What can be told before a head is whole, so that nobody waits for the rest of something else.
fn not_a_head(read: &[u8]) -> Option<&'static str> {
    let first = read.first()?;
    if *first == 0x16 {
        return Some("TLS to the proxy's own port: this proxy is http://, its tunnels are what carries TLS");
    }
    if !first.is_ascii_uppercase() {
        return Some("not an HTTP request");
    }
    let bare = memchr::memchr_iter(b'\n', read).any(|i| i == 0 || read[i - 1] != b'\r');
    bare.then_some("a line ends in a bare LF")
}

/// Parses a whole head, strictly: whatever could be read in two ways is refused.
fn first(head: &[u8]) -> Result<First, Refusal> {
    let malformed = |why: &str| Refusal::Malformed(why.to_owned());
    if let Some(odd) = not_a_head(head) {
        return Err(malformed(odd));
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(len)) if len == head.len() => {}
        Ok(_) => return Err(malformed("the head is malformed")),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooLarge("over 64 headers")),
        Err(e) => return Err(malformed(&format!("the head is malformed: {e}"))),
    }
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(malformed("the request line is malformed"));
    };
    if method != "CONNECT" {
        let authorized = one(request.headers, "proxy-authorization")?.is_some();
        return absolute(target, authorized);
    }
    let (host, port) = split_port(target).map_err(|e| Refusal::Malformed(e.to_string()))?;
    let port = port.ok_or_else(|| malformed("CONNECT names no port"))?;
    let host: Host = host.parse().map_err(|e: crate::name::NameError| Refusal::Malformed(e.to_string()))?;
    one_host(request.headers, &host, port)?;
    if request.headers.iter().any(|h| is(h, "transfer-encoding") || is(h, "content-length") && h.value != b"0") {
        return Err(malformed("CONNECT with a body"));
    }
    let authorization = one(request.headers, "proxy-authorization")?.map(<[u8]>::to_vec);
    Ok(First::Connect { host, port, authorization })
}

fn absolute(target: &str, authorized: bool) -> Result<First, Refusal> {
    let scheme = target.get(..7).unwrap_or_default();
    if target.starts_with('/') || target == "*" {
        return Err(Refusal::NotForwarded("this is a forward proxy and no web server: set HTTPS_PROXY to it"));
    }
    if !scheme.eq_ignore_ascii_case("http://") {
        return Err(Refusal::NotForwarded("only http:// is asked for by its whole URL; https:// goes through CONNECT"));
    }
    Ok(First::Absolute { authorized })
}

fn is(header: &httparse::Header<'_>, name: &str) -> bool {
    header.name.eq_ignore_ascii_case(name)
}

fn one<'h>(headers: &'h [httparse::Header<'h>], name: &str) -> Result<Option<&'h [u8]>, Refusal> {
    let mut found = headers.iter().filter(|h| is(h, name));
    let first = found.next().map(|h| h.value);
    if found.next().is_some() { Err(Refusal::Malformed(format!("two {name} headers"))) } else { Ok(first) }
}

/// `Host` may lack the port, or be missing; where it is there it names the same host (RFC 9112, section 3.2.3).
fn one_host(headers: &[httparse::Header<'_>], host: &Host, port: u16) -> Result<(), Refusal> {
    let Some(value) = one(headers, "host")? else { return Ok(()) };
    let other = || Refusal::Misdirected {
        inside: String::from_utf8_lossy(value).into_owned(),
        tunnel: format!("{host}:{port}"),
    };
    let text = std::str::from_utf8(value).map_err(|_| other())?;
    let (name, named_port) = split_port(text).map_err(|_| other())?;
    let same =
        name.parse::<Host>().is_ok_and(|h| h == *host) && named_port.is_none_or(|p| p == port || p == 443 || p == 80);
    if same { Ok(()) } else { Err(other()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str) -> String {
        match first(head.replace('\n', "\r\n").as_bytes()) {
            Ok(First::Connect { host, port, .. }) => format!("{host}:{port}"),
            Ok(First::Absolute { .. }) => "absolute".into(),
            Err(r) => r.status().as_str().into(),
        }
    }

    #[test]
    fn first_heads() {
        for (head, outcome) in [
            ("CONNECT a.example:443 HTTP/1.1\nHost: a.example:443\n\n", "a.example:443"),
            ("CONNECT a.example:443 HTTP/1.0\n\n", "a.example:443"),
            ("CONNECT A.Example.:443 HTTP/1.1\nHost: a.example\nConnection: close\n\n", "a.example:443"),
            ("CONNECT [::1]:443 HTTP/1.1\n\n", "[::1]:443"),
            ("CONNECT a.example HTTP/1.1\n\n", "400"),
            ("CONNECT a.example:0 HTTP/1.1\n\n", "400"),
            ("CONNECT a.example:99999 HTTP/1.1\n\n", "400"),
            ("CONNECT https://a.example:443 HTTP/1.1\n\n", "400"),
            ("CONNECT user@a.example:443 HTTP/1.1\n\n", "400"),
            ("CONNECT a.example:443 HTTP/1.1\nHost: b.example\n\n", "421"),
            ("CONNECT a.example:443 HTTP/1.1\nHost: a.example\nHost: a.example\n\n", "400"),
            ("CONNECT a.example:443 HTTP/1.1\nProxy-Authorization: a\nProxy-Authorization: b\n\n", "400"),
            ("CONNECT a.example:443 HTTP/1.1\nContent-Length: 5\n\n", "400"),
            ("CONNECT a.example:443 HTTP/1.1\nContent-Length: 0\n\n", "a.example:443"),
            ("CONNECT a.example:443 HTTP/1.1\nTransfer-Encoding: chunked\n\n", "400"),
            ("CONNECT a.example:443 HTTP/1.1\n folded\n\n", "400"),
            ("CONNECT a.example:443 HTTP/1.1\nName : x\n\n", "400"),
            ("CONNECT a.example:443\n\n", "400"),
            ("GET http://a.example/ HTTP/1.1\nHost: a.example\n\n", "absolute"),
            ("GET / HTTP/1.1\nHost: a.example\nOrigin: https://evil.example\nSec-Fetch-Site: cross-site\n\n", "400"),
            ("GET https://a.example/ HTTP/1.1\n\n", "400"),
            ("GET / HTTP/1.1\nHost: a.example\n\n", "400"),
            ("PRI * HTTP/2.0\n\n", "400"),
        ] {
            assert_eq!(read(head), outcome, "{head:?}");
        }
        assert!(matches!(first(b"CONNECT a:1 HTTP/1.1\nHost: a\r\n\r\n"), Err(Refusal::Malformed(_))), "bare LF");
        let many = format!("CONNECT a.example:443 HTTP/1.1\n{}\n", "A: b\n".repeat(65));
        assert_eq!(read(&many), "431");
    }
}
