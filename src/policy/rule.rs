//! Bindings, parsed so that each can be read in one way only: hosts, methods, paths, places, uses.

use crate::name::{Host, KeyName, NameError, Origin, Scheme, split_port};
use crate::place::Place;
use http::{HeaderName, HeaderValue, Method};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The binding of a key: where it may go. An empty list of methods or paths means any.
#[derive(Debug, Clone)]
pub struct KeyRule {
    /// The key.
    pub name: KeyName,
    /// The hosts that it may go to.
    pub hosts: Vec<HostPattern>,
    /// The methods that it may go with.
    pub methods: Vec<Method>,
    /// The paths that it may go to.
    pub paths: Vec<PathGlob>,
    /// The places in a request that it may stand in.
    pub places: Vec<Place>,
    /// Per request, head and body together.
    pub max_uses: u32,
    /// A look-alike that counts besides `<<NAME_key>>`.
    pub placeholder: Option<String>,
    /// A header that the proxy adds.
    pub inject: Option<Inject>,
    /// Whether it is hidden in answers.
    pub scrub: Scrubbing,
}

/// The setting on whether a key is hidden in what its hosts answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scrubbing {
    /// Unless it could be guessed: each search would test a guess.
    #[default]
    Auto,
    /// Though it could be guessed.
    Always,
    /// Not at all.
    Never,
}

impl KeyRule {
    /// Whether the key may go to `origin`.
    pub fn covers(&self, origin: &Origin) -> bool {
        self.hosts.iter().any(|h| h.binds(origin))
    }

    /// Whether some pattern names `host`, whatever port and scheme it asks for.
    pub fn covers_host(&self, host: &Host) -> bool {
        self.hosts.iter().any(|pattern| pattern.host.covers(host))
    }

    /// The places of this rule that lie in a body.
    pub fn body_places(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(|p| p.in_body())
    }

    /// What an agent writes for this key: its look-alike if it has one.
    pub fn shown_placeholder(&self) -> String {
        self.placeholder.clone().unwrap_or_else(|| self.name.placeholder())
    }
}

/// A header added where the client sends none of that name; its value holds the key's placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inject {
    /// Its name.
    pub name: HeaderName,
    /// Its value, with the placeholder in it.
    pub value: HeaderValue,
}

/// A rule that could not be read; the text says what would be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RuleError(String);

impl From<NameError> for RuleError {
    fn from(e: NameError) -> Self {
        Self(e.to_string())
    }
}

impl FromStr for Inject {
    type Err = RuleError;

    fn from_str(s: &str) -> Result<Self, RuleError> {
        let bad = |why: &str| RuleError(format!("'{}' {why}; write it as \"Name: value\"", s.escape_debug()));
        let (name, value) = s.split_once(':').ok_or_else(|| bad("is no header line"))?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| bad("has no valid header name"))?;
        let value = HeaderValue::from_str(value.trim()).map_err(|_| bad("has no valid header value"))?;
        Ok(Self { name, value })
    }
}

/// `api.tool.example`, `*.tool.example:8443`, `http://127.0.0.1:8080`: one host, or all names one level below one.
///
/// In a binding a missing scheme is `https` and a missing port the scheme's; in a list of hosts
/// (`allow`, `deny`, `passthrough`) both mean any.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPattern {
    scheme: Option<Scheme>,
    host: HostGlob,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum HostGlob {
    Exact(Host),
    /// The name below which one label stands for the star.
    OneLevel(Arc<str>),
}

impl HostPattern {
    /// Whether a binding of this pattern lets a key go to `origin`.
    pub fn binds(&self, origin: &Origin) -> bool {
        let scheme = self.scheme.unwrap_or(Scheme::Https);
        scheme == origin.scheme && self.binding_port() == origin.port && self.host.covers(&origin.host)
    }

    /// Whether a list that holds this pattern names `host` and `port`.
    pub fn lists(&self, host: &Host, port: u16) -> bool {
        self.port.is_none_or(|p| p == port) && self.host.covers(host)
    }

    /// Whether some host is named by both patterns, whatever ports and schemes they ask for.
    pub fn shares_a_host(&self, other: &HostPattern) -> bool {
        match (&self.host, &other.host) {
            (HostGlob::Exact(host), glob) | (glob, HostGlob::Exact(host)) => glob.covers(host),
            (HostGlob::OneLevel(parent), HostGlob::OneLevel(other)) => parent == other,
        }
    }

    /// Whether bindings of both patterns let a key go to some one origin.
    pub fn shares_an_origin(&self, other: &HostPattern) -> bool {
        let asked = |pattern: &HostPattern| (pattern.is_cleartext(), pattern.binding_port());
        asked(self) == asked(other) && self.shares_a_host(other)
    }

    /// The port that a binding of this pattern asks for.
    pub fn binding_port(&self) -> u16 {
        self.port.unwrap_or(self.scheme.unwrap_or(Scheme::Https).default_port())
    }

