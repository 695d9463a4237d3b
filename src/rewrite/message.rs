//! One text message of a WebSocket: keys where its placeholders stand. Frames, masks and fragments are the door's.
//!
//! A message that is JSON is replaced in whole string values, as a JSON body is: what an agent says to a model over a
//! WebSocket is longer text, and stays. A message that is no JSON has no values, and is replaced anywhere (`AUTH <<x_key>>`).
//! Binary messages have no place of their own and aren't brought here.
//!
//! The way back needs nothing of its own: [`Scrubber::body`](super::scrub::Scrubber::body) with
//! [`Mask::SameLength`](super::scrub::Mask::SameLength), made once for a connection, takes the payloads of the server's
//! data frames in the order in which they come, in pieces of any size. It holds nothing back and leaves each frame as long as
//! its header says, and a key that is cut by fragments or messages is seen. The reason in a close frame is short and
//! whole: [`Scrubber::header`](super::scrub::Scrubber::header) sees short keys too.

use super::account::{BodyFault, BodyKey, Use};
use super::body::BodyRewriter;
use super::finder::Vocabulary;
use bytes::Bytes;
use std::sync::Arc;

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// The very bytes that came, where nothing was replaced.
    pub text: Bytes,
    /// Which keys were written where, in the order of their first use: to be recorded before the text leaves.
    pub uses: Vec<Use>,
    /// How many placeholders were left as they are.
    pub kept: u64,
}

/// Replaces placeholders in a whole text message.
///
/// `keys` are those that may go into this connection's messages, with `ws` as the only one of their places; `max_uses`
/// counts for each message.
pub fn replace(vocabulary: &Arc<Vocabulary>, keys: Vec<BodyKey>, message: Bytes) -> Result<Replaced, BodyFault> {
    let mut rewriter = BodyRewriter::new(vocabulary.clone(), None, keys);
    let mut pieces = Vec::new();
    rewriter.push(message.clone(), &mut pieces)?;
    rewriter.finish(&mut pieces)?;
    let uses = rewriter.uses().to_vec();
    let text = if uses.is_empty() { message } else { pieces.concat().into() };
    Ok(Replaced { text, uses, kept: rewriter.kept() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Opened;
    use crate::place::Place;
    use crate::rewrite::dress::Misfit;

    fn keys(value: &[u8], max_uses: u32) -> Vec<BodyKey> {
        vec![BodyKey {
            key: "x".parse().unwrap(),
            value: Some(Arc::new(Opened::new(value.to_vec()))),
            places: vec![Place::Ws],
            max_uses,
        }]
    }

    fn vocabulary() -> Arc<Vocabulary> {
        Arc::new(Vocabulary::new(false, []).unwrap())
    }

    #[test]
    fn values_of_json_and_any_text_are_replaced() {
        for (message, want, used, kept) in [
            (r#"{"auth":"<<x_key>>"}"#, r#"{"auth":"v\"1"}"#, 1, 0),
            (r#"{"auth":"\u003c\u003cx_key\u003e\u003e"}"#, r#"{"auth":"v\"1"}"#, 1, 0),
            (r#"["<<x_key>>", "say <<x_key>>"]"#, r#"["v\"1", "say <<x_key>>"]"#, 1, 1),
            (r#"{"<<x_key>>":"<<y_key>>"}"#, r#"{"<<x_key>>":"<<y_key>>"}"#, 0, 2),
            ("AUTH <<x_key>>\r\n", "AUTH v\"1\r\n", 1, 0),
            ("<<x_key>><<x_key>>", "v\"1v\"1", 2, 0),
            ("AUTH <<y_key>>", "AUTH <<y_key>>", 0, 1),
            ("AUTH <<x_ke", "AUTH <<x_ke", 0, 0),
            (" ", " ", 0, 0),
            ("", "", 0, 0),
        ] {
            let came = Bytes::copy_from_slice(message.as_bytes());
            let told = replace(&vocabulary(), keys(b"v\"1", 2), came.clone()).unwrap();
            assert_eq!(String::from_utf8_lossy(&told.text), want);
            let uses: Vec<_> = told.uses.iter().map(|u| (u.place.clone(), u.count)).collect();
            assert_eq!(uses, Vec::from_iter((used > 0).then_some((Place::Ws, used))), "{message}");
            assert_eq!(told.kept, kept, "{message}");
            assert!(used > 0 || told.text.as_ptr() == came.as_ptr(), "what isn't changed isn't copied");
        }
    }

    #[test]
    fn what_can_not_be_written_is_a_fault() {
        for message in ["AUTH <<x_key>>", r#"["<<x_key>>"]"#] {
            let fault = replace(&vocabulary(), keys(b"\xff", 1), message.into()).unwrap_err();
            assert!(
                matches!(fault, BodyFault::Unfit(unfit) if unfit.why == Misfit::NotUtf8),
                "a text message is UTF-8"
            );
        }
        let twice = replace(&vocabulary(), keys(b"v", 1), "<<x_key>> <<x_key>>".into());
        assert_eq!(twice, Err(BodyFault::TooManyUses { key: "x".parse().unwrap(), max: 1 }));
    }
}
