//! Places in a request: where a binding lets a key go, and where a placeholder was found. One type serves both.

use http::HeaderName;
use std::fmt;
use std::str::FromStr;

/// A place in a request, as written in `where` and in the audit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// Any header but those in [`is_guarded`].
    Header,
    /// The value of a header of this name.
    HeaderNamed(HeaderName),
    /// Inside the base64 of `Authorization: Basic` (RFC 7617).
    Basic,
    /// The value of any query parameter.
    Query,
    /// The value of the query parameter of this name, decoded.
    QueryNamed(String),
    /// The path of the target.
    Path,
    /// A whole JSON string value, form value or multipart field.
    Body,
    /// The JSON string value at this pointer (RFC 6901).
    BodyPointer(String),
    /// The form value or multipart field of this name.
    BodyField(String),
    /// Anywhere in a body of any type.
    BodyAny,
    /// The text frames of a WebSocket (RFC 6455).
    Ws,
}

/// Headers that frame, route or are logged: they hold a key only where a binding names them.
pub fn is_guarded(name: &HeaderName) -> bool {
    let n = name.as_str();
    n.starts_with("content-")
        || n.starts_with("sec-")
        || n.starts_with("access-control-")
        || n.starts_with("x-forwarded-")
        || n.starts_with("x-original-")
        || n.starts_with("proxy-")
        || n.starts_with("if-")
        || matches!(
            n,
            "host"
                | "cookie"
                | "referer"
                | "user-agent"
                | "origin"
                | "forwarded"
                | "via"
                | "proxy"
                | "x-rewrite-url"
                | "true-client-ip"
                | "range"
                | "from"
                | "accept"
                | "accept-charset"
                | "accept-encoding"
                | "accept-language"
                | "connection"
                | "keep-alive"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
                | "expect"
                | "date"
                | "max-forwards"
                | "cache-control"
                | "pragma"
                | "priority"
                | "traceparent"
                | "tracestate"
                | "baggage"
                | "x-request-id"
                | "x-real-ip"
                | "x-correlation-id"
                | "x-http-method-override"
                | "alt-used"
                | "dnt"
                | "locum-tool"
        )
}

impl Place {
    /// Whether a binding that lists `self` lets a key go where `found` is.
    pub fn covers(&self, found: &Place) -> bool {
        use Place::*;
        match (self, found) {
            (Header, HeaderNamed(n)) => !is_guarded(n),
            (Header, Basic) => true,
            (HeaderNamed(n), Basic) => n == http::header::AUTHORIZATION,
            (Query, QueryNamed(_)) => true,
            (a, b) => a == b,
        }
    }

    /// Whether the place is in the request's target, which ends up in logs.
    pub fn in_target(&self) -> bool {
        matches!(self, Place::Query | Place::QueryNamed(_) | Place::Path)
    }

    /// Whether the place is in a body.
    pub fn in_body(&self) -> bool {
        matches!(self, Place::Body | Place::BodyPointer(_) | Place::BodyField(_) | Place::BodyAny)
    }
}

/// A text that is no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PlaceError(String);

/// The forms a place is written in, for messages and completions.
pub const PLACE_FORMS: [&str; 11] = [
    "header",
    "header:NAME",
    "basic",
    "query",
    "query:NAME",
    "path",
    "body",
    "body:/json/pointer",
    "body:FIELD",
    "body:any",
    "ws",
];

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(s: &str) -> Result<Self, PlaceError> {
        let unknown =
            || PlaceError(format!("'{}' is no place; the places are {}", s.escape_debug(), PLACE_FORMS.join(", ")));
        let (kind, arg) = match s.split_once(':') {
            Some((k, a)) => (k, Some(a)),
            None => (s, None),
        };
        Ok(match (kind, arg) {
            ("header", None) => Place::Header,
            ("header", Some(n)) => {
                let name = HeaderName::from_bytes(n.as_bytes())
                    .map_err(|_| PlaceError(format!("'{}' is no header name", n.escape_debug())))?;
                if matches!(
                    name.as_str(),
                    "host"
                        | "connection"
                        | "content-length"
                        | "transfer-encoding"
                        | "te"
                        | "trailer"
                        | "upgrade"
                        | "expect"
                        | "keep-alive"
                        | "proxy-authorization"
                        | "proxy-connection"
                        | "locum-tool"
                ) {
                    return Err(PlaceError(format!("a key can't go into '{name}': it frames or routes the request")));
                }
                Place::HeaderNamed(name)
            }
            ("basic", None) => Place::Basic,
            ("query", None) => Place::Query,
            ("query", Some(n)) if !n.is_empty() => Place::QueryNamed(n.into()),
            ("path", None) => Place::Path,
            ("body", None) => Place::Body,
            ("body", Some("any")) => Place::BodyAny,
            ("body", Some(p)) if p.starts_with('/') => {
                if p.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
                    return Err(PlaceError(format!("'{p}' is no JSON pointer: '~' is written '~0', '/' is '~1'")));
                }
                Place::BodyPointer(p.into())
            }
            ("body", Some(f)) if !f.is_empty() => Place::BodyField(f.into()),
            ("ws", None) => Place::Ws,
            _ => return Err(unknown()),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Header => f.write_str("header"),
            Place::HeaderNamed(n) => write!(f, "header:{n}"),
            Place::Basic => f.write_str("basic"),
            Place::Query => f.write_str("query"),
            Place::QueryNamed(n) => write!(f, "query:{n}"),
            Place::Path => f.write_str("path"),
            Place::Body => f.write_str("body"),
            Place::BodyPointer(p) => write!(f, "body:{p}"),
            Place::BodyField(n) => write!(f, "body:{n}"),
            Place::BodyAny => f.write_str("body:any"),
            Place::Ws => f.write_str("ws"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(s: &str) -> Place {
        s.parse().unwrap()
    }

    #[test]
    fn places_read_back_as_written() {
        for s in [
            "header",
            "header:x-api-key",
            "basic",
            "query",
            "query:key",
            "path",
            "body",
            "body:/a/b~1c",
            "body:field",
            "body:any",
            "ws",
        ] {
            assert_eq!(place(s).to_string(), s);
        }
        for s in ["", "head", "header:", "header:a b", "header:host", "body:", "query:", "body:/a~2", "ws:x"] {
            assert!(s.parse::<Place>().is_err(), "{s}");
        }
    }

    #[test]
    fn any_header_leaves_out_those_that_route_or_are_logged() {
        let any = Place::Header;
        for (found, covered) in [
            ("header:authorization", true),
            ("header:x-api-key", true),
            ("basic", true),
            ("header:cookie", false),
            ("header:referer", false),
            ("header:content-type", false),
            ("header:user-agent", false),
            ("header:proxy", false),
            ("header:proxy-secret", false),
            ("header:x-original-url", false),
            ("path", false),
        ] {
            assert_eq!(any.covers(&place(found)), covered, "{found}");
        }
        assert!(place("header:cookie").covers(&place("header:cookie")));
        assert!(place("header:authorization").covers(&Place::Basic));
        assert!(!place("header:x-api-key").covers(&Place::Basic));
        assert!(Place::Query.covers(&place("query:key")) && !place("query:key").covers(&place("query:k")));
    }
}
