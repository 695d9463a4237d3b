//! Lets go of the program's own pages that only the start needed: they are in its file, and come back one by one if wanted.
#![allow(unsafe_code, reason = "advises the kernel on mappings of this program")]

/// After the config, the roots and the catalog have been read, most of what is resident of the program has done its work.
#[cfg(target_os = "linux")]
pub fn give_back() {
    let (Ok(maps), Ok(program)) = (std::fs::read_to_string("/proc/self/smaps"), std::env::current_exe()) else {
        return;
    };
    for (start, len) in unchanged(&maps, &program.to_string_lossy()) {
        // SAFETY: the mapping is this program's file, can't be written, and no page of it was ever changed: one that is
        // dropped is read from the file again at its next use.
        let _ = unsafe { rustix::mm::madvise(start as *mut std::ffi::c_void, len, rustix::mm::Advice::LinuxDontNeed) };
    }
}

/// Nothing is given back on this system.
#[cfg(not(target_os = "linux"))]
pub fn give_back() {}

/// The mappings of `program` that hold nothing but what is in its file, as `/proc/self/smaps` tells: start and length.
/// Data that the loader has relocated is read-only as well, and has pages of its own: those must stay.
#[cfg(target_os = "linux")]
fn unchanged(maps: &str, program: &str) -> Vec<(usize, usize)> {
    let (mut found, mut current) = (Vec::new(), None);
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(first), Some(second)) = (words.next(), words.next()) else { continue };
        if let Some(range) = range(first) {
            let read_only = matches!(second, "r-xp" | "r--p") && line.ends_with(program);
            current = read_only.then_some(range);
            found.extend(current);
        } else if matches!(first, "Anonymous:" | "Swap:") && second != "0" {
            found.retain(|range| Some(*range) != current);
        }
    }
    found
}

/// `start-end` in hex, as start and length.
#[cfg(target_os = "linux")]
fn range(text: &str) -> Option<(usize, usize)> {
    let (start, end) = text.split_once('-')?;
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    Some((start, end.saturating_sub(start)))
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_as_in_the_file_is_let_go() {
        let maps = "1000-2000 r--p 0000 fe:00 1   /bin/x\nRss: 4 kB\nAnonymous: 0 kB\nSwap: 0 kB\nVmFlags: rd mr\n\
                    2000-4000 r-xp 1000 fe:00 1   /bin/x\nAnonymous: 0 kB\nSwap: 0 kB\n\
                    4000-5000 r--p 3000 fe:00 1   /bin/x\nAnonymous: 4 kB\nSwap: 0 kB\n\
                    5000-6000 r--p 4000 fe:00 1   /bin/x\nAnonymous: 0 kB\nSwap: 4 kB\n\
                    6000-7000 rw-p 5000 fe:00 1   /bin/x\nAnonymous: 4 kB\nSwap: 0 kB\n\
                    7000-8000 r-xp 0000 fe:00 2   /lib/y\nAnonymous: 0 kB\n\
                    8000-9000 r--p 0000 00:00 0\nAnonymous: 0 kB\n";
        assert_eq!(unchanged(maps, "/bin/x"), [(0x1000, 0x1000), (0x2000, 0x2000)]);
        assert_eq!(unchanged("x\n\n- r-xp\n9-zz r-xp /bin/x\nAnonymous:\n", "/bin/x"), []);
    }

    #[test]
    fn what_was_let_go_comes_back() {
        static TEXT: [u8; 5000] = [7; 5000];
        give_back();
        assert!(TEXT.iter().all(|b| *b == 7) && range("1000-1800") == Some((0x1000, 0x800)));
    }
}
