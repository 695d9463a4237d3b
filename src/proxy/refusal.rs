//! A denial or a fault becomes an answer: status, reason, and to the agent nothing that it did not know.

use crate::audit::tell::alerts::Cooldown;
use crate::name::Host;
use crate::policy::Denial;
use crate::policy::agent::{AuthError, Throttled};
use crate::upstream::UpstreamError;
use crate::upstream::dial::DialError;
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS};

/// Says why locum answered by itself.
pub const REFUSED: HeaderName = HeaderName::from_static("locum-refused");

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE_HEADER: HeaderName = HeaderName::from_static("grpc-message");
/// What is escaped in a gRPC message: all but the printable, and the sign of escapes itself.
const GRPC_MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

/// Why a request is answered by locum and not by the upstream.
#[derive(Debug)]
pub enum Refusal {
    Malformed(String),
    Denied(Denial),
    /// A fault of the body that was being rewritten.
    Body {
        status: StatusCode,
        why: String,
    },
    Unauthenticated(AuthError),
    /// The agent asks more than its limits allow.
    Throttled(Throttled),
    /// A key or an agent rests after unusual traffic.
    Cooldown(Cooldown),
    /// A local user who is not served without a token.
    Stranger {
        uid: Option<u32>,
    },
    /// The host inside is not the tunnel's.
    Misdirected {
        inside: String,
        tunnel: String,
    },
    NotForwarded(&'static str),
    TooLarge(&'static str),
    Upstream(UpstreamError),
    KeyUnavailable(String),
    AuditUnavailable(String),
    /// The CA's name constraints leave the host out, so that clients would take no certificate for it.
    NotCovered {
        host: Host,
        remedy: &'static str,
    },
}

impl Refusal {
    pub fn status(&self) -> StatusCode {
        match self {
            Refusal::Malformed(_) | Refusal::NotForwarded(_) => StatusCode::BAD_REQUEST,
            Refusal::Denied(_) => StatusCode::FORBIDDEN,
            Refusal::Body { status, .. } => *status,
            Refusal::Unauthenticated(_) | Refusal::Stranger { .. } => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            Refusal::Throttled(_) | Refusal::Cooldown(_) => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Misdirected { .. } => StatusCode::MISDIRECTED_REQUEST,
            Refusal::TooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Refusal::KeyUnavailable(_) | Refusal::AuditUnavailable(_) | Refusal::NotCovered { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Refusal::Upstream(e) => match e {
                e if e.is_of_address() => StatusCode::FORBIDDEN,
                UpstreamError::Dial(DialError::Timeout { .. })
                | UpstreamError::TlsTimeout { .. }
                | UpstreamError::Silent { .. } => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::BAD_GATEWAY,
            },
        }
    }

    /// The stable word in `locum-refused`.
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::Malformed(_) => "malformed",
            Refusal::NotForwarded(_) => "not-forwarded",
            Refusal::Denied(d) if d.written().is_some() => "placeholder-refused",
            Refusal::Denied(_) => "host-refused",
            Refusal::Body { status: StatusCode::BAD_GATEWAY, .. } => "upstream-failed",
            Refusal::Body { .. } => "body-refused",
            Refusal::Unauthenticated(_) | Refusal::Stranger { .. } => "authentication-required",
            Refusal::Throttled(_) | Refusal::Cooldown(_) => "too-many-requests",
            Refusal::Misdirected { .. } => "misdirected",
            Refusal::TooLarge(_) => "too-large",
            Refusal::Upstream(e) if e.is_of_address() => "address-refused",
            Refusal::Upstream(e) => match e {
                UpstreamError::Dial(DialError::Timeout { .. })
                | UpstreamError::TlsTimeout { .. }
                | UpstreamError::Silent { .. } => "upstream-timeout",
                _ => "upstream-failed",
            },
            Refusal::KeyUnavailable(_) => "key-unavailable",
            Refusal::AuditUnavailable(_) => "audit-unavailable",
            Refusal::NotCovered { .. } => "ca-unavailable",
        }
    }

    /// Why, in full, for the audit.
    pub fn in_full(&self) -> String {
        match self {
            Refusal::Malformed(why)
            | Refusal::Body { why, .. }
            | Refusal::KeyUnavailable(why)
            | Refusal::AuditUnavailable(why) => why.clone(),
            Refusal::Denied(d) => d.to_string(),
            Refusal::Unauthenticated(e) => e.to_string(),
            Refusal::Throttled(Throttled::Rate(after)) => {
                format!("over the agent's rate; the next request may come in {:.1} s", after.as_secs_f64())
            }
            Refusal::Throttled(Throttled::Concurrent) => "the agent has as many requests under way as it may".into(),
            Refusal::Cooldown(Cooldown { who, seconds }) => {
                format!("{who} rests for {seconds} s after unusual traffic ([anomaly] action = \"refuse\")")
            }
            Refusal::Stranger { uid: Some(uid) } => {
                format!("user {uid} is not among [proxy] uids, and there are no agents")
            }
            Refusal::Stranger { uid: None } => {
                "the system does not tell which user connects; make a token with 'locum agent add'".into()
            }
            Refusal::NotCovered { host, remedy } => {
                format!("locum's CA may not sign for {host}, by its name constraints; {remedy}")
            }
            Refusal::Misdirected { inside, tunnel } => format!("asked for {inside} in a tunnel to {tunnel}"),
            Refusal::NotForwarded(why) | Refusal::TooLarge(why) => (*why).to_owned(),
            Refusal::Upstream(e) => e.to_string(),
        }
    }

    /// What the agent is told: its own words back, and for whom the rest is.
    fn detail(&self, host: Option<&Host>) -> String {
        match self {
            Refusal::Denied(d) => match (d.written(), host) {
                (Some(written), Some(host)) => format!("{written} may not go to {host} in this request"),
                (Some(written), None) => format!("{written} may not go there in this request"),
                (None, Some(host)) => format!("{host} may not be reached through this proxy"),
                (None, None) => "that host may not be reached through this proxy".into(),
            },
            Refusal::Upstream(e) if e.is_of_cleartext() => match host {
                Some(host) => format!("{host} is at an address that no key may be sent to unencrypted"),
                None => "no key may be sent to that address unencrypted".into(),
            },
            Refusal::Upstream(e) if e.is_of_address() => match host {
                Some(host) => format!("{host} is at an address that may not be reached through this proxy"),
                None => "that address may not be reached through this proxy".into(),
            },
            Refusal::Unauthenticated(_) => {
                "send Proxy-Authorization: Basic with the token as password, or Bearer".into()
            }
            Refusal::Cooldown(Cooldown { seconds, .. }) => format!("traffic was unusual; ask again in {seconds} s"),
            Refusal::KeyUnavailable(_) => "a key that this request needs can't be had now".into(),
            Refusal::AuditUnavailable(_) => "the audit can't be written now, so no key is used".into(),
            other => other.in_full(),
        }
    }

    fn title(&self) -> &'static str {
        match self.reason() {
            "malformed" => "The request is malformed",
            "not-forwarded" => "This is a forward proxy",
            "placeholder-refused" => "A placeholder was refused",
            "host-refused" => "The host was refused",
            "address-refused" => "The address was refused",
            "body-refused" => "The body was refused",
            "authentication-required" => "Proxy authentication is required",
            "too-many-requests" => "Too many requests",
            "misdirected" => "The host is not the tunnel's",
            "too-large" => "The request's head is too large",
            "upstream-timeout" => "The upstream was too slow",
            "upstream-failed" => "The upstream failed",
            "key-unavailable" => "A key is unavailable",
            "audit-unavailable" => "The audit is unavailable",
            "ca-unavailable" => "The CA does not cover the host",
            _ => "The request was refused",
        }
    }

