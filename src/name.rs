//! Names that can't be wrong once parsed: keys, agents, hosts and origins. No lookups and no IO here.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

/// The name that locum itself answers by, to agents. Nobody else can have it (RFC 2606, section 2).
pub const OWN_HOST: &str = "locum.invalid";

/// The longest name of a key or agent, in bytes.
pub const MAX_NAME: usize = 64;

/// The name in records of whoever isn't authenticated.
pub const NOBODY: &str = "-";

/// A name that was not accepted; the text says what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(String);

/// The name of a key: `[a-z][a-z0-9_]{0,63}`, not ending in `_key`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyName(Arc<str>);

impl KeyName {
    /// The name, without the signs of a placeholder.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What an agent writes in place of the key: `<<NAME_key>>`.
    pub fn placeholder(&self) -> String {
        format!("<<{}_key>>", self.0)
    }

    /// The key whose placeholder this is, and nothing else, be it in the syntax that counts only with `[proxy] braces`.
    pub fn of_placeholder(text: &[u8]) -> Option<Self> {
        let within = |open: &[u8], close: &[u8]| text.strip_prefix(open)?.strip_suffix(close);
        let name = within(b"<<", b"_key>>").or_else(|| within(b"{{", b"_key}}"))?;
        std::str::from_utf8(name).ok()?.parse().ok()
    }

    /// Whether this is some key's placeholder and nothing else, be it in the syntax that counts only with `[proxy] braces`.
    pub fn is_placeholder(text: &[u8]) -> bool {
        Self::of_placeholder(text).is_some()
    }
}

impl FromStr for KeyName {
    type Err = NameError;

    fn from_str(s: &str) -> Result<Self, NameError> {
        if let Some(stem) = s.strip_suffix("_key") {
            let hint = propose(stem);
            return Err(NameError(format!(
                "a key's name does not end in '_key' (the placeholder adds it); try '{hint}'"
            )));
        }
        if !is_identifier(s, b"_") {
            return Err(NameError(format!(
                "'{}' is no key name ([a-z][a-z0-9_]*, 64 at most); try '{}'",
                s.escape_debug(),
                propose(s)
            )));
        }
        Ok(Self(s.into()))
    }
}

/// The name of an agent: `[a-z][a-z0-9_-]{0,63}`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentName(Arc<str>);

impl AgentName {
    /// The one agent of a proxy that asks for no token.
    pub fn local() -> Self {
        Self("local".into())
    }

    /// Whoever has proved nothing: `-`, which no agent can be called.
    pub fn nobody() -> Self {
        Self(NOBODY.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AgentName {
    type Err = NameError;

    fn from_str(s: &str) -> Result<Self, NameError> {
        if !is_identifier(s, b"_-") {
            return Err(NameError(format!(
                "'{}' is no agent name ([a-z][a-z0-9_-]*, 64 at most); try '{}'",
                s.escape_debug(),
                propose(s)
            )));
        }
        Ok(Self(s.into()))
    }
}

fn is_identifier(s: &str, extra: &[u8]) -> bool {
    let b = s.as_bytes();
    (1..=MAX_NAME).contains(&b.len())
        && b[0].is_ascii_lowercase()
        && b.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || extra.contains(c))
}

/// The nearest acceptable name: `My-Tool_key` becomes `my_tool`.
fn propose(s: &str) -> String {
    let mut out: String =
        s.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    while let Some(stem) = out.strip_suffix("_key") {
        out.truncate(stem.len());
    }
    let out = out.trim_matches('_').trim_start_matches(|c: char| c.is_ascii_digit() || c == '_');
    let out: String = out.chars().take(MAX_NAME).collect();
    if out.is_empty() { "my_tool".into() } else { out }
}

/// A host as it is compared, dialled and verified: a lower-case A-label name without a trailing dot, or an address.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A name of DNS.
    Dns(Arc<str>),
    /// An address; never an IPv4 address mapped into IPv6.
    Ip(IpAddr),
}

impl Host {
    /// Whether it means locum itself, which is dialled for nobody.
    pub fn is_own(&self) -> bool {
        matches!(self, Host::Dns(name) if **name == *OWN_HOST)
    }

    /// Whether it says that it is this machine (RFC 6761, section 6.3). What a name resolves to may be another.
    pub fn is_loopback_name(&self) -> bool {
        match self {
            Host::Dns(n) => &**n == "localhost" || n.ends_with(".localhost"),
            Host::Ip(ip) => ip.to_canonical().is_loopback(),
        }
    }
}

impl FromStr for Host {
    type Err = NameError;

