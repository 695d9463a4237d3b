//! Requests that locum answers by itself: one row for each kind says status, word, title and whose fault it is. To the agent
//! goes nothing that it did not know.

use crate::anomaly::HANDSHAKE_FAILED;
use crate::audit::AuditError;
use crate::audit::tell::alerts::Cooldown;
use crate::name::{Host, KeyName};
use crate::policy::Denial;
use crate::policy::agent::{AuthError, Throttled};
use crate::rewrite::BodyFault;
use crate::rewrite::coding::CodingError;
use crate::rewrite::digests::DigestFault;
use crate::upstream::resolver::ResolveError;
use crate::upstream::{DialError, UpstreamError};
use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, PROXY_AUTHENTICATE, RETRY_AFTER,
};
use http::{Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS};
use std::borrow::Cow;
use std::fmt;

/// The header that says why locum answered by itself.
pub const REFUSED: HeaderName = HeaderName::from_static("locum-refused");

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE_HEADER: HeaderName = HeaderName::from_static("grpc-message");
/// Escaped in a gRPC message: all but the printable, and the sign of escapes itself.
const GRPC_MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

/// The longest reason in a status line, in bytes.
const MAX_REASON: usize = 256;

/// A kind of refusal; all that is the same for the whole kind stands in its [`Row`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// It can't be read as a request.
    Malformed,
    /// The agent broke off its body: nobody is left to be told, and nothing was refused.
    BrokenOff,
    /// A client's TLS handshake in a tunnel failed or was too slow: nothing was asked for yet, and nobody can be answered.
    HandshakeFailed,
    /// It is nothing that a forward proxy does.
    NotForwarded,
    /// A placeholder may not go there, or nowhere.
    PlaceholderRefused,
    /// The host may not be reached.
    HostRefused,
    /// The port may not be reached.
    PortRefused,
    /// It asks for a protocol that nobody here can read.
    UpgradeRefused,
    /// The host is at an address that may not be dialled.
    AddressRefused,
    /// A key would go to that address unencrypted.
    CleartextRefused,
    /// A body that has to be read isn't what its head says.
    BodyMalformed,
    /// Something in a body may not go on.
    BodyForbidden,
    /// A body that has to be there as a whole doesn't come.
    BodyTimeout,
    /// A body opens to too much.
    BodyTooLarge,
    /// A body that has to be read is in a coding that nobody here knows.
    BodyCoding,
    /// There is no memory left to read coded bodies with.
    BodyBudget,
    /// No token, or not a good one.
    Unauthenticated,
    /// A local user who is not served without a token.
    Stranger,
    /// The agent asks more than its limits allow.
    RateLimited,
    /// The agent has as much under way to upstreams as one may.
    TooManyUnderWay,
    /// As much is under way to an upstream, or in all, as may be.
    UpstreamBusy,
    /// A key or an agent rests after unusual traffic.
    CoolingDown,
    /// The host inside is not the tunnel's.
    Misdirected,
    /// The request's head is too large.
    HeadTooLarge,
    /// The upstream took too long.
    UpstreamTimeout,
    /// The upstream can't be reached, or gave no answer that can be passed on.
    UpstreamFailed,
    /// A key can't be had, or is not what it was.
    KeyUnavailable,
    /// The audit can't be written, so that no key is used.
    AuditUnavailable,
    /// The CA's name constraints leave the host out, so that clients would take no certificate for it.
    CaUnavailable,
}

/// Whose fault a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// What the agent asked for.
    Agent,
    /// What the upstream did.
    Upstream,
    /// What is the matter here, or what the operator has set.
    Locum,
}

