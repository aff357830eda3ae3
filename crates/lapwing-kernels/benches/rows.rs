//! Every kernel on one row of logits, at each level this CPU has.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use lapwing_kernels::{
    Candidate, Distribution, Level, Reversion, TopKIdsBuffer, add_offset, affine_in_place,
    exp_in_place, exp_moments, finite_squares, finite_sum, gather, kl_divergence, kls_update,
    kls_update_each, kls_update_reverting, log_sum_exp, row_argmax, row_find_nan, row_max, scatter,
    top_k, top_k_buffer_len, top_k_ids,
};

/// The vocabularies of SmolLM2, Llama 3, Qwen 2.5 and Gemma 3.
const N_VOCABS: [usize; 4] = [49_152, 128_256, 151_936, 262_144];

const N_CACHE_LINE_BYTES: usize = 64;

fn main() {
    divan::main();
}

fn cases() -> impl Iterator<Item = Case> {
    Level::available_for_floats().flat_map(|level| N_VOCABS.map(|n_vocab| Case { level, n_vocab }))
}

#[divan::bench(args = cases())]
fn row_max_bench(bencher: Bencher, case: &Case) {
    case.run(bencher, |logits| {
        black_box(row_max(case.level, black_box(logits)));
    });
}

#[divan::bench(args = cases())]
fn row_argmax_bench(bencher: Bencher, case: &Case) {
    case.run(bencher, |logits| {
        black_box(row_argmax(case.level, black_box(logits)));
    });
}

#[divan::bench(args = cases())]
fn row_find_nan_bench(bencher: Bencher, case: &Case) {
    case.run(bencher, |logits| {
        black_box(row_find_nan(case.level, black_box(logits)));
    });
}

#[divan::bench(args = cases())]
fn log_sum_exp_bench(bencher: Bencher, case: &Case) {
    case.run(bencher, |logits| {
        black_box(log_sum_exp(case.level, black_box(logits)));
    });
}

#[divan::bench(args = cases(), consts = [40, 128, 2048])]
fn top_k_bench<const K: usize>(bencher: Bencher, case: &Case) {
    let mut buffer = vec![Candidate::default(); top_k_buffer_len(case.n_vocab, K)];
    case.run(bencher, |logits| {
        black_box(top_k(case.level, black_box(logits), K, &mut buffer));
    });
}

#[divan::bench(args = cases())]
fn finite_sum_bench(bencher: Bencher, case: &Case) {
    case.run(bencher, |logits| {
        black_box(finite_sum(case.level, black_box(logits)));
    });
}

#[divan::bench(args = cases())]
fn finite_squares_bench(bencher: Bencher, case: &Case) {
    case.run(bencher, |logits| {
        black_box(finite_squares(case.level, black_box(logits), 0.3));
    });
}

#[divan::bench(args = cases())]
fn exp_moments_bench(bencher: Bencher, case: &Case) {
    case.run(bencher, |logits| {
        black_box(exp_moments(case.level, black_box(logits), 16.0, 1.0));
    });
}

#[divan::bench(args = cases())]
fn kl_divergence_bench(bencher: Bencher, case: &Case) {
    let q_logits = logits(case.n_vocab, 2);
    let q = Distribution::new(case.level, &q_logits).expect("finite logits");
    case.run(bencher, |logits| {
        let p = Distribution::new(case.level, black_box(logits)).expect("finite logits");
        black_box(kl_divergence(case.level, p, black_box(q)));
    });
}

#[divan::bench(args = cases(), consts = [64, 512])]
fn top_k_ids_bench<const K: usize>(bencher: Bencher, case: &Case) {
    let mut buffer = TopKIdsBuffer::new(case.n_vocab, K);
    case.run(bencher, |logits| {
        black_box(top_k_ids(case.level, black_box(logits), K, &mut buffer));
    });
}

/// What a smoothing step is compared with: a pass that reads two rows and writes a third.
#[divan::bench(args = N_VOCABS)]
fn two_rows_into_a_third(bencher: Bencher, n_vocab: usize) {
    let mut rows = [1, 2, 3].map(|seed| padded_logits(n_vocab, seed));
    let [a, b, out] = rows.each_mut().map(|row| on_cache_line(row, n_vocab));
    bencher.counter(BytesCount::of_many::<f32>(3 * n_vocab)).bench_local(|| {
        let (a, b) = (black_box(&*a), black_box(&*b));
        for (out, (a, b)) in out.iter_mut().zip(a.iter().zip(b)) {
            *out = a + b;
        }
        black_box(&mut *out);
    });
}

/// The same over two rows only: reads both and writes the first.
#[divan::bench(args = cases())]
fn add_offset_bench(bencher: Bencher, case: &Case) {
    let mut offset = padded_logits(case.n_vocab, 2);
    let offset = on_cache_line(&mut offset, case.n_vocab);
    offset.fill(1e-3);
    let offset = &*offset;
    case.run_in_place(bencher, 3, |row, _| add_offset(case.level, row, black_box(offset)));
}

#[divan::bench(args = cases())]
fn affine_in_place_bench(bencher: Bencher, case: &Case) {
    case.run_in_place(bencher, 2, |row, _| affine_in_place(case.level, row, 0.3, 1.0, 0.3));
}

