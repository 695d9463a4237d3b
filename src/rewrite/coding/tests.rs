//! Codings closed and opened again, in pieces, cut off, and as bombs.

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
    limits: DecodeLimits,
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
    decoded(codings, coded, &[], 1 << 16, DecodeLimits::default())
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
            decoded(&[coding], &two, &[1; 200], 1, DecodeLimits::default()).unwrap(),
            b"one two",
            "{coding} in parts"
        );
    }
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &encoded(&[Coding::Zstd], b"one")].concat();
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
                let got = decoded(&[coding], &long, &pieces, 1 << 16, DecodeLimits::default());
                assert!(got.is_err(), "{coding} with {more:?} at its end");
            }
        }
    }
}

#[test]
fn an_event_that_was_flushed_comes_out_at_once() {
    for codings in
        ALL.map(|c| vec![c]).into_iter().chain([vec![Coding::Gzip, Coding::Br], vec![Coding::Zstd, Coding::Deflate]])
    {
        let mut encoder = Encoder::new(&codings).unwrap();
        let mut decoder = Decoder::new(&codings, DecodeLimits::default()).unwrap();
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
    let limits = DecodeLimits { ratio: 100, free: 1 << 20, total: u64::MAX };
    for codings in
        ALL.map(|c| vec![c]).into_iter().chain([vec![Coding::Gzip, Coding::Gzip], vec![Coding::Br, Coding::Zstd]])
    {
        let bomb = encoded(&codings, &zeros);
        let got = decoded(&codings, &bomb, &[], 1 << 16, limits);
        assert!(matches!(got, Err(CodingError::Ratio { ratio: 100, .. })), "{codings:?}");
        let got = decoded(&codings, &bomb, &[], 1 << 16, DecodeLimits { ratio: u64::MAX, total: 3 << 20, ..limits });
        assert_eq!(got, Err(CodingError::Size(3 << 20)), "{codings:?}");
        let got = decoded(&codings, &bomb, &[], 1 << 16, DecodeLimits { free: 9 << 20, ..limits });
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
        let limits = DecodeLimits { ratio: u64::MAX, ..DecodeLimits::default() };
        prop_assert_eq!(decoded(&codings, &coded, &pieces, room, limits).unwrap(), text);
    }

    #[test]
    fn a_body_that_breaks_off_is_refused(codings in stack(), text in text(), at in any::<prop::sample::Index>()) {
        let coded = encoded(&codings, &text);
        let at = 1 + at.index(coded.len() - 1);
        let got = decoded(&codings, &coded[..at], &[at / 2], 1 << 16, DecodeLimits { ratio: u64::MAX, ..DecodeLimits::default() });
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
        let limits = DecodeLimits { ratio: u64::MAX, total: 1 << 20, ..DecodeLimits::default() };
        let uncut = decoded(&codings, &coded, &[], 1 << 16, limits);
        let cut = decoded(&codings, &coded, &pieces, 777, limits);
        prop_assert_eq!(cut.is_ok(), uncut.is_ok());
        if let (Ok(cut), Ok(uncut)) = (cut, uncut) {
            prop_assert_eq!(cut, uncut);
        }
    }

    #[test]
    fn garbage_is_an_error_at_worst(codings in stack(), bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let limits = DecodeLimits { total: 1 << 20, ..DecodeLimits::default() };
        let out = decoded(&codings, &bytes, &[], 1 << 16, limits).unwrap_or_default();
        prop_assert!(out.len() <= 1 << 20);
    }
}
