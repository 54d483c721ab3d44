//! An allocator that examines each block of memory before it is freed. It is a crate of its own, because no other
//! crate may have `unsafe` code.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    slice,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Counts the freed blocks that contain one of some texts.
///
/// The texts are static, so the allocator itself never has a copy of them.
#[derive(Debug)]
pub struct Watch {
    texts: &'static [&'static [u8]],
    found: AtomicUsize,
}

impl Watch {
    /// Watches for these texts.
    #[must_use]
    pub const fn new(texts: &'static [&'static [u8]]) -> Self {
        Self { texts, found: AtomicUsize::new(0) }
    }

    /// How many blocks with one of the texts have been freed so far.
    #[must_use]
    pub fn found(&self) -> usize {
        self.found.load(Ordering::SeqCst)
    }

    fn look(&self, block: &[u8]) {
        let has = |text: &[u8]| block.windows(text.len()).any(|window| window == text);
        if self.texts.iter().any(|text| has(text)) {
            self.found.fetch_add(1, Ordering::SeqCst);
        }
    }
}

// SAFETY: blocks come from the system's allocator and go back to it with the same layout. Examining them allocates nothing.
unsafe impl GlobalAlloc for Watch {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract. The block is zeroed, so that all its bytes may be read.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives a block with this layout, which nobody uses anymore.
        self.look(unsafe { slice::from_raw_parts(block, layout.size()) });
        // SAFETY: it came from the same allocator.
        unsafe { System.dealloc(block, layout) }
    }

    // Not `realloc`: the default one allocates, copies and calls `dealloc`, as if no block could grow in place.
}
