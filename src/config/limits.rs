//! `[limits]`: the main bounds of what clients and upstreams can make grow or wait. The others stand in `proxy::limits`.

use super::reader::TableReader;
use super::units::{ByteSize, Timeout};
use crate::proxy::Limits;
use std::ops::RangeInclusive;

/// Below, ordinary requests have no room; above, one client could fill the memory.
const HEADS: RangeInclusive<u64> = 8 * 1024..=1024 * 1024;
/// A held body is in memory as often as there are requests.
const HELD_BODIES: RangeInclusive<u64> = 1..=16 * 1024 * 1024;

/// Reads `[limits]`.
pub(super) fn limits(r: &mut TableReader<'_>) -> Limits {
    let default = Limits::default();
    let first_byte = r.with("first_byte", |text| match text {
        "" => Ok(None),
        text => text.parse().map(|Timeout(time)| Some(time)),
    });
    Limits {
        connections: r.number("connections", 16..=1_000_000).map_or(default.connections, |n: u32| n as usize),
        under_way: r.number("under_way", 16..=1_000_000).map_or(default.under_way, |n: u32| n as usize),
        head: r.with("head", |text| size(text, HEADS)).map_or(default.head, |n| n as usize),
        held_body: r.with("held_body", |text| size(text, HELD_BODIES)).unwrap_or(default.held_body),
        first_byte: first_byte.unwrap_or(default.first_byte),
        drain: r.with("drain", |text| text.parse().map(|Timeout(time)| time)).unwrap_or(default.drain),
    }
}

fn size(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    let ByteSize(bytes) = text.parse()?;
    let (least, most) = (range.start() / 1024, range.end() / 1024);
    let outside = || {
        format!("'{text}' is not within {} and {most}KiB", if least == 0 { "1B".into() } else { format!("{least}KiB") })
    };
    if range.contains(&bytes) { Ok(bytes) } else { Err(outside()) }
}