    /// The answer as `application/problem+json` (RFC 9457).
    pub fn answer(&self, exchange: &str, host: Option<&Host>) -> Response<Bytes> {
        let status = self.status();
        let problem = serde_json::json!({
            "type": format!("urn:locum:{}", self.reason()),
            "title": self.title(),
            "status": status.as_u16(),
            "detail": self.detail(host),
            "hint": format!("locum explain --exchange {exchange}"),
            "exchange": exchange,
        });
        let mut body = problem.to_string();
        body.push('\n');
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(REFUSED, HeaderValue::from_static(self.reason()));
        let wait = match self {
            Refusal::Throttled(Throttled::Rate(after)) => Some(after.as_secs().saturating_add(1)),
            Refusal::Throttled(Throttled::Concurrent) => Some(1),
            Refusal::Cooldown(Cooldown { seconds, .. }) => Some(*seconds),
            _ => None,
        };
        if let Some(seconds) = wait {
            headers.insert(http::header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            // as RFC 9110, section 15.5.16, has it
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate, br, zstd"));
        }
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            let challenge = HeaderValue::from_static("Basic realm=\"locum\", charset=\"UTF-8\"");
            headers.insert(http::header::PROXY_AUTHENTICATE, challenge);
        }
        response
    }

    /// The answer to a gRPC call, in the form that its clients read: a status, and nothing but headers
    /// (gRPC over HTTP/2, "Trailers-Only").
    pub fn grpc(&self, content_type: HeaderValue, exchange: &str, host: Option<&Host>) -> Response<Bytes> {
        let message = format!("{} (locum explain --exchange {exchange})", self.detail(host));
        let message = percent_encoding::utf8_percent_encode(&message, GRPC_MESSAGE).to_string();
        let mut response = Response::new(Bytes::new());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, content_type);
        headers.insert(GRPC_STATUS, HeaderValue::from(self.grpc_status()));
        headers.extend(HeaderValue::try_from(message).map(|message| (GRPC_MESSAGE_HEADER, message)));
        headers.insert(REFUSED, HeaderValue::from_static(self.reason()));
        response
    }

    /// The code that says the same as the HTTP status.
    fn grpc_status(&self) -> u16 {
        match self.status() {
            StatusCode::REQUEST_TIMEOUT => 4,
            StatusCode::FORBIDDEN => 7,
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => 16,
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => 8,
            status if status.is_client_error() => 3,
            _ => 14,
        }
    }

    /// The answer as it goes over a connection that hyper does not serve (before a tunnel).
    pub fn raw(&self, exchange: &str, host: Option<&Host>, close: bool) -> Vec<u8> {
        let response = self.answer(exchange, host);
        let status = response.status();
        let mut out = format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or("Refused"));
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
