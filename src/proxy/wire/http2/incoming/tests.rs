use super::super::hpack::Decoder;
use super::*;
use proptest::prelude::*;

const MAX_HEAD: usize = 1 << 16;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    [&FrameHead { length: payload.len(), kind, flags, stream }.written(), payload].concat()
}

/// What goes on of a stream that comes in pieces, and what waits still.
fn through(frames: &mut IncomingFrames, stream: &[u8], cut: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in stream.chunks(cut) {
        let mut waiting = BytesMut::new();
        let passed = frames.pass(piece, &mut waiting);
        out.extend_from_slice(&piece[..passed]);
        out.extend_from_slice(&waiting);
    }
    out
}

fn new() -> IncomingFrames {
    IncomingFrames::new(MAX_HEAD, Arc::default())
}

/// What a stream comes to in the library's hands: frames with their kind, flags and stream, and fields or payload as text.
fn read(stream: &[u8]) -> Vec<String> {
    let (mut decoder, mut rest, mut out) = (Decoder::default(), stream.get(PREFACE..).unwrap_or_default(), Vec::new());
    while let Some((head, payload)) = rest.split_first_chunk().map(|(head, rest)| (FrameHead::read(head), rest)) {
        let (payload, behind) = payload.split_at(head.length);
        rest = behind;
        let mut said = String::new();
        match head.kind {
            HEADERS => {
                let (priority, block) = fields(head.flags, payload).unwrap();
                said.push_str(&"p".repeat(priority.len()));
                if decoder
                    .read(block, |f| said.push_str(&format!(" {}={}", f.name.escape_ascii(), f.value.escape_ascii())))
                    .is_err()
                {
                    said.push_str(" unreadable");
                }
            }
            _ => said.push_str(&payload.escape_ascii().to_string()),
        }
        out.push(format!("{} {:x} {}:{said}", head.kind, head.flags, head.stream));
    }
    out
}

const END: u8 = END_STREAM | END_HEADERS;
const PATH: &[u8] = b"\x10\x05:path\x01/";
const BRACKETS: &[u8] = b"\x44\x05/?<a>";
const FIELD: &[u8] = b"\x40\x03x-a\x01b";

fn session() -> (Vec<u8>, Vec<&'static str>) {
    let stream = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        frame(HEADERS, END_HEADERS, 1, &[PATH, FIELD].concat()),
        frame(DATA, 0, 1, b"a <body>"),
        frame(HEADERS, END, 3, BRACKETS),
        // both from the table: the path is what it was there
        frame(HEADERS, END, 1, b"\xbf"),
        frame(HEADERS, END, 5, b"\xbe\xbf"),
        frame(HEADERS, END_HEADERS, 7, b"\x84"),
        // trailers with a pseudo-header, in three frames
        frame(HEADERS, END_STREAM | PADDED | PRIORITY, 7, &[&[2, 0, 0, 0, 0, 1], FIELD, &[0, 0]].concat()),
        frame(CONTINUATION, 0, 7, &[]),
        frame(CONTINUATION, END_HEADERS, 7, PATH),
        frame(HEADERS, END_HEADERS, 9, b"\x84\x0f\x14\x0c100-Continue\x00\x15locum-awaits-continue\x017"),
        frame(HEADERS, END, 11, b"\x84\x0f\x14\x0c100-continue"),
        frame(6, 0, 0, b"pingpong"),
        frame(HEADERS, END, 13, b"\xff"),
    ];
    let read = vec![
        "4 0 0:",
        "1 4 1: :path=/ x-a=b",
        "0 0 1:a <body>",
        "1 5 3: :path=/?%3Ca%3E",
        "1 5 1: x-a=b",
        "1 5 5: :path=/?%3Ca%3E x-a=b",
        "1 4 7: :path=/",
        "1 24 7:ppppp x-a=b :path=/",
        "1 4 9: :path=/ expect=100-Continue locum-awaits-continue=9",
        "1 5 11: :path=/ expect=100-continue",
        "6 0 0:pingpong",
        "1 5 13: unreadable",
    ];
    (stream.concat(), read)
}

#[test]
fn fields_are_written_anew_and_all_else_passes() {
    let (stream, wanted) = session();
    let mut frames = new();
    assert_eq!(read(&through(&mut frames, &stream, stream.len())), wanted);
    assert!(!frames.is_lost);
}

