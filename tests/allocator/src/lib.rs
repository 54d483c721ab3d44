//! An allocator that looks at each block of memory before it is freed. A crate of its own, because no other
//! may have `unsafe` code.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    slice,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Counts the freed blocks that have one of some texts in them.
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

// SAFETY: blocks come from the system's allocator and go back to it with the layout they came with. Looking at
// them allocates nothing.
unsafe impl GlobalAlloc for Watch {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract. Zeroed, so that every byte of a block may be read.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives a block of this layout, which nobody uses any more.
        self.look(unsafe { slice::from_raw_parts(block, layout.size()) });
        // SAFETY: it came from the same allocator.
        unsafe { System.dealloc(block, layout) }
    }

    // Not `realloc`: the default one allocates, copies and calls `dealloc`, as if no block could grow in place.
}
