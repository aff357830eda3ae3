//! A hint that memory will be read soon.
//!
//! A processor guesses what comes next while it waits for one stream of bytes; with
//! several rows to multiply, or two tiles side by side, it does not keep up.

/// How far behind what is read the hints are: they come in time, and stay in the first cache.
pub(crate) const N_AHEAD_BYTES: usize = 8192;

/// The line that lies [`N_AHEAD_BYTES`] behind this entry will be read.
#[inline(always)]
pub(crate) fn prefetch_behind<T>(entry: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let line = std::ptr::from_ref(entry).cast::<i8>().wrapping_add(N_AHEAD_BYTES);
        // SAFETY: a hint reads nothing, whatever the address; every CPU of x86-64 has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = entry;
}