/// What the agent is told in words.
#[derive(Debug, Clone, Copy)]
enum Told {
    /// All of it: it says nothing that the agent doesn't know.
    InFull,
    Always(&'static str),
    /// The placeholder and the host that it wrote.
    Placeholder,
    /// The host that it wrote, and this; or the other, where no host is known.
    OfHost(&'static str, &'static str),
    /// How many seconds it has to wait.
    Wait,
}

/// What all refusals of a kind have in common.
struct Row {
    status: StatusCode,
    /// The stable word in `locum-refused`, in the audit and in the problem's type.
    word: &'static str,
    title: &'static str,
    /// The gRPC status that says the same as the HTTP status.
    grpc: u16,
    fault: Party,
    told: Told,
}

impl RefusalKind {
    #[rustfmt::skip]
    fn row(self) -> Row {
        use Party::{Agent, Locum, Upstream};
        use Told::{Always, InFull, OfHost, Placeholder, Wait};
        let row = |status, word, title, grpc, fault, told| Row { status, word, title, grpc, fault, told };
        let body = "The body was refused";
        match self {
            Self::Malformed => row(StatusCode::BAD_REQUEST, "malformed", "The request is malformed", 3, Agent, InFull),
            Self::BrokenOff => row(StatusCode::BAD_REQUEST, "malformed", "The request is malformed", 3, Agent, InFull),
            Self::HandshakeFailed => row(StatusCode::BAD_REQUEST, HANDSHAKE_FAILED, "The TLS handshake failed", 3, Agent, InFull),
            Self::NotForwarded => row(StatusCode::BAD_REQUEST, "not-forwarded", "This is a forward proxy", 3, Agent, InFull),
            Self::PlaceholderRefused => row(StatusCode::FORBIDDEN, "placeholder-refused", "A placeholder was refused", 7, Agent, Placeholder),
            Self::HostRefused => row(StatusCode::FORBIDDEN, "host-refused", "The host was refused", 7, Agent,
                OfHost("may not be reached through this proxy", "that host may not be reached through this proxy")),
            Self::PortRefused => row(StatusCode::FORBIDDEN, "host-refused", "The port was refused", 7, Agent, InFull),
            Self::UpgradeRefused => row(StatusCode::FORBIDDEN, "upgrade-refused", "The upgrade was refused", 7, Agent,
                OfHost("has keys bound to it, so nothing that can't be searched for them is spoken with it", "it can't be searched for keys")),
            Self::AddressRefused => row(StatusCode::FORBIDDEN, "address-refused", "The address was refused", 7, Agent,
                OfHost("is at an address that may not be reached through this proxy", "that address may not be reached through this proxy")),
            Self::CleartextRefused => row(StatusCode::FORBIDDEN, "address-refused", "The address was refused", 7, Agent,
                OfHost("is at an address that no key may be sent to unencrypted", "no key may be sent to that address unencrypted")),
            Self::BodyMalformed => row(StatusCode::BAD_REQUEST, "body-refused", body, 3, Agent, InFull),
            Self::BodyForbidden => row(StatusCode::FORBIDDEN, "body-refused", body, 7, Agent, InFull),
            Self::BodyTimeout => row(StatusCode::REQUEST_TIMEOUT, "body-refused", body, 4, Agent, InFull),
            Self::BodyTooLarge => row(StatusCode::PAYLOAD_TOO_LARGE, "body-refused", body, 8, Agent, InFull),
            Self::BodyCoding => row(StatusCode::UNSUPPORTED_MEDIA_TYPE, "body-refused", body, 3, Agent, InFull),
            Self::BodyBudget => row(StatusCode::SERVICE_UNAVAILABLE, "body-refused", body, 14, Locum, InFull),
            Self::Unauthenticated => row(StatusCode::PROXY_AUTHENTICATION_REQUIRED, "authentication-required", "Proxy authentication is required", 16, Agent,
                Always("send Proxy-Authorization: Basic with the token as password, or Bearer")),
            Self::Stranger => row(StatusCode::PROXY_AUTHENTICATION_REQUIRED, "authentication-required", "Proxy authentication is required", 16, Agent, InFull),
            Self::RateLimited => row(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests", 8, Agent, InFull),
            Self::TooManyUnderWay => row(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests", 8, Agent, InFull),
            Self::UpstreamBusy => row(StatusCode::SERVICE_UNAVAILABLE, "upstream-busy", "Too much is under way", 14, Locum, InFull),
            Self::CoolingDown => row(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests", 8, Agent, Wait),
            Self::Misdirected => row(StatusCode::MISDIRECTED_REQUEST, "misdirected", "The host is not the tunnel's", 3, Agent, InFull),
            Self::HeadTooLarge => row(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too-large", "The request's head is too large", 8, Agent, InFull),
            Self::UpstreamTimeout => row(StatusCode::GATEWAY_TIMEOUT, "upstream-timeout", "The upstream was too slow", 14, Upstream, InFull),
            Self::UpstreamFailed => row(StatusCode::BAD_GATEWAY, "upstream-failed", "The upstream failed", 14, Upstream, InFull),
            Self::KeyUnavailable => row(StatusCode::SERVICE_UNAVAILABLE, "key-unavailable", "A key is unavailable", 14, Locum,
                Always("a key that this request needs can't be had now")),
            Self::AuditUnavailable => row(StatusCode::SERVICE_UNAVAILABLE, "audit-unavailable", "The audit is unavailable", 14, Locum,
                Always("the audit can't be written now, so no key is used")),
            Self::CaUnavailable => row(StatusCode::SERVICE_UNAVAILABLE, "ca-unavailable", "The CA does not cover the host", 14, Locum, InFull),
        }
    }
}

/// A request, a body or a connection that goes no further, and why.
#[derive(Debug, Clone)]
pub struct Refusal {
    kind: RefusalKind,
    /// Why, in full, for the audit.
    detail: Cow<'static, str>,
    subject: Option<Box<Subject>>,
    /// After how many seconds it may be asked again, where that is known.
    retry_after: Option<u64>,
}

/// The placeholder that was refused, as the agent wrote it, and the key that it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// As it stood in the request.
    pub written: String,
    /// `None` where there is no such key.
    pub key: Option<KeyName>,
}

impl Refusal {
    /// `detail` goes to the audit, and to the agent as far as its kind says so.
    pub fn new(kind: RefusalKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), subject: None, retry_after: None }
    }

    /// What may well be asked again in a moment.
    pub fn for_now(kind: RefusalKind, why: String) -> Self {
        Self { retry_after: Some(1), ..Self::new(kind, why) }
    }

    /// A request that can't be read.
    pub fn malformed(why: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RefusalKind::Malformed, why)
    }

