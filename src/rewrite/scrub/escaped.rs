//! Stretches of the text in which something is escaped or folded, read as what is meant.

use super::alphabet::Alphabet;
use super::spelling::{self, SpelledCharacter};

/// Characters as they are meant, and where each begins in the text.
#[derive(Default)]
pub(super) struct UnescapedText {
    /// The characters.
    pub values: Vec<u8>,
    /// For each of them, where its spelling begins.
    pub starts: Vec<usize>,
    /// Which of them are escaped.
    pub escaped: Vec<usize>,
}

/// The rule on what counts as one stretch.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnescapeRule {
    /// The characters that go on with a stretch.
    pub alphabet: Alphabet,
    /// Whether line ends that fold base64 and hex are left out.
    pub unfolds: bool,
    /// How many characters before the first escape could matter.
    pub reach: usize,
}

impl UnescapeRule {
    /// Calls `f` with each stretch that has an escape or a fold in it.
    pub fn each(&self, text: &[u8], f: &mut impl FnMut(&UnescapedText)) {
        self.each_at(text, memchr::memchr2_iter(b'\\', b'%', text), f);
        if self.unfolds {
            self.each_at(text, ends_of_long_lines(text), f);
        }
    }

    fn each_at(&self, text: &[u8], places: impl Iterator<Item = usize>, f: &mut impl FnMut(&UnescapedText)) {
        let mut done = 0;
        for at in places {
            if at < done || !self.is_escape(text, at) {
                continue;
            }
            let (reading, end) = self.read(text, at - self.unescaped_before(text, at), text.len());
            f(&reading);
            done = end.max(at + 1);
        }
    }

    /// How many characters before `at` are read as themselves.
    fn unescaped_before(&self, text: &[u8], at: usize) -> usize {
        let before = text.get(at.saturating_sub(self.reach)..at).unwrap_or_default();
        let own = |c: &&u8| self.alphabet.has(**c) && !matches!(c, b'\\' | b'%');
        before.iter().rev().take_while(own).count()
    }

    fn is_escape(&self, text: &[u8], at: usize) -> bool {
        if !self.may_be_escape(text, at) {
            return false;
        }
        if self.unfolds && spelling::fold(text, at).is_some() {
            return true;
        }
        spelling::longest(text, at).is_some_and(|unit| unit.len > 1 && self.alphabet.has(unit.value))
    }

    /// A quick look: most line ends and escapes stand where nothing could be hidden.
    fn may_be_escape(&self, text: &[u8], at: usize) -> bool {
        let folds = || self.unfolds && spelling::may_be_long_line(text, at);
        match (text.get(at), text.get(at + 1)) {
            (Some(b'\\'), Some(b'n' | b'r')) => folds() || self.alphabet.has(b'\n'),
            (Some(b'\\'), Some(b'"' | b't')) => self.alphabet.has(b'"'),
            _ => true,
        }
    }

    /// Reads from `at` on, up to the first character that is none of these; and where that is.
    pub fn read(&self, text: &[u8], mut at: usize, end: usize) -> (UnescapedText, usize) {
        let mut reading = UnescapedText::default();
        while at < end {
            let plain = text.get(at..end).map_or(0, |rest| rest.iter().take_while(|c| self.is_plain(**c)).count());
            reading.values.extend_from_slice(text.get(at..at + plain).unwrap_or_default());
            reading.starts.extend(at..at + plain);
            at += plain;
            if at == end {
                break;
            }
            if let Some(len) = self.fold(text, at) {
                at += len;
                continue;
            }
            let Some(SpelledCharacter { value, len }) = spelling::longest(text, at) else { break };
            if !self.alphabet.has(value) {
                break;
            }
            if len > 1 {
                reading.escaped.push(reading.values.len());
            }
            reading.values.push(value);
            reading.starts.push(at);
            at += len;
        }
        (reading, at)
    }

    /// Whether a character is one of these, and nothing but itself.
    fn is_plain(&self, c: u8) -> bool {
        self.alphabet.has(c) && !matches!(c, b'\\' | b'%' | b'\n' | b'\r')
    }

