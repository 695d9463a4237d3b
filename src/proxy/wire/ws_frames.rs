//! WebSocket frames (RFC 6455, section 5), read so strictly that no two readers can differ on them, and written anew.
//!
//! Pure: bytes in, pieces of messages out. No extension is ever agreed on, so the reserved bits are zero.

use bytes::{Buf as _, BytesMut};

/// A frame up to this is held until it is whole; a longer one is passed on in pieces, as fragments.
pub const HELD: u64 = 64 * 1024;
/// The longest payload of a control frame (section 5.5).
pub const MAX_CONTROL: usize = 125;

/// Who writes the frames: clients mask theirs, servers don't (section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameWriter {
    /// Masks what it writes.
    Client,
    /// Masks nothing.
    Server,
}

/// The opcode of a frame (section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// More of the message before it.
    Continuation,
    /// The beginning of a text message.
    Text,
    /// The beginning of a binary message.
    Binary,
    /// The end of what one side says.
    Close,
    /// Asks for a pong.
    Ping,
    /// Answers a ping.
    Pong,
}

impl Opcode {
    fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// What was read: of a message as much as there is, of a control frame all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FramePiece {
    /// Never a continuation: the message's own for each of its pieces.
    pub opcode: Opcode,
    /// Unmasked.
    pub payload: BytesMut,
    /// The message ends with it.
    pub last: bool,
}

/// What is wrong, with the code to close with (section 7.4.1): nothing after it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameFault {
    /// The code of the close frame.
    pub code: u16,
    /// What is wrong, for the audit and the close frame.
    pub why: &'static str,
}

const fn malformed(why: &'static str) -> FrameFault {
    FrameFault { code: 1002, why }
}

const NOT_UTF8: FrameFault = FrameFault { code: 1007, why: "a text message is no UTF-8" };

/// Reads the frames of one direction.
#[derive(Debug)]
pub struct FrameReader {
    writer: FrameWriter,
    /// The message that is not at its end.
    message: Option<Message>,
    /// The frame that is not at its end.
    frame: Option<Frame>,
    closed: bool,
}

#[derive(Debug)]
struct Message {
    opcode: Opcode,
    utf8: Utf8,
}

#[derive(Debug)]
struct Frame {
    opcode: Opcode,
    fin: bool,
    mask: [u8; 4],
    left: u64,
    held: bool,
}

impl FrameReader {
    /// Of frames that `writer` writes.
    pub fn new(writer: FrameWriter) -> Self {
        Self { writer, message: None, frame: None, closed: false }
    }

    /// Takes the next piece out of `read`; `None` where it needs more bytes. What follows a close frame is dropped.
    pub fn next(&mut self, read: &mut BytesMut) -> Result<Option<FramePiece>, FrameFault> {
        loop {
            if self.closed {
                read.clear();
                return Ok(None);
            }
            if self.frame.is_none() {
                let Some((frame, length)) = self.head(read)? else { return Ok(None) };
                read.advance(length);
                self.frame = Some(frame);
            }
            let Some(payload) = self.frame.as_mut().and_then(|frame| frame.take(read)) else { return Ok(None) };
            if let Some(piece) = self.piece(payload)? {
                return Ok(Some(piece));
            }
        }
    }

    /// A frame's head, once it is whole, with its length.
    fn head(&mut self, read: &[u8]) -> Result<Option<(Frame, usize)>, FrameFault> {
        let [first, second, ..] = *read else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(malformed("a reserved bit is set, and no extension was agreed on"));
        }
        let opcode = Opcode::of(first & 0x0f).ok_or(malformed("a frame's opcode is unknown"))?;
        let fin = first & 0x80 != 0;
        let masked = second & 0x80 != 0;
        if masked != (self.writer == FrameWriter::Client) {
            return Err(malformed("clients mask their frames, and servers don't"));
        }
        match (opcode, &self.message) {
            (Opcode::Continuation, None) => return Err(malformed("a continuation of nothing")),
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(malformed("a message within another")),
            _ => {}
        }
        let Some((length, at)) = length(read, second & 0x7f)? else { return Ok(None) };
        if opcode.is_control() && (!fin || length > MAX_CONTROL as u64) {
            return Err(malformed("a control frame is in fragments, or over 125 bytes"));
        }
        let (mask, at) = match read.get(at..at + 4) {
            _ if !masked => ([0; 4], at),
            Some(&[a, b, c, d]) => ([a, b, c, d], at + 4),
            _ => return Ok(None),
        };
        if matches!(opcode, Opcode::Text | Opcode::Binary) {
            self.message = Some(Message { opcode, utf8: Utf8::default() });
        }
        let held = length <= HELD;
        Ok(Some((Frame { opcode, fin, mask, left: length, held }, at)))
    }

    /// What a frame's bytes come to; `None` where there is nothing to pass on yet.
    fn piece(&mut self, payload: BytesMut) -> Result<Option<FramePiece>, FrameFault> {
        let Some(Frame { opcode, fin, left, .. }) = self.frame else { return Ok(None) };
        let ended = left == 0;
        if ended {
            self.frame = None;
        }
        if opcode.is_control() {
            if opcode == Opcode::Close {
                closing(&payload)?;
                self.closed = true;
            }
            return Ok(Some(FramePiece { opcode, payload, last: true }));
        }
        let Some(message) = &mut self.message else { return Ok(None) };
        let last = fin && ended;
        if message.opcode == Opcode::Text {
            message.utf8.push(&payload)?;
            if last && !message.utf8.is_whole() {
                return Err(NOT_UTF8);
            }
        }
        let opcode = message.opcode;
        if last {
            self.message = None;
        }
        Ok((last || !payload.is_empty()).then_some(FramePiece { opcode, payload, last }))
    }
}