#[divan::bench(args = cases())]
fn kls_update_bench(bencher: Bencher, case: &Case) {
    case.run_in_place(bencher, 4, |row, state| kls_update(case.level, row, state, 0.3, 0.9));
}

/// A whole step: the gauge and the update.
#[divan::bench(args = cases())]
fn mean_gauge_and_kls_update(bencher: Bencher, case: &Case) {
    case.run_in_place(bencher, 5, |row, state| {
        let gauge = finite_sum(case.level, row).mean().expect("finite logits") as f32;
        kls_update(case.level, row, state, gauge, 0.9);
    });
}

#[divan::bench(args = cases())]
fn kls_update_each_bench(bencher: Bencher, case: &Case) {
    let gains = vec![0.9; case.n_vocab];
    case.run_in_place(bencher, 5, |row, state| {
        kls_update_each(case.level, row, state, 0.3, black_box(&gains));
    });
}

#[divan::bench(args = cases())]
fn kls_update_reverting_bench(bencher: Bencher, case: &Case) {
    let gains = vec![0.9; case.n_vocab];
    let levels = logits(case.n_vocab, 2);
    case.run_in_place(bencher, 6, |row, state| {
        let reversion = Reversion { coefficient: 0.9, levels: black_box(&levels) };
        kls_update_reverting(case.level, row, state, 0.3, black_box(&gains), reversion);
    });
}

#[divan::bench(args = Level::available_for_floats(), consts = [128, 1024, 2048])]
fn gather_bench<const N: usize>(bencher: Bencher, level: &Level) {
    let (row, ids) = (logits(151_936, 1), spread_ids(151_936, N));
    let mut out = vec![0.0; N];
    bencher.counter(BytesCount::of_many::<f32>(N)).bench_local(|| {
        gather(*level, black_box(&row), black_box(&ids), &mut out);
        black_box(&mut out);
    });
}

#[divan::bench(args = Level::available_for_floats(), consts = [128, 1024, 2048])]
fn scatter_bench<const N: usize>(bencher: Bencher, level: &Level) {
    let (mut row, ids) = (logits(151_936, 1), spread_ids(151_936, N));
    let values = logits(N, 2);
    bencher.counter(BytesCount::of_many::<f32>(N)).bench_local(|| {
        scatter(*level, black_box(&values), black_box(&ids), &mut row);
        black_box(&mut row);
    });
}

#[divan::bench(args = [40, 128, 2048])]
fn exp_in_place_bench(bencher: Bencher, n_candidates: usize) {
    let row = logits(n_candidates, 1);
    bencher
        .counter(ItemsCount::new(n_candidates))
        .with_inputs(|| row.clone())
        .bench_local_refs(|logits| black_box(exp_in_place(logits, 0.8)));
}

/// One level on one length of row.
#[derive(Debug)]
struct Case {
    level: Level,
    n_vocab: usize,
}

impl std::fmt::Display for Case {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.level.name(), self.n_vocab)
    }
}

impl Case {
    fn run(&self, bencher: Bencher, mut kernel: impl FnMut(&[f32])) {
        let mut logits = padded_logits(self.n_vocab, 1);
        let logits = on_cache_line(&mut logits, self.n_vocab);
        bencher
            .counter(ItemsCount::new(self.n_vocab))
            .counter(BytesCount::of_many::<f32>(self.n_vocab))
            .bench_local(|| kernel(logits));
    }

    /// `n_passes` is how many rows the kernel reads and writes in all.
    fn run_in_place(
        &self,
        bencher: Bencher,
        n_passes: usize,
        mut kernel: impl FnMut(&mut [f32], &mut [f32]),
    ) {
        let mut row = padded_logits(self.n_vocab, 1);
        let mut state = padded_logits(self.n_vocab, 3);
        let row = on_cache_line(&mut row, self.n_vocab);
        let state = on_cache_line(&mut state, self.n_vocab);
        bencher
            .counter(ItemsCount::new(self.n_vocab))
            .counter(BytesCount::of_many::<f32>(n_passes * self.n_vocab))
            .bench_local(|| kernel(black_box(&mut *row), black_box(&mut *state)));
    }
}

/// Bell-shaped logits, as a model's are: a few far above the rest.
fn logits(len: usize, seed: u32) -> Vec<f32> {
    let mut state = 0x9e37_79b9_u32.wrapping_mul(seed);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..len).map(|_| (next() + next() + next() + next()) * 8.0 - 16.0).collect()
}

/// Where a row lies in its cache lines changes a pass by up to two: every kernel
/// gets a row that starts on one.
fn on_cache_line(padded: &mut [f32], len: usize) -> &mut [f32] {
    let start = padded.as_ptr().align_offset(N_CACHE_LINE_BYTES);
    &mut padded[start..][..len]
}

fn padded_logits(len: usize, seed: u32) -> Vec<f32> {
    logits(len + N_CACHE_LINE_BYTES / size_of::<f32>(), seed)
}

/// Ascending ids all over the row, at uneven distances.
fn spread_ids(n_row: usize, n_ids: usize) -> Vec<u32> {
    (0..n_ids).map(|i| ((i * n_row + (i * 37 % 11) * n_row / 16) / n_ids) as u32).collect()
}
