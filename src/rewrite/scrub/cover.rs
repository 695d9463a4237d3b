//! Writes text with masks over the keys that were found in it.

use super::{Find, Mask};
use std::ops::Range;

/// A mask that has begun, and may go on over what comes next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    pub key: usize,
    written: usize,
    /// It covers a cut quote, and all that goes on as one.
    pub is_quote: bool,
}

/// Puts `placeholder`s over `finds` in a part of the text.
pub(super) struct Cover<'a> {
    pub mask: Mask,
    pub placeholder: &'a dyn Fn(usize) -> &'a str,
    /// The mask that the last byte before the part lies under.
    pub open: Option<Open>,
    /// Called with each key that is hidden anew.
    pub hidden: &'a mut dyn FnMut(usize),
}

impl Cover<'_> {
    /// Writes the part of the text; `finds` are sorted by where they begin.
    pub fn write(&mut self, text: &[u8], part: Range<usize>, finds: &[Find], out: &mut Vec<u8>) {
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
                Some(open) if find.text.start < done => Open { is_quote: find.is_quote, ..open },
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

    fn begin(&mut self, find: &Find) -> Open {
        if !find.is_quote {
            (self.hidden)(find.key);
        }
        Open { key: find.key, written: 0, is_quote: find.is_quote }
    }

    /// Writes what a mask shows over the next `len` bytes.
    fn go_on(&self, open: Open, len: usize, out: &mut Vec<u8>) -> Open {
        let placeholder = (self.placeholder)(open.key).as_bytes();
        match self.mask {
            Mask::Placeholder if open.written == 0 => out.extend_from_slice(placeholder),
            Mask::Placeholder => {}
            Mask::SameLength => {
                out.extend(placeholder.iter().chain(std::iter::repeat(&b'*')).skip(open.written).take(len));
            }
        }
        Open { written: open.written + len, ..open }
    }
}
