//! The terminal's foreground: a shell inside can't give it back to a group of processes that it has no number for.
#![allow(unsafe_code, reason = "the mask of signals, which no crate at hand sets")]

use rustix::process::Pid;
use rustix::termios::{tcgetpgrp, tcsetpgrp};
use std::fs::File;

/// Gives the terminal back, when it is dropped, to the group of this process, which had it.
pub struct Foreground(Option<(File, Pid)>);

impl Foreground {
    /// As it is now; where this process has no terminal, or is in its background, nothing is to be given back.
    pub fn of_terminal() -> Self {
        let terminal = File::options().read(true).write(true).open("/dev/tty").ok();
        // SAFETY: it only asks. Where the group has no number in this PID namespace that is 0, which no pid is.
        let own = Pid::from_raw(unsafe { libc::getpgrp() });
        let mine = |terminal: &File| own.filter(|own| tcgetpgrp(terminal).is_ok_and(|group| group == *own));
        Self(terminal.and_then(|terminal| mine(&terminal).map(|own| (terminal, own))))
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let Some((terminal, group)) = &self.0 else { return };
        if tcgetpgrp(terminal).is_ok_and(|now| now == *group) {
            return;
        }
        // SAFETY: both sets are locals that are initialised before they are read.
        unsafe {
            let (mut blocked, mut before): (libc::sigset_t, libc::sigset_t) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigemptyset(&mut blocked);
            // what a group in the background is sent that changes its terminal (tcsetpgrp(3))
            libc::sigaddset(&mut blocked, libc::SIGTTOU);
            libc::pthread_sigmask(libc::SIG_BLOCK, &blocked, &mut before);
            // the terminal may be gone
            let _ = tcsetpgrp(terminal, *group);
            libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        }
    }
}
