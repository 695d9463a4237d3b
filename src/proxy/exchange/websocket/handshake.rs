//! From a request that asks for another protocol to two streams that speak it: a WebSocket (RFC 6455, section 4), or what
//! nobody here can read, which is let through to hosts without keys alone.
//!
//! Only HTTP/1.1 clients can ask: extended CONNECT (RFC 8441) is not advertised to those of HTTP/2, which then open an
//! HTTP/1.1 connection. Nothing is switched before the upstream has, and said so in the one way that there is.

use crate::proxy::refusal::Refusal;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Version, request};
use hyper::body::Incoming;

/// What a server hashes behind the client's key (section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A client's wish for another protocol.
pub(crate) enum Handshake {
    /// A WebSocket, and what the upstream has to answer to the client's key.
    WebSocket { accept: String },
    /// Something else (RFC 9110, section 7.8), such as `SPDY/3.1`.
    Unread { protocol: HeaderValue },
}

/// Protocols that a client would rather speak and does without: over `http://` curl offers the one, and others the other.
const DONE_WITHOUT: [&str; 2] = ["h2c", "TLS/"];

impl Handshake {
    /// `None` where a request asks for none, or for one that is done without: that is taken off with the connection's headers.
    pub fn asked(parts: &request::Parts, has_body: bool) -> Result<Option<Self>, Refusal> {
        let headers = &parts.headers;
        if parts.version != Version::HTTP_11 || !headers.contains_key(UPGRADE) {
            return Ok(None);
        }
        if !lists(headers, UPGRADE, "websocket") {
            return Ok(Self::unread(headers, has_body));
        }
        let malformed = |why: &str| Err(Refusal::malformed(format!("the WebSocket handshake is malformed: {why}")));
        if parts.method != Method::GET || has_body {
            return malformed("it is no GET without a body");
        }
        if !lists(headers, CONNECTION, "upgrade") {
            return malformed("Connection does not list 'upgrade'");
        }
        if one(headers, SEC_WEBSOCKET_VERSION) != Some(b"13") {
            return malformed("Sec-WebSocket-Version is not 13");
        }
        let key = one(headers, SEC_WEBSOCKET_KEY).filter(|key| STANDARD.decode(key).is_ok_and(|k| k.len() == 16));
        let Some(key) = key else { return malformed("Sec-WebSocket-Key is not one of 16 bytes in base64") };
        let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
        hash.update(key);
        hash.update(GUID.as_bytes());
        Ok(Some(Self::WebSocket { accept: STANDARD.encode(hash.finish()) }))
    }

    fn unread(headers: &HeaderMap, has_body: bool) -> Option<Self> {
        let mut asked = headers.get_all(UPGRADE).iter();
        let (protocol, more) = (asked.next()?, asked.next().is_some());
        let done_without = |name: &[u8]| {
            let begins =
                |known: &&str| name.get(..known.len()).is_some_and(|n| n.eq_ignore_ascii_case(known.as_bytes()));
            DONE_WITHOUT.iter().any(begins)
        };
        let mut names = protocol.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii);
        let meant = !has_body && !more && lists(headers, CONNECTION, "upgrade") && !names.any(done_without);
        meant.then(|| Self::Unread { protocol: protocol.clone() })
    }

    /// The protocol, where nobody here can read it.
    pub fn unread_protocol(&self) -> Option<&HeaderValue> {
        match self {
            Self::WebSocket { .. } => None,
            Self::Unread { protocol } => Some(protocol),
        }
    }

    fn protocol(&self) -> HeaderValue {
        self.unread_protocol().cloned().unwrap_or(HeaderValue::from_static("websocket"))
    }

    /// Puts back what belongs to the connection to the upstream. For a host with keys every frame is read, so no
    /// extension may change what frames are.
    pub fn ask(&self, headers: &mut HeaderMap, read: bool) {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, self.protocol());
        if read {
            headers.remove(SEC_WEBSOCKET_EXTENSIONS);
        }
    }

    /// Whether the upstream has switched as it was asked to (section 4.1): the protocol that it speaks from now on.
    pub fn granted(&self, response: &Response<Incoming>, read: bool) -> Result<HeaderValue, &'static str> {
        let headers = response.headers();
        let Self::WebSocket { accept } = self else {
            let spoken = headers.get(UPGRADE).filter(|_| lists(headers, CONNECTION, "upgrade"));
            return spoken.cloned().ok_or("it switched and did not say to what");
        };
        if !lists(headers, UPGRADE, "websocket") || !lists(headers, CONNECTION, "upgrade") {
            return Err("it switched to something else than a WebSocket");
        }
        if one(headers, SEC_WEBSOCKET_ACCEPT) != Some(accept.as_bytes()) {
            return Err("its Sec-WebSocket-Accept does not belong to the request");
        }
        if read && headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
            return Err("it agreed to an extension that was not offered");
        }
        Ok(self.protocol())
    }
}

/// Whether a header lists this token, in whatever case.
fn lists(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter();
    values
        .flat_map(|v| v.as_bytes().split(|b| *b == b','))
        .any(|t| t.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

fn one(headers: &HeaderMap, name: HeaderName) -> Option<&[u8]> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then(|| first.as_bytes().trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the upstream has to answer, or the protocol that it is asked for.
    fn asked(head: &str) -> Result<Option<String>, String> {
        let mut lines = head.lines();
        let mut request = http::Request::builder().method(lines.next().unwrap());
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let told = |handshake| match handshake {
            Handshake::WebSocket { accept } => accept,
            Handshake::Unread { protocol } => protocol.to_str().unwrap().to_owned(),
        };
        Handshake::asked(&parts, false).map(|h| h.map(told)).map_err(|r| r.to_string())
    }

    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Version: 13";

    #[test]
    fn a_handshake_is_whole_or_refused() {
        // the example of section 1.3
        let accept = Ok(Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned()));
        assert_eq!(asked(&format!("GET\nUpgrade: websocket\nConnection: Upgrade\n{KEY}")), accept);
        assert_eq!(asked(&format!("GET\nUpgrade: h2c, WebSocket\nConnection: keep-alive, upgrade\n{KEY}")), accept);
        for none in [
            "GET\nUpgrade: h2c\nConnection: Upgrade",
            "GET",
            "POST\nUpgrade: TLS/1.2\nConnection: Upgrade",
            "GET\nUpgrade: x, H2C\nConnection: Upgrade",
            "POST\nUpgrade: SPDY/3.1",
            "POST\nUpgrade: SPDY/3.1\nUpgrade: x\nConnection: Upgrade",
        ] {
            assert_eq!(asked(none), Ok(None), "{none}");
        }
        let spdy = "POST\nUpgrade: SPDY/3.1\nConnection: Upgrade";
        assert_eq!(asked(spdy), Ok(Some("SPDY/3.1".into())));
        for (head, why) in [
            (format!("POST\nUpgrade: websocket\nConnection: Upgrade\n{KEY}"), "no GET"),
            (format!("GET\nUpgrade: websocket\nConnection: close\n{KEY}"), "Connection"),
            ("GET\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13".into(), "Key"),
            (format!("GET\nUpgrade: websocket\nConnection: Upgrade\n{KEY}\n{KEY}"), "Version"),
            (format!("GET\nUpgrade: websocket\nConnection: Upgrade\n{}", KEY.replace("13", "8")), "Version"),
            (format!("GET\nUpgrade: websocket\nConnection: Upgrade\n{}", KEY.replace("dGhl", "")), "Key"),
        ] {
            assert!(asked(&head).is_err_and(|told| told.contains(why)), "{head}");
        }
    }
}