    /// Reads a host as the URL standard does (IDN to A-labels, odd IPv4 notations, bracketed IPv6), but
    /// takes no percent-encoding, and one trailing dot off.
    fn from_str(s: &str) -> Result<Self, NameError> {
        let bad = |why: &str| NameError(format!("'{}' is no host: {why}", s.escape_debug()));
        if s.is_empty() {
            return Err(bad("it is empty"));
        }
        if s.contains(['%', '@', '\\', '/', '?', '#']) || s.chars().any(|c| c.is_control() || c == ' ') {
            return Err(bad("it holds a character that hosts don't have"));
        }
        match url::Host::parse(s).map_err(|e| bad(&e.to_string()))? {
            url::Host::Ipv4(ip) => Ok(Host::Ip(ip.into())),
            url::Host::Ipv6(ip) => Ok(Host::Ip(IpAddr::V6(ip).to_canonical())),
            url::Host::Domain(d) => {
                let name = d.strip_suffix('.').unwrap_or(&d);
                if name.is_empty() || name.len() > 253 || name.split('.').any(|l| l.is_empty() || l.len() > 63) {
                    return Err(bad("its labels are empty or too long"));
                }
                // what the URL standard lets by besides these, a star among them, is no name that anybody registers
                if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
                    return Err(bad("it holds a character that hosts don't have"));
                }
                Ok(Host::Dns(name.into()))
            }
        }
    }
}

impl fmt::Display for Host {
    /// As in a URL: an IPv6 address in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Dns(n) => f.write_str(n),
            Host::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

/// The scheme of an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Unencrypted HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// The scheme as it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port that a URL doesn't have to name (RFC 9110, section 4.2).
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// An origin (RFC 6454): the unit of bindings, pools and verification.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// Its scheme.
    pub scheme: Scheme,
    /// Its host.
    pub host: Host,
    /// Its port, never 0.
    pub port: u16,
}

impl Origin {
    /// Reads `host`, `host:port` or `[v6]:port`; without a port it is the scheme's.
    pub fn parse(scheme: Scheme, authority: &str) -> Result<Self, NameError> {
        let (host, port) = split_port(authority)?;
        Ok(Self { scheme, host: host.parse()?, port: port.unwrap_or(scheme.default_port()) })
    }

    /// As in a `Host` header: the port only where it isn't the scheme's own.
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The address itself where the host is one.
    pub fn literal(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Ip(ip) => Some(SocketAddr::new(ip, self.port)),
            Host::Dns(_) => None,
        }
    }
}

/// Splits `host[:port]`, the host left as it was written.
pub fn split_port(authority: &str) -> Result<(&str, Option<u16>), NameError> {
    let bad = || NameError(format!("'{}' is no host with a port", authority.escape_debug()));
    let (host, port) = match authority.rsplit_once(':') {
        Some((h, p)) if !h.contains(':') || h.ends_with(']') => (h, Some(p)),
        Some(_) if !authority.ends_with(']') => return Err(bad()),
        _ => (authority, None),
    };
    let port = match port {
        None | Some("") => None,
        Some(p) if p.bytes().all(|b| b.is_ascii_digit()) => Some(p.parse().map_err(|_| bad())?),
        Some(_) => return Err(bad()),
    };
    if port == Some(0) { Err(bad()) } else { Ok((host, port)) }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

macro_rules! plain {
    ($($t:ty)*) => {$(
        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
        impl fmt::Debug for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{:?}", &*self.0) }
        }
        impl serde::Serialize for $t {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> { s.serialize_str(&self.0) }
        }
    )*};
}
plain!(KeyName AgentName);

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(s: &str) -> String {
        s.parse::<Host>().map(|h| h.to_string()).unwrap_or_else(|_| "-".into())
    }

    #[test]
    fn hosts_have_one_spelling() {
        for (written, read) in [
            ("API.OpenAI.com", "api.openai.com"),
            ("api.openai.com.", "api.openai.com"),
            ("api.openai.com..", "-"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("0x7f.1", "127.0.0.1"),
            ("2130706433", "127.0.0.1"),
            ("0177.0.0.1", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[::ffff:127.0.0.1]", "127.0.0.1"),
            ("::1", "-"),
            ("a%2eexample", "-"),
            ("user@host", "-"),
            ("a b", "-"),
            ("a\0b", "-"),
            ("", "-"),
            (".", "-"),
            ("a..b", "-"),
            ("under_score.example", "under_score.example"),
            ("*.a.example", "-"),
            ("a,b.example", "-"),
        ] {
            assert_eq!(host(written), read, "{written}");
        }
    }

    #[test]
    fn origins_take_the_schemes_port() {
        let o = |s| Origin::parse(Scheme::Https, s).map(|o| o.to_string()).unwrap_or_else(|_| "-".into());
        for (written, read) in [
            ("a.example", "https://a.example"),
            ("a.example:443", "https://a.example"),
            ("a.example:8443", "https://a.example:8443"),
            ("[::1]:8443", "https://[::1]:8443"),
            ("[::1]", "https://[::1]"),
            ("a.example:", "https://a.example"),
            ("a.example:0", "-"),
            ("a.example:65536", "-"),
            ("a.example:+1", "-"),
            ("::1:443", "-"),
        ] {
            assert_eq!(o(written), read, "{written}");
        }
    }

    #[test]
    fn a_refused_key_name_comes_with_a_proposal() {
        for (written, proposed) in [
            ("my-tool", "'my_tool'"),
            ("openai_key", "'openai'"),
            ("9lives", "'lives'"),
            ("", "'my_tool'"),
            ("A_key_key", "'a'"),
        ] {
            let e = written.parse::<KeyName>().unwrap_err().to_string();
            assert!(e.contains(proposed), "{written}: {e}");
        }
        assert_eq!("openai".parse::<KeyName>().unwrap().placeholder(), "<<openai_key>>");
    }
}
