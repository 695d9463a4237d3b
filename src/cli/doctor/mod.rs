//! `locum doctor`: what would keep locum from working here, each finding with its mend. It changes nothing unless it is told to,
//! and then only what is locum's own.

mod authority;
mod clients;
mod clock;
mod config;
mod confinement;
mod container;
mod files;
mod finding;
#[cfg(target_os = "linux")]
mod levels;
mod listening;
mod memory;
mod repair;
mod screen;
mod settings;
mod stores;
mod subject;
mod variables;

use super::context::CliContext;
use super::{child_env, env};
use crate::app;
use crate::config::Settings;
use crate::config::settings::ConfigEnvironment;
use crate::secrets::SecretBackends;
use finding::{DoctorFinding, FindingSeverity};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};
use subject::DoctorSubject;

#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// Mend what is locum's own: modes of its files, and what was left by processes that were killed
    #[arg(long)]
    fix: bool,
    /// One JSON array: area, severity, what, next, fix, fixed
    #[arg(long)]
    json: bool,
    /// What each level of `run --confine` stops, and which of them this machine has; nothing else is looked at
    #[cfg(target_os = "linux")]
    #[arg(long, conflicts_with_all = ["fix", "patience"])]
    confine: bool,
    /// How long each client that is tried may take
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    patience: u64,
}

/// Prints what it finds. It fails where there is a fault, and not for warnings alone.
pub fn run(args: &DoctorArgs, context: &CliContext) -> anyhow::Result<ExitCode> {
    #[cfg(target_os = "linux")]
    if args.confine {
        return levels::run(args.json);
    }
    let variables = ConfigEnvironment::of_process();
    let (mut settings, mut mistakes) = Settings::read(context.paths(), &variables);
    let taken = context.take_environment(&settings)?;
    let now = child_env::before(&taken);
    let was = env::before_all(&now, &taken);
    let backends = app::backends(&settings, taken.secrets.clone());
    let mut findings = if args.fix { mend(context, &variables, &backends, &was) } else { Vec::new() };
    if args.fix {
        (settings, mistakes) = Settings::read(context.paths(), &variables);
    }
    let active = app::active(&settings, &backends);
    let subject = DoctorSubject {
        context,
        settings: &settings,
        mistakes: &mistakes,
        backends: &backends,
        active: &active,
        was: &was,
    };
    findings.extend(all(&subject));
    findings.extend(clients::find(&subject, &taken, Duration::from_secs(args.patience))?);
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&findings)?),
        false => screen::print(&findings),
    }
    let is_faulty = findings.iter().any(|finding| finding.severity == FindingSeverity::Fault);
    Ok(if is_faulty { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// All but the clients.
fn all(subject: &DoctorSubject) -> Vec<DoctorFinding> {
    let now = SystemTime::now();
    [
        config::find(subject),
        files::find(subject),
        stores::find(subject),
        memory::find(subject),
        confinement::find(),
        authority::find(subject, now),
        clock::find(subject, now),
        variables::find(subject),
        settings::find(subject),
        container::find(subject),
    ]
    .concat()
}

/// Mends what is locum's own: files first, since others that are closed may hide more.
fn mend(
    context: &CliContext,
    variables: &ConfigEnvironment,
    backends: &SecretBackends,
    was: &dyn Fn(&str) -> Option<String>,
) -> Vec<DoctorFinding> {
    let mut done = Vec::new();
    for find in [files::find, config::find] {
        let (settings, mistakes) = Settings::read(context.paths(), variables);
        let active = app::active(&settings, backends);
        let subject =
            DoctorSubject { context, settings: &settings, mistakes: &mistakes, backends, active: &active, was };
        done.extend(find(&subject).into_iter().filter_map(mended));
    }
    done
}

/// Mends it, where locum can, and says what was done.
fn mended(found: DoctorFinding) -> Option<DoctorFinding> {
    let repair = found.fix?;
    Some(match repair.make() {
        Ok(()) => DoctorFinding {
            fixed: true,
            ..DoctorFinding::ok(found.area, format!("mended: {repair}")).mended_by(repair)
        },
        Err(e) => DoctorFinding::fault(found.area, format!("{repair} failed: {e}"), found.next),
    })
}
