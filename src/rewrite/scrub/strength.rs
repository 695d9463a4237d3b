//! The strength of a key: how many bits of it a stranger can't know, byte by byte. Whoever can guess a key can test the guess on a scrubber,
//! so what is guessable is not searched for.

use foldhash::fast::RandomState;
use std::collections::HashSet;
use std::ops::Range;

/// Unknown bits from which on a key is searched for: less could be guessed.
pub const ENOUGH: f32 = 64.0;

/// The last characters that consoles, error pages and our own tables show of a key.
const SHOWN: usize = 4;
/// A word out of a list of two thousand.
const WORD: f32 = 11.0;
/// Shorter ones are as likely by chance.
const SHORTEST_WORD: usize = 5;
const PEM: &[u8] = b"-----BEGIN ";
/// What goes on from the characters before it.
const CONTINUED: f32 = 0.5;
/// What stands between the parts of a key.
const PUNCTUATION: f32 = 3.0;

/// The strength of a key, and what is known of it without knowing it.
#[derive(Debug, Clone)]
pub struct Strength {
    /// The length of the beginning that all keys of its kind share, in bytes.
    pub known: usize,
    /// The bits of each byte that a stranger can't know.
    pub bits: Vec<f32>,
}

impl Strength {
    /// `prefix` is the length of the beginning that the catalog knows.
    pub fn of(value: &[u8], prefix: usize) -> Self {
        let known = known_beginning(value, prefix.min(value.len()));
        let mut bits = vec![0.0; value.len()];
        rate(value, secret_part(value, known), &mut bits);
        let shown = value.len().saturating_sub(SHOWN);
        bits.iter_mut().skip(shown).for_each(|b| *b = 0.0);
        Self { known, bits }
    }

    /// All unknown bits together.
    pub fn total(&self) -> f32 {
        self.bits.iter().sum()
    }

    /// Whether the key is searched for.
    pub fn is_enough(&self) -> bool {
        self.total() >= ENOUGH
    }
}

/// The beginning that is the same in all keys of this kind: the catalog's, that of every JWT, a PEM's first line, a
/// URL's scheme.
fn known_beginning(value: &[u8], prefix: usize) -> usize {
    let own = if jwt_signature(value).is_some() {
        3
    } else if value.starts_with(PEM) {
        let label = value.get(PEM.len()..).and_then(|rest| position(rest, b"-----"));
        label.map_or(0, |at| PEM.len() + at + 5)
    } else {
        scheme(value).map_or(0, |at| at + 3)
    };
    // one that begins so and has nothing behind it is not of that kind
    Some(prefix.max(own)).filter(|known| known + SHOWN < value.len()).unwrap_or(0)
}

/// Where a stranger has to guess: of a JWT the signature, of a URL or of `user:password` the password, else all.
fn secret_part(value: &[u8], known: usize) -> Range<usize> {
    if let Some(from) = jwt_signature(value) {
        return from..value.len();
    }
    if value.starts_with(PEM) {
        return pem_secret(value, known);
    }
    if let Some(field) = password_field(value) {
        return field;
    }
    if let Some(scheme) = scheme(value) {
        return url_password(value, scheme + 3).unwrap_or(0..0);
    }
    let rest = value.get(known..).unwrap_or_default();
    let named = |b: &u8| b.is_ascii_alphanumeric() || b"._@+-".contains(b);
    let user = rest.iter().position(|b| *b == b':').filter(|at| rest.iter().take(*at).all(named));
    user.map_or(known, |at| known + at + 1)..value.len()
}

/// Where the signature of a JWT begins (RFC 7519, section 3): the third part, after a header that is a JSON object.
fn jwt_signature(value: &[u8]) -> Option<usize> {
    let token = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
    let dots = value.iter().filter(|b| **b == b'.').count();
    let is_jwt = value.starts_with(b"eyJ") && dots == 2 && value.iter().all(token);
    is_jwt.then(|| value.iter().rposition(|b| *b == b'.').map(|at| at + 1)).flatten()
}

