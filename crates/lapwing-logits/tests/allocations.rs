//! Heap bytes: a step of the correction takes none, and hostile profiles no more than their due.
#![allow(unsafe_code, reason = "a global allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use lapwing_logits::profile::{Array, Arrays, CorrectionProfile, SCHEMA_VERSION};
use lapwing_logits::{
    Correction, Corrector, Gains, Gauge, Level, Levels, Rescale, SavedState, Scope, Smoothing,
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

thread_local! {
    static N_ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<isize> = const { Cell::new(0) };
}

/// The system allocator, counting for each thread.
struct CountingAllocator;

fn count(n_bytes: isize) {
    LIVE_BYTES.with(|live| {
        live.set(live.get() + n_bytes);
        PEAK_BYTES.with(|peak| peak.set(peak.get().max(live.get())));
    });
    if 0 < n_bytes {
        N_ALLOCATIONS.with(|n| n.set(n.get() + 1));
    }
}

// SAFETY: every call goes to `System` unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the caller's promise about `pointer` and `layout` is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn n_allocations(work: impl FnOnce()) -> usize {
    let before = N_ALLOCATIONS.with(Cell::get);
    work();
    N_ALLOCATIONS.with(Cell::get) - before
}

fn peak_bytes(work: impl FnOnce()) -> usize {
    let before = LIVE_BYTES.with(Cell::get);
    PEAK_BYTES.with(|peak| peak.set(before));
    work();
    (PEAK_BYTES.with(Cell::get) - before).unsigned_abs()
}

const N_VOCAB: usize = 5000;

fn rows() -> Vec<Vec<f32>> {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..12).map(|_| (0..N_VOCAB).map(|_| (next() + next() - 1.0) * 9.0).collect()).collect()
}

fn check(smoothing: Smoothing) {
    let offset: Arc<[f32]> = vec![0.25; N_VOCAB].into();
    let correction = Correction::new(N_VOCAB, Some(offset), Some(smoothing.clone()));
    let correction = Arc::new(correction.expect("in range"));
    let mut rows = rows();
    let mut corrector = Corrector::new(correction, Level::detect());
    let mut saved = SavedState::default();
    corrector.save(&mut saved);
    // A fork comes with its own room.
    let mut fork = corrector.clone();
    let n_allocations = n_allocations(|| {
        for (row_idx, row) in rows.iter_mut().enumerate() {
            corrector.apply(row).expect("finite");
            fork.apply(row).expect("finite");
            match row_idx % 5 {
                2 => corrector.save(&mut saved),
                3 => fork.restore(&saved),
                4 => corrector.reset(),
                _ => {}
            }
        }
        corrector.apply(&mut [f32::NAN; N_VOCAB]).expect_err("nothing finite");
    });
    assert_eq!(n_allocations, 0, "{smoothing:?}");
}

#[test]
fn a_step_allocates_nothing() {
    assert_ne!(n_allocations(|| drop(std::hint::black_box(vec![0u8; 9]))), 0);
    let each: Arc<[f32]> = (0..N_VOCAB).map(|token| (token % 5) as f32 * 0.2).collect();
    let levels = Levels { coefficient: 0.5, levels: Arc::clone(&each) };
    let top_k = |n_tracked_max| Scope::TopK { n_tracked_max };
    for scope in [Scope::Full, top_k(64), top_k(1024), top_k(usize::MAX)] {
        for rescale in [
            Rescale::Off,
            Rescale::Variance,
            Rescale::TopVariance { n_top: 100 },
            Rescale::TopVariance { n_top: usize::MAX },
            Rescale::Entropy,
        ] {
            for gauge in [Gauge::Mean, Gauge::LogSumExp] {
                for reversion in [None, Some(levels.clone())] {
                    for gains in [Gains::One(0.7), Gains::Each(Arc::clone(&each))] {
                        let reversion = reversion.clone();
                        check(Smoothing { gains, scope, gauge, reversion, rescale });
                    }
                }
            }
        }
    }
}

#[test]
fn what_changes_nothing_keeps_nothing() {
    for (gain, keeps_a_row) in [(1.0, false), (0.5, true)] {
        let smoothing = Smoothing {
            gains: Gains::Each(vec![gain; N_VOCAB].into()),
            scope: Scope::Full,
            gauge: Gauge::Mean,
            reversion: None,
            rescale: Rescale::Variance,
        };
        let correction = Correction::new(N_VOCAB, None, Some(smoothing)).expect("in range");
        let correction = Arc::new(correction);
        let peak = peak_bytes(|| drop(Corrector::new(correction, Level::detect())));
        assert_eq!(N_VOCAB * size_of::<f32>() <= peak, keeps_a_row, "gain {gain}: {peak} bytes");
    }
}

/// For error texts, and for what the longest header takes while it is read.
const ALLOWANCE: usize = 64 << 10;

fn check_hostile(bytes: &[u8], read: impl FnOnce(&[u8])) {
    let peak = peak_bytes(|| read(bytes));
    let expected = 4 * bytes.len() + ALLOWANCE;
    assert!(peak <= expected, "{peak} bytes for a file of {}", bytes.len());
}

#[test]
fn hostile_bytes_take_no_more_than_a_few_times_their_length() {
    let mut arrays = Arrays::default();
    arrays.insert("offset", Array::vector([0.5; 12].into()));
    arrays.insert("head_map.matrix", Array { shape: vec![2, 2], values: [1.0; 4].into() });
    let sidecar = arrays.to_bytes().expect("arrays");
    let parse = |bytes: &[u8]| drop(Arrays::parse(bytes));
    for idx in 0..sidecar.len() {
        for flip in [0x01, 0x10, 0x80, 0xff] {
            let mut bytes = sidecar.clone();
            bytes[idx] ^= flip;
            check_hostile(&bytes, parse);
        }
        for digit in b'0'..=b'9' {
            let mut bytes = sidecar.clone();
            bytes[idx] = digit;
            check_hostile(&bytes, parse);
        }
    }
    // As many empty arrays as fit into a header.
    let entry =
        |idx| format!("\"{idx}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}");
    let entries: Vec<String> = (0..64).map(entry).collect();
    let header = format!("{{{}}}", entries.join(","));
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    assert_eq!(Arrays::parse(&bytes).expect("arrays").names().count(), 64);
    check_hostile(&bytes, parse);

    let verdict = r#"{"name":"","texts":[],"helps":true,"reason":""},"#;
    let model = r#"{"name":"","sha256":"","backend":"","device":"","precision":"","n_vocab":1}"#;
    let verdicts = verdict.repeat(20_000);
    let json = format!(
        r#"{{"schema_version":{SCHEMA_VERSION},"model":{model},"texts":[],"seed":0,"estimator":"",
        "diagnostics":{{"n_positions":0,"n_windows":0,"frozen_share":0,"bands":[]}},
        "candidates":[{verdicts}"#
    );
    // Cut off after the verdicts: they are held when the end is found.
    check_hostile(json.as_bytes(), |bytes| drop(CorrectionProfile::parse(bytes)));
}
