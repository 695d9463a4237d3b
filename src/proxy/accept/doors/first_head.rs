//! The first head on a connection, parsed strictly: whatever could be read in two ways is refused.

use crate::name::{Host, split_port};
use crate::proxy::health;
use crate::proxy::limits::FIRST_HEAD_LINES;
use crate::proxy::refusal::{Refusal, RefusalKind};

/// A first head, as far as it matters who asks for which host.
pub(crate) enum FirstHead {
    Connect {
        host: Host,
        port: u16,
        authorization: Option<Vec<u8>>,
    },
    /// Requests by their whole URL (RFC 9112, section 3.2.2), this one and those after it; each says for itself who asks.
    Absolute {
        authorized: bool,
    },
    /// The question whether the proxy serves.
    Health,
}

/// What can be told before a head is whole, so that nobody waits for the rest of something else.
pub(crate) fn not_a_head(read: &[u8]) -> Option<&'static str> {
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
pub(crate) fn parse(head: &[u8]) -> Result<FirstHead, Refusal> {
    let malformed = |why: &'static str| Refusal::malformed(why);
    if let Some(odd) = not_a_head(head) {
        return Err(malformed(odd));
    }
    let mut headers = [httparse::EMPTY_HEADER; FIRST_HEAD_LINES];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(len)) if len == head.len() => {}
        Ok(_) => return Err(malformed("the head is malformed")),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::new(RefusalKind::HeadTooLarge, "over 64 headers")),
        Err(e) => return Err(Refusal::malformed(format!("the head is malformed: {e}"))),
    }
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(malformed("the request line is malformed"));
    };
    if method == "GET" && target == health::URL {
        return Ok(FirstHead::Health);
    }
    if method != "CONNECT" {
        let authorized = one(request.headers, "proxy-authorization")?.is_some();
        return absolute(target, authorized);
    }
    let (host, port) = split_port(target).map_err(|e| Refusal::malformed(e.to_string()))?;
    let port = port.ok_or_else(|| malformed("CONNECT names no port"))?;
    let host: Host = host.parse().map_err(|e: crate::name::NameError| Refusal::malformed(e.to_string()))?;
    one_host(request.headers, &host, port)?;
    if request.headers.iter().any(|h| is(h, "transfer-encoding") || is(h, "content-length") && h.value != b"0") {
        return Err(malformed("CONNECT with a body"));
    }
    let authorization = one(request.headers, "proxy-authorization")?.map(<[u8]>::to_vec);
    Ok(FirstHead::Connect { host, port, authorization })
}

fn absolute(target: &str, authorized: bool) -> Result<FirstHead, Refusal> {
    let by_url = |scheme: &str| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    if target.starts_with('/') || target == "*" {
        return Err(Refusal::new(
            RefusalKind::NotForwarded,
            "this is a forward proxy and no web server: set HTTPS_PROXY to it",
        ));
    }
    if !by_url("http://") && !by_url("https://") {
        return Err(Refusal::new(
            RefusalKind::NotForwarded,
            "only https:// and http:// are forwarded, in tunnels by CONNECT or by their whole URL",
        ));
    }
    Ok(FirstHead::Absolute { authorized })
}

fn is(header: &httparse::Header<'_>, name: &str) -> bool {
    header.name.eq_ignore_ascii_case(name)
}

fn one<'h>(headers: &'h [httparse::Header<'h>], name: &str) -> Result<Option<&'h [u8]>, Refusal> {
    let mut found = headers.iter().filter(|h| is(h, name));
    let first = found.next().map(|h| h.value);
    if found.next().is_some() { Err(Refusal::malformed(format!("two {name} headers"))) } else { Ok(first) }
}

/// `Host` may lack the port, or be missing; where it is there it names the same host (RFC 9112, section 3.2.3).
fn one_host(headers: &[httparse::Header<'_>], host: &Host, port: u16) -> Result<(), Refusal> {
    let Some(value) = one(headers, "host")? else { return Ok(()) };
    let other = || Refusal::misdirected(String::from_utf8_lossy(value), format!("{host}:{port}"));
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
        match parse(head.replace('\n', "\r\n").as_bytes()) {
            Ok(FirstHead::Connect { host, port, .. }) => format!("{host}:{port}"),
            Ok(FirstHead::Absolute { .. }) => "absolute".into(),
            Ok(FirstHead::Health) => "health".into(),
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
            ("GET http://locum.invalid/healthz HTTP/1.1\nHost: locum.invalid\n\n", "health"),
            ("GET http://locum.invalid/healthz/ HTTP/1.1\nHost: locum.invalid\n\n", "absolute"),
            ("POST http://locum.invalid/healthz HTTP/1.1\nHost: locum.invalid\n\n", "absolute"),
            ("GET /healthz HTTP/1.1\nHost: locum.invalid\n\n", "400"),
            ("GET / HTTP/1.1\nHost: a.example\nOrigin: https://evil.example\nSec-Fetch-Site: cross-site\n\n", "400"),
            ("GET https://a.example/ HTTP/1.1\n\n", "absolute"),
            ("GET HTTPS://a.example/ HTTP/1.1\n\n", "absolute"),
            ("GET httpss://a.example/ HTTP/1.1\n\n", "400"),
            ("GET https:/a.example/ HTTP/1.1\n\n", "400"),
            ("GET ftp://a.example/ HTTP/1.1\n\n", "400"),
            ("GET / HTTP/1.1\nHost: a.example\n\n", "400"),
            ("PRI * HTTP/2.0\n\n", "400"),
        ] {
            assert_eq!(read(head), outcome, "{head:?}");
        }
        assert!(
            matches!(parse(b"CONNECT a:1 HTTP/1.1\nHost: a\r\n\r\n"), Err(refusal) if refusal.word() == "malformed"),
            "bare LF"
        );
        let many = format!("CONNECT a.example:443 HTTP/1.1\n{}\n", "A: b\n".repeat(65));
        assert_eq!(read(&many), "431");
    }
}
