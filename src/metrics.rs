//! Counters of what has come about since the start, fed by the recorder alone, so that they and the audit never differ.

use crate::record::{Event, Record, is_upstreams_fault};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of the process, each only ever rising.
#[derive(Debug, Default)]
pub struct Counters {
    substitutions: AtomicU64,
    unsent: AtomicU64,
    refusals: AtomicU64,
    upstream_failures: AtomicU64,
    scrubs: AtomicU64,
}

/// [`Counters`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Placeholders that became keys and left.
    pub substitutions: u64,
    /// Requests and connections that were refused.
    pub refusals: u64,
    /// Requests that got no answer of their upstream's.
    pub upstream_failures: u64,
    /// Keys that were hidden in answers.
    pub scrubs: u64,
}

impl Counters {
    /// Counts a record that goes into the audit.
    pub fn note(&self, record: &Record) {
        let counter = match record.event {
            Event::Substitution => &self.substitutions,
            Event::Unsent => &self.unsent,
            Event::Refusal if record.status.is_some_and(is_upstreams_fault) => &self.upstream_failures,
            Event::Refusal => &self.refusals,
            Event::Scrub => &self.scrubs,
            _ => return,
        };
        counter.fetch_add(record.count.unwrap_or(1), Ordering::Relaxed);
    }

    /// The counts of now.
    pub fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            substitutions: read(&self.substitutions).saturating_sub(read(&self.unsent)),
            refusals: read(&self.refusals),
            upstream_failures: read(&self.upstream_failures),
            scrubs: read(&self.scrubs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn each_event_has_its_counter_and_a_record_may_count_for_many() {
        let counters = Counters::default();
        for (event, count, status) in [
            (Event::Substitution, Some(4), None),
            (Event::Unsent, Some(1), None),
            (Event::Refusal, None, None),
            (Event::Scrub, Some(2), None),
            (Event::Exchange, None, Some(502)),
            (Event::Refusal, None, Some(503)),
            (Event::Refusal, None, Some(502)),
            (Event::Refusal, None, Some(504)),
        ] {
            let mut record = Record::new(SystemTime::UNIX_EPOCH, event, "a.example");
            (record.count, record.status) = (count, status);
            counters.note(&record);
        }
        let counts = Counts { substitutions: 3, refusals: 2, upstream_failures: 2, scrubs: 2 };
        assert_eq!(counters.read(), counts);
    }
}
