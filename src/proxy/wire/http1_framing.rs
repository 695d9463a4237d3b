//! Reads an agent's HTTP/1.1 byte stream more strictly than any server must, so that no two readers can differ on it.
//!
//! Pure: bytes in, a verdict out. It keeps no bytes and changes none. RFC 9112 allows recipients to repair much of what
//! is refused here; a proxy that holds keys has no reason to.

use std::ops::Range;

/// The largest head or trailer section, in bytes, unless it is said otherwise.
pub const MAX_HEAD: usize = 64 * 1024;
/// The most header lines.
const MAX_LINES: usize = 100;
/// The longest line that begins a chunk, its extensions included.
const MAX_CHUNK_LINE: usize = 256;

/// What is wrong with the stream: nothing after it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FramingFault {
    /// It can't be read, or in more than one way.
    Malformed(&'static str),
    /// Some part of it is larger than allowed.
    TooLarge(&'static str),
    /// The head or trailers are over so many bytes.
    HeadOver(usize),
}

/// Where in the stream of messages the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes of a body are left.
    Body(u64),
    ChunkLine {
        size: u64,
        digits: u8,
        length: usize,
        extension: bool,
    },
    /// After the CR of a chunk line.
    ChunkLineEnd(u64),
    ChunkData(u64),
    ChunkCr,
    ChunkLf,
    Trailers,
    /// The connection speaks something else now.
    Raw,
}

/// The framing of one connection's requests.
#[derive(Debug)]
pub struct Framing {
    state: State,
    /// The head that was just read has `<` or `>` in its target.
    angle_brackets: bool,
    max_head: usize,
}

impl Default for Framing {
    fn default() -> Self {
        Self::new(MAX_HEAD)
    }
}

/// How far a stream was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sound {
    /// So many bytes are sound. Those after them begin a head, or trailers, that is not whole yet, and have to be given
    /// again together with what follows; or they have not been looked at, where `angle_brackets` is set.
    pub len: usize,
    /// Where a target with `<` or `>` stands. No URI has these (RFC 3986), but curl sends them as they are typed, and
    /// placeholders are made of them; nothing behind that head has been read yet.
    pub angle_brackets: Option<Range<usize>>,
}

const CHUNK_START: State = State::ChunkLine { size: 0, digits: 0, length: 0, extension: false };

impl Framing {
    /// Of requests whose heads, and trailers, have at most `max_head` bytes.
    pub fn new(max_head: usize) -> Self {
        Self { state: State::Head, angle_brackets: false, max_head }
    }

    /// Reads on, up to what is not whole yet.
    pub fn read(&mut self, data: &[u8]) -> Result<Sound, FramingFault> {
        let mut at = 0;
        while let Some(rest) = data.get(at..).filter(|rest| !rest.is_empty()) {
            let n = self.step(rest)?;
            if n == 0 {
                break;
            }
            at += n;
            if std::mem::take(&mut self.angle_brackets) {
                let line = memchr::memchr(b'\r', rest).unwrap_or(n);
                return Ok(Sound { len: at, angle_brackets: Some(at - n..at - n + line) });
            }
        }
        Ok(Sound { len: at, angle_brackets: None })
    }

    /// From here on the bytes are no HTTP/1.1, after an upgrade.
    pub fn release(&mut self) {
        self.state = State::Raw;
    }

    /// Whether the next byte would begin a request.
    pub fn between_check(&self) -> bool {
        self.state == State::Head
    }

    fn step(&mut self, rest: &[u8]) -> Result<usize, FramingFault> {
        let first = rest[0];
        match self.state {
            State::Raw => Ok(rest.len()),
            State::Head => self.head(rest),
            State::Body(left) => Ok(self.pass(left, rest, State::Head, State::Body)),
            State::ChunkLine { .. } => self.chunk_line(first).map(|()| 1),
            State::ChunkLineEnd(size) => {
                self.expect(first, b'\n', if size == 0 { State::Trailers } else { State::ChunkData(size) })
            }
            State::ChunkData(left) => Ok(self.pass(left, rest, State::ChunkCr, State::ChunkData)),
            State::ChunkCr => self.expect(first, b'\r', State::ChunkLf),
            State::ChunkLf => self.expect(first, b'\n', CHUNK_START),
            State::Trailers => self.trailers(rest),
        }
    }