/// The password in the authority that begins at `from`, or all behind the authority where there is none: a token in a
/// path, as in a webhook's URL.
fn url_password(value: &[u8], from: usize) -> Option<Range<usize>> {
    let rest = value.get(from..)?;
    let authority = rest.iter().position(|b| b"/?#".contains(b)).unwrap_or(rest.len());
    match rest.get(..authority)?.iter().rposition(|b| *b == b'@') {
        Some(at) => {
            // a token may stand alone, where the user would
            let colon = rest.get(..at)?.iter().position(|b| *b == b':').map_or(0, |colon| colon + 1);
            Some(from + colon..from + at)
        }
        None => Some(from + authority..value.len()),
    }
}

/// Where the `://` of a URL stands, behind nothing but a scheme (RFC 3986, section 3.1).
fn scheme(value: &[u8]) -> Option<usize> {
    let at = position(value, b"://")?;
    let named = |b: &u8| b.is_ascii_alphanumeric() || b"+-.".contains(b);
    value.get(..at).is_some_and(|scheme| scheme.iter().all(named)).then_some(at)
}

/// The value of `password` or `pwd` in a connection string: all else in it is no secret.
fn password_field(value: &[u8]) -> Option<Range<usize>> {
    let lower = value.to_ascii_lowercase();
    let field = [&b"password="[..], b"pwd="].iter().find_map(|name| Some(position(&lower, name)? + name.len()))?;
    let len = value.get(field..)?.iter().position(|b| b";& ".contains(b)).unwrap_or(value.len() - field);
    Some(field..field + len)
}

/// The part of a PEM key that is private whatever its kind: not the structure before it, nor the public key beside it.
fn pem_secret(value: &[u8], known: usize) -> Range<usize> {
    let end = position(value, b"-----END ").unwrap_or(value.len()).max(known);
    let len = end - known;
    // shares of the whole, in percent
    let (from, to) = match (position(value, b"OPENSSH").is_some(), len) {
        (true, ..=600) => (61, 73),
        (_, ..=90) => (40, 100),
        (_, ..=450) => (27, 45),
        _ => (55, 95),
    };
    known + len * from / 100..known + len * to / 100
}

fn position(value: &[u8], needle: &[u8]) -> Option<usize> {
    value.windows(needle.len()).position(|w| w == needle)
}

fn rate(value: &[u8], part: Range<usize>, bits: &mut [f32]) {
    let (Some(text), Some(bits)) = (value.get(part.clone()), bits.get_mut(part)) else { return };
    let class = class_bits(text);
    for (byte, bits) in text.iter().zip(bits.iter_mut()) {
        *bits = match byte {
            b if b.is_ascii_alphanumeric() => class,
            b if b.is_ascii_graphic() || *b == b' ' => PUNCTUATION.min(class),
            _ => class,
        };
    }
    numbers(text, bits);
    words(text, bits);
    uuids(text, bits);
    continuations(text, bits);
}

/// What a random character is worth in a text of these characters.
fn class_bits(text: &[u8]) -> f32 {
    let has = |is: fn(&u8) -> bool| text.iter().any(is);
    if text.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b) || b"-_:.".contains(b))
        || text.iter().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(b) || b"-_:.".contains(b))
    {
        return if has(u8::is_ascii_alphabetic) { 4.0 } else { 3.3 };
    }
    let classes = [
        (has(u8::is_ascii_digit), 10.0),
        (has(u8::is_ascii_lowercase), 26.0),
        (has(u8::is_ascii_uppercase), 26.0),
        (has(|b| !b.is_ascii()), 64.0),
    ];
    let size: f32 = classes.iter().filter(|(has, _)| *has).map(|(_, size)| size).sum();
    size.max(2.0).log2()
}

/// A long number between signs is some account's, as in `xoxb-123456789012-…`, and no secret.
fn numbers(text: &[u8], bits: &mut [f32]) {
    const LONG: usize = 8;
    if text.iter().all(|b| !b.is_ascii_alphabetic()) {
        return;
    }
    let mut from = 0;
    for part in text.split(|b| !b.is_ascii_alphanumeric()) {
        if part.len() >= LONG && part.iter().all(u8::is_ascii_digit) {
            bits.iter_mut().skip(from).take(part.len()).for_each(|b| *b = 0.0);
        }
        from += part.len() + 1;
    }
}

