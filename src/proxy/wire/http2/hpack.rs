//! Fields of HTTP/2 as they are packed (HPACK, RFC 7541): read, and written plainly.

use std::collections::VecDeque;

/// The static table (RFC 7541, appendix A).
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"), (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""), ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""), ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""), ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""), ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""), ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""), ("www-authenticate", "") ];
/// What an entry of the dynamic table counts for besides its name and value (RFC 7541, section 4.1).
const OVERHEAD: usize = 32;
/// The most that the dynamic table counts for, in bytes: no setting of ours says otherwise (RFC 9113, section 6.5.2).
const TABLE: usize = 4096;
/// How many codes of each length Huffman's code has, from 1 bit to 30; the last one, which ends a text, may not be used. The code
/// is canonical, so that this and the order say it all (RFC 7541, appendix B).
const CODES: [u32; 30] =
    [0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19, 29, 0, 3];
/// What the codes stand for, in their order.
#[rustfmt::skip]
const SYMBOLS: &[u8; 256] = b"012aceiost %-./3456789=A_bdfghlmnpru:BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz&*,;XZ!\"()?'+|#>\x00$@[]~^}<`{\\\
    \xc3\xd0\x80\x82\x83\xa2\xb8\xc2\xe0\xe2\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\xe6\x81\x84\x85\
    \x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb\xbd\xbe\xc4\xc6\xe4\xe8\xe9\x01\x87\x89\
    \x8a\x8b\x8c\x8d\x8f\x93\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8\xae\xaf\xb4\xb6\xb7\xbc\xbf\xc5\xe7\xef\
    \x09\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed\xc7\xcf\xea\xeb\xc0\xc1\xc8\xc9\xca\xcd\xd2\xd5\xda\xdb\
    \xee\xf0\xf2\xf3\xff\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\xf4\xf5\xf6\xf7\xf8\xfa\xfb\xfc\xfd\xfe\x02\x03\
    \x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x12\x13\x14\x15\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f\xdc\
    \xf9\x0a\x0d\x16";
/// The codes of each length.
const RANGES: [CodeRange; 30] = ranges();

/// The codes of one length, in bits, as the first of 32.
#[derive(Clone, Copy)]
struct CodeRange {
    first: u32,
    /// The first code beyond them.
    end: u64,
    /// What the first one stands for, in the order of all.
    symbol: usize,
}

const fn ranges() -> [CodeRange; 30] {
    let mut ranges = [CodeRange { first: 0, end: 0, symbol: 0 }; 30];
    let (mut length, mut first, mut symbol) = (1, 0_u64, 0);
    while length <= 30 {
        let count = CODES[length - 1];
        let end = first + ((count as u64) << (32 - length));
        ranges[length - 1] = CodeRange { first: first as u32, end, symbol };
        (first, symbol, length) = (end, symbol + count as usize, length + 1);
    }
    ranges
}

/// A block that can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockFault;

/// A field as it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field<'b> {
    pub name: &'b [u8],
    pub value: &'b [u8],
    known: Known,
    /// Nobody on the way may keep it in a table (RFC 7541, section 7.1.3).
    is_secret: bool,
}

/// What of a field an index of the static table stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Nothing,
    Name(u8),
    Whole(u8),
}

impl<'b> Field<'b> {
    /// A field that is written out.
    pub fn new(name: &'b [u8], value: &'b [u8]) -> Self {
        Self { name, value, known: Known::Nothing, is_secret: false }
    }

    /// The same with another value.
    pub fn with_value(self, value: &'b [u8]) -> Self {
        let known = match self.known {
            Known::Whole(index) => Known::Name(index),
            other => other,
        };
        Self { value, known, ..self }
    }

    pub fn is_pseudo(&self) -> bool {
        self.name.first() == Some(&b':')
    }

    /// What it counts for in a list of fields, in bytes (RFC 9113, section 6.5.2).
    pub fn size(&self) -> usize {
        self.name.len() + self.value.len() + OVERHEAD
    }

    /// Writes it so that no table is needed to read it, nor changed by it.
    pub fn write(&self, block: &mut Vec<u8>) {
        let kind = if self.is_secret { 0x10 } else { 0 };
        match self.known {
            Known::Whole(index) => return block.push(0x80 | index),
            Known::Name(index) => write_integer(block, kind, 4, index.into()),
            Known::Nothing => {
                block.push(kind);
                write_text(block, self.name);
            }
        }
        write_text(block, self.value);
    }
}

/// Reads the blocks of one connection, in their order.
#[derive(Debug)]
pub(super) struct Decoder {
    /// The newest first.
    table: VecDeque<TableEntry>,
    size: usize,
    most: usize,
    name: Vec<u8>,
    value: Vec<u8>,
}

#[derive(Debug)]
struct TableEntry {
    name: Box<[u8]>,
    value: Box<[u8]>,
}

impl TableEntry {
    fn size(&self) -> usize {
        self.name.len() + self.value.len() + OVERHEAD
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self { table: VecDeque::new(), size: 0, most: TABLE, name: Vec::new(), value: Vec::new() }
    }
}