    /// Whether a binding of this pattern is for unencrypted HTTP.
    pub fn is_cleartext(&self) -> bool {
        self.scheme == Some(Scheme::Http)
    }

    /// The host where the pattern names just one.
    pub fn exact(&self) -> Option<&Host> {
        match &self.host {
            HostGlob::Exact(h) => Some(h),
            HostGlob::OneLevel(_) => None,
        }
    }

    /// The one origin that a binding of this pattern covers, where it is just one.
    pub fn origin(&self) -> Option<Origin> {
        let host = self.exact()?.clone();
        Some(Origin { scheme: self.scheme.unwrap_or(Scheme::Https), host, port: self.binding_port() })
    }

    /// The name under which the star stands, for name constraints.
    pub fn parent(&self) -> Option<&str> {
        match &self.host {
            HostGlob::Exact(_) => None,
            HostGlob::OneLevel(n) => Some(n),
        }
    }
}

impl HostGlob {
    fn covers(&self, host: &Host) -> bool {
        match (self, host) {
            (HostGlob::Exact(h), _) => h == host,
            (HostGlob::OneLevel(parent), Host::Dns(n)) => n
                .strip_suffix(&**parent)
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|label| !label.is_empty() && !label.contains('.')),
            (HostGlob::OneLevel(_), Host::Ip(_)) => false,
        }
    }
}

impl FromStr for HostPattern {
    type Err = RuleError;

    fn from_str(s: &str) -> Result<Self, RuleError> {
        let (scheme, rest) = match s.split_once("://") {
            None => (None, s),
            Some(("https", r)) => (Some(Scheme::Https), r),
            Some(("http", r)) => (Some(Scheme::Http), r),
            Some((other, _)) => {
                return Err(RuleError(format!("'{}' is no scheme here; use https or http", other.escape_debug())));
            }
        };
        let rest = rest.strip_suffix('/').filter(|_| scheme.is_some()).unwrap_or(rest);
        if rest.contains('/') {
            return Err(RuleError(format!("'{}' holds a path; put it into `paths`", s.escape_debug())));
        }
        let (host, port) = split_port(rest)?;
        Ok(Self { scheme, host: glob(host)?, port })
    }
}

fn glob(host: &str) -> Result<HostGlob, RuleError> {
    let Some(parent) = host.strip_prefix("*.") else {
        if host.contains('*') {
            return Err(RuleError(format!(
                "'{}': a star stands only first and for one whole label, as in '*.tool.example'",
                host.escape_debug()
            )));
        }
        return Ok(HostGlob::Exact(host.parse()?));
    };
    if parent.contains('*') {
        return Err(RuleError(format!("'{}': one star is all a host may have", host.escape_debug())));
    }
    let Host::Dns(name) = parent.parse::<Host>()? else {
        return Err(RuleError(format!("'{}': a star before an address means nothing", host.escape_debug())));
    };
    if psl::suffix(name.as_bytes()).is_none_or(|suffix| suffix.as_bytes() == name.as_bytes()) {
        return Err(RuleError(format!(
            "'*.{name}' covers hosts of strangers ('{name}' is a public suffix); list the hosts"
        )));
    }
    Ok(HostGlob::OneLevel(name))
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = self.scheme {
            write!(f, "{}://", scheme.as_str())?;
        }
        match &self.host {
            HostGlob::Exact(h) => write!(f, "{h}")?,
            HostGlob::OneLevel(n) => write!(f, "*.{n}")?,
        }
        self.port.map_or(Ok(()), |p| write!(f, ":{p}"))
    }
}

/// The longest path that is judged by patterns, in bytes: of a request line a server has to take 8000 (RFC 9112, section 3).
pub const MAX_JUDGED_PATH: usize = 8 * 1024;

/// A path with stars: `*` within a segment, `**` as a segment for one or more of them at the end, any number elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathGlob(Arc<str>);

impl PathGlob {
    /// Whether the pattern covers a path in the form that [`canonical_path`] gives.
    ///
    /// Takes at most the time of one look at each byte of the path for each segment of the pattern, whatever both are.
    pub fn covers(&self, canonical: &str) -> bool {
        let pattern: Vec<&str> = self.0.split('/').skip(1).collect();
        let path: Vec<&str> = canonical.split('/').skip(1).collect();
        covers_segments(&pattern, &path, covers_segment)
    }

    /// Whether some path is covered by both patterns. (`**` at an end is taken for any number of segments here, none too.)
    pub fn meets(&self, other: &PathGlob) -> bool {
        let segments = |glob: &PathGlob| glob.0.split('/').skip(1).map(str::to_owned).collect::<Vec<_>>();
        let same = |a: &String, b: &String| {
            meet(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>(), |c| *c == '*', PartialEq::eq)
        };
        meet(&segments(self), &segments(other), |segment| segment == "**", same)
    }
}

