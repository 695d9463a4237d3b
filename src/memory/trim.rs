//! Lets go of the program's own code that only the start needed: it is in the file, and comes back page by page if wanted.
#![allow(unsafe_code)] // advises the kernel on mappings of this program

/// After the config, the roots and the catalog have been read most of the code that is resident has done its work.
#[cfg(target_os = "linux")]
pub fn give_back() {
    let (Ok(maps), Ok(program)) = (std::fs::read_to_string("/proc/self/maps"), std::env::current_exe()) else { return };
    for line in maps.lines().filter(|line| line.ends_with(&*program.to_string_lossy())) {
        if let Some((start, len)) = code(line) {
            // SAFETY: the mapping is this program's code, private, never written and backed by its file: a page that is
            // dropped is read from there again at its next use.
            let _ =
                unsafe { rustix::mm::madvise(start as *mut std::ffi::c_void, len, rustix::mm::Advice::LinuxDontNeed) };
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub fn give_back() {}

/// Where a line of `/proc/self/maps` tells of code that nobody can have changed: start and length.
#[cfg(target_os = "linux")]
fn code(line: &str) -> Option<(usize, usize)> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    rest.starts_with("r-xp ").then(|| (start, end.saturating_sub(start)))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_let_go() {
        assert_eq!(code("1000-3000 r-xp 0000 fe:00 1 /bin/x"), Some((0x1000, 0x2000)));
        for other in ["1000-3000 r--p 0 fe:00 1 /bin/x", "1000-3000 rw-p 0 fe:00 1 /bin/x", "1000-3000 rwxp 0", "x", ""]
        {
            assert_eq!(code(other), None, "{other}");
        }
        give_back();
        assert_eq!(code("1000-3000 r-xp 0 x"), Some((0x1000, 0x2000)), "code that was let go comes back");
    }
}
