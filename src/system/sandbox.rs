//! What this system lends to shut a program in: namespaces of a user's own, Landlock, seccomp. It asks, and shuts nobody in.
#![allow(unsafe_code, reason = "a system call that no library wraps, and one between fork and exec")]

use std::io;

/// Whether a program may be given namespaces of its own by who has no rights (CLONE_NEWUSER and CLONE_NEWNET of unshare(2)).
/// Tried in a child that runs nothing and is gone at once: a process with threads can't try it on itself.
///
/// # Errors
/// Why it may not.
#[cfg(target_os = "linux")]
pub fn user_namespaces() -> io::Result<()> {
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;
    let mut child = Command::new("/");
    // SAFETY: between fork and exec one async-signal-safe system call is made.
    unsafe {
        child.pre_exec(|| {
            Err(match libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) {
                0 => io::Error::from_raw_os_error(libc::ECANCELED),
                _ => io::Error::last_os_error(),
            })
        });
    }
    match child.spawn() {
        Err(e) if e.raw_os_error() == Some(libc::ECANCELED) => Ok(()),
        Err(e) => Err(e),
        // it has been called off in either case
        Ok(mut child) => child.wait().map(drop),
    }
}

/// Only Linux has them.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn user_namespaces() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The version of Landlock that the kernel speaks (landlock_create_ruleset(2)); from 4 on it knows of TCP ports.
///
/// # Errors
/// When the kernel has none, or was started without.
#[cfg(target_os = "linux")]
pub fn landlock_version() -> io::Result<usize> {
    const VERSION: libc::c_uint = 1;
    // SAFETY: it is only asked: no attributes are given, and their size says so.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<libc::c_void>(), 0_usize, VERSION) };
    usize::try_from(version).map_err(|_| io::Error::last_os_error())
}

/// Only Linux has it.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn landlock_version() -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether the kernel filters system calls by a program (seccomp(2)).
pub fn has_seccomp_filters() -> bool {
    std::path::Path::new("/proc/sys/kernel/seccomp/actions_avail").exists()
}
