//! Many draws with a fixed seed against the probabilities of the definition.

use lapwing_logits::{Details, Level, Sampler, SamplerOptions};

use crate::plain;

const LOGITS: [f32; 8] = [2.0, 1.5, 1.5, 0.3, -0.2, -1.0, 0.9, -6.0];

/// Draw often; `expected` are probabilities up to a common factor, 0 for never.
fn check(options: SamplerOptions, expected: [f64; 8]) {
    const N_DRAWS: u32 = 40_000;
    let mut sampler =
        Sampler::new(options.clone(), LOGITS.len(), Level::detect()).expect("in range");
    let mut logits = LOGITS;
    let mut n_drawn = [0u32; 8];
    for _ in 0..N_DRAWS {
        let choice = sampler.choose(&mut logits, Details::NONE).expect("finite row");
        n_drawn[choice.token as usize] += 1;
    }
    let total: f64 = expected.iter().sum();
    let mut chi_square = 0.0;
    for (&n_drawn, weight) in n_drawn.iter().zip(expected) {
        let n_expected = weight / total * f64::from(N_DRAWS);
        if weight == 0.0 {
            assert_eq!(n_drawn, 0, "{options:?}");
        } else {
            chi_square += (f64::from(n_drawn) - n_expected).powi(2) / n_expected;
        }
    }
    // At most seven degrees of freedom: above 24.3 once in a thousand seeds.
    assert!(chi_square < 24.3, "{chi_square} {n_drawn:?} {options:?}");
}

/// The weights at a temperature, of the tokens that are kept.
fn weights(temperature: f64, kept: &[usize]) -> [f64; 8] {
    std::array::from_fn(|token| {
        if kept.contains(&token) { (f64::from(LOGITS[token]) / temperature).exp() } else { 0.0 }
    })
}

#[test]
fn the_whole_distribution_at_several_temperatures() {
    let all = [0, 1, 2, 3, 4, 5, 6, 7];
    for (seed, temperature) in [(1, 0.5), (2, 1.0), (3, 2.5)] {
        let options = SamplerOptions { temperature, seed, ..plain() };
        check(options, weights(f64::from(temperature), &all));
    }
}

#[test]
fn top_k_keeps_the_lower_id_of_a_tie() {
    check(SamplerOptions { top_k: 1, ..plain() }, weights(1.0, &[0]));
    check(SamplerOptions { top_k: 2, ..plain() }, weights(1.0, &[0, 1]));
    check(SamplerOptions { top_k: 4, ..plain() }, weights(1.0, &[0, 1, 2, 6]));
}

#[test]
fn top_p_keeps_the_fewest_that_hold_the_share() {
    // At temperature 1 the cumulated shares are 0.352, 0.565, 0.779, 0.896, 0.961, 0.999 or so.
    check(SamplerOptions { top_p: 0.0, ..plain() }, weights(1.0, &[0]));
    check(SamplerOptions { top_p: 0.3, ..plain() }, weights(1.0, &[0]));
    check(SamplerOptions { top_p: 0.5, ..plain() }, weights(1.0, &[0, 1]));
    check(SamplerOptions { top_p: 0.85, ..plain() }, weights(1.0, &[0, 1, 2, 6]));
}

#[test]
fn top_p_is_a_share_of_what_top_k_left() {
    // Of the best two, the first holds 0.622.
    check(SamplerOptions { top_k: 2, top_p: 0.6, ..plain() }, weights(1.0, &[0]));
    check(SamplerOptions { top_k: 2, top_p: 0.65, ..plain() }, weights(1.0, &[0, 1]));
}

#[test]
fn top_p_looks_at_the_tempered_distribution() {
    // At temperature 0.25 the first holds 0.781 of the whole.
    let options = SamplerOptions { temperature: 0.25, top_p: 0.7, ..plain() };
    check(options, weights(0.25, &[0]));
}

#[test]
fn min_p_is_relative_to_the_most_probable() {
    // exp(-0.5) = 0.607 and exp(-1.1) = 0.333.
    check(SamplerOptions { min_p: 0.6, ..plain() }, weights(1.0, &[0, 1, 2]));
    check(SamplerOptions { min_p: 0.61, ..plain() }, weights(1.0, &[0]));
    check(SamplerOptions { min_p: 0.33, ..plain() }, weights(1.0, &[0, 1, 2, 6]));
    check(SamplerOptions { min_p: 1.0, ..plain() }, weights(1.0, &[0]));
}

#[test]
fn top_p_through_equal_logits_keeps_the_lower_ids_and_no_more_than_needed() {
    let check = |n_vocab: usize, top_p: f32, n_kept: usize| {
        let options = SamplerOptions { top_p, ..plain() };
        let mut sampler = Sampler::new(options, n_vocab, Level::detect()).expect("in range");
        let mut logits = vec![1.25; n_vocab];
        let mut is_drawn = vec![false; n_vocab];
        for _ in 0..200 {
            let choice = sampler.choose(&mut logits, Details::NONE).expect("finite row");
            is_drawn[choice.token as usize] = true;
        }
        let expected: Vec<bool> = (0..n_vocab).map(|token| token < n_kept).collect();
        assert_eq!(is_drawn, expected, "{n_vocab} {top_p}");
    };
    // Exactly the share is enough.
    check(2, 0.5, 1);
    check(4, 0.5, 2);
    check(4, 0.75, 3);
    check(4, 0.76, 4);
    check(8, 0.125, 1);
}
