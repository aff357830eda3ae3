//! Where members wait for each other.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a member spins for another one before it offers its core to others: where more threads
/// than cores compute, spinning keeps the one that is waited for from running.
const SPIN: Duration = Duration::from_micros(1000);

/// Turns of a spin between two looks at the clock.
const N_SPINS: u32 = 256;

/// A value in a cache line of its own (two, since processors fetch them in pairs).
#[repr(align(128))]
#[derive(Debug, Default)]
pub(crate) struct Padded<T>(pub(crate) T);

/// A meeting of a known number of members, used again and again.
#[derive(Debug)]
pub(crate) struct Meeting {
    n_members: usize,
    /// How often somebody came, in all: the meeting that ends phase `p` is over at
    /// `(p + 1) * n_members`.
    n_arrived: Padded<AtomicUsize>,
    /// Whether a member will not come any more.
    broken: Padded<AtomicBool>,
}

/// A member will not come any more: it panicked, or its work ended in another phase.
#[derive(Debug)]
pub(crate) struct Broken;

impl Meeting {
    pub(crate) fn new(n_members: usize) -> Self {
        Self { n_members, n_arrived: Padded::default(), broken: Padded::default() }
    }

    /// Before a run: nobody came yet.
    pub(crate) fn reset(&self) {
        self.n_arrived.0.store(0, Ordering::Relaxed);
        self.broken.0.store(false, Ordering::Relaxed);
    }

    pub(crate) fn break_up(&self) {
        self.broken.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.0.load(Ordering::Acquire)
    }

    /// Come to the meeting that ends a phase, and wait for the others. What they wrote before is
    /// seen behind it.
    pub(crate) fn meet(&self, phase_idx: usize) -> Result<(), Broken> {
        let all = (phase_idx + 1) * self.n_members;
        if self.n_arrived.0.fetch_add(1, Ordering::AcqRel) + 1 == all {
            return Ok(());
        }
        spin_until(|| self.n_arrived.0.load(Ordering::Acquire) >= all || self.is_broken());
        if self.n_arrived.0.load(Ordering::Acquire) >= all { Ok(()) } else { Err(Broken) }
    }
}

/// Spin until something holds; after [`SPIN`] let other threads run between two looks.
pub(crate) fn spin_until(mut holds: impl FnMut() -> bool) {
    let mut began = None;
    loop {
        for _ in 0..N_SPINS {
            if holds() {
                return;
            }
            spin_loop();
        }
        if began.get_or_insert_with(Instant::now).elapsed() > SPIN {
            std::thread::yield_now();
        }
    }
}