    fn pass(&mut self, left: u64, rest: &[u8], done: State, on: fn(u64) -> State) -> usize {
        let n = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left - n as u64;
        self.state = if left == 0 { done } else { on(left) };
        n
    }

    fn expect(&mut self, byte: u8, wanted: u8, next: State) -> Result<usize, FramingFault> {
        if byte != wanted {
            return Err(FramingFault::Malformed("a chunk does not end where its size says"));
        }
        self.state = next;
        Ok(1)
    }

    fn chunk_line(&mut self, byte: u8) -> Result<(), FramingFault> {
        let State::ChunkLine { size, digits, length, extension } = self.state else { return Ok(()) };
        let odd = FramingFault::Malformed("a chunk's size is malformed");
        let length = length + 1;
        if length > MAX_CHUNK_LINE {
            return Err(FramingFault::TooLarge("a chunk's extensions are too long"));
        }
        self.state = match byte {
            b'\r' if digits > 0 => State::ChunkLineEnd(size),
            b';' if digits > 0 => State::ChunkLine { size, digits, length, extension: true },
            0x20..0x7f if extension => State::ChunkLine { size, digits, length, extension },
            _ if extension || digits == 15 => return Err(odd),
            _ => {
                let digit = (byte as char).to_digit(16).ok_or(odd)?;
                State::ChunkLine { size: size << 4 | u64::from(digit), digits: digits + 1, length, extension }
            }
        };
        Ok(())
    }

    fn head(&mut self, rest: &[u8]) -> Result<usize, FramingFault> {
        // a client may send an empty line before its request (RFC 9112, section 2.2)
        match rest {
            [b'\r', b'\n', ..] => return Ok(2),
            [b'\r'] => return Ok(0),
            _ => {}
        }
        let Some(end) = section_end(rest, self.max_head)? else { return Ok(0) };
        let mut lines = lines(&rest[..end]);
        let line = lines.next().unwrap_or_default();
        let version = request_line(line)?;
        self.angle_brackets = memchr::memchr2(b'<', b'>', line).is_some();
        self.state = body_of(lines, version)?;
        Ok(end)
    }

    fn trailers(&mut self, rest: &[u8]) -> Result<usize, FramingFault> {
        let end = match rest {
            [b'\r', b'\n', ..] => 2,
            [b'\r'] => return Ok(0),
            _ => match section_end(rest, self.max_head)? {
                Some(end) => end,
                None => return Ok(0),
            },
        };
        for (count, line) in lines(&rest[..end]).enumerate() {
            let (name, _) = field(line)?;
            if count >= MAX_LINES {
                return Err(FramingFault::TooLarge("too many trailers"));
            }
            if is(name, "content-length") || is(name, "transfer-encoding") || is(name, "host") {
                return Err(FramingFault::Malformed("a trailer frames or routes the request"));
            }
        }
        self.state = State::Head;
        Ok(end)
    }
}

/// Just after the empty line that ends a section, once it is there.
fn section_end(rest: &[u8], max: usize) -> Result<Option<usize>, FramingFault> {
    let bare = FramingFault::Malformed("the head holds a bare CR, a bare LF or a NUL");
    let seen = &rest[..rest.len().min(max)];
    let mut marks = memchr::memchr3_iter(b'\n', b'\r', 0, seen);
    let mut line = 0;
    while let Some(i) = marks.next() {
        if seen[i] != b'\r' || rest.get(i + 1).is_some_and(|b| *b != b'\n') {
            return Err(bare);
        }
        // its line feed is the next mark, or not here yet
        if marks.next().is_none() {
            break;
        }
        if i == line {
            return Ok(Some(i + 2));
        }
        line = i + 2;
    }
    if rest.len() > max { Err(FramingFault::HeadOver(max)) } else { Ok(None) }
}

