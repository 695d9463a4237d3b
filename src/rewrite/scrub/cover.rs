//! Writes text with masks over the keys that were found in it.

use std::ops::Range;

/// The mask that covers a key in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// By its placeholder; the body changes its length.
    Placeholder,
    /// By its placeholder, cut or filled up with `*`, for bodies whose length has been told already.
    SameLength,
}

/// A stretch of the text that spells a key, or that looks like a quote of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyMatch {
    /// Where it stands.
    pub text: Range<usize>,
    /// The number of the key.
    pub key: usize,
    /// It only begins like the key.
    pub is_quote: bool,
}

/// A mask that has begun, and may go on over what comes next.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpenMask {
    /// The number of the key.
    pub key: usize,
    written: usize,
    /// It covers a cut quote, and all that goes on as one.
    pub is_quote: bool,
}

/// Puts `placeholder`s over `finds` in a part of the text.
pub(super) struct Masker<'a> {
    /// How it is covered.
    pub mask: Mask,
    /// The placeholder of a key, by its number.
    pub placeholder: &'a dyn Fn(usize) -> &'a str,
    /// The mask that the last byte before the part lies under.
    pub open: Option<OpenMask>,
    /// Called with each key that is hidden anew.
    pub hidden: &'a mut dyn FnMut(usize),
}

impl Masker<'_> {
    /// Writes the part of the text; `finds` are sorted by where they begin.
    pub fn write(&mut self, text: &[u8], part: Range<usize>, finds: &[KeyMatch], out: &mut Vec<u8>) {
        let clear = |range: Range<usize>| text.get(range).unwrap_or(&[]);
        let mut done = part.start;
        for find in finds.iter().filter(|find| find.text.start < part.end) {
            let end = find.text.end.min(part.end);
            if end <= done {
                continue;
            }
            let start = find.text.start.max(done);
            out.extend_from_slice(clear(done..start));
            // it overlaps what is masked already: the same mask goes on
            let open = match self.open {
                Some(open) if find.text.start < done => OpenMask { is_quote: find.is_quote, ..open },
                _ => self.begin(find),
            };
            self.open = Some(self.go_on(open, end - start, out));
            done = end;
        }
        if done < part.end {
            out.extend_from_slice(clear(done..part.end));
            self.open = None;
        }
    }

    fn begin(&mut self, find: &KeyMatch) -> OpenMask {
        if !find.is_quote {
            (self.hidden)(find.key);
        }
        OpenMask { key: find.key, written: 0, is_quote: find.is_quote }
    }

    /// Writes what a mask shows over the next `len` bytes.
    fn go_on(&self, open: OpenMask, len: usize, out: &mut Vec<u8>) -> OpenMask {
        let placeholder = (self.placeholder)(open.key).as_bytes();
        match self.mask {
            Mask::Placeholder if open.written == 0 => out.extend_from_slice(placeholder),
            Mask::Placeholder => {}
            Mask::SameLength => {
                out.extend(placeholder.iter().chain(std::iter::repeat(&b'*')).skip(open.written).take(len));
            }
        }
        OpenMask { written: open.written + len, ..open }
    }
}