/// Whether two patterns cover something in common, in which an element that is `any` stands for any number of others.
/// `reached` holds, for what is read of one pattern, how much of the other can stand for the same.
fn meet<T>(one: &[T], other: &[T], any: impl Fn(&T) -> bool, same: impl Fn(&T, &T) -> bool) -> bool {
    let mut reached = vec![false; other.len() + 1];
    for i in 0..=one.len() {
        let before = std::mem::replace(&mut reached, vec![false; other.len() + 1]);
        for j in 0..=other.len() {
            let (a, b) = (i.checked_sub(1).map(|i| &one[i]), j.checked_sub(1).map(|j| &other[j]));
            let from_left = j > 0 && reached[j - 1];
            let both = |(a, b): (&T, &T)| before[j - 1] && !any(a) && !any(b) && same(a, b);
            reached[j] = i + j == 0
                || a.zip(b).is_some_and(both)
                || a.is_some_and(|a| any(a) && (before[j] || from_left))
                || b.is_some_and(|b| any(b) && (from_left || i > 0 && before[j]));
        }
    }
    reached[other.len()]
}

/// What stands before the first `**` begins the path and what stands after the last ends it. What stands between two is
/// taken where it first fits: that leaves the most to what follows, so that nothing is ever tried again.
fn covers_segments(pattern: &[&str], path: &[&str], mut covers: impl FnMut(&str, &str) -> bool) -> bool {
    let mut fits =
        |run: &[&str], path: &[&str]| run.iter().zip(path).all(|(pattern, segment)| covers(pattern, segment));
    let mut runs = pattern.split(|segment| *segment == "**");
    let first = runs.next().unwrap_or_default();
    let Some(last) = runs.next_back() else { return first.len() == path.len() && fits(first, path) };
    let Some((begin, mut left)) = path.split_at_checked(first.len()) else { return false };
    if !fits(first, begin) {
        return false;
    }
    for run in runs.filter(|run| !run.is_empty()) {
        let Some(at) = left.windows(run.len()).position(|window| fits(run, window)) else { return false };
        left = &left[at + run.len()..];
    }
    match left.len().checked_sub(last.len()) {
        None => false,
        // at the end it stands for one segment at least
        Some(0) if last.is_empty() => false,
        Some(at) => fits(last, &left[at..]),
    }
}

fn covers_segment(pattern: &str, segment: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == segment };
    let Some(mut left) = segment.strip_prefix(first) else { return false };
    let parts: Vec<&str> = rest.split('*').collect();
    let Some((last, middle)) = parts.split_last() else { return true };
    for part in middle {
        match left.find(part) {
            Some(i) => left = &left[i + part.len()..],
            None => return false,
        }
    }
    left.len() >= last.len() && left.ends_with(last)
}

impl FromStr for PathGlob {
    type Err = RuleError;

    fn from_str(s: &str) -> Result<Self, RuleError> {
        if !s.starts_with('/') {
            return Err(RuleError(format!("'{}' is no path: it begins with '/'", s.escape_debug())));
        }
        if s.contains(['?', '#']) {
            return Err(RuleError(format!("'{}': a path ends before '?' and '#'", s.escape_debug())));
        }
        if s.split('/').any(|seg| seg.contains("**") && seg != "**") || s.matches("**").count() > 2 {
            return Err(RuleError(format!("'{}': '**' stands alone between slashes, twice at most", s.escape_debug())));
        }
        if canonical_path(s).as_deref() != Some(s) {
            return Err(RuleError(format!("'{}' could be read in two ways; write it plainly", s.escape_debug())));
        }
        Ok(Self(s.into()))
    }
}

impl fmt::Display for PathGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The one reading of a path (RFC 3986, section 6.2.2), or `None` where servers differ on it: encoded
/// slashes, dots, backslashes, NUL, a second layer of encoding, empty or dot segments.
pub fn canonical_path(path: &str) -> Option<String> {
    let bytes = path.as_bytes();
    let mut out = String::with_capacity(path.len());
    let mut i = 0;
    while let Some(&b) = bytes.get(i) {
        i += 1;
        let decoded = if b == b'%' {
            let hex = bytes.get(i..i + 2)?;
            i += 2;
            let digit = |d: u8| (d as char).to_digit(16).map(|v| v as u8);
            let byte = digit(hex[0])? << 4 | digit(hex[1])?;
            if matches!(byte, b'/' | b'\\' | b'%' | b'.' | 0..=0x1f | 0x7f) {
                return None;
            }
            if !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'_' | b'~') {
                let hex = [b'%', hex[0].to_ascii_uppercase(), hex[1].to_ascii_uppercase()];
                out.push_str(std::str::from_utf8(&hex).ok()?);
                continue;
            }
            byte
        } else {
            b
        };
        if !(0x21..0x7f).contains(&decoded) || decoded == b'\\' || decoded == b';' {
            return None;
        }
        out.push(decoded as char);
    }
    let mut segments = out.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if segment == "." || segment == ".." || segment.is_empty() && !last {
            return None;
        }
    }
    out.starts_with('/').then_some(out)
}

#[cfg(test)]
mod tests;
