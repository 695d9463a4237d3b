//! Digests of a message's content, made anew once the content has changed: `Content-MD5` (RFC 1864), `Digest` (RFC 3230), `Content-Digest`
//! and `Repr-Digest` (RFC 9530). All of them are over the bytes as they are sent, with their content codings.

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::CONTENT_RANGE;
use http::{HeaderMap, HeaderName, HeaderValue};
use md5::{Digest as _, Md5};

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
const DIGEST: HeaderName = HeaderName::from_static("digest");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

const ALL: [HeaderName; 4] = [CONTENT_MD5, DIGEST, CONTENT_DIGEST, REPR_DIGEST];

/// A digest that can't be set right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestFault {
    /// It breaks the syntax of its RFC.
    #[error("{0} can't be read")]
    Malformed(HeaderName),
    /// The algorithm is not one that is known here.
    #[error("{0} has a digest by '{1}', which is not one of md5, sha, sha-256, sha-512 and can't be made anew")]
    Unknown(HeaderName, String),
    /// Something had gone amiss before a key was written.
    #[error("{0} is not the digest of the body that came with it")]
    Wrong(HeaderName),
    /// With `Content-Range` only a part of what it is over has come (RFC 9110, section 14.4).
    #[error("{0} is over more than the part that was sent, and can't be made anew")]
    Partial(HeaderName),
}

/// The first header that tells a digest of the content.
pub fn first(headers: &HeaderMap) -> Option<HeaderName> {
    ALL.into_iter().find(|name| headers.contains_key(name))
}

/// Takes all digests off: for content that is no longer what they are of.
pub fn remove(headers: &mut HeaderMap) {
    for name in ALL {
        headers.remove(name);
    }
}

/// Sets every digest right: `old` is the content that came, in pieces, and `new` what goes out for it.
///
/// A digest that was wrong before is not made right: it says that something had already gone amiss.
///
/// # Errors
/// The first digest that can't be set right.
pub fn renew(headers: &mut HeaderMap, old: &[&[u8]], new: &[u8]) -> Result<(), DigestFault> {
    for name in ALL {
        if !headers.contains_key(&name) {
            continue;
        }
        if headers.contains_key(CONTENT_RANGE) && (name == DIGEST || name == REPR_DIGEST) {
            return Err(DigestFault::Partial(name));
        }
        let values = headers.get_all(&name).iter();
        let renewed: Vec<HeaderValue> = values.map(|v| renew_value(&name, v, old, new)).collect::<Result<_, _>>()?;
        headers.remove(&name);
        for value in renewed {
            headers.append(&name, value);
        }
    }
    Ok(())
}

fn renew_value(name: &HeaderName, value: &HeaderValue, old: &[&[u8]], new: &[u8]) -> Result<HeaderValue, DigestFault> {
    let malformed = || DigestFault::Malformed(name.clone());
    let text = value.to_str().map_err(|_| malformed())?;
    let renewed = if *name == CONTENT_MD5 {
        renew_one(name, "md5", text.trim(), old, new)?
    } else {
        // no base64 holds a comma
        let members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
        let renewed = members.map(|member| {
            let (algorithm, value) = member.split_once('=').ok_or_else(malformed)?;
            if *name == DIGEST {
                return Ok(format!("{algorithm}={}", renew_one(name, algorithm, value, old, new)?));
            }
            let bare = value.strip_prefix(':').and_then(|v| v.strip_suffix(':')).ok_or_else(malformed)?;
            Ok(format!("{algorithm}=:{}:", renew_one(name, algorithm, bare, old, new)?))
        });
        renewed.collect::<Result<Vec<_>, _>>()?.join(", ")
    };
    HeaderValue::try_from(renewed).map_err(|_| malformed())
}

fn renew_one(
    name: &HeaderName,
    algorithm: &str,
    value: &str,
    old: &[&[u8]],
    new: &[u8],
) -> Result<String, DigestFault> {
    let unknown = || DigestFault::Unknown(name.clone(), algorithm.chars().take(32).collect());
    let told = STANDARD.decode(value).map_err(|_| DigestFault::Malformed(name.clone()))?;
    if told != of(algorithm, old).ok_or_else(unknown)? {
        return Err(DigestFault::Wrong(name.clone()));
    }
    Ok(STANDARD.encode(of(algorithm, &[new]).ok_or_else(unknown)?))
}

