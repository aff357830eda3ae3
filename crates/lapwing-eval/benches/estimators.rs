//! What one row costs the accumulators of a calibration, on one core.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use lapwing_eval::estimators::{Bands, GainSearch, PairedMoments, SeriesMoments};

/// The vocabularies of SmolLM2, Llama 3, Qwen 2.5 and Gemma 3.
const N_VOCABS: [usize; 4] = [49_152, 128_256, 151_936, 262_144];
/// Rows of one measured run; rows are taken in by blocks, so a single one says little.
const N_ROWS: usize = 64;

fn main() {
    divan::main();
}

#[divan::bench(args = N_VOCABS, sample_count = 10)]
fn series_moments(bencher: Bencher, n_vocab: usize) {
    let mut series = SeriesMoments::new(n_vocab);
    run(bencher, n_vocab, |row, _| series.push(row));
}

#[divan::bench(args = N_VOCABS, sample_count = 10)]
fn paired_moments(bencher: Bencher, n_vocab: usize) {
    let mut paired = PairedMoments::new(n_vocab);
    run(bencher, n_vocab, |row, other| paired.push(row, other));
}

#[divan::bench(args = N_VOCABS, sample_count = 10)]
fn gain_search(bencher: Bencher, n_vocab: usize) {
    let means: Vec<f64> = row(n_vocab, 1).into_iter().map(f64::from).collect();
    let mut search = GainSearch::new(n_vocab, &Bands::by_mean(&means, 12), 33);
    run(bencher, n_vocab, |row, _| search.push(row));
}

/// Reports entries a second of [`N_ROWS`] rows; every row comes with another one.
fn run(bencher: Bencher, n_vocab: usize, mut push: impl FnMut(&[f32], &[f32])) {
    let rows: Vec<Vec<f32>> = (2..6).map(|seed| row(n_vocab, seed)).collect();
    bencher.counter(ItemsCount::new(n_vocab * N_ROWS)).bench_local(|| {
        for row_idx in 0..N_ROWS {
            push(black_box(&rows[row_idx % 4]), black_box(&rows[(row_idx + 1) % 4]));
        }
    });
}

/// Bell-shaped logits, as a model's are.
fn row(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..len).map(|_| (next() + next() + next() + next() - 2.0) * 8.0).collect()
}
