//! The definition, as plainly as it can be written: sort the row, cut, draw.

use std::collections::HashMap;

use lapwing_kernels::{exp_nonpositive, sum_exp};
use lapwing_logits::{Details, Level, Sampler, SamplerOptions};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::plain;

struct Naive {
    options: SamplerOptions,
    history: Vec<u32>,
    random: ChaCha8Rng,
}

impl Naive {
    fn new(options: SamplerOptions) -> Naive {
        let random = ChaCha8Rng::seed_from_u64(options.seed);
        Naive { options, history: Vec::new(), random }
    }

    fn choose(&mut self, logits: &[f32]) -> u32 {
        let mut row = logits.to_vec();
        self.adjust(&mut row);
        let mut sorted: Vec<usize> = (0..row.len()).collect();
        sorted.sort_by(|&a, &b| row[b].partial_cmp(&row[a]).expect("no NaN").then(a.cmp(&b)));
        if self.options.temperature == 0.0 {
            return sorted[0] as u32;
        }
        self.cut_and_draw(&row, sorted)
    }

    fn adjust(&self, row: &mut [f32]) {
        for &(token, bias) in &self.options.logit_bias {
            row[token as usize] += bias;
        }
        let n_window = self.options.repeat_window.unwrap_or(usize::MAX);
        let mut counts: HashMap<u32, f32> = HashMap::new();
        for &token in self.history.iter().rev().take(n_window) {
            *counts.entry(token).or_default() += 1.0;
        }
        for (token, count) in counts {
            let logit = &mut row[token as usize];
            let penalty = self.options.repeat_penalty;
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            *logit -= count * self.options.frequency_penalty;
            *logit -= self.options.presence_penalty;
        }
    }

    fn cut_and_draw(&mut self, row: &[f32], mut sorted: Vec<usize>) -> u32 {
        let scale = self.options.temperature.recip();
        let max = row[sorted[0]];
        let weight = |token: usize| f64::from(exp_nonpositive((row[token] - max) * scale));
        let mut total = sum_exp(Level::SCALAR, row, max, scale);
        if self.options.top_k != 0 {
            sorted.truncate(self.options.top_k);
            total = sorted.iter().map(|&token| weight(token)).sum();
        }
        let is_cut = self.options.top_p < 1.0 || self.options.min_p > 0.0;
        if self.options.top_p < 1.0 {
            let mut sum = 0.0;
            let mut n_kept = 0;
            for &token in &sorted {
                n_kept += 1;
                sum += weight(token);
                if f64::from(self.options.top_p) * total <= sum {
                    break;
                }
            }
            sorted.truncate(n_kept);
        }
        sorted.retain(|&token| f64::from(self.options.min_p) <= weight(token));
        assert!(!sorted.is_empty(), "every truncation keeps at least one");
        if is_cut {
            total = sorted.iter().map(|&token| weight(token)).sum();
        }
        let unit = (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let mut sum = 0.0;
        for &token in &sorted {
            sum += weight(token);
            if unit * total < sum {
                return token as u32;
            }
        }
        *sorted.iter().rfind(|&&token| weight(token) > 0.0).expect("the best weighs 1") as u32
    }
}

/// Rows with many ties: logits on a coarse grid.
fn row() -> impl Strategy<Value = Vec<f32>> {
    let grid = prop_oneof![
        8 => (-40i32..40).prop_map(|step| step as f32 * 0.25),
        1 => Just(f32::NEG_INFINITY),
        1 => -100.0f32..20.0,
    ];
    (1.0f32..20.0, prop::collection::vec(grid, 1..400)).prop_map(|(first, mut row)| {
        // At least one candidate.
        row[0] = first;
        row
    })
}

prop_compose! {
    fn options()(
        temperature in prop_oneof![Just(0.0f32), Just(1.0f32), 0.05f32..4.0],
        top_k in prop_oneof![Just(0usize), 1usize..30, Just(1000usize)],
        top_p in prop_oneof![Just(1.0f32), Just(0.0f32), Just(0.5f32), 0.0f32..1.0],
        min_p in prop_oneof![Just(0.0f32), Just(1.0f32), 0.0f32..0.5],
        repeat_penalty in prop_oneof![Just(1.0f32), 0.5f32..2.0],
        repeat_window in prop_oneof![Just(None), (0usize..8).prop_map(Some)],
        presence_penalty in prop_oneof![Just(0.0f32), -1.0f32..2.0],
        frequency_penalty in prop_oneof![Just(0.0f32), -0.5f32..1.0],
        seed in any::<u64>(),
    ) -> SamplerOptions {
        SamplerOptions {
            temperature, top_k, top_p, min_p, repeat_penalty, repeat_window,
            presence_penalty, frequency_penalty, seed, logit_bias: Vec::new(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600,
        rng_seed: RngSeed::Fixed(0),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_sampler_is_its_definition(
        row in row(),
        options in options(),
        biases in prop::collection::vec((any::<prop::sample::Index>(), -5.0f32..5.0), 0..4),
    ) {
        let biases = biases.into_iter();
        let logit_bias =
            biases.map(|(idx, bias)| (idx.index(row.len()) as u32, bias)).collect();
        let options = SamplerOptions { logit_bias, ..options };
        for level in Level::available_for_floats() {
            check(options.clone(), &row, level, 20);
        }
    }
}

/// Both choose the same `n_steps` tokens from the same row.
fn check(options: SamplerOptions, row: &[f32], level: Level, n_steps: usize) {
    let mut naive = Naive::new(options.clone());
    let mut sampler = Sampler::new(options, row.len(), level).expect("in range");
    let mut logits = row.to_vec();
    for step in 0..n_steps {
        let expected = naive.choose(row);
        let found = sampler.choose(&mut logits, Details::NONE).expect("finite row").token;
        assert_eq!(found, expected, "{level:?} step {step}");
        naive.history.push(found);
        sampler.observe(found);
    }
}

#[test]
fn flat_rows_of_a_real_vocabulary_grow_the_shortlist() {
    // Half the mass lies beyond the first few thousand candidates.
    let flat = crate::bell(49_152, 1.0);
    let tied = vec![0.5; 49_152];
    for level in Level::available_for_floats() {
        for (top_p, min_p) in [(1.0, 0.0), (0.9, 0.0), (1.0, 0.2), (0.6, 0.4)] {
            let options = SamplerOptions { top_p, min_p, seed: 3, ..plain() };
            check(options.clone(), &flat, level, 3);
            check(options, &tied, level, 3);
        }
    }
}
