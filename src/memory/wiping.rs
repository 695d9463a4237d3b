//! Zeros that the optimiser can't leave out, and an allocator that writes them over everything that is freed.
#![allow(unsafe_code, reason = "an allocator is unsafe by its trait, and the barrier is one line of assembly")]

use std::alloc::{GlobalAlloc, Layout, System};

/// Writes zeros over `bytes`, even though nobody will read them again.
pub fn wipe(bytes: &mut [u8]) {
    // SAFETY: the slice is valid for writes of its length, and zero is a valid byte.
    unsafe { wipe_raw(bytes.as_mut_ptr(), bytes.len()) }
}

/// # Safety
/// `start` must be valid for writes of `len` bytes.
#[inline]
pub(super) unsafe fn wipe_raw(start: *mut u8, len: usize) {
    // SAFETY: as the caller promised.
    unsafe { start.write_bytes(0, len) };
    // To the compiler this assembly may read all memory that `start` reaches, so the zeros must be there: the full
    // speed of memset, where volatile writes would go byte by byte.
    // SAFETY: it is empty.
    unsafe { std::arch::asm!("/* {0} */", in(reg) start, options(nostack, preserves_flags)) };
}

/// The system's allocator, except that freed memory is zeroed first: whatever a library did with a secret, its
/// buffers keep none of it.
pub struct WipingAllocator;

// SAFETY: every call goes to `System` with the layout that it came with; the writes stay inside live blocks.
unsafe impl GlobalAlloc for WipingAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the system allocator's.
        unsafe { System.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is live and as long as its layout, until the last line.
        unsafe {
            wipe_raw(block, layout.size());
            System.dealloc(block, layout);
        }
    }

    /// Never the system's own: that one may move the block and leave its old bytes behind.
    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the new block is no shorter than what is copied, and the old one is live until it is freed.
        unsafe {
            let new = System.alloc(Layout::from_size_align_unchecked(new_size, layout.align()));
            if !new.is_null() {
                new.copy_from_nonoverlapping(block, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wiped_bytes_are_zero() {
        for len in [0, 1, 7, 64, 4096, 100_000] {
            let mut bytes = vec![0xa5_u8; len];
            wipe(&mut bytes);
            assert!(bytes.iter().all(|b| *b == 0), "{len}");
        }
    }

    proptest! {
        /// Whatever is asked of it, a block keeps its bytes, and a grown one its beginning.
        #[test]
        fn realloc_keeps_what_fits(sizes in proptest::collection::vec(1_usize..5000, 1..20), align in 0_u32..7) {
            let align = 1_usize << align;
            let layout = |size| Layout::from_size_align(size, align).unwrap();
            let fill = |i: usize| (i % 251) as u8;
            // SAFETY: the block is of this layout, and is read within its length before it is freed.
            unsafe {
                let mut size = sizes[0];
                let mut block = WipingAllocator.alloc(layout(size));
                for i in 0..size {
                    block.add(i).write(fill(i));
                }
                for &next in &sizes[1..] {
                    block = WipingAllocator.realloc(block, layout(size), next);
                    prop_assert_eq!(block as usize % align, 0);
                    for i in 0..size.min(next) {
                        prop_assert_eq!(block.add(i).read(), fill(i));
                    }
                    for i in size..next {
                        block.add(i).write(fill(i));
                    }
                    size = next;
                }
                WipingAllocator.dealloc(block, layout(size));
            }
        }
    }
}
