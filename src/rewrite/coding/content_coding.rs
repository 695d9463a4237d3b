//! The content codings that are known, and the header that names them (RFC 9110, section 8.4).

use std::fmt;

/// More than anyone stacks; each costs a window.
const MAX_CODINGS: usize = 4;

/// A content coding (RFC 9110, section 8.4.1; br is RFC 7932, zstd RFC 8878).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// zlib (RFC 1950), or without its header as some send it (RFC 1951).
    Deflate,
    /// RFC 7932.
    Br,
    /// RFC 8878, with windows up to 8 MiB (RFC 9659).
    Zstd,
}

impl Coding {
    /// Its name in `Content-Encoding`.
    pub fn as_str(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Deflate => "deflate",
            Coding::Br => "br",
            Coding::Zstd => "zstd",
        }
    }

    /// The memory that decoding may take, in bytes.
    pub fn window(self) -> u32 {
        match self {
            Coding::Gzip | Coding::Deflate => 32 << 10,
            Coding::Br => 16 << 20,
            Coding::Zstd => 8 << 20,
        }
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Coding {
    /// The coding of this name (RFC 9110, section 8.4.1, and RFC 7932 and 8878).
    pub fn named(name: &[u8]) -> Option<Self> {
        let named = [("gzip", Self::Gzip), ("br", Self::Br), ("zstd", Self::Zstd), ("deflate", Self::Deflate)];
        let named = named.into_iter().chain([("x-gzip", Self::Gzip)]);
        named.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes())).map(|(_, coding)| coding)
    }
}

/// A fault by which a coding could not be opened or closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodingError {
    /// The header names another coding.
    #[error("the content coding '{0}' is not one of gzip, deflate, br, zstd")]
    Unknown(String),
    /// Each costs a window.
    #[error("more than {MAX_CODINGS} content codings")]
    TooMany,
    /// The bytes break the format.
    #[error("the body is no valid {0}")]
    Corrupt(Coding),
    /// The body ends too early.
    #[error("the body ends within its {0}")]
    Truncated(Coding),
    /// Bytes follow the end.
    #[error("the body goes on after the end of its {0}")]
    Trailing(Coding),
    /// It unfolds to too many times its size.
    #[error("the body grows to more than {limit} bytes, by a factor of {ratio} or more")]
    Ratio {
        /// The most that it might have unfolded to so far, in bytes.
        limit: u64,
        /// Bytes out for each byte in.
        ratio: u64,
    },
    /// It unfolds to too many bytes.
    #[error("the body grows to more than {0} bytes")]
    Size(u64),
    /// The library can't be set up.
    #[error("no memory for {0}")]
    Memory(Coding),
}

/// Reads the values of `Content-Encoding` (RFC 9110, section 8.4), in the order in which the codings were applied. `identity`
/// is none.
///
/// # Errors
/// A coding that is not known, or more than four.
pub fn parse<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Coding>, CodingError> {
    let mut codings = Vec::new();
    for name in values.into_iter().flat_map(|v| v.split(|&b| b == b',')).map(<[u8]>::trim_ascii) {
        if name.is_empty() || name.eq_ignore_ascii_case(b"identity") {
            continue;
        }
        let unknown = || CodingError::Unknown(name.get(..32).unwrap_or(name).escape_ascii().to_string());
        let coding = Coding::named(name).ok_or_else(unknown)?;
        if codings.len() == MAX_CODINGS {
            return Err(CodingError::TooMany);
        }
        codings.push(coding);
    }
    Ok(codings)
}
