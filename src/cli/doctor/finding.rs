//! What was found: in which area, how grave it is, what to do about it, and how locum mends it where it is locum's own.

use super::repair::Repair;
use serde::Serialize;

/// The areas that are looked at, in the order in which they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DoctorArea {
    /// The config, and what a service would not start with.
    Config,
    /// Files of locum's own, and those of keys: their modes, and what was left behind.
    Files,
    /// Where keys can be kept.
    Stores,
    /// What keeps keys in memory from others.
    Memory,
    /// What a command could be shut in by.
    Confinement,
    /// The CA that is kept, and its time.
    Ca,
    /// The clock of this machine.
    Clock,
    /// Where a service listens.
    Address,
    /// Variables of proxies and certificates.
    Variables,
    /// Files of settings that outrank variables.
    Settings,
    /// Clients, each tried.
    Clients,
    /// Docker, Kubernetes and the like.
    Container,
}

impl DoctorArea {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Config,
        Self::Files,
        Self::Stores,
        Self::Memory,
        Self::Confinement,
        Self::Ca,
        Self::Clock,
        Self::Address,
        Self::Variables,
        Self::Settings,
        Self::Clients,
        Self::Container,
    ];

    /// As the screen says it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Files => "files",
            Self::Stores => "stores",
            Self::Memory => "memory",
            Self::Confinement => "confinement",
            Self::Ca => "CA",
            Self::Clock => "clock",
            Self::Address => "address",
            Self::Variables => "variables",
            Self::Settings => "settings",
            Self::Clients => "clients",
            Self::Container => "container",
        }
    }
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FindingSeverity {
    /// It is as it should be, or just so.
    Ok,
    /// It may matter.
    Warning,
    /// It keeps locum, or a client of it, from working.
    Fault,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DoctorFinding {
    /// Where it belongs.
    pub area: DoctorArea,
    /// How much it matters.
    pub severity: FindingSeverity,
    /// One line.
    pub what: String,
    /// One line: what to do about it; empty where there is nothing to do.
    pub next: String,
    /// What `--fix` does about it, where it is locum's own.
    pub fix: Option<Repair>,
    /// Whether that was done.
    pub fixed: bool,
}

impl DoctorFinding {
    fn new(area: DoctorArea, severity: FindingSeverity, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { area, severity, what: what.into(), next: next.into(), fix: None, fixed: false }
    }

    /// What is as it should be.
    pub fn ok(area: DoctorArea, what: impl Into<String>) -> Self {
        Self::new(area, FindingSeverity::Ok, what, "")
    }

    /// What may matter, and what to do about it.
    pub fn warning(area: DoctorArea, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(area, FindingSeverity::Warning, what, next)
    }

    /// What keeps locum or a client from working, and what to do about it.
    pub fn fault(area: DoctorArea, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(area, FindingSeverity::Fault, what, next)
    }

    /// The same, which locum can mend itself.
    pub fn mended_by(self, repair: Repair) -> Self {
        Self { fix: Some(repair), ..self }
    }

    /// The same with what is worth knowing though nothing is wrong.
    pub fn with_next(self, next: impl Into<String>) -> Self {
        Self { next: next.into(), ..self }
    }
}
