//! Content codings, opened and closed as a stream: gzip, deflate, br and zstd, stacked in any order. Headers, and what
//! becomes of the bytes, belong to others.
//!
//! Everything is pushed: the caller brings what has arrived, and gets what can be known from it at once, so that an
//! event which the sender has flushed is not held back. Output comes in portions of the caller's size, and memory is
//! bounded by the windows: 32 KiB for gzip and deflate, 16 MiB for br, 8 MiB for zstd (RFC 9659).
//!
//! All four libraries take their memory from Rust's global allocator (zstd by its feature `with-rust-allocator`, flate2
//! by its back end zlib-rs), so a binary whose allocator wipes what is freed wipes their windows too.

mod decoder;
mod encoder;

pub use decoder::Decoder;
pub use encoder::Encoder;

use std::fmt;

/// More than anyone stacks; each costs a window.
const MAX_CODINGS: usize = 4;

/// A content coding (RFC 9110, section 8.4.1; br is RFC 7932, zstd RFC 8878).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    Gzip,
    Deflate,
    Br,
    Zstd,
}

impl Coding {
    pub fn as_str(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Deflate => "deflate",
            Coding::Br => "br",
            Coding::Zstd => "zstd",
        }
    }

    /// How many bytes opening it may take, at most.
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

/// Why a coding could not be opened or closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodingError {
    #[error("the content coding '{0}' is not one of gzip, deflate, br, zstd")]
    Unknown(String),
    #[error("more than {MAX_CODINGS} content codings")]
    TooMany,
    #[error("the body is no valid {0}")]
    Corrupt(Coding),
    #[error("the body ends within its {0}")]
    Truncated(Coding),
    #[error("the body goes on after the end of its {0}")]
    Trailing(Coding),
    #[error("the body grows to more than {limit} bytes, by a factor of {ratio} or more")]
    Ratio { limit: u64, ratio: u64 },
    #[error("the body grows to more than {0} bytes")]
    Size(u64),
    #[error("no memory for {0}")]
    Memory(Coding),
}

impl Coding {
    /// The coding of this name (RFC 9110, section 8.4.1, and RFC 7932 and 8878).
    pub fn named(name: &[u8]) -> Option<Self> {
        let named = [("gzip", Self::Gzip), ("br", Self::Br), ("zstd", Self::Zstd), ("deflate", Self::Deflate)];
        let named = named.into_iter().chain([("x-gzip", Self::Gzip)]);
        named.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes())).map(|(_, coding)| coding)
    }
}

/// Reads the values of `Content-Encoding`, in the order in which the codings were applied. `identity` is none.
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

/// How far a body may grow when its codings are opened. Each of stacked codings is held to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes out for each byte in. Nothing but a run of one byte reaches 1000 in gzip, whose own limit is 1032.
    pub ratio: u64,
    /// So much is never refused for its ratio: small bodies of great regularity are common.
    pub free: u64,
    pub total: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { ratio: 1000, free: 1 << 20, total: 16 << 30 }
    }
}

