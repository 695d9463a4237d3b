//! Processes as `/proc` tells of them (proc(5)): which there are, whose child each is, and what it holds open.

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

/// A process's state and its parent: what follows its name, which may hold anything, in `/proc/PID/stat`.
pub fn standing(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let rest = stat.get(memchr::memrchr(b')', &stat)? + 1..)?;
    let mut fields = std::str::from_utf8(rest).ok()?.split_ascii_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
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
