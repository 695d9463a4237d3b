//! What `run --confine` could shut a command in by on this machine. Nothing of it is needed for keys to stay out of its hands.

use super::finding::{DoctorArea, DoctorFinding};
use crate::confine::ConfineLevel;
use crate::confine::launch::probe;
use std::fs;

const AREA: DoctorArea = DoctorArea::Confinement;

/// Both levels, each really put up.
pub fn find() -> Vec<DoctorFinding> {
    vec![namespaces(), filter()]
}

fn namespaces() -> DoctorFinding {
    match probe(ConfineLevel::Namespaces) {
        Ok(None) => DoctorFinding::ok(AREA, "namespaces"),
        Ok(Some(_)) => DoctorFinding::ok(AREA, "namespaces, on the ports of the config alone"),
        Err(e) => {
            let what = format!("user namespaces can't be had ({e}), so a command can't be given a network of its own");
            DoctorFinding::warning(AREA, what, allowing())
        }
    }
}

fn allowing() -> &'static str {
    if says("/proc/sys/user/max_user_namespaces", "0") {
        "sysctl -w user.max_user_namespaces=10000"
    } else if says("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "sysctl -w kernel.unprivileged_userns_clone=1"
    } else if says("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give locum an AppArmor profile with userns"
    } else {
        "in a container its seccomp profile has to allow unshare; else give the agent another user"
    }
}

fn says(file: &str, value: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.trim() == value)
}

fn filter() -> DoctorFinding {
    match probe(ConfineLevel::Filter) {
        Ok(_) => DoctorFinding::ok(AREA, "Landlock and filter"),
        Err(e) => DoctorFinding::warning(
            AREA,
            format!("Landlock and a filter of system calls can't be had ({e})"),
            "take a kernel from 6.7 on, with landlock among those that lsm= names",
        ),
    }
}