/// The lines of a section, without the empty one at its end.
fn lines(section: &[u8]) -> impl Iterator<Item = &[u8]> {
    let section = section.strip_suffix(b"\r\n").unwrap_or(section);
    let section = section.strip_suffix(b"\r\n").unwrap_or(section);
    let mut left = (!section.is_empty()).then_some(section);
    std::iter::from_fn(move || {
        let rest = left?;
        // a line feed has its carriage return before it, or the section was refused
        let Some((line, after)) = memchr::memchr(b'\n', rest).map(|i| (&rest[..i], &rest[i + 1..])) else {
            left = None;
            return Some(rest);
        };
        left = Some(after);
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    })
}

/// `GET /path HTTP/1.1`, with single spaces. Returns the minor version.
fn request_line(line: &[u8]) -> Result<u8, FramingFault> {
    let odd = FramingFault::Malformed("the request line is malformed");
    let mut parts = line.split(|b| *b == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(odd);
    };
    let plain = |b: &u8| (0x21..0x7f).contains(b);
    if method.is_empty() || !method.iter().all(|b| is_token(*b)) || target.is_empty() || !target.iter().all(plain) {
        return Err(odd);
    }
    if !target.starts_with(b"/") && target != b"*" && !is_url(target) {
        return Err(odd);
    }
    match version {
        b"HTTP/1.1" => Ok(1),
        b"HTTP/1.0" => Ok(0),
        _ => Err(FramingFault::Malformed("the request's version is neither HTTP/1.1 nor HTTP/1.0")),
    }
}

/// Whether a target is a whole URL, or the host and port of a CONNECT, but for what is escaped in it.
fn is_url(target: &[u8]) -> bool {
    let escaped: Vec<u8> = target.iter().map(|b| if matches!(b, b'<' | b'>') { b'_' } else { *b }).collect();
    http::Uri::try_from(escaped).is_ok()
}

/// Which body the header lines announce (RFC 9112, section 6.3), where they can be read in one way only.
fn body_of<'l>(lines: impl Iterator<Item = &'l [u8]>, version: u8) -> Result<State, FramingFault> {
    let (mut length, mut chunked) = (None, false);
    for (count, line) in lines.enumerate() {
        if count >= MAX_LINES {
            return Err(FramingFault::TooLarge("over 100 header lines"));
        }
        let (name, value) = field(line)?;
        if is(name, "content-length") {
            if length.is_some() {
                return Err(FramingFault::Malformed("two Content-Length headers"));
            }
            length = Some(decimal(value).ok_or(FramingFault::Malformed("Content-Length is no plain number"))?);
        } else if is(name, "transfer-encoding") {
            if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(FramingFault::Malformed("Transfer-Encoding is anything but one 'chunked'"));
            }
            chunked = true;
        }
    }
    match (length, chunked) {
        (Some(_), true) => Err(FramingFault::Malformed("both Content-Length and Transfer-Encoding")),
        (None, true) if version == 0 => Err(FramingFault::Malformed("Transfer-Encoding in HTTP/1.0")),
        (None, true) => Ok(CHUNK_START),
        (None | Some(0), false) => Ok(State::Head),
        (Some(n), false) => Ok(State::Body(n)),
    }
}

/// Name and value, without the spaces around the value.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), FramingFault> {
    let odd = FramingFault::Malformed("a header line is malformed, folded, or has a space before its colon");
    let colon = memchr::memchr(b':', line).ok_or(odd)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() || !name.iter().all(|b| is_token(*b)) {
        return Err(odd);
    }
    // not short-circuited, so that it is done for many bytes at once
    if value.iter().fold(false, |odd, b| odd | ((*b < 0x20) & (*b != b'\t')) | (*b == 0x7f)) {
        return Err(FramingFault::Malformed("a header's value holds a control character"));
    }
    Ok((name, trim(value)))
}

fn trim(value: &[u8]) -> &[u8] {
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let start = value.iter().position(|b| !blank(b)).unwrap_or(value.len());
    let end = value.iter().rposition(|b| !blank(b)).map_or(start, |i| i + 1);
    &value[start..end]
}

