//! Which `k` finite entries of a row are largest, as ascending ids.
//!
//! ```text
//! threshold: split the row in blocks; k blocks reach the k-th largest block
//!            maximum, so at least k entries do
//! scan:      collect every entry that reaches the threshold, in index order
//! select:    keep the k largest of what was collected, in the order they have
//! ```
//! There are a few blocks for each of the `k` and little more than `k` entries
//! reach the threshold, so the cost is two passes over the row. Nothing is
//! sorted: the k-th largest of a short list is found by bisection, counting
//! what reaches the middle. When the collected entries do not fit (a row in
//! ascending order), the select step makes room and raises the threshold.

use crate::lanes::N_BLOCK;
use crate::level::{Level, dispatch};

mod scalar;
mod vector;

/// Block maxima are taken over the columns of a table this wide: the vectors lie
/// side by side, and none is folded into one number.
const N_COLUMNS: usize = N_BLOCK;

/// A row gives about this many block maxima for each of the `k`.
const N_MAXIMA_PER_K: usize = 3;

/// Room for this many candidates for each of the `k`, so that refills are rare.
const N_CANDIDATES_PER_K: usize = 4;

/// Room beyond that, so that a refill is worth a selection; a scanned block always fits.
const N_SPARE: usize = 128;

/// The working memory of [`top_k_ids`], allocated once.
#[derive(Clone, Debug)]
pub struct TopKIdsBuffer {
    n_row: usize,
    k: usize,
    maxima: Vec<[f32; N_COLUMNS]>,
    candidates: Candidates,
}

impl TopKIdsBuffer {
    /// Room for the `k` largest of a row of up to `n_row` entries.
    ///
    /// # Panics
    ///
    /// When a row is longer than `u32` can count.
    #[must_use]
    pub fn new(n_row: usize, k: usize) -> Self {
        assert!(u32::try_from(n_row).is_ok(), "row of {n_row} entries");
        let k = k.min(n_row);
        let n_candidates = (k * N_CANDIDATES_PER_K).min(n_row) + N_SPARE;
        let candidates =
            Candidates { ids: vec![0; n_candidates], values: vec![0.0; n_candidates], n_held: 0 };
        TopKIdsBuffer { n_row, k, maxima: vec![[0.0; N_COLUMNS]; n_groups(k)], candidates }
    }
}

/// How many groups of table rows have their column maxima taken.
const fn n_groups(k: usize) -> usize {
    (k * N_MAXIMA_PER_K).div_ceil(N_COLUMNS)
}

/// The ids of the `k` largest finite entries of one row, ascending.
///
/// Shapes: `row [n <= n_row]`; the result is at most `k` long. Entries are
/// chosen by (value descending, id ascending), so of equal entries the lower
/// ids; 0.0 equals -0.0. NaN and both infinities are never chosen; with fewer
/// than `k` finite entries the result holds all of them. A `k` above the row's
/// length means that length.
///
/// # Panics
///
/// When the row is longer, or `k` larger, than what the buffer was made for.
pub fn top_k_ids<'a>(
    level: Level,
    row: &[f32],
    k: usize,
    buffer: &'a mut TopKIdsBuffer,
) -> &'a [u32] {
    let k = k.min(row.len());
    assert!(row.len() <= buffer.n_row, "row of {} entries, room for {}", row.len(), buffer.n_row);
    assert!(k <= buffer.k, "k = {k}, room for {}", buffer.k);
    if k == 0 {
        return &[];
    }
    let mut threshold = threshold(level, row, k, &mut buffer.maxima);
    let candidates = &mut buffer.candidates;
    candidates.n_held = 0;
    let mut next_idx = 0;
    loop {
        next_idx = scan_at_least(level, row, threshold, next_idx, candidates);
        if k < candidates.n_held {
            let bound = keep_largest(level, candidates, k);
            // A later entry equal to the worst one kept loses its tie by index.
            threshold = bound.next_up();
        }
        if next_idx == row.len() {
            return &candidates.ids[..candidates.n_held];
        }
    }
}

/// A value that at least `k` finite entries of the row reach, as large as it
/// comes cheaply; at least `f32::MIN`, which every finite entry reaches.
fn threshold(level: Level, row: &[f32], k: usize, maxima: &mut [[f32; N_COLUMNS]]) -> f32 {
    let (table, _) = row.as_chunks::<N_COLUMNS>();
    let n_rows_per_group = table.len().div_ceil(n_groups(k)).max(1);
    let mut n_groups = 0;
    for (maxima, group) in maxima.iter_mut().zip(table.chunks_exact(n_rows_per_group)) {
        column_maxima(level, group, maxima);
        // Rare: worth a second look, not a comparison per entry.
        if maxima.contains(&f32::INFINITY) {
            scalar::finite_column_maxima(group, maxima);
        }
        n_groups += 1;
    }
    // The bound may be a little low: that costs a few candidates more.
    kth_largest(level, maxima[..n_groups].as_flattened(), k, k / 16)
}