    /// A key that can't be had now.
    pub fn key_unavailable(why: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RefusalKind::KeyUnavailable, why)
    }

    /// An answer that can't be passed on.
    pub fn upstream_failed(why: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RefusalKind::UpstreamFailed, why)
    }

    /// A host inside that is not the tunnel's.
    pub fn misdirected(inside: impl fmt::Display, tunnel: impl fmt::Display) -> Self {
        Self::new(RefusalKind::Misdirected, format!("asked for {inside} in a tunnel to {tunnel}"))
    }

    /// A request for locum itself in another way than it answers.
    pub fn own_host() -> Self {
        let why = "locum.invalid is this proxy itself; it answers http://locum.invalid/placeholders and \
                   http://locum.invalid/refusals/ID, and neither TLS nor other ports";
        Self::new(RefusalKind::NotForwarded, why)
    }

    /// Another protocol, which nobody here can read, with a host that is to show no key in it.
    pub fn unread(protocol: &HeaderValue, host: &Host) -> Self {
        let protocol = String::from_utf8_lossy(protocol.as_bytes());
        let why = format!(
            "Upgrade: {protocol} can't be searched for keys, and some are bound to {host}; use a WebSocket instead, or \
             take the host out of their [key] hosts"
        );
        Self::new(RefusalKind::UpgradeRefused, why)
    }

    /// A host that the CA may not sign for; `remedy` is what the operator does about it.
    pub fn not_covered(host: &Host, remedy: &str) -> Self {
        let why = format!("locum's CA may not sign for {host}, by its name constraints; {remedy}");
        Self::new(RefusalKind::CaUnavailable, why)
    }

    /// Which kind it is.
    pub fn kind(&self) -> RefusalKind {
        self.kind
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.kind.row().status
    }

    /// The stable word in `locum-refused`.
    pub fn word(&self) -> &'static str {
        self.kind.row().word
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Party {
        self.kind.row().fault
    }

    /// The reason in full, for the audit.
    pub fn in_full(&self) -> &str {
        &self.detail
    }

    /// The placeholder that it is about, where it is about one.
    pub fn subject(&self) -> Option<&Subject> {
        self.subject.as_deref()
    }

    /// The reason as the agent is told it: its own words back, and for whom the rest is.
    fn told(&self, host: Option<&dyn fmt::Display>) -> String {
        let written = self.subject.as_ref().map_or("it", |subject| &subject.written);
        match (self.kind.row().told, host) {
            (Told::InFull, _) => self.detail.clone().into_owned(),
            (Told::Always(text), _) | (Told::OfHost(_, text), None) => text.into(),
            (Told::OfHost(text, _), Some(host)) => format!("{host} {text}"),
            (Told::Placeholder, Some(host)) => format!("{written} may not go to {host} in this request"),
            (Told::Placeholder, None) => format!("{written} may not go there in this request"),
            (Told::Wait, _) => {
                let seconds = self.retry_after.unwrap_or(1);
                format!("traffic was unusual; ask again in {seconds} s")
            }
        }
    }

    /// What the agent is told of it, about a request for `host`.
    pub fn problem(&self, exchange: &str, host: Option<&dyn fmt::Display>) -> Problem {
        let Row { status, word, title, .. } = self.kind.row();
        Problem { status, word, title, detail: self.told(host), exchange: exchange.to_owned() }
    }

    /// The answer as `application/problem+json` (RFC 9457).
    pub fn answer(&self, exchange: &str, host: Option<&Host>) -> Response<Bytes> {
        let Row { status, word, .. } = self.kind.row();
        let mut response = Response::new(self.problem(exchange, displayed(host)).body());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(REFUSED, HeaderValue::from_static(word));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            // as RFC 9110, section 15.5.16, has it
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate, br, zstd"));
        }
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            let challenge = HeaderValue::from_static("Basic realm=\"locum\", charset=\"UTF-8\"");
            headers.insert(PROXY_AUTHENTICATE, challenge);
        }
        response
    }

    /// The answer to a gRPC call, in the form that its clients read: a status, and nothing but headers
    /// (gRPC over HTTP/2, "Trailers-Only").
    pub fn grpc(&self, content_type: HeaderValue, exchange: &str, host: Option<&Host>) -> Response<Bytes> {
        let Row { word, grpc, .. } = self.kind.row();
        let message = format!("{} (locum explain --exchange {exchange})", self.told(displayed(host)));
        let message = percent_encoding::utf8_percent_encode(&message, GRPC_MESSAGE).to_string();
        let mut response = Response::new(Bytes::new());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, content_type);
        headers.insert(GRPC_STATUS, HeaderValue::from(grpc));
        headers.extend(HeaderValue::try_from(message).map(|message| (GRPC_MESSAGE_HEADER, message)));
        headers.insert(REFUSED, HeaderValue::from_static(word));
        response
    }

    /// The answer as it goes over a connection that hyper does not serve (before a tunnel). Its reason phrase tells why,
    /// since clients show that of a refused CONNECT, and drop the body.
    pub fn raw(&self, exchange: &str, host: Option<&Host>, close: bool) -> Vec<u8> {
        let response = self.answer(exchange, host);
        let status = response.status();
        let mut out = format!("HTTP/1.1 {} {}\r\n", status.as_u16(), reason_phrase(&self.told(displayed(host))));
        for (name, value) in response.headers() {
            out.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
        }
        let connection = if close { "close" } else { "keep-alive" };
        out.push_str(&format!("content-length: {}\r\nconnection: {connection}\r\n\r\n", response.body().len()));
        let mut out = out.into_bytes();
        out.extend_from_slice(response.body());
        out
    }
}