proptest! {
    #[test]
    fn no_cut_changes_what_goes_on(cut in 1usize..300) {
        let (stream, _) = session();
        prop_assert_eq!(through(&mut new(), &stream, cut), through(&mut new(), &stream, stream.len()));
    }

    /// The library has to see such frames as they are, to answer them.
    #[test]
    fn what_is_no_sound_frame_passes_as_it_is(
        kind in prop_oneof![Just(HEADERS), Just(CONTINUATION)],
        flags: u8,
        stream in 0u32..3,
        payload in proptest::collection::vec(any::<u8>(), 0..40),
        cut in 1usize..100,
    ) {
        let (mut frames, stream) = (new(), [vec![b'p'; PREFACE], frame(kind, flags, stream, &payload)].concat());
        let out = through(&mut frames, &stream, cut);
        if frames.is_lost {
            prop_assert_eq!(out, stream);
        } else {
            prop_assert!(kind == HEADERS && frames.held.len() <= stream.len());
        }
    }

    #[test]
    fn junk_makes_no_trouble(junk in proptest::collection::vec(any::<u8>(), 0..400), cut in 1usize..200) {
        let mut frames = new();
        let out = through(&mut frames, &[vec![b'p'; PREFACE], junk].concat(), cut);
        prop_assert!(out.len() >= PREFACE);
    }

    #[test]
    fn messages_of_any_size_are_cut_into_frames(length in 0usize..MAX_HEAD - 100, has_priority: bool) {
        let value = vec![b'v'; length];
        let (mut block, mut packed) = (Vec::new(), BytesMut::new());
        Field::new(b"x", &value).write(&mut block);
        let priority: &[u8] = if has_priority { &[0, 0, 0, 0, 1] } else { &[] };
        let flags = END_STREAM | if has_priority { PRIORITY } else { 0 };
        write_message(FrameHead { length: 0, kind: HEADERS, flags, stream: 1 }, priority, &block, &mut packed);
        let mut frames = new();
        let out = through(&mut frames, &[vec![b'p'; PREFACE], packed.to_vec()].concat(), 10_000);
        prop_assert_eq!(&out[PREFACE..], &packed[..]);
    }
}

#[test]
fn a_flood_of_continuations_is_not_held_without_end() {
    let begun = [vec![b'p'; PREFACE], frame(HEADERS, 0, 1, PATH)].concat();
    let flood = frame(CONTINUATION, 0, 1, &[]).repeat((2 * MAX_HEAD + SLACK) / HEAD + 10);
    let stream = [&begun[..], &flood].concat();
    assert_eq!(through(&mut new(), &stream, 4096), stream);
}

/// A field of the table costs a byte to say, and its own length to hold.
#[test]
fn fields_that_come_to_more_than_a_head_may_have_are_not_written_out() {
    let kept = [&b"\x40\x01x\x7f\xf1\x1d"[..], &vec![b'v'; 0xf70]].concat();
    let stream = [vec![b'p'; PREFACE], frame(HEADERS, END, 1, &[&kept[..], &[0xbe; 12_000]].concat())].concat();
    let out = through(&mut new(), &stream, stream.len());
    assert!(out.len() > MAX_HEAD && out.len() < MAX_HEAD + 200, "{}", out.len());
}

#[test]
fn few_streams_are_remembered() {
    let mut frames = new();
    let streams = (0..4 * MAX_OPEN as u32).flat_map(|n| frame(HEADERS, END_HEADERS, 2 * n + 1, b"\x84"));
    through(&mut frames, &[vec![b'p'; PREFACE], streams.collect()].concat(), 9_999);
    assert_eq!(frames.open.len(), MAX_OPEN);
}

/// Whoever opens streams that wait and resets them again is not remembered for it.
#[test]
fn a_stream_that_its_client_resets_waits_for_nothing() {
    let mut frames = new();
    let head = frame(HEADERS, END_HEADERS, 9, b"\x84\x0f\x14\x0c100-continue");
    through(&mut frames, &[&[b'p'; PREFACE][..], &head].concat(), 100);
    assert!(frames.interims.is_awaited());
    through(&mut frames, &frame(RST_STREAM, 0, 9, &[0, 0, 0, 8]), 100);
    frames.interims.go_on(9);
    assert!(!frames.interims.any() && !frames.interims.is_awaited());
}