impl Frame {
    /// The bytes that can be passed on now, unmasked.
    fn take(&mut self, read: &mut BytesMut) -> Option<BytesMut> {
        let there = read.len() as u64;
        if there < self.left && (self.held || there == 0) {
            return None;
        }
        let taken = self.left.min(there);
        self.left -= taken;
        let taken = usize::try_from(taken).unwrap_or(read.len());
        let mut payload = read.split_to(taken);
        mask(&mut payload, self.mask);
        self.mask.rotate_left(taken & 3);
        Some(payload)
    }
}

/// A frame's length and where it ends, written as short as it can be (section 5.2); `None` where bytes are missing.
fn length(read: &[u8], short: u8) -> Result<Option<(u64, usize)>, FrameFault> {
    let (length, at, least) = match (short, read) {
        (126, [_, _, a, b, ..]) => (u64::from(u16::from_be_bytes([*a, *b])), 4, 126),
        (127, [_, _, a, b, c, d, e, f, g, h, ..]) => {
            (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), 10, 1 << 16)
        }
        (126 | 127, _) => return Ok(None),
        (short, _) => (short.into(), 2, 0),
    };
    if length < least || length > i64::MAX as u64 {
        return Err(malformed("a frame's length is not written as it has to be"));
    }
    Ok(Some((length, at)))
}

/// A close frame is empty, or a code that may be sent and a reason in UTF-8 (sections 5.5.1 and 7.4).
fn closing(payload: &[u8]) -> Result<(), FrameFault> {
    let (code, reason) = match payload {
        [] => return Ok(()),
        [a, b, reason @ ..] => (u16::from_be_bytes([*a, *b]), reason),
        [_] => return Err(malformed("a close frame's code is cut off")),
    };
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(malformed("a close frame's code may not be sent"));
    }
    std::str::from_utf8(reason).map(|_| ()).map_err(|_| NOT_UTF8)
}

/// Masks, or takes the mask off: the same (section 5.3).
fn mask(payload: &mut [u8], mask: [u8; 4]) {
    for (i, byte) in payload.iter_mut().enumerate() {
        *byte ^= mask[i & 3];
    }
}

/// Adds a frame to `out`, its payload given in pieces; a client's with its mask.
pub fn write<'p>(
    out: &mut Vec<u8>,
    opcode: Opcode,
    last: bool,
    payload: impl Iterator<Item = &'p [u8]> + Clone,
    key: Option<[u8; 4]>,
) {
    let length: usize = payload.clone().map(<[u8]>::len).sum();
    let masked = if key.is_some() { 0x80 } else { 0 };
    out.reserve(length + 14);
    out.push(if last { 0x80 } else { 0 } | opcode.bits());
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..126), _) => out.push(masked | short),
        (_, Ok(length)) => {
            out.push(masked | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&key.unwrap_or_default()[..if key.is_some() { 4 } else { 0 }]);
    let start = out.len();
    payload.for_each(|piece| out.extend_from_slice(piece));
    if let (Some(key), Some(written)) = (key, out.get_mut(start..)) {
        mask(written, key);
    }
}

/// A close frame's payload; the reason is cut to what fits.
pub fn close(code: u16, reason: &str) -> Vec<u8> {
    let mut ends = (0..=reason.len().min(MAX_CONTROL - 2)).rev();
    let fits = ends.find_map(|end| reason.get(..end)).unwrap_or_default();
    [&code.to_be_bytes(), fits.as_bytes()].concat()
}