fn of(algorithm: &str, pieces: &[&[u8]]) -> Option<Vec<u8>> {
    let sha = match algorithm.to_ascii_lowercase().as_str() {
        "sha-256" => &SHA256,
        "sha-512" => &SHA512,
        "sha" => &SHA1_FOR_LEGACY_USE_ONLY,
        "md5" => {
            let mut hash = Md5::new();
            pieces.iter().for_each(|piece| hash.update(piece));
            return Some(hash.finalize().to_vec());
        }
        _ => return None,
    };
    let mut hash = digest::Context::new(sha);
    pieces.iter().for_each(|piece| hash.update(piece));
    Some(hash.finish().as_ref().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Over `{"hello": "world"}` and a line feed, as RFC 9530 has it in its examples, and over nothing.
    const OLD: &[u8] = b"{\"hello\": \"world\"}\n";
    const SHA256_OLD: &str = "RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=";
    const SHA256_NONE: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    const MD5_NONE: &str = "1B2M2Y8AsgTpgAmY7PhCfg==";
    const SHA_NONE: &str = "2jmj7l5rSw0yVb/vlWAYkK/YBwk=";
    const SHA512_NONE: &str =
        "z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==";

    fn renewed(name: &'static str, value: &str, old: &[u8], new: &[u8]) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        let (a, b) = old.split_at(old.len() / 2);
        renew(&mut headers, &[a, b], new).map_err(|e| e.to_string())?;
        Ok(headers[name].to_str().unwrap().to_owned())
    }

    #[test]
    fn each_digest_is_made_anew_in_its_own_form() {
        let md5_old = STANDARD.encode(of("md5", &[OLD]).unwrap());
        let sha_old = STANDARD.encode(of("sha", &[OLD]).unwrap());
        let sha512_old = STANDARD.encode(of("sha-512", &[OLD]).unwrap());
        for (name, value, want) in [
            ("content-md5", md5_old.clone(), MD5_NONE.to_owned()),
            ("content-digest", format!("sha-256=:{SHA256_OLD}:"), format!("sha-256=:{SHA256_NONE}:")),
            (
                "repr-digest",
                format!("sha-256=:{SHA256_OLD}:,sha-512=:{sha512_old}:"),
                format!("sha-256=:{SHA256_NONE}:, sha-512=:{SHA512_NONE}:"),
            ),
            (
                "digest",
                format!("SHA-256={SHA256_OLD}, sha={sha_old},MD5={md5_old}"),
                format!("SHA-256={SHA256_NONE}, sha={SHA_NONE}, MD5={MD5_NONE}"),
            ),
        ] {
            assert_eq!(renewed(name, &value, OLD, b""), Ok(want.clone()), "{value}");
            assert_eq!(renewed(name, &want, b"", OLD).map(|v| v.replace(", ", ",")), Ok(value.replace(", ", ",")));
        }
    }

    #[test]
    fn what_can_not_be_set_right_is_told() {
        for (name, value, why) in [
            ("content-digest", format!("sha-256={SHA256_OLD}"), "content-digest can't be read"),
            ("content-digest", "sha-256".into(), "content-digest can't be read"),
            ("content-md5", "*".into(), "content-md5 can't be read"),
            ("content-md5", MD5_NONE.into(), "content-md5 is not the digest of the body that came with it"),
            ("digest", format!("SHA-256={SHA256_NONE}"), "digest is not the digest of the body that came with it"),
            (
                "repr-digest",
                "crc32c=:AAAAAA==:".into(),
                "repr-digest has a digest by 'crc32c', which is not one of md5, sha, sha-256, sha-512 and can't be made anew",
            ),
        ] {
            assert_eq!(renewed(name, &value, OLD, b""), Err(why.to_owned()), "{value}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_RANGE, "bytes 0-18/100".parse().unwrap());
        headers.insert(CONTENT_DIGEST, format!("sha-256=:{SHA256_OLD}:").parse().unwrap());
        assert_eq!(renew(&mut headers, &[OLD], b""), Ok(()));
        headers.insert(REPR_DIGEST, format!("sha-256=:{SHA256_OLD}:").parse().unwrap());
        assert_eq!(renew(&mut headers, &[OLD], b""), Err(DigestFault::Wrong(CONTENT_DIGEST)));
        headers.remove(CONTENT_DIGEST);
        assert_eq!(renew(&mut headers, &[OLD], b""), Err(DigestFault::Partial(REPR_DIGEST)));
        assert_eq!(first(&headers), Some(REPR_DIGEST));
        remove(&mut headers);
        assert_eq!(first(&headers), None);
    }
}
