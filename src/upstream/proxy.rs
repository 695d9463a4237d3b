//! The proxy on the way out, as its URL says it (`upstream_proxy`).

use crate::name::Host;
use base64::Engine as _;
use http::HeaderValue;
use std::fmt;
use std::str::FromStr;

/// How the proxy on the way out is spoken with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// HTTP/1.1 in cleartext.
    Http,
    /// HTTP/1.1 over TLS, which verifies the proxy.
    Https,
    /// SOCKS5 (RFC 1928), which is given names and resolves them itself.
    Socks5,
}

impl ProxyProtocol {
    fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5 => "socks5h",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Socks5 => 1080,
        }
    }
}

/// The proxy on the way out: `http://[user:password@]host:port`, or the same with `https` or `socks5h`.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamProxy {
    pub protocol: ProxyProtocol,
    pub host: Host,
    pub port: u16,
    /// User and password, where the URL has them.
    pub login: Option<(String, String)>,
    /// The same as HTTP has them (RFC 7617).
    pub authorization: Option<HeaderValue>,
}

/// A text that is no URL of an upstream proxy. It is not repeated, since it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an upstream proxy is http://[user:password@]host:port, https:// or socks5h://")]
pub struct ProxyUrlError;

impl fmt::Debug for UpstreamProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.protocol.scheme(), self.host, self.port)
    }
}

impl FromStr for UpstreamProxy {
    type Err = ProxyUrlError;

    fn from_str(s: &str) -> Result<Self, ProxyUrlError> {
        let url = url::Url::parse(s).map_err(|_| ProxyUrlError)?;
        let protocol = match url.scheme() {
            "http" => ProxyProtocol::Http,
            "https" => ProxyProtocol::Https,
            // most clients resolve names at the proxy for either, and what a proxy is there for asks for it
            "socks5h" | "socks5" => ProxyProtocol::Socks5,
            _ => return Err(ProxyUrlError),
        };
        let decode = |s: &str| percent_encoding::percent_decode_str(s).decode_utf8_lossy().into_owned();
        let login =
            (!url.username().is_empty()).then(|| (decode(url.username()), decode(url.password().unwrap_or_default())));
        let authorization = login.as_ref().map(|(user, password)| {
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            HeaderValue::from_str(&format!("Basic {pair}"))
        });
        let authorization = authorization.transpose().map_err(|_| ProxyUrlError)?.map(|mut v| {
            v.set_sensitive(true);
            v
        });
        let host = url.host_str().ok_or(ProxyUrlError)?.parse().map_err(|_| ProxyUrlError)?;
        let port = url.port().unwrap_or(protocol.default_port());
        Ok(Self { protocol, host, port, login, authorization })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_known_by_its_url() {
        for (url, shown, login) in [
            ("http://proxy.corp:3128", "http://proxy.corp:3128", None),
            ("HTTP://Proxy.Corp", "http://proxy.corp:80", None),
            ("https://proxy.corp/", "https://proxy.corp:443", None),
            ("socks5h://[::1]", "socks5h://[::1]:1080", None),
            ("socks5://Proxy.corp:9050", "socks5h://proxy.corp:9050", None),
            ("http://me:p%40ss@10.0.0.1:8", "http://10.0.0.1:8", Some(("me", "p@ss"))),
            ("socks5h://me:p%40ss@10.0.0.1", "socks5h://10.0.0.1:1080", Some(("me", "p@ss"))),
        ] {
            let proxy: UpstreamProxy = url.parse().unwrap();
            assert_eq!(format!("{proxy:?}"), shown, "{url}");
            let login = login.map(|(user, password)| (user.to_owned(), password.to_owned()));
            assert_eq!(proxy.login, login, "{url}");
        }
        for bad in ["", "proxy.corp:3128", "socks4://proxy.corp", "ftp://proxy.corp", "http://", "http://me:s3cret@"] {
            let error = bad.parse::<UpstreamProxy>().unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{bad}");
        }
    }
}
