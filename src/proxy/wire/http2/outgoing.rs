//! The frames that go to a client. What HTTP/2 answers by itself for a client's fault, a stream reset or the connection ended, the
//! library tells nobody, so that is watched for here (RFC 9113, sections 4.1, 6.4 and 6.8). Nothing is changed.

use super::frame::{CONTINUATION, FrameHead, GOAWAY, HEAD, HEADERS, RST_STREAM};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;

/// How what is written to a client leaves.
#[derive(Debug, Default)]
pub(crate) struct Outflow {
    written: AtomicU64,
    stuck: AtomicBool,
}

impl Outflow {
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// There is more, and the client does not take it now.
    pub fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn note<T>(&self, polled: &Poll<T>) {
        self.stuck.store(polled.is_pending(), Ordering::Relaxed);
    }
}

/// Follows frames through a stream that is cut anywhere.
#[derive(Debug, Default)]
pub(super) struct OutgoingFrames {
    /// The head of a frame, and of those that tell a fault all that comes before and with its code.
    start: [u8; HEAD + 8],
    have: usize,
    /// What is left of a frame whose beginning was read.
    rest: usize,
    /// The fields of a message have begun and not ended: no other frame may come in between (RFC 9113, section 6.2).
    in_fields: bool,
}

impl OutgoingFrames {
    /// Takes what is sent: `tell` is called for each fault that it answers, `answered` with each stream that has fields or is reset.
    pub fn pass(&mut self, mut bytes: &[u8], tell: &mut impl FnMut(&'static str), answered: impl Fn(u32)) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(self.to_next_step(bytes.len()));
            bytes = later;
            if self.rest > 0 {
                self.rest -= now.len();
                continue;
            }
            let wanted = self.wanted();
            self.start[self.have..self.have + now.len()].copy_from_slice(now);
            self.have += now.len();
            if self.have == HEAD && wanted == HEAD {
                let head = self.head();
                if head.has_fields() {
                    self.in_fields = !head.ends_fields();
                }
                if matches!(head.kind, HEADERS | CONTINUATION | RST_STREAM) {
                    answered(head.stream);
                }
            }
            // a head that is whole may ask for more
            if self.have == wanted && wanted == self.wanted() {
                self.fault().into_iter().for_each(&mut *tell);
                self.rest = self.head().length.saturating_sub(self.have - HEAD);
                self.have = 0;
            }
        }
    }

    /// Whether another frame may come now.
    pub fn is_between_messages(&self) -> bool {
        self.rest == 0 && self.have == 0 && !self.in_fields
    }

    /// How many of so many bytes lead no further than to the end of what is at hand.
    pub fn to_next_step(&self, bytes: usize) -> usize {
        if self.rest > 0 { self.rest.min(bytes) } else { (self.wanted() - self.have).min(bytes) }
    }

    fn head(&self) -> FrameHead {
        FrameHead::read(self.start.first_chunk().unwrap_or(&[0; HEAD]))
    }

    /// How much of the frame at hand has to be read.
    fn wanted(&self) -> usize {
        if self.have < HEAD {
            return HEAD;
        }
        let head = self.head();
        let code_ends_at = match head.kind {
            RST_STREAM => 4,
            GOAWAY => 8,
            _ => 0,
        };
        HEAD + head.length.min(code_ends_at)
    }

    fn fault(&self) -> Option<&'static str> {
        let code = match (self.head().kind, self.have) {
            (RST_STREAM, 13) => self.start.get(9..13)?,
            (GOAWAY, 17) => self.start.get(13..17)?,
            _ => return None,
        };
        blamed(u32::from_be_bytes(code.try_into().ok()?))
    }
}

/// The codes that blame the client (RFC 9113, section 7); the others end what went wrong here or upstream, and whose
/// exchange tells so itself.
fn blamed(code: u32) -> Option<&'static str> {
    Some(match code {
        1 => "HTTP/2 that is malformed: PROTOCOL_ERROR",
        3 => "HTTP/2 beyond its window: FLOW_CONTROL_ERROR",
        4 => "HTTP/2 whose settings were never acknowledged: SETTINGS_TIMEOUT",
        5 => "HTTP/2 on a stream that is closed: STREAM_CLOSED",
        6 => "an HTTP/2 frame of a wrong size: FRAME_SIZE_ERROR",
        7 => "an HTTP/2 stream too many: REFUSED_STREAM",
        9 => "HTTP/2 headers that can't be decompressed: COMPRESSION_ERROR",
        11 => "HTTP/2 that asks for too much work: ENHANCE_YOUR_CALM",
        12 => "HTTP/2 over inadequate TLS: INADEQUATE_SECURITY",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 1], payload].concat()
    }

    fn told(stream: &[u8], cut: usize) -> Vec<&'static str> {
        let (mut frames, mut told) = (OutgoingFrames::default(), Vec::new());
        stream.chunks(cut).for_each(|piece| frames.pass(piece, &mut |fault| told.push(fault), |_| {}));
        told
    }

    #[test]
    fn faults_that_blame_the_client_are_told() {
        let cases: &[(Vec<u8>, Option<&str>)] = &[
            (frame(RST_STREAM, &[0, 0, 0, 1]), Some("PROTOCOL_ERROR")),
            (frame(GOAWAY, &[0, 0, 0, 9, 0, 0, 0, 11]), Some("ENHANCE_YOUR_CALM")),
            (frame(GOAWAY, &[&[0, 0, 0, 9, 0, 0, 0, 9], &b"why"[..]].concat()), Some("COMPRESSION_ERROR")),
            (frame(RST_STREAM, &[0, 0, 0, 0]), None),
            (frame(RST_STREAM, &[0, 0, 0, 8]), None),
            (frame(RST_STREAM, &[0, 0, 0, 2]), None),
            (frame(GOAWAY, &[0; 8]), None),
            (frame(RST_STREAM, &[1, 2]), None),
            (frame(0, &[RST_STREAM; 40]), None),
            (frame(4, &[]), None),
        ];
        for (bytes, fault) in cases {
            let told = told(bytes, 100);
            assert_eq!(told.len(), usize::from(fault.is_some()), "{bytes:?}");
            assert!(told.iter().all(|t| fault.is_some_and(|f| t.ends_with(f))), "{told:?}");
        }
    }

    proptest! {
        #[test]
        fn no_cut_hides_a_fault(
            payloads in proptest::collection::vec((0u8..10, proptest::collection::vec(0u8..12, 0..40)), 0..12),
            cut in 1usize..50,
        ) {
            let stream: Vec<u8> = payloads.iter().flat_map(|(kind, payload)| frame(*kind, payload)).collect();
            let whole: Vec<_> = payloads.iter().flat_map(|(kind, payload)| told(&frame(*kind, payload), 1000)).collect();
            prop_assert_eq!(told(&stream, cut), whole);
        }
    }
}
