//! Bodies of all kinds: cuts make no difference, and what isn't used doesn't change.

#![no_main]

mod rewrite;

use libfuzzer_sys::fuzz_target;
use rewrite::{VALUE, rewrite, rewrite_held};

const CONTENT_TYPES: [&str; 5] = [
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=b",
    "application/grpc",
    "text/plain",
];

const PLACES: [&[&str]; 6] =
    [&["body"], &["body:any"], &["body:/f"], &["body:f"], &["body", "body:/f/0"], &["body:f", "body:any"]];

fuzz_target!(|input: (u8, u8, Vec<u8>, Vec<u8>)| {
    let (content_type, places, cuts, body) = input;
    let content_type = CONTENT_TYPES[usize::from(content_type) % CONTENT_TYPES.len()];
    let places = PLACES[usize::from(places) % PLACES.len()];
    let whole = rewrite(content_type, places, VALUE, [body.as_slice()]);
    let mut pieces = Vec::new();
    let mut rest = body.as_slice();
    for cut in cuts {
        let (piece, after) = rest.split_at(usize::from(cut).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    for told in [rewrite(content_type, places, VALUE, pieces), rewrite(content_type, places, VALUE, body.chunks(1))] {
        assert_eq!(told.fault, whole.fault);
        if whole.fault.is_none() {
            assert_eq!(told, whole);
        }
    }
    for told in [whole, rewrite_held(content_type, places, VALUE, &body)] {
        if told.fault.is_none() && told.uses == 0 {
            assert_eq!(told.body, body);
        }
    }
});
