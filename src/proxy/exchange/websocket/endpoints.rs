//! The two ends of each direction: where frames are read, and where they are written.

use crate::memory;
use crate::proxy::limits::LINGER;
use crate::proxy::refusal::Refusal;
use crate::proxy::wire::ws_frames::{self, FrameFault, FrameReader, FrameWriter, HELD, Opcode};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};

/// Bytes that are read at once, and kept ready while nothing comes.
const READ: usize = 16 * 1024;

/// Why a direction has ended.
#[derive(Debug)]
pub(super) enum RelayEnd {
    /// A close frame has been passed on.
    Closed,
    /// Without one.
    Gone(&'static str),
    Malformed(FrameFault),
    Refused(Refusal),
    /// Rules, keys or the agent are not what they were.
    Changed(String),
    Stopped,
}

/// Where a direction's frames come from.
pub(super) struct FrameSource<S> {
    from: ReadHalf<S>,
    pub read: BytesMut,
    pub reader: FrameReader,
}

impl<S: AsyncRead> FrameSource<S> {
    pub fn new(writer: FrameWriter, from: ReadHalf<S>, early: &[u8]) -> Self {
        Self { from, read: BytesMut::from(early), reader: FrameReader::new(writer) }
    }

    /// Reads on; whether there is anything.
    pub async fn fill(&mut self) -> bool {
        self.read.reserve(READ);
        self.from.read_buf(&mut self.read).await.is_ok_and(|n| n > 0)
    }

    /// Reads and drops what is still under way, so that closing doesn't overtake the last frame.
    pub async fn drain(mut self) {
        let (mut dropped, mut buffer) = (0, vec![0; READ]);
        let draining = async {
            while let Ok(n @ 1..) = self.from.read(&mut buffer).await {
                dropped += n;
                if dropped > 1 << 24 {
                    break;
                }
            }
        };
        let _ = tokio::time::timeout(LINGER, draining).await;
    }
}

/// Where they go. What is not written yet stays here, so that a direction may be broken off between any two bytes.
pub(super) struct FrameSink<S> {
    to: WriteHalf<S>,
    out: Vec<u8>,
    written: usize,
    /// Masks what is sent.
    pub is_client: bool,
    /// A close frame was put, after which nothing may come (RFC 6455, section 5.5.1).
    closed: bool,
}

impl<S: AsyncWrite> FrameSink<S> {
    pub fn new(to: WriteHalf<S>) -> Self {
        Self { to, out: Vec::new(), written: 0, is_client: false, closed: false }
    }

    pub fn put(&mut self, opcode: Opcode, last: bool, payload: &[Bytes]) -> Result<(), RelayEnd> {
        let mut key = [0; 4];
        if self.is_client && aws_lc_rs::rand::fill(&mut key).is_err() {
            return Err(RelayEnd::Gone("the system gives no randomness"));
        }
        self.closed |= opcode == Opcode::Close;
        let pieces = payload.iter().map(|piece| &piece[..]);
        ws_frames::write(&mut self.out, opcode, last, pieces, self.is_client.then_some(key));
        Ok(())
    }

    pub fn is_full(&self) -> bool {
        self.out.len() as u64 >= HELD
    }

    pub async fn flush(&mut self) -> std::io::Result<()> {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.to.write(rest).await? {
                0 => return Err(std::io::ErrorKind::WriteZero.into()),
                n => self.written += n,
            }
        }
        // a connection may idle for hours, and no key is to lie here meanwhile
        memory::wipe(&mut self.out);
        self.out = Vec::new();
        self.written = 0;
        self.to.flush().await
    }

    /// Drops what is not written yet. Where that was begun, nothing can follow it.
    pub fn forget(&mut self) {
        self.closed |= self.written > 0;
        memory::wipe(&mut self.out);
        self.out = Vec::new();
        self.written = 0;
    }

    /// Closes, with a word where there is one to say. Whether it could be said.
    pub async fn end(mut self, code: Option<u16>, reason: &str) -> bool {
        let outcome = async {
            if let Some(code) = code.filter(|_| !self.closed) {
                let payload = Bytes::from(ws_frames::close(code, reason));
                self.put(Opcode::Close, true, &[payload]).map_err(|_| std::io::Error::other("no mask"))?;
            }
            self.flush().await?;
            self.to.shutdown().await
        };
        matches!(tokio::time::timeout(LINGER, outcome).await, Ok(Ok(())))
    }
}
