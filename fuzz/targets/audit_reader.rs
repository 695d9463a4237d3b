//! Any bytes as a file of the audit: read, looked into, filtered, counted and checked, in pieces and whole alike.

#![no_main]

use libfuzzer_sys::fuzz_target;
use locum::anomaly::{AnomalyLimits, AnomalyDetector};
use locum::audit::tell::alerts::fact;
use locum::audit::read::filter::{Filter, RecordQuery};
use locum::audit::read::lines::{AuditLine, AuditLines, members};
use locum::audit::read::stats::{GroupBy, Stats};
use locum::chain::ChainVerifier;
use locum::record::misleads;
use std::io::Read;

/// Hands out a few bytes at a time.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.1.min(out.len());
        (&self.0[..]).take(n as u64).read(out).inspect(|n| self.0 = &self.0[*n..])
    }
}

fn all(bytes: &[u8], piece: usize) -> Vec<Option<Vec<u8>>> {
    let mut lines = AuditLines::new(Pieces(bytes, piece));
    let mut out = Vec::new();
    while let Some(line) = lines.next_line().expect("memory can be read") {
        out.push(match line {
            AuditLine::Whole(line) => Some(line.to_vec()),
            AuditLine::TooLong => None,
        });
    }
    out
}

fuzz_target!(|bytes: &[u8]| {
    let lines = all(bytes, usize::MAX);
    assert_eq!(lines, all(bytes, 7));
    let filter = Filter::new(&RecordQuery { keys: vec!["openai".into()], failed: true, ..RecordQuery::default() });
    let (mut verifier, mut stats, mut watch) = (ChainVerifier::default(), Stats::default(), AnomalyDetector::new(AnomalyLimits::default()));
    for line in lines.iter().flatten() {
        for (_, value) in members(line) {
            assert!(!value.text().chars().any(misleads));
        }
        filter.takes_line(line);
        stats.add(line);
        fact(line).map(|fact| watch.take(&fact));
        if verifier.line(line).is_err() {
            verifier = ChainVerifier::default();
        }
    }
    assert!(GroupBy::ALL.iter().all(|by| stats.by(*by).len() <= lines.len()));
});
