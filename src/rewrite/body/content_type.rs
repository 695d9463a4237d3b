//! The `Content-Type` of a request's body (RFC 9110, section 8.3), as far as it decides where a key may go.

use super::json::JsonTexts;
use http::HeaderValue;

/// The type that the `Content-Type` declares, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DeclaredType {
    /// JSON by its name (RFC 8259), or by the suffix `+json` (RFC 6839, section 3.1).
    Json,
    /// JSON texts, a line each.
    JsonLines,
    /// `application/x-www-form-urlencoded` (WHATWG URL, section 5).
    Form,
    /// `multipart/form-data` (RFC 7578) with a boundary that can be read.
    Multipart { boundary: String },
    /// gRPC or gRPC-Web, but for its base64 form.
    Grpc,
    /// Text that people write, be it in a format that programs read.
    Text,
    /// Nothing, or nothing that is known.
    Other,
}

impl DeclaredType {
    /// Reads the header; none, or one that is no text, declares nothing.
    pub fn new(content_type: Option<&HeaderValue>) -> Self {
        let Some(text) = content_type.and_then(|v| v.to_str().ok()) else { return Self::Other };
        let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
        let essence = essence.trim().to_ascii_lowercase();
        let (top, sub) = essence.split_once('/').unwrap_or((&essence, ""));
        let sub = sub.strip_prefix("x-").unwrap_or(sub);
        match (top, sub) {
            ("application", "www-form-urlencoded") => Self::Form,
            ("multipart", "form-data") => {
                boundary(parameters).map_or(Self::Text, |boundary| Self::Multipart { boundary })
            }
            ("text" | "message" | "multipart", _) => Self::Text,
            ("application", "ndjson" | "jsonl" | "jsonlines" | "json-lines" | "json-stream" | "stream+json") => {
                Self::JsonLines
            }
            ("application", _) if ["grpc", "grpc-web"].contains(&sub.split('+').next().unwrap_or(sub)) => Self::Grpc,
            _ => match sub.rsplit('+').next() {
                Some("json") => Self::Json,
                Some(
                    "markdown" | "csv" | "xml" | "yaml" | "toml" | "rtf" | "tex" | "latex" | "sql" | "sh"
                    | "javascript" | "ecmascript" | "typescript",
                ) => Self::Text,
                _ => Self::Other,
            },
        }
    }

    /// Whether it says that the body is no JSON. What is one all the same has to be so as a whole.
    pub fn denies_json(&self) -> bool {
        matches!(self, Self::Form | Self::Multipart { .. } | Self::Text)
    }

    /// What makes up a body of this type if it is JSON: a string that stands alone may be a quotation, unless the type says more.
    pub fn texts(&self) -> JsonTexts {
        match self {
            Self::Json => JsonTexts::Any,
            Self::JsonLines => JsonTexts::Lines,
            Self::Grpc | Self::Other => JsonTexts::Many,
            Self::Form | Self::Multipart { .. } | Self::Text => JsonTexts::One,
        }
    }
}

/// RFC 2046 allows seventy characters; a quote can't be one of them, so none is escaped.
fn boundary(parameters: &str) -> Option<String> {
    let mut parts = parameters.split(';');
    let value = parts.find_map(|p| {
        let (name, value) = p.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then_some(value.trim())
    })?;
    let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&b);
    ((1..=70).contains(&value.len()) && value.bytes().all(legal)).then(|| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_read() {
        let multipart = |b: &str| DeclaredType::Multipart { boundary: b.into() };
        for (text, declared) in [
            ("application/x-www-form-urlencoded", DeclaredType::Form),
            ("Application/X-WWW-Form-URLEncoded ; charset=utf-8", DeclaredType::Form),
            ("multipart/form-data; boundary=abc", multipart("abc")),
            ("multipart/form-data; charset=utf-8; Boundary=\"a b=c\"", multipart("a b=c")),
            ("multipart/form-data", DeclaredType::Text),
            ("multipart/form-data; boundary=", DeclaredType::Text),
            ("multipart/form-data; boundary=a<b", DeclaredType::Text),
            ("multipart/mixed; boundary=a", DeclaredType::Text),
            ("application/grpc", DeclaredType::Grpc),
            ("application/grpc+proto", DeclaredType::Grpc),
            ("application/grpc-web+proto", DeclaredType::Grpc),
            ("application/grpc-web-text", DeclaredType::Other),
            ("application/grpcs", DeclaredType::Other),
            ("application/json", DeclaredType::Json),
            ("Application/JSON;charset=utf-8", DeclaredType::Json),
            ("application/vnd.mine.v1+json", DeclaredType::Json),
            ("application/ld+json; profile=\"x\"", DeclaredType::Json),
            ("application/x-ndjson", DeclaredType::JsonLines),
            ("application/jsonl", DeclaredType::JsonLines),
            ("application/stream+json", DeclaredType::JsonLines),
            ("text/plain", DeclaredType::Text),
            ("text/json", DeclaredType::Text),
            ("message/rfc822", DeclaredType::Text),
            ("application/x-markdown", DeclaredType::Text),
            ("application/csv", DeclaredType::Text),
            ("image/svg+xml", DeclaredType::Text),
            ("application/xml", DeclaredType::Text),
            ("application/javascript", DeclaredType::Text),
            ("application/octet-stream", DeclaredType::Other),
            ("application/x-of-mine", DeclaredType::Other),
            ("text", DeclaredType::Text),
            ("", DeclaredType::Other),
        ] {
            assert_eq!(DeclaredType::new(Some(&HeaderValue::from_static(text))), declared, "{text}");
        }
    }
}
