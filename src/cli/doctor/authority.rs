//! The CA that is kept: whether there is one, whether its time is now, and whether it fits the config. None is made.

use super::finding::{DoctorArea, DoctorFinding};
use super::subject::DoctorSubject;
use crate::app::{self, AppError};
use crate::ca::{Authorities, Authority};
use crate::cli::status::SOON;
use crate::cli::when;
use crate::config::settings::CaSource;
use jiff::Timestamp;
use std::time::SystemTime;

const AREA: DoctorArea = DoctorArea::Ca;

/// What is wrong with the CA.
pub fn find(subject: &DoctorSubject, now: SystemTime) -> Vec<DoctorFinding> {
    let settings = subject.settings;
    let kept = match &settings.ca.source {
        CaSource::Memory => return vec![DoctorFinding::ok(AREA, "made anew in the memory of each service")],
        CaSource::File(path) => {
            Authority::from_file(path).map(|ca| Some(Authorities::from(ca))).map_err(AppError::from)
        }
        CaSource::Auto => app::look_for_ca(settings, subject.backends),
    };
    let ca = match kept {
        Ok(Some(ca)) => ca,
        Ok(None) => return vec![DoctorFinding::ok(AREA, "none is kept yet: 'locum serve' and 'locum ca' make one")],
        Err(e) => return vec![DoctorFinding::fault(AREA, e.to_string(), e.next())],
    };
    let renewal = match &settings.ca.source {
        CaSource::File(path) => format!("put another into {}", path.display()),
        _ => "locum ca rotate".to_owned(),
    };
    let mut found: Vec<DoctorFinding> = ca.all().filter_map(|one| untimely(one, now, &renewal)).collect();
    let misfit = app::ca_misfit(settings, subject.active, &ca);
    found.extend(misfit.map(|(what, next)| DoctorFinding::warning(AREA, what, next)));
    if found.is_empty() {
        found.push(DoctorFinding::ok(AREA, format!("good until {}", day(ca.current.not_after()))));
    }
    found
}

fn untimely(ca: &Authority, now: SystemTime, renewal: &str) -> Option<DoctorFinding> {
    let (begin, end) = (ca.not_before(), ca.not_after());
    if begin > now {
        let what = format!("the CA counts from {} on, which this machine's clock says is to come", day(begin));
        let next = format!("set the clock ('timedatectl set-ntp true'); if it is right: {renewal}");
        return Some(DoctorFinding::fault(AREA, what, next));
    }
    if end < now {
        let what = format!("the CA has ended on {}, so clients trust no host", day(end));
        return Some(DoctorFinding::fault(AREA, what, format!("{renewal}; or set the clock, if it is wrong")));
    }
    let is_soon = end.duration_since(now).is_ok_and(|left| left < SOON);
    is_soon.then(|| DoctorFinding::warning(AREA, format!("the CA ends on {}", day(end)), renewal))
}

fn day(at: SystemTime) -> String {
    Timestamp::try_from(at).map_or_else(|_| "?".into(), when::day_of)
}