fn decimal(value: &[u8]) -> Option<u64> {
    let plain = (1..=19).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    plain.then(|| std::str::from_utf8(value).ok()?.parse().ok()).flatten()
}

fn is(name: &[u8], wanted: &str) -> bool {
    name.eq_ignore_ascii_case(wanted.as_bytes())
}

/// RFC 9110, section 5.6.2.
fn is_token(b: u8) -> bool {
    const TOKEN: [bool; 256] = {
        let (mut table, mut b) = ([false; 256], 0);
        while b < 256 {
            table[b] = matches!(b as u8, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'!' | b'#' | b'$' | b'%' | b'&'
                | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
            b += 1;
        }
        table
    };
    TOKEN[usize::from(b)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is wrong with a stream, given in pieces of `step` bytes.
    fn check(stream: &[u8], step: usize) -> Result<(), FramingFault> {
        let (mut framing, mut held) = (Framing::default(), Vec::new());
        for piece in stream.chunks(step) {
            held.extend_from_slice(piece);
            let sound = framing.read(&held)?.len;
            held.drain(..sound);
        }
        assert!(held.is_empty() && framing.between_check(), "a whole stream is read to its end");
        Ok(())
    }

    #[test]
    fn a_head_is_as_long_as_it_may_be_and_no_byte_longer() {
        let start = "GET / HTTP/1.1\r\nX: ";
        let head = |len: usize| format!("{start}{}\r\n\r\n", "x".repeat(len - start.len() - 4)).into_bytes();
        let too_large = Err(FramingFault::HeadOver(MAX_HEAD));
        for step in [MAX_HEAD + 1, MAX_HEAD - 1, 4096] {
            assert_eq!(check(&head(MAX_HEAD), step), Ok(()), "{step}");
            for over in 1..5 {
                assert_eq!(check(&head(MAX_HEAD + over), step), too_large, "{step} {over}");
            }
        }
    }

    #[test]
    fn only_what_has_one_reading_passes() {
        let head = "POST / HTTP/1.1\r\nHost: a\r\n";
        for (tail, sound) in [
            ("\r\n", true),
            ("Content-Length: 3\r\n\r\nabc", true),
            ("Content-Length: 0\r\n\r\n", true),
            ("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", true),
            ("Transfer-Encoding: Chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX-T: 1\r\n\r\n", true),
            ("X: \tv \r\n\r\n", true),
            ("X: v\u{e9}\r\n\r\n", true),
            ("Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", false),
            ("Content-Length: 3, 3\r\n\r\nabc", false),
            ("Content-Length: +3\r\n\r\nabc", false),
            ("Content-Length: 0x3\r\n\r\nabc", false),
            ("Content-Length: -1\r\n\r\n", false),
            ("Content-Length: 99999999999999999999\r\n\r\n", false),
            ("Content-Length:\r\n\r\n", false),
            ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false),
            ("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", false),
            ("Transfer-Encoding: identity\r\n\r\n", false),
            ("Transfer-Encoding: xchunked\r\n\r\n", false),
            ("Transfer-Encoding:\u{b}chunked\r\n\r\n", false),
            ("Transfer-Encoding : chunked\r\n\r\n", false),
            (" folded: 1\r\n\r\n", false),
            ("X: 1\r\n folded\r\n\r\n", false),
            ("X: a\nY: b\r\n\r\n", false),
            ("X: a\rY: b\r\n\r\n", false),
            ("X: a\0b\r\n\r\n", false),
            (": empty\r\n\r\n", false),
            ("no colon\r\n\r\n", false),
            ("X(: 1\r\n\r\n", false),
            ("Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", false),
            ("Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", false),
            ("Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n", false),
            ("Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", false),
            ("Transfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n", false),
            ("Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n", false),
            ("Transfer-Encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n", false),
            ("Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", false),
            ("Transfer-Encoding: chunked\r\n\r\n3;a\nb\r\nabc\r\n0\r\n\r\n", false),
            ("Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n", false),
            ("Transfer-Encoding: chunked\r\n\r\n0\r\nX : 1\r\n\r\n", false),
        ] {
            let stream = format!("{head}{tail}");
            assert_eq!(check(stream.as_bytes(), 1).is_ok(), sound, "{tail:?}");
        }
        for (line, sound) in [
            ("GET / HTTP/1.1", true),
            ("GET / HTTP/1.0", true),
            ("GET  / HTTP/1.1", false),
            ("GET / HTTP/1.1 ", false),
            (" GET / HTTP/1.1", false),
            ("GET\t/ HTTP/1.1", false),
            ("GET / HTTP/2.0", false),
            ("GET / HTTP/1.10", false),
            ("GET / http/1.1", false),
            ("GET /", false),
            ("G(T / HTTP/1.1", false),
            ("GET /\u{e9} HTTP/1.1", false),
        ] {
            let stream = format!("{line}\r\nHost: a\r\n\r\n");
            assert_eq!(check(stream.as_bytes(), 1).is_ok(), sound, "{line:?}");
        }
        let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        assert!(check(old.as_bytes(), 1).is_err());
    }

    #[test]
    fn a_target_that_is_no_path_is_a_whole_url() {
        for (target, sound) in [
            ("http://a.example/?<b>", true),
            ("https://[::1]:8443", true),
            ("*", true),
            ("a.example:443", true),
            ("https:///x", false),
            ("http://", false),
            ("https://a b/", false),
        ] {
            let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(check(head.as_bytes(), 5).is_ok(), sound, "{target}");
        }
    }

    #[test]
    fn a_target_with_angle_brackets_is_pointed_out() {
        let stream = b"\r\nGET / HTTP/1.1\r\n\r\nGET /?k=<<x_key>> HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        let mut framing = Framing::default();
        let sound = framing.read(stream).unwrap();
        assert_eq!(&stream[sound.angle_brackets.unwrap()], b"GET /?k=<<x_key>> HTTP/1.1");
        let rest = &stream[sound.len..];
        assert_eq!(framing.read(rest), Ok(Sound { len: rest.len(), angle_brackets: None }));
    }

    #[test]
    fn bounds() {
        let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(MAX_HEAD));
        assert_eq!(check(long.as_bytes(), 1 << 20), Err(FramingFault::HeadOver(MAX_HEAD)));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_LINES + 1));
        assert!(matches!(check(many.as_bytes(), 1 << 20), Err(FramingFault::TooLarge(_))));
    }

    proptest! {
        #[test]
        fn whole_and_cut_streams_are_read_alike(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..6),
            chunked in any::<bool>(),
            cuts in proptest::collection::vec(1usize..30, 1..200),
        ) {
            let mut stream = Vec::new();
            for body in &bodies {
                if chunked {
                    stream.extend_from_slice(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
                    for piece in body.chunks(7) {
                        stream.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                        stream.extend_from_slice(piece);
                        stream.extend_from_slice(b"\r\n");
                    }
                    stream.extend_from_slice(b"0\r\n\r\n");
                } else {
                    stream.extend_from_slice(format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes());
                    stream.extend_from_slice(body);
                }
            }
            let mut whole = Framing::default();
            prop_assert_eq!(whole.read(&stream), Ok(Sound { len: stream.len(), angle_brackets: None }));
            prop_assert!(whole.between_check());
            let (mut framing, mut held, mut rest) = (Framing::default(), Vec::new(), &stream[..]);
            let mut passed = 0;
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break }
                let n = (*cut).min(rest.len());
                held.extend_from_slice(&rest[..n]);
                rest = &rest[n..];
                let sound = framing.read(&held).unwrap().len;
                passed += sound;
                held.drain(..sound);
            }
            prop_assert_eq!(passed, stream.len());
            prop_assert!(framing.between_check());
        }

        #[test]
        fn no_bytes_break_it(stream in proptest::collection::vec(any::<u8>(), 0..300), text in "(POST / HTTP/1.1\r\n)?[ -~\r\n]{0,200}") {
            let _ = Framing::default().read(&stream);
            let _ = Framing::default().read(text.as_bytes());
        }
    }
}
