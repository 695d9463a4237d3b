//! Requests that the client itself has signed: a signature that was made with a placeholder can't hold, since the key is put in
//! behind it. It is only told, where the upstream refuses the request.

use http::header::AUTHORIZATION;
use http::request::Parts;

/// How a client has signed a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientSignature {
    /// AWS Signature Version 4, in a header or in the query.
    AwsSigV4,
    /// A hash of the password (RFC 7616).
    Digest,
}

impl ClientSignature {
    /// That of this request, where it has one.
    pub fn of(head: &Parts) -> Option<Self> {
        let authorization = head.headers.get(AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
        let scheme = authorization.split(|b| *b == b' ').next().unwrap_or_default();
        let is_presigned = || head.uri.query().is_some_and(|query| query.contains("X-Amz-Signature="));
        if scheme.starts_with(b"AWS4-") || is_presigned() {
            return Some(Self::AwsSigV4);
        }
        scheme.eq_ignore_ascii_case(b"digest").then_some(Self::Digest)
    }

    /// What is the matter where such a request was refused, and what to do.
    pub fn advice(self) -> &'static str {
        match self {
            Self::AwsSigV4 => {
                "the client signed the request (AWS SigV4), and a signature that is made with a placeholder can't hold: \
                 take its key out of locum's config, so that the client has the real one"
            }
            Self::Digest => {
                "the client sent a hash of its password (Digest), and a hash of a placeholder can't hold: \
                 have it use Basic or Bearer, or take its key out of locum's config"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[test]
    fn signatures_are_told_from_keys() {
        for (uri, authorization, found) in [
            (
                "/",
                "AWS4-HMAC-SHA256 Credential=<<aws_key>>/20261129/us-east-1/s3/aws4_request",
                Some(ClientSignature::AwsSigV4),
            ),
            ("/o?X-Amz-Signature=00", "", Some(ClientSignature::AwsSigV4)),
            ("/", "Digest username=\"u\", response=\"00\"", Some(ClientSignature::Digest)),
            ("/", "digest username=\"u\"", Some(ClientSignature::Digest)),
            ("/", "Bearer <<tool_key>>", None),
            ("/", "", None),
        ] {
            let request = Request::builder().uri(uri).header(AUTHORIZATION, authorization).body(()).unwrap();
            assert_eq!(ClientSignature::of(&request.into_parts().0), found, "{uri} {authorization}");
        }
    }
}
