//! Mistakes in the config, and what a service would not start with: the address, folders, tokens.

use super::files::too_open;
use super::finding::{DoctorArea, DoctorFinding};
use super::repair::Repair;
use super::subject::DoctorSubject;
use crate::app::{self, AppError};
use crate::audit::AuditError;
use crate::cli::running_service;
use crate::config::{ConfigLocation, Mistake};

/// Mistakes as `locum check` has them, and what `serve` would fail by.
pub fn find(subject: &DoctorSubject) -> Vec<DoctorFinding> {
    let (settings, mistakes) = (subject.settings, subject.mistakes);
    let others = mistakes.iter().filter(|mistake| too_open(mistake, &settings.state).is_none());
    let mut found: Vec<DoctorFinding> = others
        .map(|mistake| {
            DoctorFinding::fault(DoctorArea::Config, format!("{}: {}", mistake.at, mistake.what), &*mistake.hint)
        })
        .collect();
    if found.is_empty() {
        let file = settings.file.as_ref().map_or("none: defaults".into(), |file| file.display().to_string());
        found.push(DoctorFinding::ok(DoctorArea::Config, file));
    }
    // what is open to others is told of with the files
    let is_told = |e: &AppError| {
        let at = e.path().map(|path| ConfigLocation::File(path.into()));
        let about = |mistake: &&Mistake| Some(&mistake.at) == at.as_ref();
        mistakes.iter().filter(about).any(|mistake| too_open(mistake, &settings.state).is_some())
    };
    let unfit: Vec<AppError> = app::preflight(settings, subject.backends).into_iter().filter(|e| !is_told(e)).collect();
    found.extend(unfit.iter().map(of_error));
    if !unfit.iter().any(|e| area(e) == DoctorArea::Address) {
        found.push(DoctorFinding::ok(DoctorArea::Address, listening(subject)));
    }
    found
}

fn area(e: &AppError) -> DoctorArea {
    match e {
        AppError::Listen { .. } | AppError::Open { .. } => DoctorArea::Address,
        AppError::State { .. } | AppError::Audit(_) | AppError::Export { .. } => DoctorArea::Files,
        _ => DoctorArea::Config,
    }
}

fn of_error(e: &AppError) -> DoctorFinding {
    let finding = DoctorFinding::fault(area(e), e.to_string(), e.next());
    match e {
        AppError::Audit(AuditError::Open { path, .. }) => {
            finding.mended_by(Repair::Narrow { paths: vec![path.clone()], bits: 0o077 })
        }
        _ => finding,
    }
}

fn listening(subject: &DoctorSubject) -> String {
    match running_service::status(&subject.settings.state) {
        Some(status) => format!("a service runs on {}", status["listen"].as_str().unwrap_or("?")),
        None => format!("no service runs, and one could listen on {}", subject.settings.proxy.listen),
    }
}
