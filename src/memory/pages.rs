//! A few pages of memory, the best hidden that the system gives. What is put there is not its business.
#![allow(unsafe_code, reason = "mapping memory and handing out its bytes")]

use super::wiping::wipe_raw;
use std::fmt;
use std::ptr::NonNull;

/// Four pages of the usual size: RLIMIT_MEMLOCK, which counts them, may be as low as 64 KiB.
pub(super) const LEN: usize = 16 * 1024;
/// Bytes at the beginning of the pages that are kept for one value of their owner.
pub(super) const HEAD: usize = 4096;

/// The protection of secrets at rest, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protection {
    /// In memory that even root can't read through /proc or a core dump (`memfd_secret`).
    Secret,
    /// Encrypted, under a key in locked pages that are neither swapped nor dumped.
    Locked,
    /// Encrypted, but the key may be swapped to disk: the system allows no locked memory.
    Unlocked,
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protection::Secret => "secret memory (memfd_secret): not even root can read it from outside",
            Protection::Locked => "encrypted, under a key in locked memory",
            Protection::Unlocked => {
                "encrypted, but the key may be swapped to disk: the system allows no locked memory (see 'ulimit -l')"
            }
        })
    }
}

/// Zeroed pages that live as long as the process.
pub(super) struct Pages {
    start: NonNull<u8>,
    /// How well they are hidden.
    pub(super) protection: Protection,
}

// SAFETY: plain memory that is never unmapped; who may touch which byte when is guarded by the borrow of `Pages`.
unsafe impl Send for Pages {}
// SAFETY: as for `Send`.
unsafe impl Sync for Pages {}

impl Pages {
    /// Maps the best kind that is not above `best`.
    pub(super) fn map(best: Protection) -> Self {
        let secret = || (best <= Protection::Secret).then(map_secret).flatten();
        let locked = || (best <= Protection::Locked).then(map_locked).flatten();
        if let Some(start) = secret() {
            return Self { start, protection: Protection::Secret };
        }
        if let Some(start) = locked() {
            return Self { start, protection: Protection::Locked };
        }
        let heap: &'static mut Heap = Box::leak(Box::new(Heap([0; LEN])));
        Self { start: NonNull::from(heap).cast(), protection: Protection::Unlocked }
    }

    /// The first `HEAD` bytes, for one value of the owner's own type.
    pub(super) fn head(&self) -> NonNull<u8> {
        self.start
    }

    /// The bytes after the head.
    pub(super) fn rest(&self) -> &[u8] {
        // SAFETY: mapped with this length, initialised with zeros, and borrowed as `self` is.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(HEAD), LEN - HEAD) }
    }

    /// The same, to write.
    pub(super) fn rest_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` is the only borrow.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(HEAD), LEN - HEAD) }
    }
}

impl Drop for Pages {
    /// Wiped but not given back: pages are made once or twice in a process's life.
    fn drop(&mut self) {
        // SAFETY: mapped with this length.
        unsafe { wipe_raw(self.start.as_ptr(), LEN) };
    }
}

#[repr(C, align(4096))]
struct Heap([u8; LEN]);

#[cfg(any(target_os = "linux", target_os = "android"))]
fn map_secret() -> Option<NonNull<u8>> {
    // SAFETY: system calls on a descriptor of our own, and a mapping at an address that the kernel chooses.
    unsafe {
        let fd = libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) as libc::c_int;
        if fd < 0 {
            return None;
        }
        let start = (libc::ftruncate(fd, LEN as libc::off_t) == 0).then(|| map(libc::MAP_SHARED, fd)).flatten();
        libc::close(fd);
        let start = start?;
        // A forked child must not reach this shared memory: what it wiped would be wiped here.
        libc::madvise(start.as_ptr().cast(), LEN, libc::MADV_DONTFORK);
        Some(start)
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn map_secret() -> Option<NonNull<u8>> {
    None
}

#[cfg(unix)]
fn map_locked() -> Option<NonNull<u8>> {
    // SAFETY: a private mapping at an address that the kernel chooses; unmapped again only if nobody has it.
    unsafe {
        let start = map(libc::MAP_PRIVATE | libc::MAP_ANON, -1)?;
        if libc::mlock(start.as_ptr().cast(), LEN) != 0 {
            libc::munmap(start.as_ptr().cast(), LEN);
            return None;
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        libc::madvise(start.as_ptr().cast(), LEN, libc::MADV_DONTDUMP);
        Some(start)
    }
}

/// Maps [`LEN`] bytes at an address that the kernel chooses.
///
/// # Safety
/// `fd` must be -1 or a descriptor that can be mapped.
#[cfg(unix)]
unsafe fn map(flags: libc::c_int, fd: libc::c_int) -> Option<NonNull<u8>> {
    // SAFETY: no address is asked for, so no mapping is replaced.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), LEN, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0) };
    if start == libc::MAP_FAILED { None } else { NonNull::new(start.cast()) }
}

#[cfg(not(unix))]
fn map_locked() -> Option<NonNull<u8>> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_zeroed_and_keep_what_is_written() {
        for best in [Protection::Secret, Protection::Locked, Protection::Unlocked] {
            let mut pages = Pages::map(best);
            assert!(pages.protection >= best, "{best:?}");
            assert!(pages.rest().iter().all(|b| *b == 0), "{best:?}");
            pages.rest_mut().fill(7);
            assert!(pages.rest().iter().all(|b| *b == 7), "{best:?}");
        }
    }
}