/// Runs of letters of one case that could be words count as words.
fn words(text: &[u8], bits: &mut [f32]) {
    let mut from = 0;
    while from < text.len() {
        let len = run_of_letters(text.get(from..).unwrap_or_default());
        let (Some(run), Some(bits)) = (text.get(from..from + len), bits.get_mut(from..from + len)) else { return };
        if len >= SHORTEST_WORD && is_pronounceable(run) {
            let all = WORD + 2.0 * len.saturating_sub(8) as f32;
            bits.iter_mut().for_each(|b| *b = b.min(all / len as f32));
        }
        from += len.max(1);
    }
}

/// The length of `word`, `Word` or `WORD` at the beginning of a text.
fn run_of_letters(text: &[u8]) -> usize {
    let upper = text.iter().take_while(|b| b.is_ascii_uppercase()).count();
    let lower = text.iter().skip(upper).take_while(|b| b.is_ascii_lowercase()).count();
    if upper <= 1 { upper + lower } else { upper }
}

fn is_pronounceable(run: &[u8]) -> bool {
    let vowel = |b: &u8| b"aeiouyAEIOUY".contains(b);
    let vowels = run.iter().filter(|b| vowel(b)).count();
    let longest = run.chunk_by(|a, b| vowel(a) == vowel(b)).map(<[u8]>::len).max().unwrap_or(0);
    longest <= 4 && 5 * vowels >= run.len() && 4 * vowels <= 3 * run.len()
}

/// A UUID's digits are random only in version 4 (RFC 9562, section 5.4), and not those that say so.
fn uuids(text: &[u8], bits: &mut [f32]) {
    const LEN: usize = 36;
    for from in 0..text.len().saturating_sub(LEN - 1) {
        let (Some(uuid), Some(bits)) = (text.get(from..from + LEN), bits.get_mut(from..from + LEN)) else { return };
        let shaped = uuid.iter().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => *b == b'-',
            _ => b.is_ascii_hexdigit(),
        });
        if !shaped {
            continue;
        }
        let random = uuid.get(14) == Some(&b'4');
        for (i, bits) in bits.iter_mut().enumerate() {
            let fixed = matches!(i, 8 | 13 | 14 | 18 | 19 | 23) || !random;
            *bits = if fixed { 0.0 } else { bits.min(4.0) };
        }
    }
}

