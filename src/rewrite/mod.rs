//! Puts keys where placeholders stand in a request: bytes in, bytes out. It has no sockets, no clocks, and no say in what is allowed.
//!
//! This page tells of requests and of codings; the way back is told in [`scrub`].
//!
//! # What is a placeholder
//!
//! `<<NAME_key>>`; `{{NAME_key}}` where the config allows it; and each key's own look-alike, 16 to 256 characters out of
//! letters, digits and `-_.~:+/=`, four of them different ([`check_lookalike`]). What has the shape of the first two and a name that no key can have
//! (`<<My-Tool_key>>`, `<<x_key_key>>`, 65 letters) is found as well and told without a key: in a head that is a reason to refuse,
//! in a body it is text.
//!
//! # How it is found
//!
//! Only how placeholders begin is searched for (in `finder`): `<<` by one `memmem`, and in an encoding that has escapes a second one for
//! what all escapes of a first letter begin with (`\u003`, `%3`). At a hit the name is read, letter by letter through its
//! escapes, and looked up. So the cost doesn't grow with the number of keys. Look-alikes (and braces) make the first search one
//! for several needles; they are
//! searched for by as many of their first letters as leaves at most 32 different ones.
//!
//! A hit has to begin where a letter begins: not after a backslash that escapes it, not within `\u0067` or `%67`. What went by
//! is remembered as far as that takes, six bytes and a parity.
//!
//! At the end of a piece, what could still become a placeholder is held back, and nothing else: at most the longest
//! placeholder with every letter escaped (432 bytes of JSON), or what has to follow it to be a whole value: a byte in a
//! form, a delimiter in a multipart body, up to 4 KiB of spaces in JSON. The next piece is joined to it only as far as it takes to
//! decide. All the rest is passed on as the very bytes that came.
//!
//! # Where it is seen, and how the value is written
//!
//! | place | seen as | value |
//! |---|---|---|
//! | header | raw | as it is; refused with a control character |
//! | `Authorization: Basic` | raw in the decoded credentials, padded or not | encoded again; refused with a control character, or with a `:` before the first one |
//! | path, query value | raw or percent-encoded, any letters, either case | percent-encoded but for RFC 3986's unreserved; `.` and `..` refused in a path |
//! | JSON string | raw, or with any escapes in any letters | JSON-escaped; refused if not UTF-8 |
//! | form value | raw or percent-encoded | percent-encoded |
//! | multipart field | raw | as it is; refused if it holds the boundary |
//! | gRPC message (`body:any`) | raw | as it is, with the prefix, and in protobuf every length around it, set right |
//! | anything else (`body:any`) | raw | as it is |
//! | text message of a WebSocket | as JSON where it begins like it, else raw | as JSON, or as it is; refused if not UTF-8 |
//!
//! The name of a query parameter and the host are places where no key may go: found, and told without a place.
//!
//! What a body is, it says itself before its `Content-Type` does: what begins with `{`, `[` or `"` is JSON (RFC 8259) as far
//! as it is so to the letter, and behind the first fault nothing is. For the rest the `Content-Type` decides between form,
//! multipart, gRPC and anything else. Text that people write must not become a place for keys because of how it begins:
//! agents quote pages, and a page could hold a placeholder in quotes. So:
//!
//! - A body that is there as a whole is judged to its end before any of it is rewritten; with a fault anywhere it holds no
//!   value. It is read twice for that, and unfolded twice where it is coded: memory doesn't grow with what it unfolds to. One
//!   that streams is judged as far as it has come.
//! - Under a type that says text (`text/*`, markdown, XML, a form, …) JSON is only what is there as a whole, and is one
//!   object or array.
//! - Under no type or one that says nothing, objects and arrays one after the other are JSON; a string that stands alone may
//!   be a quotation. Under a JSON type it may stand alone, and under one of NDJSON on a line of its own.
//! - A form has neither white space nor control characters nor letters beyond ASCII, and two digits after each `%`.
//! - A multipart body begins with its first delimiter, has well-formed headers where a field is to count, and, where it is
//!   there as a whole, ends with its last delimiter.
//! - What begins like JSON and isn't, is no form and no message of another protocol either: a lone surrogate in a quoted page
//!   makes invalid what a client took for JSON, and must not turn its text into a place.
//!
//! **Whole values.** In JSON: all of a string that is a value, with a comma, the end of its array or object, or the end of
//! the body after it. A tokenizer walks along to tell that, and the pointer of each string where a binding names one: no
//! document is built, 512 levels deep at most (deeper is no JSON here), names kept as far as they could matter. In a form:
//! from the first `=` of a pair to the `&` or the end. In multipart: all between the part's headers and its delimiter line,
//! where the part is `form-data` with a name, has no file name and no transfer coding.
//!
//! `body:any` replaces in text, names and files too; in the headers of a part only what can't end its line or its quotes.
//! What begins like JSON is written to as JSON, unless it is known not to be and its type says so as well.
//!
//! In a WebSocket each text message is a body of its own, uses are counted for each, and binary messages have no place. What an agent
//! says to a model there is longer text within JSON, and stays. On the way back each message is one text to [`scrub`], and
//! so is each control frame: in a message a key becomes its placeholder, in a control frame a mask of its length.
//!
//! A value is never searched, neither by the same search nor by the next.
//!
//! # Codings
//!
//! Where a key may go into the body, gzip, deflate, br and zstd (stacked: up to four) are taken off, and the same are put on
//! again. A body that is opened is worked on in portions of 64 KiB ([`decoded_body`]): never is there more of it in memory, whatever a few
//! bytes unfold to, and after some portions others get their turn. What had come in one piece is flushed as one, so that an
//! upload that is a conversation stays one. A body that was held and holds no placeholder for a key goes on as the very
//! bytes that came; one that is streamed is coded anew, since what has left can't be called back once a key turns up. It is then
//! the same text in other bytes, and faster rather than smaller (gzip at level 4, br at 4, zstd at 1).
//!
//! Refused are: another coding (415), one that isn't complete and valid to its last byte, with nothing after it (400), and one
//! that unfolds to more than a thousand times its size beyond the first MiB, or to more than 16 GiB (413): the upstream is shielded
//! from what it would have seen itself.
//!
//! On the way back there is no such limit: what unfolds is passed on as it does and only as fast as the agent takes it, so it
//! is for the agent to judge, as it would be without us; a few KiB of br may well be a GiB of a log. What stacked codings
//! unfold to in between is seen by nobody, and held to the limits above.
//!
//! # Digests
//!
//! `Content-MD5`, `Digest`, `Content-Digest` and `Repr-Digest` of a body that a key was written into are made anew ([`digests`]) by
//! md5, sha, sha-256 and sha-512, in headers and trailers, once they were found to be right for what came. Another algorithm is refused by name,
//! and so is any digest of a body that is streamed: it would have to be told before it is known. On the way
//! back a digest stays only where the whole body was seen and left as it was; else it is taken off, since it would be wrong, and
//! would tell whether a guess at what was hidden is right.
//!
//! # What is not seen, and why
//!
//! - Coded twice (`%253C`, JSON within a JSON string, base64 other than `Basic`): who reads the body once doesn't see it either, and a value
//!   written there would have to be coded by a guess. Such a placeholder reaches the upstream as it is, and gives nothing away.
//! - HTML and XML entities (`&lt;&lt;`), quoted-printable, UTF-16 and UTF-32, `application/grpc-web-text`: no API that takes keys in
//!   bodies uses them.
//! - Percent-encoding in headers, in multipart fields and in JSON: nobody decodes it there.
//! - Compressed gRPC messages: refused where a `body:any` binding exists, since they could hold a placeholder.
//!   What of all this stands in a head where a placeholder of the host's keys was meant is told ([`near_miss`]).
//! - Placeholders that span two values, or a value and its name.

pub mod body;
pub mod coding;
pub mod decoded_body;
pub mod digests;
mod finder;
pub mod head;
pub mod near_miss;
pub mod scrub;

#[cfg(test)]
mod tests;

pub use body::escape::{UnwritableReason, UnwritableValue};
pub use body::ledger::{BodyFault, BodyKey};
pub use finder::{LookalikeError, Vocabulary, check_lookalike};
