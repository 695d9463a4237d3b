//! What is said to the proxy on the way out, so that it leads to an upstream: CONNECT or SOCKS5; and what it says of a login.

use super::link::Link;
use super::proxy::{ProxyProtocol, UpstreamProxy};
use crate::name::{Host, Origin};
use http::header::PROXY_AUTHENTICATE;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_socks::tcp::Socks5Stream;
use tokio_socks::{Error as SocksError, TargetAddr};

/// The largest answer to CONNECT, interim ones included, in bytes.
const MAX_ANSWER: usize = 16 * 1024;

/// Has the proxy at the other end of `link` lead to `origin`.
///
/// # Errors
/// Why it doesn't, in words.
pub(super) async fn lead(proxy: &UpstreamProxy, link: Link, origin: &Origin) -> Result<Link, String> {
    match proxy.protocol {
        ProxyProtocol::Http | ProxyProtocol::Https => connect(proxy, link, origin).await,
        ProxyProtocol::Socks5 => socks5(proxy, link, origin).await,
    }
}

async fn socks5(proxy: &UpstreamProxy, link: Link, origin: &Origin) -> Result<Link, String> {
    let target = match &origin.host {
        Host::Ip(ip) => TargetAddr::Ip((*ip, origin.port).into()),
        Host::Dns(name) => TargetAddr::Domain((&**name).into(), origin.port),
    };
    let led = match &proxy.login {
        Some((user, password)) => Socks5Stream::connect_with_password_and_socket(link, target, user, password).await,
        None => Socks5Stream::connect_with_socket(link, target).await,
    };
    match led {
        Ok(led) => Ok(led.into_inner()),
        Err(SocksError::NoAcceptableAuthMethods | SocksError::PasswordAuthFailure(_)) => Err(wants_password(proxy)),
        Err(e) => Err(e.to_string()),
    }
}

async fn connect(proxy: &UpstreamProxy, mut link: Link, origin: &Origin) -> Result<Link, String> {
    let authority = format!("{}:{}", origin.host, origin.port);
    let mut head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n").into_bytes();
    if let Some(value) = &proxy.authorization {
        head.extend_from_slice(b"Proxy-Authorization: ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    let asked = async {
        link.write_all(&head).await?;
        // TLS may hold it back
        link.flush().await?;
        answer(&mut link).await
    };
    let Answer { status, schemes } = asked.await.map_err(|e| e.to_string())?;
    match status {
        200..300 => Ok(link),
        407 => Err(wants_login(proxy, schemes.iter().map(Vec::as_slice))),
        _ => Err(format!("it answered {status}")),
    }
}

/// What a proxy answers a CONNECT with.
struct Answer {
    status: u16,
    /// The values of `Proxy-Authenticate`.
    schemes: Vec<Vec<u8>>,
}

/// Reads the answer to CONNECT byte by byte, so that nothing of the tunnel is taken with it. Interim ones come before it
/// (RFC 9110, section 15.2), and lines may end without their CR (RFC 9112, section 2.2).
async fn answer(link: &mut Link) -> io::Result<Answer> {
    let (mut read, mut begin) = (Vec::with_capacity(256), 0);
    loop {
        let head = read.get(begin..).unwrap_or_default();
        if !(head.ends_with(b"\n\r\n") || head.ends_with(b"\n\n")) {
            if read.len() >= MAX_ANSWER {
                return Err(io::Error::other("its answer is too long"));
            }
            read.push(link.read_u8().await?);
            continue;
        }
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        response.parse(head).map_err(|e| io::Error::other(format!("its answer is malformed: {e}")))?;
        let status = response.code.ok_or_else(|| io::Error::other("its answer has no status"))?;
        if !(100..200).contains(&status) {
            let offers = response.headers.iter().filter(|h| h.name.eq_ignore_ascii_case(PROXY_AUTHENTICATE.as_str()));
            return Ok(Answer { status, schemes: offers.map(|h| h.value.to_vec()).collect() });
        }
        begin = read.len();
    }
}

/// What there is to say of a proxy's 407, whose `Proxy-Authenticate` has these values.
pub(super) fn wants_login<'v>(proxy: &UpstreamProxy, offers: impl Iterator<Item = &'v [u8]>) -> String {
    let schemes: Vec<String> = offers.flat_map(schemes).collect();
    if schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("basic")) {
        return wants_password(proxy);
    }
    match schemes.join(" or ").as_str() {
        "" => "it answered 407, and doesn't say which login it takes".into(),
        schemes => format!("it takes a login by {schemes} only, and locum speaks Basic; ask for a way without"),
    }
}

fn wants_password(proxy: &UpstreamProxy) -> String {
    match &proxy.login {
        None => "it wants user and password, which go into its URL ([proxy] upstream_proxy)".into(),
        Some(_) => "it does not take the user and password in its URL ([proxy] upstream_proxy)".into(),
    }
}

/// The schemes of a list of challenges (RFC 9110, section 11.6.1): each begins with one, and goes on with `name=value`.
fn schemes(offer: &[u8]) -> Vec<String> {
    let offer = String::from_utf8_lossy(offer);
    let first_words = offer.split(',').filter_map(|part| part.split_whitespace().next().map(str::to_owned));
    let is_scheme = |word: &String| {
        word.len() <= 32 && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    first_words.filter(is_scheme).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_that_is_not_ours_is_named() {
        let proxy = |url: &str| url.parse::<UpstreamProxy>().unwrap();
        let (without, with) = (proxy("http://p:1"), proxy("http://me:pw@p:1"));
        for (offers, proxy, said) in [
            (&["Negotiate", "NTLM"][..], &without, "by Negotiate or NTLM only"),
            (&["Negotiate, NTLM"], &with, "by Negotiate or NTLM only"),
            (&["Digest realm=\"a, b\", qop=\"auth\", nonce=\"x\""], &with, "by Digest"),
            (&["Negotiate", "Basic realm=\"p\""], &without, "wants user and password"),
            (&["BASIC realm=\"p\", charset=\"UTF-8\""], &with, "does not take the user and password"),
            (&["\u{1b}[2J"], &with, "doesn't say"),
            (&[], &with, "doesn't say"),
        ] {
            let told = wants_login(proxy, offers.iter().map(|offer| offer.as_bytes()));
            assert!(told.contains(said), "{offers:?}: {told}");
        }
    }
}
