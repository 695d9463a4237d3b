//! What keeps keys in memory from other processes and from the disk.

use super::finding::{DoctorArea, DoctorFinding};
use super::subject::DoctorSubject;
use crate::memory::{self, Protection};

const AREA: DoctorArea = DoctorArea::Memory;
const MORE_LOCKED: &str =
    "raise the limit of locked memory: 'ulimit -l 64', LimitMEMLOCK=64K of systemd, --ulimit memlock=65536 of Docker";
const ALLOW_CALLS: &str = "the seccomp profile of a container has to allow prctl and setrlimit";

/// How well they are kept here.
pub fn find(subject: &DoctorSubject) -> Vec<DoctorFinding> {
    let mut found = vec![match memory::protection() {
        kept @ Protection::Unlocked => DoctorFinding::warning(AREA, format!("keys in memory are {kept}"), MORE_LOCKED),
        Protection::Locked => DoctorFinding::ok(AREA, "keys are encrypted under one in locked memory"),
        Protection::Secret => DoctorFinding::ok(AREA, "keys are in secret memory"),
    }];
    let missing = &subject.context.hardened().missing;
    found.extend(missing.iter().map(|what| DoctorFinding::warning(AREA, *what, ALLOW_CALLS)));
    if missing.is_empty() {
        found.push(DoctorFinding::ok(AREA, "closed to debuggers and core dumps"));
    }
    found
}
