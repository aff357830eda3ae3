//! One choice from one row, at the best level of this CPU.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use lapwing_logits::{Details, Level, Sampler, SamplerOptions};

/// The vocabularies of SmolLM2, Llama 3, Qwen 2.5 and Gemma 3.
const N_VOCABS: [usize; 4] = [49_152, 128_256, 151_936, 262_144];

fn main() {
    divan::main();
}

#[divan::bench(args = N_VOCABS)]
fn greedy(bencher: Bencher, n_vocab: usize) {
    run(bencher, n_vocab, options(0.0, 0, 1.0, 0.0), Details::NONE);
}

#[divan::bench(args = N_VOCABS)]
fn greedy_with_log_probability(bencher: Bencher, n_vocab: usize) {
    let details = Details { log_probability: true, n_top: 5 };
    run(bencher, n_vocab, options(0.0, 0, 1.0, 0.0), details);
}

#[divan::bench(args = N_VOCABS)]
fn top_k_top_p_min_p(bencher: Bencher, n_vocab: usize) {
    run(bencher, n_vocab, options(0.8, 40, 0.95, 0.05), Details::NONE);
}

#[divan::bench(args = N_VOCABS)]
fn top_p(bencher: Bencher, n_vocab: usize) {
    run(bencher, n_vocab, options(0.8, 0, 0.95, 0.0), Details::NONE);
}

#[divan::bench(args = N_VOCABS)]
fn whole_row(bencher: Bencher, n_vocab: usize) {
    run(bencher, n_vocab, options(1.0, 0, 1.0, 0.0), Details::NONE);
}

#[divan::bench(args = N_VOCABS)]
fn penalties_over_1000_tokens(bencher: Bencher, n_vocab: usize) {
    let options = SamplerOptions { repeat_penalty: 1.1, ..options(0.8, 40, 0.95, 0.05) };
    run(bencher, n_vocab, options, Details::NONE);
}

fn options(temperature: f32, top_k: usize, top_p: f32, min_p: f32) -> SamplerOptions {
    SamplerOptions { temperature, top_k, top_p, min_p, ..SamplerOptions::greedy() }
}

fn run(bencher: Bencher, n_vocab: usize, options: SamplerOptions, details: Details) {
    let mut logits = logits(n_vocab);
    let mut sampler =
        Sampler::new(options, n_vocab, Level::detect()).expect("the options are in range");
    (0..1000).for_each(|token| sampler.observe(token * 37));
    bencher.counter(ItemsCount::new(n_vocab)).bench_local(|| {
        black_box(sampler.choose(black_box(&mut logits), details).expect("the row is finite"))
    });
}

/// Bell-shaped logits with a peaked head, as a model's are.
fn logits(len: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_u32;
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
