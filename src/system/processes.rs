//! Processes as `/proc` tells of them (proc(5)): which there are, whose child each is, and what it holds open.

use std::collections::HashMap;

/// Generations between a process and this one; more is a loop of ids that were given anew meanwhile.
const MAX_DEPTH: usize = 128;

/// The ids of all processes that can be seen.
pub fn processes() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Whether a process was started by this one, or by one that was.
pub fn is_descendant(pid: u32) -> bool {
    let own = std::process::id();
    let mut at = pid;
    for _ in 0..MAX_DEPTH {
        match standing(at) {
            Some((_, parent)) if parent == own => return true,
            Some((_, parent)) if parent > 1 => at = parent,
            _ => return false,
        }
    }
    false
}

/// The variables that each ancestor of this process was started with, from the nearest on, as far as they may be read.
pub fn environments_above() -> impl Iterator<Item = HashMap<String, String>> {
    let above = |pid: &u32| standing(*pid).map(|(_, parent)| parent).filter(|parent| *parent > 1);
    std::iter::successors(above(&std::process::id()), above).take(MAX_DEPTH).map(environment)
}

fn environment(pid: u32) -> HashMap<String, String> {
    let bytes = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let pairs = bytes.split(|b| *b == 0).filter_map(|pair| std::str::from_utf8(pair).ok()?.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A process's state and its parent.
pub fn standing(pid: u32) -> Option<(char, u32)> {
    let stat = stat(pid)?;
    let mut fields = stat.split_ascii_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// The terminal that a process was started from, where it has one.
pub fn terminal(pid: u32) -> Option<String> {
    // state, parent, group and session come before it
    terminal_of(stat(pid)?.split_ascii_whitespace().nth(4)?.parse().ok()?)
}

/// The name of a device, numbered as `tty_nr` of proc_pid_stat(5) is; 0 is none.
fn terminal_of(device: u32) -> Option<String> {
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xf_ff00);
    match (major, minor) {
        (0, 0) => None,
        (4, minor @ 0..64) => Some(format!("/dev/tty{minor}")),
        (4, minor) => Some(format!("/dev/ttyS{}", minor - 64)),
        // eight majors of 256 each, as devices.txt of the kernel has them
        (136..=143, minor) => Some(format!("/dev/pts/{}", (major - 136) * 256 + minor)),
        (major, minor) => Some(format!("device {major}:{minor}")),
    }
}

/// Whether this process ignores a signal: it was started so.
pub fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    // the lowest bit is signal 1
    signal.checked_sub(1).is_some_and(|bit| mask.checked_shr(bit.unsigned_abs()).is_some_and(|rest| rest & 1 == 1))
}

/// What follows a process's name, which may hold anything, in `/proc/PID/stat`.
fn stat(pid: u32) -> Option<String> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let rest = stat.get(memchr::memrchr(b')', &stat)? + 1..)?;
    String::from_utf8(rest.to_vec()).ok()
}

/// Whether a process holds the socket that links in `/proc/PID/fd` call so.
pub fn holds_socket(pid: u32, socket: &str) -> bool {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    entries.flatten().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == socket))
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_terminal_has_its_name() {
        let device = |major: u32, minor: u32| minor & 0xff | major << 8 | (minor & 0xf_ff00) << 12;
        for (major, minor, name) in [
            (136, 3, "/dev/pts/3"),
            (137, 44, "/dev/pts/300"),
            (4, 1, "/dev/tty1"),
            (4, 64, "/dev/ttyS0"),
            (5, 1, "device 5:1"),
        ] {
            assert_eq!(terminal_of(device(major, minor)).as_deref(), Some(name));
        }
        assert_eq!((terminal_of(0), terminal(u32::MAX)), (None, None));
    }

    #[test]
    fn the_family_is_told_from_strangers() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert_eq!(standing(child.id()).map(|(_, parent)| parent), Some(std::process::id()));
        assert!(is_descendant(child.id()));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!is_descendant(child.id()), "gone");
        let own = std::process::id();
        assert!(!is_descendant(own) && !is_descendant(1) && !is_descendant(standing(own).unwrap().1));
    }
}