fn displayed(host: Option<&Host>) -> Option<&dyn fmt::Display> {
    host.map(|host| host as &dyn fmt::Display)
}

/// A refusal as the agent is told it (RFC 9457).
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    word: &'static str,
    title: &'static str,
    /// Why, in a sentence that may repeat what the agent wrote.
    pub detail: String,
    /// The id of the exchange that was refused.
    pub exchange: String,
}

impl Problem {
    /// Its JSON, in one line.
    pub fn body(&self) -> Bytes {
        let Self { status, word, title, detail, exchange } = self;
        let json = serde_json::json!({
            "type": format!("urn:locum:{word}"),
            "title": title,
            "status": status.as_u16(),
            "detail": detail,
            "hint": format!("locum explain --exchange {exchange}"),
            "exchange": exchange,
        });
        Bytes::from(format!("{json}\n"))
    }
}

/// The reason in one line of printable ASCII (RFC 9112, section 4), of [`MAX_REASON`] bytes at most.
fn reason_phrase(told: &str) -> String {
    let printable = told.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' });
    format!("{} (locum)", printable.take(MAX_REASON).collect::<String>())
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Refusal {}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        let (key, detail) = (denial.key().cloned(), denial.to_string());
        match denial.written() {
            None if matches!(denial, Denial::PortNotListed { .. }) => Self::new(RefusalKind::PortRefused, detail),
            None => Self::new(RefusalKind::HostRefused, detail),
            Some(written) => {
                let subject = Some(Box::new(Subject { written: written.to_owned(), key }));
                Self { subject, ..Self::new(RefusalKind::PlaceholderRefused, detail) }
            }
        }
    }
}

