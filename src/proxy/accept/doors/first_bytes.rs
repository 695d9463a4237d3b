//! The first bytes of a client that speaks with its host: TLS, HTTP, or something else. Nothing is read here.

use crate::name::Host;
use crate::proxy::limits::FIRST_HEAD;
use crate::proxy::refusal::{Refusal, RefusalKind};
use rustls::server::Acceptor;

/// The first byte of a TLS record that holds a handshake message (RFC 8446, section 5.1).
pub(in crate::proxy::accept) const TLS_HANDSHAKE: u8 = 0x16;
/// What HTTP/2 begins with, where no method of HTTP/1 does (RFC 9113, section 3.4).
const HTTP2: &[u8] = b"PRI";
/// What SSH begins with (RFC 4253, section 4.2), which looks like a method of HTTP.
const SSH: &[u8] = b"SSH-";

/// Whether more has to come before it can be told what is spoken.
pub(in crate::proxy::accept) fn is_undecided(first: &[u8]) -> bool {
    [HTTP2, SSH].iter().any(|word| first.len() < word.len() && word.starts_with(first))
}

/// Whether it is HTTP in the clear, of some version.
pub(in crate::proxy::accept) fn is_http(first: &[u8]) -> bool {
    first.first().is_some_and(u8::is_ascii_uppercase) && !first.starts_with(SSH)
}

/// Whether that is HTTP/2.
pub(in crate::proxy::accept) fn is_http2(first: &[u8]) -> bool {
    first.starts_with(HTTP2)
}

/// What a client speaks with its host.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    /// TLS, with the host that its ClientHello names (RFC 6066, section 3).
    Tls(Option<Host>),
    Http {
        http2: bool,
    },
    Unknown,
}

/// Finds out what a client speaks, as its first bytes come in.
#[derive(Default)]
pub(super) struct FirstBytes {
    hello: Acceptor,
    /// So many of them were looked at.
    looked_at: usize,
}

impl FirstBytes {
    /// What is spoken, by all that has come so far; `None` while that can't be told.
    ///
    /// # Errors
    /// It begins as TLS, and is none, or none that names a host.
    pub fn tell(&mut self, read: &[u8]) -> Result<Option<Spoken>, Refusal> {
        match read {
            _ if is_undecided(read) => Ok(None),
            [TLS_HANDSHAKE, ..] => self.client_hello(read).map(|named| named.map(Spoken::Tls)),
            _ if is_http(read) => Ok(Some(Spoken::Http { http2: is_http2(read) })),
            _ => Ok(Some(Spoken::Unknown)),
        }
    }

    fn client_hello(&mut self, read: &[u8]) -> Result<Option<Option<Host>>, Refusal> {
        let failed = |why: String| Refusal::new(RefusalKind::HandshakeFailed, why);
        let mut new = read.get(self.looked_at..).unwrap_or_default();
        self.looked_at = read.len();
        while !new.is_empty() {
            let taken = self.hello.read_tls(&mut new).map_err(|e| failed(format!("no TLS handshake: {e}")))?;
            let accepted = self.hello.accept().map_err(|(e, _)| failed(format!("no TLS handshake: {e}")))?;
            if let Some(accepted) = accepted {
                let hello = accepted.client_hello();
                let named = hello.server_name().map(str::parse::<Host>).transpose();
                return named.map(Some).map_err(|e| failed(e.to_string()));
            }
            if taken == 0 {
                break;
            }
        }
        if read.len() >= FIRST_HEAD {
            return Err(failed("the client's first TLS message is over 16 KiB".into()));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};
    use std::sync::Arc;

    fn hello(name: &str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut out = Vec::new();
        ClientConnection::new(Arc::new(config), name).unwrap().write_tls(&mut out).unwrap();
        out
    }

    /// Cut at every byte, and byte by byte.
    #[test]
    fn what_is_spoken_is_told_as_soon_as_it_can_be_and_no_sooner() {
        let named = |name: &str| Spoken::Tls(Some(name.parse().unwrap()));
        for (first, spoken, from) in [
            (hello("api.tool.example"), named("api.tool.example"), None),
            (hello("127.0.0.1"), Spoken::Tls(None), None),
            (b"GET / HTTP/1.1\r\n".to_vec(), Spoken::Http { http2: false }, Some(1)),
            (b"PRI * HTTP/2.0\r\n".to_vec(), Spoken::Http { http2: true }, Some(3)),
            (b"PUT / HTTP/1.1\r\n".to_vec(), Spoken::Http { http2: false }, Some(2)),
            (b"SEARCH / HTTP/1.1\r\n".to_vec(), Spoken::Http { http2: false }, Some(2)),
            (b"SSH-2.0-x\r\n".to_vec(), Spoken::Unknown, Some(4)),
            (b"\0\0\0\x08".to_vec(), Spoken::Unknown, Some(1)),
        ] {
            let from = from.unwrap_or(first.len());
            let mut piecemeal = FirstBytes::default();
            for cut in 0..=first.len() {
                let expected = (cut >= from).then_some(&spoken);
                assert_eq!(FirstBytes::default().tell(&first[..cut]).unwrap().as_ref(), expected, "{cut}");
                if cut <= from {
                    assert_eq!(piecemeal.tell(&first[..cut]).unwrap().as_ref(), expected, "{cut}, piecemeal");
                }
            }
        }
    }

    #[test]
    fn what_begins_as_tls_and_is_none_is_refused() {
        let endless = [&[22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff][..], &[0; 20_000]].concat();
        for bad in [&b"\x16\x03\x01\x00\x05hello"[..], b"\x16\xff\xff\xff\xff", &endless] {
            let mut first = FirstBytes::default();
            let told = (0..=bad.len()).find_map(|cut| first.tell(&bad[..cut]).transpose());
            assert!(matches!(&told, Some(Err(refusal)) if refusal.kind() == RefusalKind::HandshakeFailed), "{told:?}");
        }
    }
}
