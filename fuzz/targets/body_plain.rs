//! `body:any` in plain bytes against the simplest search there is.

#![no_main]

mod rewrite;

use libfuzzer_sys::fuzz_target;
use rewrite::{LOOKALIKE, VALUE, rewrite};

fuzz_target!(|body: &[u8]| {
    if body.iter().find(|b| !b" \t\r\n\xef\xbb\xbf".contains(b)).is_some_and(|b| b"{[\"".contains(b)) {
        return;
    }
    let told = rewrite("text/plain", &["body:any"], VALUE, body.chunks(7));
    let (mut want, mut uses) = (Vec::new(), 0);
    let mut at = 0;
    while at < body.len() {
        let placeholders = ["<<x_key>>", "{{x_key}}", "<<gh_key>>", "{{gh_key}}", LOOKALIKE];
        match placeholders.iter().find(|p| body[at..].starts_with(p.as_bytes())) {
            Some(placeholder) => {
                want.extend_from_slice(VALUE.as_bytes());
                uses += 1;
                at += placeholder.len();
            }
            None => {
                want.push(body[at]);
                at += 1;
            }
        }
    }
    assert_eq!((told.body, told.uses, told.fault), (want, uses, None));
});