impl Limits {
    fn check(&self, read: u64, made: u64) -> Result<(), CodingError> {
        if made > self.total {
            return Err(CodingError::Size(self.total));
        }
        let limit = read.saturating_mul(self.ratio).max(self.free);
        if made > limit { Err(CodingError::Ratio { limit, ratio: self.ratio }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use flate2::Compression;
    use flate2::write::DeflateEncoder;
    use proptest::prelude::*;
    use std::io::Write as _;

    const ALL: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Br, Coding::Zstd];

    fn encoded(codings: &[Coding], text: &[u8]) -> Vec<u8> {
        let mut encoder = Encoder::new(codings).unwrap();
        let mut out = Vec::new();
        encoder.encode(text, &mut out).unwrap();
        encoder.finish(&mut out).unwrap();
        out
    }

    /// Decodes what comes in pieces of these lengths, and then the rest, in portions of `room`.
    fn decoded(
        codings: &[Coding],
        coded: &[u8],
        pieces: &[usize],
        room: usize,
        limits: Limits,
    ) -> Result<Vec<u8>, CodingError> {
        let mut decoder = Decoder::new(codings, limits)?;
        let mut rest = Bytes::copy_from_slice(coded);
        let mut out = Vec::new();
        for &piece in pieces.iter().chain([&usize::MAX]) {
            let mut input = rest.split_to(piece.min(rest.len()));
            loop {
                let before = out.len();
                let done = decoder.decode(&mut input, &mut out, room)?;
                assert!(out.len() - before <= room, "a portion is no larger than asked for");
                if done {
                    break;
                }
            }
            assert!(input.is_empty());
        }
        decoder.finish()?;
        Ok(out)
    }

    fn whole(codings: &[Coding], coded: &[u8]) -> Result<Vec<u8>, CodingError> {
        decoded(codings, coded, &[], 1 << 16, Limits::default())
    }

    #[test]
    fn the_header_is_read_in_all_its_spellings() {
        use Coding::*;
        for (values, want) in [
            (vec!["gzip"], Ok(vec![Gzip])),
            (vec!["X-Gzip , BR", "", "identity,\tzstd"], Ok(vec![Gzip, Br, Zstd])),
            (vec![], Ok(vec![])),
            (vec!["deflate,,deflate"], Ok(vec![Deflate, Deflate])),
            (vec!["gzip, compress"], Err(CodingError::Unknown("compress".into()))),
            (vec!["g\u{e9}\n"], Err(CodingError::Unknown("g\\xc3\\xa9".into()))),
            (vec!["gzip;q=1"], Err(CodingError::Unknown("gzip;q=1".into()))),
            (vec!["gzip,gzip,gzip,gzip,gzip"], Err(CodingError::TooMany)),
        ] {
            assert_eq!(parse(values.iter().map(|v| v.as_bytes())), want, "{values:?}");
        }
    }

    #[test]
    fn what_other_encoders_write_is_read() {
        let text = b"data: {\"delta\":\"one two three\"}\n\n".repeat(50);
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::new(6));
        raw.write_all(&text).unwrap();
        assert_eq!(whole(&[Coding::Deflate], &raw.finish().unwrap()).unwrap(), text, "deflate without zlib");
        let mut named =
            flate2::GzBuilder::new().filename("name").comment("why").extra("x").write(Vec::new(), Compression::new(9));
        named.write_all(&text).unwrap();
        assert_eq!(whole(&[Coding::Gzip], &named.finish().unwrap()).unwrap(), text, "gzip with all header fields");
        for coding in [Coding::Gzip, Coding::Zstd] {
            let two = [encoded(&[coding], b"one "), encoded(&[coding], b""), encoded(&[coding], b"two")].concat();
            assert_eq!(whole(&[coding], &two).unwrap(), b"one two", "{coding} in parts");
            assert_eq!(
                decoded(&[coding], &two, &[1; 200], 1, Limits::default()).unwrap(),
                b"one two",
                "{coding} in parts"
            );
        }
        let skippable =
            [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &encoded(&[Coding::Zstd], b"one")].concat();
        assert_eq!(whole(&[Coding::Zstd], &skippable).unwrap(), b"one", "a skippable frame");
    }

    #[test]
    fn nothing_is_no_body_in_any_coding() {
        for coding in ALL {
            assert_eq!(whole(&[coding], b"").unwrap(), b"");
            assert_eq!(whole(&[coding], &encoded(&[coding], b"")).unwrap(), b"");
        }
        assert_eq!(whole(&[], b"as it is").unwrap(), b"as it is");
    }

    #[test]
    fn a_body_that_goes_on_is_refused() {
        for coding in ALL {
            for more in [&b"x"[..], b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", b"more than that"] {
                let long = [&encoded(&[coding], b"some text")[..], more].concat();
                for pieces in [vec![], vec![1; 100]] {
                    let got = decoded(&[coding], &long, &pieces, 1 << 16, Limits::default());
                    assert!(got.is_err(), "{coding} with {more:?} at its end");
                }
            }
        }
    }

    #[test]
    fn an_event_that_was_flushed_comes_out_at_once() {
        for codings in ALL
            .map(|c| vec![c])
            .into_iter()
            .chain([vec![Coding::Gzip, Coding::Br], vec![Coding::Zstd, Coding::Deflate]])
        {
            let mut encoder = Encoder::new(&codings).unwrap();
            let mut decoder = Decoder::new(&codings, Limits::default()).unwrap();
            for number in 0..20 {
                let event = format!("data: {{\"number\":{number}}}\n\n");
                let mut coded = Vec::new();
                encoder.encode(event.as_bytes(), &mut coded).unwrap();
                encoder.flush(&mut coded).unwrap();
                let (mut input, mut out) = (Bytes::from(coded), Vec::new());
                assert!(decoder.decode(&mut input, &mut out, 1 << 16).unwrap());
                assert_eq!(out, event.as_bytes(), "{codings:?}");
            }
            let mut coded = Vec::new();
            encoder.finish(&mut coded).unwrap();
            let mut input = Bytes::from(coded);
            assert!(decoder.decode(&mut input, &mut Vec::new(), 1 << 16).unwrap());
            assert_eq!(decoder.finish(), Ok(()));
        }
    }

    #[test]
    fn bombs_are_refused_by_ratio_and_by_size() {
        let zeros = vec![0; 8 << 20];
        let limits = Limits { ratio: 100, free: 1 << 20, total: u64::MAX };
        for codings in
            ALL.map(|c| vec![c]).into_iter().chain([vec![Coding::Gzip, Coding::Gzip], vec![Coding::Br, Coding::Zstd]])
        {
            let bomb = encoded(&codings, &zeros);
            let got = decoded(&codings, &bomb, &[], 1 << 16, limits);
            assert!(matches!(got, Err(CodingError::Ratio { ratio: 100, .. })), "{codings:?}");
            let got = decoded(&codings, &bomb, &[], 1 << 16, Limits { ratio: u64::MAX, total: 3 << 20, ..limits });
            assert_eq!(got, Err(CodingError::Size(3 << 20)), "{codings:?}");
            let got = decoded(&codings, &bomb, &[], 1 << 16, Limits { free: 9 << 20, ..limits });
            assert!(got.unwrap() == zeros, "{codings:?}");
        }
        // A small body inside, but the layers between are not.
        let inner = encoded(&[Coding::Gzip], &zeros);
        let got = decoded(&[Coding::Gzip, Coding::Gzip], &encoded(&[Coding::Gzip], &inner), &[], 1 << 16, limits);
        assert!(matches!(got, Err(CodingError::Ratio { .. })));
    }

    #[test]
    fn windows_beyond_the_limit_are_refused() {
        let frame = |log: u32| {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(log).unwrap();
            encoder.write_all(b"text").unwrap();
            encoder.flush().unwrap();
            encoder.finish().unwrap()
        };
        assert_eq!(whole(&[Coding::Zstd], &frame(23)).unwrap(), b"text");
        assert_eq!(whole(&[Coding::Zstd], &frame(24)), Err(CodingError::Corrupt(Coding::Zstd)));
        // The first byte of a brotli stream with a large window, which is no part of RFC 7932.
        assert_eq!(whole(&[Coding::Br], &[0x11, 0x1e, 0, 0]), Err(CodingError::Corrupt(Coding::Br)));
    }

    fn stack() -> impl Strategy<Value = Vec<Coding>> {
        prop::collection::vec(prop::sample::select(ALL.to_vec()), 1..4)
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..2000),
            ("[ -~]{1,40}", 1usize..3000).prop_map(|(line, n)| line.repeat(n).into_bytes()),
        ]
    }

    fn pieces() -> impl Strategy<Value = Vec<usize>> {
        prop_oneof![Just(vec![]), Just(vec![1; 300]), prop::collection::vec(0usize..300, 0..30)]
    }

    proptest! {
        #[test]
        fn what_is_closed_opens_again_however_it_is_cut(
            codings in stack(),
            text in text(),
            pieces in pieces(),
            flushes in prop::collection::vec((0usize..5000, any::<bool>()), 0..5),
            room in 1usize..5000,
        ) {
            let mut encoder = Encoder::new(&codings).unwrap();
            let (mut coded, mut rest) = (Vec::new(), &text[..]);
            for (len, flush) in flushes {
                let (piece, more) = rest.split_at(len.min(rest.len()));
                encoder.encode(piece, &mut coded).unwrap();
                if flush {
                    encoder.flush(&mut coded).unwrap();
                }
                rest = more;
            }
            encoder.encode(rest, &mut coded).unwrap();
            encoder.finish(&mut coded).unwrap();
            let limits = Limits { ratio: u64::MAX, ..Limits::default() };
            prop_assert_eq!(decoded(&codings, &coded, &pieces, room, limits).unwrap(), text);
        }

        #[test]
        fn a_body_that_breaks_off_is_refused(codings in stack(), text in text(), at in any::<prop::sample::Index>()) {
            let coded = encoded(&codings, &text);
            let at = 1 + at.index(coded.len() - 1);
            let got = decoded(&codings, &coded[..at], &[at / 2], 1 << 16, Limits { ratio: u64::MAX, ..Limits::default() });
            prop_assert!(got.is_err(), "{:?} of {}", at, coded.len());
        }

        #[test]
        fn no_bytes_make_it_panic_or_differ_by_their_cuts(
            codings in stack(),
            text in text(),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            pieces in pieces(),
        ) {
            let mut coded = encoded(&codings, &text);
            for (at, byte) in flips {
                let at = at.index(coded.len());
                coded[at] = byte;
            }
            let limits = Limits { ratio: u64::MAX, total: 1 << 20, ..Limits::default() };
            let uncut = decoded(&codings, &coded, &[], 1 << 16, limits);
            let cut = decoded(&codings, &coded, &pieces, 777, limits);
            prop_assert_eq!(cut.is_ok(), uncut.is_ok());
            if let (Ok(cut), Ok(uncut)) = (cut, uncut) {
                prop_assert_eq!(cut, uncut);
            }
        }

        #[test]
        fn garbage_is_an_error_at_worst(codings in stack(), bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let limits = Limits { total: 1 << 20, ..Limits::default() };
            let out = decoded(&codings, &bytes, &[], 1 << 16, limits).unwrap_or_default();
            prop_assert!(out.len() <= 1 << 20);
        }
    }
}
