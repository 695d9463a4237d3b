//! What a frame of HTTP/2 begins with (RFC 9113, section 4.1).

/// Bytes before a frame's payload.
pub(super) const HEAD: usize = 9;
/// The longest payload that either side takes, in bytes, since no setting of ours says otherwise (RFC 9113, section 4.2).
pub(super) const MAX_FRAME: usize = 1 << 14;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const GOAWAY: u8 = 7;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITY: u8 = 0x20;

/// The head of a frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameHead {
    /// Of the payload, in bytes.
    pub length: usize,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

impl FrameHead {
    pub fn read([a, b, c, kind, flags, stream @ ..]: &[u8; HEAD]) -> Self {
        Self {
            length: usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c),
            kind: *kind,
            flags: *flags,
            stream: u32::from_be_bytes(*stream) & 0x7fff_ffff,
        }
    }

    pub fn written(self) -> [u8; HEAD] {
        let [_, a, b, c] = u32::try_from(self.length).unwrap_or(u32::MAX).to_be_bytes();
        let [d, e, f, g] = self.stream.to_be_bytes();
        [a, b, c, self.kind, self.flags, d, e, f, g]
    }

    /// Whether it has fields of a message.
    pub fn has_fields(self) -> bool {
        matches!(self.kind, HEADERS | CONTINUATION)
    }

    pub fn ends_fields(self) -> bool {
        self.flags & END_HEADERS != 0
    }
}
