//! Whether the clock of this machine can be right: certificates and tokens count by it.

use super::finding::{DoctorArea, DoctorFinding};
use super::subject::DoctorSubject;
use crate::audit;
use crate::cli::when;
use jiff::Timestamp;
use std::time::{Duration, SystemTime};

const AREA: DoctorArea = DoctorArea::Clock;
/// Seconds since 1970 when there was no locum yet: 2026-01-01.
const BEFORE_LOCUM: Duration = Duration::from_secs(1_767_225_600);
/// Clocks of file servers are a little ahead or behind.
const TOLERANCE: Duration = Duration::from_secs(300);
const SET_IT: &str = "set it: 'timedatectl set-ntp true', or 'hwclock --hctosys' in a machine that was suspended";

/// Compares the clock with what it said before.
pub fn find(subject: &DoctorSubject, now: SystemTime) -> Vec<DoctorFinding> {
    let said = Timestamp::try_from(now).map_or_else(|_| "?".into(), when::minute_of);
    if now < SystemTime::UNIX_EPOCH + BEFORE_LOCUM {
        let what = format!("the clock says {said}, when there was no locum yet: no certificate counts");
        return vec![DoctorFinding::fault(AREA, what, SET_IT)];
    }
    let files = audit::files(&subject.settings.audit.dir).unwrap_or_default();
    let newest = files.iter().filter_map(|file| file.metadata().ok()).map(|(written, _)| written).max();
    match newest.filter(|written| *written > now + TOLERANCE) {
        Some(written) => {
            let written = Timestamp::try_from(written).map_or_else(|_| "?".into(), when::minute_of);
            let what = format!("the clock says {said}, and the audit was last written at {written}");
            vec![DoctorFinding::warning(AREA, what, SET_IT)]
        }
        None => vec![DoctorFinding::ok(AREA, said)],
    }
}
