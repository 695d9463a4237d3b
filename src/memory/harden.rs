//! Closes the process to debuggers, core dumps and readers of /proc. The memory itself is the other files' work.
#![allow(unsafe_code, reason = "system calls, one of them between fork and exec")]

use std::process::Command;

/// The outcome of [`harden`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hardened {
    /// One phrase for each protection that this system would not give.
    pub missing: Vec<&'static str>,
    core_limit: Option<u64>,
}

/// No core dumps, no ptrace, no /proc/PID/mem for processes of the same user. Call it before any secret is read.
#[cfg(unix)]
pub fn harden() -> Hardened {
    let mut hardened = Hardened::default();
    // SAFETY: plain system calls; the only pointer is to a local.
    unsafe {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 {
            hardened.missing.push("other processes of this user can read the memory (PR_SET_DUMPABLE was refused)");
        }
        let mut limit: libc::rlimit = std::mem::zeroed();
        // Only the soft limit, so that a child can be given back what it would have had.
        if libc::getrlimit(libc::RLIMIT_CORE, &mut limit) == 0 {
            hardened.core_limit = Some(limit.rlim_cur as u64);
            limit.rlim_cur = 0;
        }
        if hardened.core_limit.is_none() || libc::setrlimit(libc::RLIMIT_CORE, &limit) != 0 {
            hardened.missing.push("a crash may write a core dump (RLIMIT_CORE was refused)");
        }
    }
    hardened
}

/// Nothing is hardened on this system.
#[cfg(not(unix))]
pub fn harden() -> Hardened {
    Hardened { missing: vec!["other processes of this user can read the memory (no hardening here)"], core_limit: None }
}

/// Gives up for good, for this process and all that it starts, what a service has no use for: cores beyond the hard limit,
/// and rights that a program's file would give (setuid, setgid, capabilities). One phrase for each that was refused.
///
/// Call it before any thread is started. What `run` starts keeps both.
#[cfg(unix)]
pub fn renounce() -> Vec<&'static str> {
    let mut missing = Vec::new();
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: plain system calls; the only pointer is to a local.
    unsafe {
        if libc::setrlimit(libc::RLIMIT_CORE, &none) != 0 {
            missing.push("core dumps could be allowed again (RLIMIT_CORE was refused)");
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            missing.push("programs that are started may gain rights (PR_SET_NO_NEW_PRIVS was refused)");
        }
    }
    missing
}

/// There is nothing to give up on this system.
#[cfg(not(unix))]
pub fn renounce() -> Vec<&'static str> {
    Vec::new()
}

impl Hardened {
    /// Lets a child dump core as it could without us; being dumpable comes back by itself at its exec.
    pub fn spare(&self, child: &mut Command) {
        #[cfg(unix)]
        if let Some(soft) = self.core_limit {
            use std::os::unix::process::CommandExt;
            // SAFETY: between fork and exec only two async-signal-safe system calls are made.
            unsafe {
                child.pre_exec(move || {
                    let mut limit: libc::rlimit = std::mem::zeroed();
                    if libc::getrlimit(libc::RLIMIT_CORE, &mut limit) == 0 {
                        limit.rlim_cur = soft as libc::rlim_t;
                        libc::setrlimit(libc::RLIMIT_CORE, &limit);
                    }
                    Ok(())
                });
            }
        }
        #[cfg(not(unix))]
        let _ = child;
    }
}

/// Has the system send a child SIGTERM when the thread that starts it is gone, as after SIGKILL, which no handler sees: without
/// its proxy the child could reach nothing. A child that is setuid or setgid is not sent it, nor are children of the child.
pub fn end_with_us(child: &mut Command) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use std::os::unix::process::CommandExt;
        let parent = std::process::id();
        // SAFETY: between fork and exec only async-signal-safe system calls are made.
        unsafe {
            child.pre_exec(move || {
                let refused = libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM, 0, 0, 0) != 0;
                // who has gone before the call was made sends nothing any more
                let is_alone = u32::try_from(libc::getppid()) != Ok(parent);
                if !refused && is_alone {
                    libc::raise(libc::SIGTERM);
                }
                Ok(())
            });
        }
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = child;
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_closed_and_its_child_is_not() {
        let ulimit = || {
            let mut c = Command::new("/bin/sh");
            c.args(["-c", "ulimit -S -c"]);
            c
        };
        let said = |mut c: Command| String::from_utf8(c.output().unwrap().stdout).unwrap();
        let before = said(ulimit());
        let hardened = harden();
        assert_eq!(hardened.missing, Vec::<&str>::new());
        // SAFETY: it only asks.
        assert_eq!(unsafe { libc::prctl(libc::PR_GET_DUMPABLE) }, 0);
        assert_eq!(said(ulimit()), "0\n");
        let mut child = ulimit();
        hardened.spare(&mut child);
        assert_eq!(said(child), before);
    }
}
