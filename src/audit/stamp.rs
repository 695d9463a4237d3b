//! Times as records write them: 27 bytes that compare in the order of time.

use std::time::SystemTime;

/// The time of a record: 27 bytes that compare in the order of time.
pub type Stamp = [u8; 27];

/// A time as records write it.
pub fn time_stamp(at: SystemTime) -> Stamp {
    let mut out = Vec::with_capacity(64);
    crate::record::write_timestamp(&mut out, at);
    out.strip_prefix(b"\"timestamp\":\"").and_then(|rest| rest.get(..27)?.try_into().ok()).unwrap_or([b'0'; 27])
}

/// The seconds since 1970 that a timestamp tells; `None` where it isn't written as records write it. Parsing any form of
/// time takes longer than all else that is done with a record.
pub fn seconds(stamp: &[u8]) -> Option<u64> {
    let stamp: &Stamp = stamp.try_into().ok()?;
    let number = |from: usize, to: usize| {
        let digits = stamp.get(from..to)?;
        digits.iter().try_fold(0_u64, |n, b| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0')))
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (26, b'Z')];
    let marked = marks.iter().all(|(at, mark)| stamp.get(*at) == Some(mark));
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let fits = year >= 1970 && (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60;
    if !marked || !fits || second >= 60 || number(20, 26).is_none() {
        return None;
    }
    // days from March on, so that the leap day is a year's last
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    /// From March of the year 0 to 1970.
    const BEFORE_1970: u64 = 719_468;
    Some((days.checked_sub(BEFORE_1970)? * 24 + hour) * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn seconds_are_what_the_calendar_says(second in 0_u64..253_402_300_800, bytes in prop::collection::vec(any::<u8>(), 0..30)) {
            let at = std::time::UNIX_EPOCH + std::time::Duration::new(second, 999_999_000);
            let stamp = time_stamp(at);
            prop_assert_eq!(seconds(&stamp), Some(second));
            for end in 0..stamp.len() {
                prop_assert_eq!(seconds(&stamp[..end]), None);
                let mut wrong = stamp;
                wrong[end] = b'x';
                prop_assert_eq!(seconds(&wrong), None);
            }
            prop_assert_eq!(seconds(&bytes), None);
        }
    }
}