impl Decoder {
    /// Reads the next block, and gives each of its fields away.
    ///
    /// # Errors
    ///
    /// [`BlockFault`] for what can't be read; nothing can be read after it.
    pub fn read(&mut self, mut block: &[u8], mut give: impl FnMut(Field<'_>)) -> Result<(), BlockFault> {
        let mut has_fields = false;
        while let Some(first) = block.first() {
            match first {
                0x80.. => {
                    let index = integer(&mut block, 7)?;
                    give(self.indexed(index)?);
                }
                0x40..0x80 => {
                    give(self.literal(&mut block, 6, false)?);
                    self.keep();
                }
                0x20..0x40 => {
                    // only a block's beginning may change the size (RFC 7541, section 4.2)
                    self.most =
                        integer(&mut block, 5).ok().filter(|most| *most <= TABLE && !has_fields).ok_or(BlockFault)?;
                    self.evict(0);
                    continue;
                }
                kind => give(self.literal(&mut block, 4, kind & 0x10 != 0)?),
            }
            has_fields = true;
        }
        Ok(())
    }

    /// A field whose value is spelled out, and its name unless an index stands for that.
    fn literal(&mut self, block: &mut &[u8], bits: u8, is_secret: bool) -> Result<Field<'_>, BlockFault> {
        let mut known = Known::Nothing;
        self.name.clear();
        match integer(block, bits)? {
            0 => text(block, &mut self.name)?,
            index => {
                if let Some(index) = u8::try_from(index).ok().filter(|index| usize::from(*index) <= STATIC.len()) {
                    known = Known::Name(index);
                }
                let mut name = std::mem::take(&mut self.name);
                name.extend_from_slice(self.indexed(index)?.name);
                self.name = name;
            }
        }
        self.value.clear();
        text(block, &mut self.value)?;
        Ok(Field { name: &self.name, value: &self.value, known, is_secret })
    }

    /// Puts the field that was just read into the table. One that is larger than the table empties it (RFC 7541, section 4.4).
    fn keep(&mut self) {
        let size = self.name.len() + self.value.len() + OVERHEAD;
        self.evict(size);
        if size <= self.most {
            self.table.push_front(TableEntry { name: self.name[..].into(), value: self.value[..].into() });
            self.size += size;
        }
    }

    /// What an index stands for: in the static table, and then in the dynamic one.
    fn indexed(&self, index: usize) -> Result<Field<'_>, BlockFault> {
        let at = index.checked_sub(1).ok_or(BlockFault)?;
        if let (Some((name, value)), Ok(index)) = (STATIC.get(at), u8::try_from(index)) {
            let known = Known::Whole(index);
            return Ok(Field { name: name.as_bytes(), value: value.as_bytes(), known, is_secret: false });
        }
        let entry = self.table.get(at - STATIC.len()).ok_or(BlockFault)?;
        Ok(Field::new(&entry.name, &entry.value))
    }

    /// Makes room for an entry of this size.
    fn evict(&mut self, size: usize) {
        while self.size.saturating_add(size) > self.most {
            let Some(oldest) = self.table.pop_back() else { return };
            self.size -= oldest.size();
        }
    }
}

/// A number with a prefix of so many bits (RFC 7541, section 5.1).
fn integer(block: &mut &[u8], bits: u8) -> Result<usize, BlockFault> {
    let mut next = || {
        let (first, rest) = block.split_first()?;
        *block = rest;
        Some(usize::from(*first))
    };
    let most = (1 << bits) - 1;
    let start = next().ok_or(BlockFault)? & most;
    if start < most {
        return Ok(start);
    }
    let mut number = start;
    for shift in [0, 7, 14, 21] {
        let byte = next().ok_or(BlockFault)?;
        number += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(BlockFault)
}

fn write_integer(block: &mut Vec<u8>, kind: u8, bits: u8, number: usize) {
    let most = (1_u8 << bits) - 1;
    let short = u8::try_from(number).ok().filter(|short| *short < most);
    block.push(kind | short.unwrap_or(most));
    if short.is_some() {
        return;
    }
    let mut rest = number - usize::from(most);
    while let [low, ..] = rest.to_le_bytes()
        && rest >= 0x80
    {
        block.push(low | 0x80);
        rest >>= 7;
    }
    block.push(rest.to_le_bytes()[0]);
}

/// Reads a text, whichever way it is coded (RFC 7541, section 5.2).
fn text(block: &mut &[u8], out: &mut Vec<u8>) -> Result<(), BlockFault> {
    let is_coded = *block.first().ok_or(BlockFault)? & 0x80 != 0;
    let length = integer(block, 7)?;
    let (text, rest) = block.split_at_checked(length).ok_or(BlockFault)?;
    *block = rest;
    if is_coded {
        return decode(text, out);
    }
    out.extend_from_slice(text);
    Ok(())
}

fn write_text(block: &mut Vec<u8>, text: &[u8]) {
    write_integer(block, 0, 7, text.len());
    block.extend_from_slice(text);
}

/// Reads a text in Huffman's code.
fn decode(text: &[u8], out: &mut Vec<u8>) -> Result<(), BlockFault> {
    // the bits that are left are the upper ones
    let (mut bits, mut have) = (0_u64, 0_u32);
    for byte in text {
        bits |= u64::from(*byte) << (56 - have);
        have += 8;
        while let Some((symbol, length)) = symbol((bits >> 32) as u32)
            && length <= have
        {
            out.push(symbol);
            bits <<= length;
            have -= length;
        }
        // what is longer than any code stands for nothing
        if have > 30 {
            return Err(BlockFault);
        }
    }
    // the beginning of the code that ends a text fills the last byte
    let is_padding = have < 8 && bits.leading_ones() >= have;
    if is_padding { Ok(()) } else { Err(BlockFault) }
}

/// What the code stands for that these bits begin with, and how many it has.
fn symbol(bits: u32) -> Option<(u8, u32)> {
    // no code is shorter than five
    let (range, length) = RANGES.iter().zip(1..).skip(4).find(|(range, _)| u64::from(bits) < range.end)?;
    let nth = (bits - range.first) >> (32 - length);
    Some((*SYMBOLS.get(range.symbol + nth as usize)?, length))
}

#[cfg(test)]
mod tests;
