//! The way back: takes keys out of what an upstream answers and puts their placeholders there. Which responses are
//! scrubbed, of which keys, and how the body is framed afterwards, is decided elsewhere.
//!
//! Every scrubber answers the question «is this text the key?». So that nobody asks it letter by letter, one law holds:
//! **two keys of one public shape, neither of which stands whole in what the host sent, give the agent the same bytes, cut
//! and timed alike.** The public shape of a key is how keys of its kind begin, how long it is, and which alphabet it is
//! written in.
//!
//! # What is hidden
//!
//! A whole key, wherever it stands, in one of these forms:
//!
//! - the bytes themselves, each of them as itself, JSON-escaped (`\u0061`, `\/`; up to three backslashes, as JSON in a JSON
//!   string has them) or percent-encoded (`%61`, `%2561`; `+` for a space), whatever the others are;
//! - base64 of a text that holds the key, at each of the three alignments, of the standard and the URL-safe alphabet; the
//!   characters at its ends that are shared with a neighbour are hidden as well;
//! - hex in either case.
//!
//! Characters of base64 and hex may be escaped too, and line ends that fold them (raw or escaped, behind forty characters
//! or more) are skipped. In the names of headers, which have no case, a key is known in lower case.
//!
//! In errors ([`Scrubber::of_error`]) whatever begins like a key, with eight characters or more behind the beginning, is
//! covered too: hosts quote a part of the key that they refuse.
//!
//! # What is not
//!
//! Parts of keys; JSON escapes of characters beyond ASCII; HTML's `&amp;` and the like; UTF-16; other alphabets, gzip inside a
//! body that doesn't say so, hashes, encryption, and whatever else a host may do that means to get a key past us; a key that
//! is cut by two messages of a WebSocket or of gRPC. Of a key that has backslashes or percent signs of its own, only what most
//! serializers write is told apart. And keys that can be guessed: what has fewer than
//! [64 bits](strength::ENOUGH) that a stranger can't know is not searched for at all, since each search would test a guess.
//!
//! # What waits
//!
//! At the end of a piece, what could by its shape be a key that isn't whole yet waits for the next piece: behind a known
//! beginning (`sk-ant-`) the run of the form's characters, at most the form's length less one; of keys without one, any such
//! run. It goes with the next piece or at the clean end, never by a timer: a pause would tell how a guess fared.
//!
//! # How it is found
//!
//! Windows of the forms are in a table, by a hash that is keyed at random; each has 48 unknown bits or more, so that no
//! search that ends early tells of less. Of the text every s-th window is looked up, where s is as large as the shortest form
//! allows, 24 at most. Where something is escaped or folded the stretch around it is read as what is meant, and searched too.

mod alphabet;
mod beginnings;
mod body;
mod cover;
mod escaped;
mod forms;
mod holdback;
mod index;
mod messages;
mod patterns;
mod quotes;
mod scrubber;
mod spelling;
pub mod strength;

#[cfg(test)]
mod tests;

pub use body::BodyScrub;
pub use cover::Mask;
pub use messages::{CompressedMessage, MessageScrub};
pub use patterns::{SHORT, ScrubKey, ScrubPatterns};
pub use scrubber::{ScrubHits, Scrubber};
