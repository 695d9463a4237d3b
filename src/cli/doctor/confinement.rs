//! What a command could be shut in by on this machine. Nothing of it is needed for keys to stay out of its hands.

use super::finding::{DoctorArea, DoctorFinding};
use crate::system::sandbox;
use std::fs;
use std::io;

const AREA: DoctorArea = DoctorArea::Confinement;
/// The first version of Landlock that knows of TCP ports.
const WITH_PORTS: usize = 4;

/// Namespaces, Landlock and seccomp.
pub fn find() -> Vec<DoctorFinding> {
    let seccomp = match sandbox::has_seccomp_filters() {
        true => DoctorFinding::ok(AREA, "seccomp filters"),
        false => DoctorFinding::warning(
            AREA,
            "the kernel has no seccomp filters, so no system call can be kept from a command",
            "take a kernel with CONFIG_SECCOMP_FILTER",
        ),
    };
    vec![namespaces(), landlock(), seccomp]
}

fn namespaces() -> DoctorFinding {
    let without = "so a command can't be given a network of its own";
    if let Err(e) = sandbox::user_namespaces() {
        return DoctorFinding::warning(AREA, format!("user namespaces can't be made ({e}), {without}"), allowing());
    }
    if !rustix::process::geteuid().is_root() && says("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        let what = format!("AppArmor takes all rights from user namespaces, {without}");
        return DoctorFinding::warning(
            AREA,
            what,
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give locum an AppArmor profile with userns",
        );
    }
    DoctorFinding::ok(AREA, "user namespaces")
}

fn allowing() -> &'static str {
    if says("/proc/sys/user/max_user_namespaces", "0") {
        "sysctl -w user.max_user_namespaces=10000"
    } else if says("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "sysctl -w kernel.unprivileged_userns_clone=1"
    } else {
        "in a container its seccomp profile has to allow unshare; else give the agent another user"
    }
}

fn says(file: &str, value: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.trim() == value)
}

fn landlock() -> DoctorFinding {
    match sandbox::landlock_version() {
        Ok(version) if version >= WITH_PORTS => DoctorFinding::ok(AREA, format!("Landlock {version}")),
        Ok(version) => DoctorFinding::warning(
            AREA,
            format!("Landlock {version} knows files and no TCP ports"),
            "take a kernel from 6.7 on",
        ),
        Err(e) => DoctorFinding::warning(AREA, format!("there is no Landlock ({e})"), without_landlock(&e)),
    }
}

fn without_landlock(e: &io::Error) -> &'static str {
    match e.raw_os_error() {
        Some(libc::EOPNOTSUPP) => "start the kernel with landlock among those that lsm= names",
        Some(libc::EPERM) => "a container's seccomp profile has to allow landlock_create_ruleset",
        _ => "take a kernel from 6.7 on, with CONFIG_SECURITY_LANDLOCK",
    }
}