/// UTF-8 that comes in pieces.
#[derive(Debug, Default)]
struct Utf8 {
    /// A character that is not whole yet.
    open: [u8; 4],
    len: usize,
}

impl Utf8 {
    fn push(&mut self, mut bytes: &[u8]) -> Result<(), FrameFault> {
        while self.len > 0
            && let [first, rest @ ..] = bytes
        {
            let room = self.open.get_mut(self.len).ok_or(NOT_UTF8)?;
            (*room, bytes) = (*first, rest);
            self.len += 1;
            match std::str::from_utf8(self.open.get(..self.len).unwrap_or_default()) {
                Ok(_) => self.len = 0,
                Err(e) if e.error_len().is_some() => return Err(NOT_UTF8),
                Err(_) => {}
            }
        }
        if let Err(e) = std::str::from_utf8(bytes) {
            let open = bytes.get(e.valid_up_to()..).unwrap_or_default();
            let room = self.open.get_mut(..open.len()).filter(|_| e.error_len().is_none()).ok_or(NOT_UTF8)?;
            room.copy_from_slice(open);
            self.len = open.len();
        }
        Ok(())
    }

    fn is_whole(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(|b| *b != b' ').collect();
        digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
    }

    /// Every piece of a stream that comes in steps, with the bytes of a message's pieces joined.
    fn read(writer: FrameWriter, stream: &[u8], step: usize) -> Result<Vec<(Opcode, Vec<u8>, bool)>, FrameFault> {
        let (mut reader, mut held, mut out) = (FrameReader::new(writer), BytesMut::new(), Vec::new());
        let mut open: Vec<u8> = Vec::new();
        for bytes in stream.chunks(step.max(1)) {
            held.extend_from_slice(bytes);
            while let Some(FramePiece { opcode, payload, last }) = reader.next(&mut held)? {
                if opcode.is_control() {
                    out.push((opcode, payload.to_vec(), last));
                    continue;
                }
                open.extend_from_slice(&payload);
                if last {
                    out.push((opcode, std::mem::take(&mut open), true));
                }
            }
        }
        Ok(out)
    }

