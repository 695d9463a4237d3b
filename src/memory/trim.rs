//! Gives memory that was needed once, at the start, back to the system.
#![allow(unsafe_code)] // a call into the C library

/// After the config and the roots have been read most of what they took is free again, but still ours.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn give_back() {
    // SAFETY: it takes no pointer, and touches only what the allocator has free.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() {}
