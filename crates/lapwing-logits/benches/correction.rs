//! The correction of one row, at the best level of this CPU. Bytes are those of the row.

use std::sync::Arc;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use lapwing_logits::{
    Correction, Corrector, Gains, Gauge, Level, Levels, Rescale, SavedState, Scope, Smoothing,
};

/// The vocabularies of SmolLM2 and Qwen 2.5.
const N_VOCABS: [usize; 2] = [49_152, 151_936];

fn main() {
    divan::main();
}

/// What the others are to be compared with: read two rows, write one.
#[divan::bench(args = N_VOCABS)]
fn two_rows_into_one(bencher: Bencher, n_vocab: usize) {
    let (left, right) = (logits(n_vocab, 1), logits(n_vocab, 2));
    let mut out = vec![0.0; n_vocab];
    bencher.counter(BytesCount::of_many::<f32>(n_vocab)).bench_local(|| {
        for ((out, left), right) in out.iter_mut().zip(black_box(&left)).zip(black_box(&right)) {
            *out = left + right;
        }
        black_box(&mut out);
    });
}

#[divan::bench(args = N_VOCABS)]
fn offset(bencher: Bencher, n_vocab: usize) {
    let offset: Arc<[f32]> = logits(n_vocab, 3).into();
    run(bencher, n_vocab, Correction::new(n_vocab, Some(offset), None).expect("in range"));
}

#[divan::bench(args = N_VOCABS)]
fn full_mean(bencher: Bencher, n_vocab: usize) {
    smooth(bencher, n_vocab, plain());
}

#[divan::bench(args = N_VOCABS)]
fn full_log_sum_exp(bencher: Bencher, n_vocab: usize) {
    smooth(bencher, n_vocab, Smoothing { gauge: Gauge::LogSumExp, ..plain() });
}

#[divan::bench(args = N_VOCABS)]
fn full_mean_reverting_each(bencher: Bencher, n_vocab: usize) {
    let gains = Gains::Each((0..n_vocab).map(|token| 0.8 + 0.1 * (token % 2) as f32).collect());
    let levels = logits(n_vocab, 4).into();
    let reversion = Some(Levels { coefficient: 0.5, levels });
    smooth(bencher, n_vocab, Smoothing { gains, reversion, ..plain() });
}

#[divan::bench(args = N_VOCABS)]
fn full_mean_variance(bencher: Bencher, n_vocab: usize) {
    smooth(bencher, n_vocab, Smoothing { rescale: Rescale::Variance, ..plain() });
}

#[divan::bench(args = N_VOCABS)]
fn full_mean_top_variance(bencher: Bencher, n_vocab: usize) {
    smooth(bencher, n_vocab, Smoothing { rescale: Rescale::TopVariance { n_top: 64 }, ..plain() });
}

#[divan::bench(args = N_VOCABS)]
fn full_mean_entropy(bencher: Bencher, n_vocab: usize) {
    smooth(bencher, n_vocab, Smoothing { rescale: Rescale::Entropy, ..plain() });
}

#[divan::bench(args = N_VOCABS)]
fn top_k_mean(bencher: Bencher, n_vocab: usize) {
    smooth(bencher, n_vocab, Smoothing { scope: Scope::TopK { n_tracked_max: 1024 }, ..plain() });
}

#[divan::bench(args = N_VOCABS)]
fn top_k_log_sum_exp(bencher: Bencher, n_vocab: usize) {
    let scope = Scope::TopK { n_tracked_max: 1024 };
    smooth(bencher, n_vocab, Smoothing { scope, gauge: Gauge::LogSumExp, ..plain() });
}

/// Nothing to do, which must cost nothing.
#[divan::bench(args = N_VOCABS)]
fn gain_one(bencher: Bencher, n_vocab: usize) {
    smooth(bencher, n_vocab, Smoothing { gains: Gains::One(1.0), ..plain() });
}

#[divan::bench(args = N_VOCABS)]
fn save_full(bencher: Bencher, n_vocab: usize) {
    let correction = Correction::new(n_vocab, None, Some(plain())).expect("in range");
    let corrector = Corrector::new(Arc::new(correction), Level::detect());
    let mut saved = SavedState::default();
    bencher
        .counter(BytesCount::of_many::<f32>(n_vocab))
        .bench_local(|| corrector.save(black_box(&mut saved)));
}

fn plain() -> Smoothing {
    Smoothing {
        gains: Gains::One(0.9),
        scope: Scope::Full,
        gauge: Gauge::Mean,
        reversion: None,
        rescale: Rescale::Off,
    }
}

fn smooth(bencher: Bencher, n_vocab: usize, smoothing: Smoothing) {
    run(bencher, n_vocab, Correction::new(n_vocab, None, Some(smoothing)).expect("in range"));
}

fn run(bencher: Bencher, n_vocab: usize, correction: Correction) {
    let rows: Vec<Vec<f32>> = (10..18).map(|seed| logits(n_vocab, seed)).collect();
    let mut corrector = Corrector::new(Arc::new(correction), Level::detect());
    let mut row_idx = 0;
    bencher
        .counter(BytesCount::of_many::<f32>(n_vocab))
        .with_inputs(|| {
            // A row is in the cache when the model has just written it.
            row_idx = (row_idx + 1) % rows.len();
            rows[row_idx].clone()
        })
        .bench_local_refs(|row| corrector.apply(black_box(row)).expect("the row is finite"));
}

/// Bell-shaped logits with a peaked head, as a model's are.
fn logits(len: usize, seed: u32) -> Vec<f32> {
    let mut state = 0x9e37_79b9_u32.wrapping_mul(seed);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..len)
        .map(|_| {
            let bell = (next() + next() + next() + next() - 2.0) * 8.0;
            // One in two thousand stands out.
            if next() < 0.0005 { bell + 10.0 } else { bell }
        })
        .collect()
}
