//! Every kernel on one row of logits, at each level this CPU has.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use lapwing_kernels::{
    Candidate, Level, exp_in_place, log_sum_exp, row_argmax, row_find_nan, row_max, top_k,
    top_k_buffer_len,
};

/// The vocabularies of SmolLM2, Llama 3, Qwen 2.5 and Gemma 3.
const N_VOCABS: [usize; 4] = [49_152, 128_256, 151_936, 262_144];

fn main() {
    divan::main();
}

fn cases() -> impl Iterator<Item = Case> {
    Level::available().flat_map(|level| N_VOCABS.map(|n_vocab| Case { level, n_vocab }))
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

#[divan::bench(args = [40, 128, 2048])]
fn exp_in_place_bench(bencher: Bencher, n_candidates: usize) {
    let row = logits(n_candidates);
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
        let logits = logits(self.n_vocab);
        bencher.counter(ItemsCount::new(self.n_vocab)).bench_local(|| kernel(&logits));
    }
}

/// Bell-shaped logits, as a model's are: a few far above the rest.
fn logits(len: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..len).map(|_| (next() + next() + next() + next()) * 8.0 - 16.0).collect()
}