/// Keep the `k` largest candidates, in the order they have; returns a value
/// that all of them reach, and that only as many others equal as lose the tie.
fn keep_largest(level: Level, candidates: &mut Candidates, k: usize) -> f32 {
    let n_held = candidates.n_held;
    let ids = &mut candidates.ids[..n_held];
    let values = &mut candidates.values[..n_held];
    let bound = kth_largest(level, values, k, 0);
    let mut n_ties_left = k - count_at_least(level, values, bound.next_up());
    let mut n_kept = 0;
    for idx in 0..n_held {
        let (id, value) = (ids[idx], values[idx]);
        // Without a branch: which candidates stay is not predictable.
        ids[n_kept] = id;
        values[n_kept] = value;
        let is_kept_tie = value == bound && n_ties_left != 0;
        n_ties_left -= usize::from(is_kept_tie);
        n_kept += usize::from(bound < value || is_kept_tie);
    }
    candidates.n_held = k;
    bound
}

/// The largest value that at least `k` of `values` reach, or one that at most
/// `k + n_slack` reach; `f32::MIN` when fewer than `k` are finite.
///
/// `values` hold neither NaN nor `+inf`.
fn kth_largest(level: Level, values: &[f32], k: usize, n_slack: usize) -> f32 {
    dispatch!(level, kth_largest(values: &[f32], k: usize, n_slack: usize) -> f32)
}

/// [`kth_largest`] of values of which `count_at_least` says how many reach a bound.
#[inline(always)]
fn bisect(k: usize, n_slack: usize, count_at_least: impl Fn(f32) -> usize) -> f32 {
    // Reached by k, and not reached by k, as integers in the order of the values.
    let mut low = ordinal(f32::MIN);
    let mut high = ordinal(f32::INFINITY);
    while 1 < high - low {
        let middle = low + (high - low) / 2;
        let n_reached = count_at_least(at_ordinal(middle));
        if n_reached < k {
            high = middle;
        } else {
            low = middle;
            if n_reached <= k + n_slack {
                break;
            }
        }
    }
    at_ordinal(low)
}

/// Integers in the order of the values they stand for; not for NaN.
fn ordinal(value: f32) -> i64 {
    let bits = value.to_bits().cast_signed();
    i64::from(if bits < 0 { i32::MIN - bits } else { bits })
}

fn at_ordinal(ordinal: i64) -> f32 {
    let bits = if ordinal < 0 { i64::from(i32::MIN) - ordinal } else { ordinal };
    f32::from_bits((bits as i32).cast_unsigned())
}

/// Entries that reached a threshold, in index order.
#[derive(Clone, Debug)]
struct Candidates {
    /// As long as `values`; what lies behind `n_held` means nothing.
    ids: Vec<u32>,
    values: Vec<f32>,
    n_held: usize,
}

impl Candidates {
    fn n_free(&self) -> usize {
        self.ids.len() - self.n_held
    }

    /// Append an entry that is not below the threshold, unless it is `+inf`.
    #[inline]
    fn push(&mut self, idx: usize, value: f32) {
        self.ids[self.n_held] = idx as u32;
        self.values[self.n_held] = value;
        self.n_held += usize::from(value < f32::INFINITY);
    }

    /// [`Candidates::push`] the entries of a block whose bit is set, unless a
    /// whole block would not fit; returns whether it does.
    #[inline(always)]
    fn push_hits(&mut self, start_idx: usize, block: &[f32; N_COLUMNS], mut hits: u64) -> bool {
        let ids = self.ids[self.n_held..].first_chunk_mut::<N_COLUMNS>();
        let values = self.values[self.n_held..].first_chunk_mut::<N_COLUMNS>();
        let (Some(ids), Some(values)) = (ids, values) else { return false };
        let mut n_pushed = 0;
        while hits != 0 {
            let idx = hits.trailing_zeros() as usize;
            let value = block[idx];
            ids[n_pushed] = (start_idx + idx) as u32;
            values[n_pushed] = value;
            n_pushed += usize::from(value < f32::INFINITY);
            hits &= hits - 1;
        }
        self.n_held += n_pushed;
        true
    }
}

/// The largest entry of every column that is not NaN; `-inf` where there is none.
fn column_maxima(level: Level, table: &[[f32; N_COLUMNS]], maxima: &mut [f32; N_COLUMNS]) {
    dispatch!(level, column_maxima(table: &[[f32; N_COLUMNS]], maxima: &mut [f32; N_COLUMNS]))
}

/// Append the finite entries from `next_idx` on that reach `threshold`, which
/// is above `-inf`; returns the first index that was not looked at: the end of
/// the row, or earlier when there is no more room.
fn scan_at_least(
    level: Level,
    row: &[f32],
    threshold: f32,
    next_idx: usize,
    candidates: &mut Candidates,
) -> usize {
    dispatch!(
        level,
        scan_at_least(
            row: &[f32],
            threshold: f32,
            next_idx: usize,
            candidates: &mut Candidates,
        ) -> usize
    )
}

/// How many of `values` are at least `bound`.
fn count_at_least(level: Level, values: &[f32], bound: f32) -> usize {
    dispatch!(level, count_at_least(values: &[f32], bound: f32) -> usize)
}

#[cfg(test)]
mod tests;