/// What repeats an earlier part, or counts up or down, is worth next to nothing.
fn continuations(text: &[u8], bits: &mut [f32]) {
    const SEEN: usize = 4;
    let mut seen: HashSet<&[u8], RandomState> = HashSet::default();
    for i in 0..text.len() {
        let step = |at: usize| Some(i16::from(*text.get(at)?) - i16::from(*text.get(at.checked_sub(1)?)?));
        let counts = i >= 2 && step(i) == step(i - 1) && step(i).is_some_and(|s| (-1..=1).contains(&s));
        let last = (i + 1).checked_sub(SEEN).and_then(|from| text.get(from..=i));
        let repeats = last.is_some_and(|last| !seen.insert(last));
        let since = if repeats { i + 1 - SEEN } else { i };
        if counts || repeats {
            bits.iter_mut().take(i + 1).skip(since).for_each(|b| *b = b.min(CONTINUED));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(value: &str, prefix: usize) -> f32 {
        Strength::of(value.as_bytes(), prefix).total()
    }

    /// A made-up one of the shape of a key on P-256.
    const PKCS8: &str = "-----BEGIN PRIVATE KEY-----\n\
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgq8Zt2LwXv7RkYb5N\n\
        cM1dJhGfPs9UaEi3oTzQxWnBrVyhRANCAATk4jV2Yp7Kd0sLm9Qw3Xz5Rb1Hn8Tf\n\
        Vg6Ua2Cj0Pe4Iy7Ox9Sl3Dq5Fk1Gw8Zh6Nt2Bm0Ec4Ar7Jv9\n-----END PRIVATE KEY-----\n";

    #[test]
    fn random_keys_are_searched_for_and_guessable_ones_are_not() {
        for (value, prefix) in [
            ("sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4z", 8),
            ("tk-5f0c2d9be1a84763-real", 0),
            ("ghp_a8Jk3LmQ9zXw2VbN7tRyU5iOpEs6DfGh1CvB", 4),
            ("0c4f9b1e7a3d5826b1f04c7d9e3a6f58", 0),
            ("d9428888-122b-4fe1-b85c-61cd3cbb3210", 0),
            ("q8Zt2LwXv7RkYb5Nc", 0),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N-XgL0n3I9PlFUP0THsR8U", 0),
            ("postgres://app:x7Kp2mQv9ZtRw4Lb8Nc@db.example/app", 0),
            ("https://hooks.example.com/services/T0A1B2C3D/B4E5F6G7H/a9Kz3QwX7vBn2LmT5yRp8Jd1", 0),
            ("correct-horse-battery-staple-quiet-lemon-orbit-seven", 0),
            ("kq7zv1x9t2w8bn4rj6mh", 0),
            ("https://ghp_a8Jk3LmQ9zXw2VbN7tRyU5iOpEs6DfGh1CvB@git.example/o/r.git", 0),
            ("xoxb-123456789012-1234567890123-q8Zt2LwXv7RkYb5NcM1dJhGf", 0),
            ("Server=db.example;User=app;Password=x7Kp2mQv9ZtRw4Lb8Nc;Encrypt=true", 0),
            (PKCS8, 0),
            (
                r#"{"type":"service_account","private_key":"q8Zt2LwXv7RkYb5NcM1dJhGf","auth_uri":"https://a.example"}"#,
                0,
            ),
        ] {
            assert!(total(value, prefix) >= ENOUGH, "{value}: {}", total(value, prefix));
        }
        for (value, prefix) in [
            ("hunter2", 0),
            ("correct-horse-battery-staple", 0),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 0),
            ("0123456789abcdefghijklmnopqrstuvwxyz", 0),
            ("sk-ant-AbCdEfGhIj", 7),
            ("postgres://a-very-long-user-name-0x7f3c:secret@db-7f1c9.internal.example:5432/production", 0),
            ("c232ab00-9414-11ec-b3c8-9f6bdeced846", 0),
            ("admin:changeme-please", 0),
            ("Server=tcp:db-7f1c9.internal.example;Database=production;User=app;Password=hunter2;Encrypt=true", 0),
            ("jdbc:postgresql://db-7f1c9.internal.example/production?user=app&password=hunter2", 0),
            ("x7Kp2mQx7Kp2mQx7Kp2mQx7Kp2mQ", 0),
            ("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIn0.", 0),
            ("", 0),
        ] {
            assert!(total(value, prefix) < ENOUGH, "{value}: {}", total(value, prefix));
        }
    }

    /// One sign a byte: known `.`, continued `-`, part of a word `w`, punctuation `_`, random `#`.
    fn picture(value: &str, prefix: usize) -> String {
        let sign = |bits: &f32| match *bits {
            0.0 => '.',
            b if b <= CONTINUED => '-',
            b if b < PUNCTUATION => 'w',
            PUNCTUATION => '_',
            _ => '#',
        };
        Strength::of(value.as_bytes(), prefix).bits.iter().map(sign).collect()
    }

    #[test]
    fn each_byte_counts_for_what_a_stranger_can_not_know_of_it() {
        for (value, prefix, want) in [
            ("sk-Ab3dEf6hIj9kLm2n", 3, "...############...."),
            ("xoxb-123456789012-q8Zt2LwXv7", 0, "####_............_######...."),
            ("xoxb-1234567-q8Zt2LwXv7", 0, "####_##-----_######...."),
            ("q8Zt2Lw-87654321", 0, "#######_........"),
            ("123456789012-98765", 0, "##-------##-_#...."),
            ("pwd=Kq9Zw8Xv7Rt6Yn5;user=a", 0, "....###############......."),
            ("user=app;password=Kq9Zw8Xv7Rt6Yn5", 0, "..................###########...."),
            ("Kq9Zw8\u{e9}v7 Rt6Yn5", 0, "##########_##...."),
            ("Kq9Z-batteries-Xv7R", 0, "####_wwwwwwwww_...."),
            ("Kq9Z-bttrsbttr-Xv7R", 0, "####_#####----_...."),
            ("Kq9Z-aeioubaei-Xv7R", 0, "####_#########_...."),
            ("Kq9Z-bread-strts-Xv7R", 0, "####_wwwww_#####_...."),
            ("Kq9ZTr4Kq9ZTr4Xv7R", 0, "#######-------...."),
            ("Kq9Zabcdefg9876Xv7R", 0, "###www-----##--...."),
            ("d9428888-122b-4fe1-b85c-61cd3cbb3210", 0, "######--.####..###..###.########...."),
            ("d9428888-122b-1fe1-b85c-61cd3cbb3210", 0, "...................................."),
            ("app:Kq9Zw8Xv7Rt6Yn5", 0, "....###########...."),
            ("postgres://a:Kq9Zw8Xv7Rt@h/p", 0, ".............###########...."),
            (
                "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3",
                0,
                ".....................................wwwww###....",
            ),
        ] {
            assert_eq!(picture(value, prefix), want, "{value}");
        }
    }

    #[test]
    fn a_character_counts_by_the_classes_of_its_text() {
        for (text, bits) in [
            ("0123-4567", 3.3),
            ("09af-_:.", 4.0),
            ("09AF", 4.0),
            ("09aF", 62_f32.log2()),
            ("09ag", 36_f32.log2()),
            ("abcg", 26_f32.log2()),
            ("aB", 52_f32.log2()),
            ("a\u{e9}g", 90_f32.log2()),
            ("+/", 1.0),
        ] {
            assert_eq!(class_bits(text.as_bytes()), bits, "{text}");
        }
    }

    #[test]
    fn a_word_has_vowels_and_consonants_in_turn() {
        for (run, is_word) in [
            ("batteries", true),
            ("string", false),
            ("bbbbbatt", false),
            ("aaaaabb", false),
            ("strnghts", false),
            ("aeioub", false),
            ("aeiubb", true),
            ("abcdf", true),
            ("abcdfg", false),
        ] {
            assert_eq!(is_pronounceable(run.as_bytes()), is_word, "{run}");
        }
    }

    #[test]
    fn of_a_pem_key_only_what_is_private_in_every_kind_counts() {
        // the beginning is 20 and more bytes long, and no part of what is shared out
        for (label, len, want) in [
            ("OPENSSH PRIVATE KEY", 400, 35 + 244..35 + 292),
            ("OPENSSH PRIVATE KEY", 2000, 35 + 1100..35 + 1900),
            ("PRIVATE KEY", 90, 27 + 36..27 + 90),
            ("PRIVATE KEY", 200, 27 + 54..27 + 90),
            ("RSA PRIVATE KEY", 1600, 31 + 880..31 + 1520),
        ] {
            let begin = format!("-----BEGIN {label}-----");
            let value = format!("{begin}{}-----END {label}-----\n", "A".repeat(len));
            assert_eq!(pem_secret(value.as_bytes(), begin.len()), want, "{label} {len}");
        }
        assert_eq!(pem_secret(b"-----BEGIN A-----0123456789", 17), 17 + 4..17 + 10, "no end");
    }

    #[test]
    fn what_all_keys_of_a_kind_begin_with_is_known() {
        for (value, prefix, known) in [
            ("sk-ant-api03-q8Zt2LwXv7RkYb5NcM1d", 7, 7),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N", 0, 3),
            ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n", 0, 27),
            ("-----BEGIN EC PRIVATE KEY-----\\nMIIE\\n-----END EC PRIVATE KEY-----\\n", 0, 30),
            (r#"{"uri":"https://a.example/a-long-one"}"#, 0, 0),
            ("https://a:b@c.example", 0, 8),
            ("eyJ.no.jwt at all", 0, 0),
            ("short", 9, 0),
        ] {
            assert_eq!(Strength::of(value.as_bytes(), prefix).known, known, "{value}");
        }
    }
}