impl From<AuthError> for Refusal {
    fn from(e: AuthError) -> Self {
        Self::new(RefusalKind::Unauthenticated, e.to_string())
    }
}

impl From<Throttled> for Refusal {
    fn from(wait: Throttled) -> Self {
        let (detail, seconds): (Cow<'static, str>, u64) = match wait {
            Throttled::Rate(after) => {
                let detail =
                    format!("over the agent's rate; the next request may come in {:.1} s", after.as_secs_f64());
                (detail.into(), after.as_secs().saturating_add(1))
            }
            Throttled::Concurrent => ("the agent has as many requests under way as it may".into(), 1),
        };
        Self { retry_after: Some(seconds), ..Self::new(RefusalKind::RateLimited, detail) }
    }
}

impl From<Cooldown> for Refusal {
    fn from(Cooldown { who, seconds }: Cooldown) -> Self {
        let detail = format!("{who} rests for {seconds} s after unusual traffic ([anomaly] action = \"refuse\")");
        Self { retry_after: Some(seconds), ..Self::new(RefusalKind::CoolingDown, detail) }
    }
}

impl From<AuditError> for Refusal {
    fn from(e: AuditError) -> Self {
        Self::new(RefusalKind::AuditUnavailable, format!("{e}; {}", e.hint()))
    }
}

impl From<UpstreamError> for Refusal {
    fn from(e: UpstreamError) -> Self {
        let kind = match &e {
            e if e.is_of_cleartext() => RefusalKind::CleartextRefused,
            e if e.is_of_address() => RefusalKind::AddressRefused,
            UpstreamError::Dial(
                DialError::Timeout { .. } | DialError::Resolve { why: ResolveError::Timeout { .. }, .. },
            )
            | UpstreamError::TlsTimeout { .. }
            | UpstreamError::Silent { .. } => RefusalKind::UpstreamTimeout,
            _ => RefusalKind::UpstreamFailed,
        };
        Self::new(kind, e.to_string())
    }
}

impl From<hyper::Error> for Refusal {
    /// Of a request's body.
    fn from(e: hyper::Error) -> Self {
        Self::new(RefusalKind::BrokenOff, format!("the agent broke off its body: {e}"))
    }
}

impl From<BodyFault> for Refusal {
    fn from(fault: BodyFault) -> Self {
        let kind = match &fault {
            BodyFault::Unavailable { .. } | BodyFault::Unwritable(_) => RefusalKind::KeyUnavailable,
            BodyFault::TooManyUses { .. } => RefusalKind::BodyForbidden,
            BodyFault::Coding(e) => of_coding(e),
            _ => RefusalKind::BodyMalformed,
        };
        Self::new(kind, fault.to_string())
    }
}

/// The kind of refusal that a body's coding comes to.
pub fn of_coding(e: &CodingError) -> RefusalKind {
    match e {
        CodingError::Unknown(_) | CodingError::TooMany => RefusalKind::BodyCoding,
        CodingError::Ratio { .. } | CodingError::Size(_) => RefusalKind::BodyTooLarge,
        CodingError::Memory(_) => RefusalKind::BodyBudget,
        CodingError::Corrupt(_) | CodingError::Truncated(_) | CodingError::Trailing(_) => RefusalKind::BodyMalformed,
    }
}

impl From<DigestFault> for Refusal {
    fn from(fault: DigestFault) -> Self {
        let why = format!("a key is in the body now, and {fault}; leave that header out");
        Self::new(RefusalKind::BodyMalformed, why)
    }
}
