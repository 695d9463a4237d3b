//! Counters of what has come about since the start, fed by the recorder alone, so that they and the audit never differ.

use crate::record::{Event, Record};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of the process, each only ever rising.
#[derive(Debug, Default)]
pub struct Counters {
    substitutions: AtomicU64,
    refusals: AtomicU64,
    scrubs: AtomicU64,
}

/// [`Counters`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Placeholders that became keys.
    pub substitutions: u64,
    /// Requests and connections that were refused.
    pub refusals: u64,
    /// Keys that were hidden in answers.
    pub scrubs: u64,
}

impl Counters {
    /// Counts a record that goes into the audit.
    pub fn note(&self, record: &Record) {
        let counter = match record.event {
            Event::Substitution => &self.substitutions,
            Event::Refusal => &self.refusals,
            Event::Scrub => &self.scrubs,
            _ => return,
        };
        counter.fetch_add(record.count.unwrap_or(1), Ordering::Relaxed);
    }

    /// The counts of now.
    pub fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts { substitutions: read(&self.substitutions), refusals: read(&self.refusals), scrubs: read(&self.scrubs) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn each_event_has_its_counter_and_a_record_may_count_for_many() {
        let counters = Counters::default();
        for (event, count) in [
            (Event::Substitution, Some(3)),
            (Event::Refusal, None),
            (Event::Scrub, Some(2)),
            (Event::Exchange, None),
            (Event::Refusal, None),
        ] {
            let mut record = Record::new(SystemTime::UNIX_EPOCH, event, "a.example");
            record.count = count;
            counters.note(&record);
        }
        assert_eq!(counters.read(), Counts { substitutions: 3, refusals: 2, scrubs: 2 });
    }
}
