use super::frame::{DATA, END_HEADERS, FrameHead, HEADERS};
use super::*;
use std::task::Waker;
use tokio::io::AsyncWriteExt as _;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    [&FrameHead { length: payload.len(), kind, flags, stream }.written(), payload].concat()
}

/// Takes so many bytes at a time.
struct Narrow(Vec<u8>, usize);

impl AsyncRead for Narrow {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Narrow {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let taken = buf.len().min(self.1);
        self.0.extend_from_slice(&buf[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn stream(step: usize) -> Http2Stream<Narrow, fn(&'static str)> {
    Http2Stream::new(Narrow(Vec::new(), step), 1 << 16, |_| {})
}

const CONTINUE: &[u8] = b"\0\0\x0d\x01\x04\0\0\0\x05\0\x07:status\x03100";

/// Wherever the library stands when a client is to be asked for its body, that comes between two messages and before the answer.
#[tokio::test]
async fn an_interim_answer_finds_its_place_in_what_is_written() {
    let before = [
        frame(DATA, 0, 1, b"data of another"),
        frame(HEADERS, 0, 3, b"fields"),
        frame(9, END_HEADERS, 3, b"more of them"),
    ];
    let answer = frame(HEADERS, END_HEADERS, 5, b"\x88");
    let library = [before.concat(), answer.clone()].concat();
    for step in [1, 3, 1000] {
        for at in 0..=library.len() {
            let mut stream = stream(step);
            stream.interims.awaits(5);
            stream.write_all(&library[..at]).await.unwrap();
            stream.interims.go_on(5);
            stream.write_all(&library[at..]).await.unwrap();
            let written = stream.inner.0;
            let place = written.windows(CONTINUE.len()).position(|window| window == CONTINUE);
            let rest: Vec<u8> = match place {
                Some(place) => [&written[..place], &written[place + CONTINUE.len()..]].concat(),
                None => written,
            };
            assert_eq!(rest, library, "{step} {at}");
            let ends = [0, before[0].len(), before[0].len() + before[1].len() + before[2].len()];
            let answered = at >= library.len() - answer.len() + 9;
            assert_eq!(place, ends.into_iter().find(|end| *end >= at).filter(|_| !answered), "{step} {at}");
        }
    }
}

#[test]
fn an_interim_answer_leaves_though_nothing_else_is_written_and_only_once() {
    let mut stream = stream(4);
    let (mut room, mut cx) = ([0; 64], Context::from_waker(Waker::noop()));
    for _ in 0..2 {
        stream.interims.awaits(5);
        let mut room = ReadBuf::new(&mut room);
        assert!(Pin::new(&mut stream).poll_read(&mut cx, &mut room).is_pending());
        assert_eq!(stream.inner.0, b"");
    }
    stream.interims.go_on(5);
    stream.interims.go_on(5);
    stream.interims.go_on(7);
    for _ in 0..2 {
        let mut room = ReadBuf::new(&mut room);
        assert!(Pin::new(&mut stream).poll_read(&mut cx, &mut room).is_pending());
        assert_eq!(stream.inner.0, CONTINUE);
    }
    assert!(!stream.has_interims());
    assert_eq!(stream.outflow.written(), CONTINUE.len() as u64);
}
