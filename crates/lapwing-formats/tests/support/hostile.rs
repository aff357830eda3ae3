//! Hostile files: deterministic mutations of a valid one, each read under a counting allocator.
//!
//! A test binary includes this file with `#[path = "../support/hostile.rs"] mod hostile;` and installs
//! `#[global_allocator] static ALLOCATOR: hostile::CountingAllocator = hostile::CountingAllocator;`.
#![allow(unsafe_code, reason = "a global allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

mod mutate;

use mutate::mutate;

/// What a reader may allocate for paths, error texts and first capacities, whatever the file.
const ALLOWANCE: usize = 16 * 1024;
/// Heap bytes a reader may hold at once, in multiples of the file.
const FILE_MULTIPLES_MAX: usize = 4;
/// A reader that takes longer than this for one small file hangs.
const READ_TIME_MAX: Duration = Duration::from_secs(2);

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// The system allocator, counting the heap bytes that each thread holds.
pub(crate) struct CountingAllocator;

impl CountingAllocator {
    fn grow(size: usize) {
        LIVE.with(|live| {
            live.set(live.get().wrapping_add(size));
            // What a thread frees for another makes its count wrap: no peak then.
            if live.get() < usize::MAX / 2 {
                PEAK.with(|peak| peak.set(peak.get().max(live.get())));
            }
        });
    }

    fn shrink(size: usize) {
        LIVE.with(|live| live.set(live.get().wrapping_sub(size)));
    }
}

// SAFETY: every call goes to `System` unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CountingAllocator::grow(layout.size());
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        CountingAllocator::grow(layout.size());
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        CountingAllocator::shrink(layout.size());
        // SAFETY: the caller's promise about `pointer` and `layout` is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // Old and new exist together while the bytes move.
        CountingAllocator::grow(new_size);
        CountingAllocator::shrink(layout.size());
        // SAFETY: the caller's promise about `pointer` and `layout` is passed on.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

/// The most heap bytes that `work` holds at once on this thread.
pub(crate) fn peak_allocation(work: impl FnOnce()) -> usize {
    let before = LIVE.with(Cell::get);
    PEAK.with(|peak| peak.set(before));
    work();
    PEAK.with(Cell::get).saturating_sub(before)
}

/// Read `n` mutations of `seed_file`, each alone in a folder as `mutated`; see
/// [`check_mutations_in`].
#[allow(dead_code, reason = "each test binary uses one of the two")]
pub(crate) fn check_mutations(seed_file: &[u8], n: usize, read: impl Fn(&Path)) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    check_mutations_in(folder.path(), "mutated", seed_file, n, read);
}

/// Write `n` mutations of `seed_file` one after the other to `folder/file_name` and `read` each.
///
/// The allocation limit counts that file only, not its neighbours in `folder`.
///
/// # Panics
///
/// When a read panics, takes longer than [`READ_TIME_MAX`], or holds more than
/// [`FILE_MULTIPLES_MAX`] times the file (and [`ALLOWANCE`]); the message names the mutation.
pub(crate) fn check_mutations_in(
    folder: &Path,
    file_name: &str,
    seed_file: &[u8],
    n: usize,
    read: impl Fn(&Path),
) {
    check_mutations_within(ALLOWANCE, folder, file_name, seed_file, n, read);
}

/// [`check_mutations_in`] with another allowance, in bytes.
pub(crate) fn check_mutations_within(
    allowance: usize,
    folder: &Path,
    file_name: &str,
    seed_file: &[u8],
    n: usize,
    read: impl Fn(&Path),
) {
    // Lazily initialised tables of the standard library count for nobody.
    let path = folder.join(file_name);
    std::fs::write(&path, seed_file).expect("the temporary folder is writable");
    read(&path);
    for mutation_idx in 0..n {
        let bytes = mutate(seed_file, mutation_idx);
        // A new file: some file systems write a truncated one through to the disk.
        std::fs::remove_file(&path).expect("it was written before");
        std::fs::write(&path, &bytes).expect("the temporary folder is writable");
        let start = Instant::now();
        let mut finished = false;
        let peak = peak_allocation(|| {
            finished = catch_unwind(AssertUnwindSafe(|| read(&path))).is_ok();
        });
        assert!(finished, "mutation {mutation_idx} made the reader panic");
        assert!(start.elapsed() < READ_TIME_MAX, "mutation {mutation_idx} took too long");
        let peak_max = FILE_MULTIPLES_MAX * bytes.len() + allowance;
        assert!(
            peak <= peak_max,
            "mutation {mutation_idx}: {peak} bytes held for a file of {}, {peak_max} allowed",
            bytes.len()
        );
    }
}