    fn fold(&self, text: &[u8], at: usize) -> Option<usize> {
        let may_be = self.unfolds && matches!(text.get(at), Some(b'\n' | b'\r' | b'\\' | b'%'));
        may_be.then(|| spelling::fold(text, at)).flatten()
    }
}

impl UnescapedText {
    /// Calls `f` for each escape with what its own letters and what follows it would be, had the escape not been one: the
    /// text, where each character begins, and how many of them are the escape's. A percent sign may have stood before a key.
    pub fn each_literal(&self, text: &[u8], len: usize, f: &mut impl FnMut(&[u8], &[usize], usize)) {
        for &escape in &self.escaped {
            let Some(&from) = self.starts.get(escape) else { return };
            let to = from + spelling::longest(text, from).map_or(0, |unit| unit.len);
            let spelled = text.get(from..to).unwrap_or_default();
            let sign = spelled.iter().rposition(|c| matches!(c, b'%' | b'\\')).map_or(0, |at| at + 1);
            let letters = spelled.get(sign..).unwrap_or_default();
            let rest = self.values.iter().skip(escape + 1).take(len);
            let values: Vec<u8> = letters.iter().chain(rest).copied().collect();
            let own = from + sign..to;
            let starts: Vec<usize> = own.chain(self.starts.iter().skip(escape + 1).take(len).copied()).collect();
            f(&values, &starts, letters.len());
        }
    }
}

/// Where lines end that could be base64 or hex, folded: in a line of forty characters some row of `ROW` begins at a multiple
/// of `STEP`.
fn ends_of_long_lines(text: &[u8]) -> impl Iterator<Item = usize> {
    const ROW: usize = 22;
    const STEP: usize = 16;
    let is_one = |c: u8| Alphabet::BASE64.has(c);
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(row) = text.get(at..).and_then(<[u8]>::first_chunk::<ROW>) {
            if is_one(row[0]) && is_one(row[ROW - 1]) && row.iter().all(|c| is_one(*c)) {
                let end = at + memchr::memchr2(b'\n', b'\r', text.get(at..)?)?;
                at = (end / STEP + 1) * STEP;
                return Some(end);
            }
            at += STEP;
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(text: &str, unfolds: bool) -> Vec<String> {
        let rule = UnescapeRule { alphabet: Alphabet::TOKEN.and(Alphabet::BASE64), unfolds, reach: 100 };
        let mut all = Vec::new();
        rule.each(text.as_bytes(), &mut |reading| all.push(String::from_utf8_lossy(&reading.values).into_owned()));
        all
    }

    #[test]
    fn stretches_with_escapes_are_read_as_meant() {
        let folded = format!("{0}\n{0}", "QUJD".repeat(10));
        for (text, unfolds, read) in [
            ("nothing here", true, vec![]),
            ("a \\n b \\\" c", true, vec![]),
            (r"x ab\u0063d y", true, vec!["abcd"]),
            ("%61%62%63 and %2Fx", true, vec!["abc", "/x"]),
            ("%deab%2Fcd", true, vec!["deab/cd"]),
            (&folded, false, vec![]),
            (&folded, true, vec![&*"QUJD".repeat(20)]),
            (&format!("{folded}%41"), false, vec![&*format!("{}A", "QUJD".repeat(10))]),
        ] {
            assert_eq!(readings(text, unfolds), read, "{text}");
        }
    }

    #[test]
    fn an_escape_may_be_none() {
        let rule = UnescapeRule { alphabet: Alphabet::TOKEN, unfolds: false, reach: 100 };
        let text = b"%61b%62cd";
        let mut all = Vec::new();
        rule.each(text, &mut |reading| {
            assert_eq!(reading.values, b"abbcd");
            reading.each_literal(text, 2, &mut |values, starts, own| {
                all.push((String::from_utf8_lossy(values).into_owned(), starts.to_vec(), own));
            });
        });
        assert_eq!(all, [("61bb".into(), vec![1, 2, 3, 4], 2), ("62cd".into(), vec![5, 6, 7, 8], 2)]);
    }
}
