//! The `k` largest logits of a row, in order.
//!
//! ```text
//! fill the buffer with the first candidates
//! loop:
//!     keep the k best of the buffer; the k-th is the threshold
//!     append every later logit above the threshold until the buffer is full
//! sort what is kept
//! ```
//! Once `k` candidates are held, a later logit *equal* to the threshold loses
//! its tie by index, so the scan is one comparison per logit; on a row of real
//! logits almost none passes it.

use crate::level::{Level, dispatch};

mod scalar;
mod vector;

/// One entry of a row: which token and its logit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Candidate {
    /// The index in the row.
    pub token_idx: u32,
    /// The value at that index.
    pub logit: f32,
}

/// Room beyond `k` that the buffer has at least, so that a refill is worth a selection.
const N_SPARE: usize = 64;

/// How long the buffer of [`top_k`] must be, for a row of `n_logits`.
#[must_use]
pub const fn top_k_buffer_len(n_logits: usize, k: usize) -> usize {
    let wanted = k.saturating_mul(2).saturating_add(N_SPARE);
    if wanted < n_logits { wanted } else { n_logits }
}

/// The `k` largest logits of one row: logit descending, then index ascending.
///
/// Shapes: `logits [n_vocab]`, `buffer [>= top_k_buffer_len(n_vocab, k)]`. The
/// result lies at the start of the buffer. NaN is never in it, `-inf` is a value
/// like any other; with fewer than `k` candidates in the row it holds all.
///
/// # Panics
///
/// When the buffer is shorter than [`top_k_buffer_len`], or the row longer than
/// `u32` can count.
pub fn top_k<'a>(
    level: Level,
    logits: &[f32],
    k: usize,
    buffer: &'a mut [Candidate],
) -> &'a mut [Candidate] {
    let n_needed = top_k_buffer_len(logits.len(), k);
    assert!(n_needed <= buffer.len(), "buffer of {} for {n_needed} candidates", buffer.len());
    assert!(u32::try_from(logits.len()).is_ok(), "row of {} logits", logits.len());
    if k == 0 {
        return &mut buffer[..0];
    }
    let mut scan = scalar::fill(logits, buffer);
    while scan.next_idx < logits.len() {
        // A full buffer is longer than `k`, so there is a k-th.
        buffer[..scan.n_held].select_nth_unstable_by_key(k - 1, Candidate::rank);
        scan.n_held = k;
        let threshold = buffer[k - 1].logit;
        scan = scan_above(level, logits, threshold, scan, buffer);
    }
    let held = &mut buffer[..scan.n_held];
    let n_kept = k.min(held.len());
    if n_kept < held.len() {
        held.select_nth_unstable_by_key(n_kept - 1, Candidate::rank);
    }
    held[..n_kept].sort_unstable_by_key(Candidate::rank);
    &mut buffer[..n_kept]
}

/// How far a scan has come.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scan {
    /// The first index that was not looked at.
    next_idx: usize,
    /// Candidates at the start of the buffer.
    n_held: usize,
}

/// Append the logits above `threshold`; returns at the end of the row or when
/// the buffer cannot surely take what the next vector may hold.
fn scan_above(
    level: Level,
    logits: &[f32],
    threshold: f32,
    scan: Scan,
    buffer: &mut [Candidate],
) -> Scan {
    dispatch!(
        level,
        scan_above(logits: &[f32], threshold: f32, scan: Scan, buffer: &mut [Candidate]) -> Scan
    )
}

impl Candidate {
    /// A key that sorts ascending by (logit descending, index ascending); not for NaN.
    fn rank(&self) -> u64 {
        // Adding zero makes -0.0 tie with 0.0.
        let bits = (self.logit + 0.0).to_bits();
        // Flip so that the integers ascend as the logits descend.
        let descending = if bits >> 31 == 0 { bits ^ 0x7fff_ffff } else { bits };
        u64::from(descending) << 32 | u64::from(self.token_idx)
    }
}

#[cfg(test)]
mod tests;