    #[test]
    fn the_examples_of_the_rfc() {
        let hello = |opcode| Ok(vec![(opcode, b"Hello".to_vec(), true)]);
        assert_eq!(read(FrameWriter::Server, &hex("81 05 48656c6c6f"), 1), hello(Opcode::Text));
        assert_eq!(read(FrameWriter::Client, &hex("81 85 37fa213d 7f9f4d5158"), 1), hello(Opcode::Text));
        assert_eq!(read(FrameWriter::Server, &hex("01 03 48656c 80 02 6c6f"), 1), hello(Opcode::Text));
        assert_eq!(read(FrameWriter::Server, &hex("89 05 48656c6c6f"), 1), hello(Opcode::Ping));
        let binary = [&hex("82 7e 0100")[..], &[7; 256]].concat();
        assert_eq!(read(FrameWriter::Server, &binary, 3), Ok(vec![(Opcode::Binary, vec![7; 256], true)]));
        let long = [&hex("82 7f 0000000000010000")[..], &[7; 65536]].concat();
        assert_eq!(read(FrameWriter::Server, &long, 1000), Ok(vec![(Opcode::Binary, vec![7; 65536], true)]));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_a_fault() {
        for (writer, stream, code) in [
            (FrameWriter::Server, "c1 00", 1002),
            (FrameWriter::Server, "a1 00", 1002),
            (FrameWriter::Server, "91 00", 1002),
            (FrameWriter::Server, "83 00", 1002),
            (FrameWriter::Server, "8b 00", 1002),
            (FrameWriter::Server, "81 85 37fa213d 7f9f4d5158", 1002),
            (FrameWriter::Client, "81 05 48656c6c6f", 1002),
            (FrameWriter::Server, "80 00", 1002),
            (FrameWriter::Server, "00 01 41", 1002),
            (FrameWriter::Server, "01 01 41 81 01 41", 1002),
            (FrameWriter::Server, "01 01 41 82 01 41", 1002),
            (FrameWriter::Server, "09 00", 1002),
            (FrameWriter::Server, "89 7e 007e", 1002),
            (FrameWriter::Server, "82 7e 007d", 1002),
            (FrameWriter::Server, "82 7f 000000000000ffff", 1002),
            (FrameWriter::Server, "82 7f 8000000000010000", 1002),
            (FrameWriter::Server, "88 01 03", 1002),
            (FrameWriter::Server, "88 02 03e7", 1002),
            (FrameWriter::Server, "88 02 03ed", 1002),
            (FrameWriter::Server, "88 02 03ee", 1002),
            (FrameWriter::Server, "88 02 03f7", 1002),
            (FrameWriter::Server, "88 02 1388", 1002),
            (FrameWriter::Server, "88 03 03e8 ff", 1007),
            (FrameWriter::Server, "81 01 ff", 1007),
            (FrameWriter::Server, "81 01 c3", 1007),
            (FrameWriter::Server, "01 01 c3 80 01 41", 1007),
            (FrameWriter::Server, "01 01 c3 80 00", 1007),
        ] {
            for step in [1, 100] {
                let fault = read(writer, &hex(stream), step).expect_err(stream);
                assert_eq!(fault.code, code, "{stream}: {}", fault.why);
            }
        }
    }

    #[test]
    fn sound_streams_pass() {
        for stream in [
            "01 01 c3 80 01 a9",
            "01 01 f0 00 01 9f 00 01 98 80 01 80",
            "01 00 80 00",
            "02 01 ff 89 00 80 01 ff",
            "01 01 41 8a 01 41 88 00",
            "88 00",
            "88 02 03e8",
            "88 02 0bb8",
            "88 02 1387",
        ] {
            assert!(read(FrameWriter::Server, &hex(stream), 1).is_ok_and(|p| !p.is_empty()), "{stream}");
        }
        let after = read(FrameWriter::Server, &hex("88 00 81 01 41 ff ff"), 1).unwrap();
        assert_eq!(after, [(Opcode::Close, Vec::new(), true)], "nothing is read after a close frame");
    }

    #[test]
    fn a_long_frame_comes_in_pieces_and_is_not_held() {
        let mut stream = Vec::new();
        write(&mut stream, Opcode::Binary, true, [&[5; 70_000][..]].into_iter(), Some([1, 2, 3, 4]));
        let (mut reader, mut held) = (FrameReader::new(FrameWriter::Client), BytesMut::new());
        let mut got = 0;
        for bytes in stream.chunks(1001) {
            held.extend_from_slice(bytes);
            let piece = reader.next(&mut held).unwrap().expect("as much as there is");
            assert!(piece.payload.iter().all(|b| *b == 5) && held.is_empty());
            got += piece.payload.len();
            assert_eq!(piece.last, got == 70_000);
        }
        assert_eq!(got, 70_000);
    }

    #[test]
    fn a_reason_is_cut_where_a_letter_ends() {
        let payload = close(1008, &"é".repeat(80));
        assert!(payload.len() <= MAX_CONTROL && closing(&payload).is_ok());
        assert_eq!(close(1001, "x"), [0x03, 0xe9, b'x']);
    }

    fn message() -> impl Strategy<Value = (bool, Vec<Vec<u8>>)> {
        let text = proptest::collection::vec("[ -~é€😀]{0,40}".prop_map(String::into_bytes), 1..5);
        let binary = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..5);
        prop_oneof![text.prop_map(|m| (true, m)), binary.prop_map(|m| (false, m))]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_however_it_is_cut(
            messages in proptest::collection::vec(message(), 1..6),
            client in any::<bool>(),
            key in any::<[u8; 4]>(),
            step in 1usize..400,
        ) {
            let key = client.then_some(key);
            let (mut stream, mut wanted) = (Vec::new(), Vec::new());
            for (text, pieces) in &messages {
                let own = if *text { Opcode::Text } else { Opcode::Binary };
                for (i, piece) in pieces.iter().enumerate() {
                    let opcode = if i == 0 { own } else { Opcode::Continuation };
                    write(&mut stream, opcode, i + 1 == pieces.len(), piece.chunks(7), key);
                    write(&mut stream, Opcode::Ping, true, [&b"p"[..]].into_iter(), key);
                    wanted.push((Opcode::Ping, b"p".to_vec(), true));
                }
                let ping = wanted.pop().expect("the ping after the last piece");
                wanted.push((own, pieces.concat(), true));
                wanted.push(ping);
            }
            let writer = if client { FrameWriter::Client } else { FrameWriter::Server };
            prop_assert_eq!(read(writer, &stream, step), Ok(wanted));
        }

        #[test]
        fn no_bytes_break_it(stream in proptest::collection::vec(any::<u8>(), 0..300), client in any::<bool>(), step in 1usize..50) {
            let writer = if client { FrameWriter::Client } else { FrameWriter::Server };
            if let Ok(pieces) = read(writer, &stream, step) {
                prop_assert!(pieces.iter().map(|p| p.1.len()).sum::<usize>() <= stream.len());
            }
        }
    }
}
