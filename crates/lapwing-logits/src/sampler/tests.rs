use super::{Alternative, Choice, ChooseError, Details, Sampler};
use crate::{Level, SamplerOptions};

fn sampler(options: &SamplerOptions, n_vocab: usize) -> Sampler {
    Sampler::new(options.clone(), n_vocab, Level::detect()).unwrap()
}

/// The greedy token after `history` was seen.
fn check(options: SamplerOptions, history: &[u32], logits: &[f32], expected: u32) {
    let mut sampler = sampler(&options, logits.len());
    history.iter().for_each(|&token| sampler.observe(token));
    let mut row = logits.to_vec();
    let choice = sampler.choose(&mut row, Details::NONE).unwrap();
    assert_eq!(choice.token, expected, "{options:?} {history:?} {logits:?}");
    assert_eq!(row, logits, "the row is put back");
}

#[test]
fn greedy_takes_the_largest_and_the_lower_id_of_a_tie() {
    check(SamplerOptions::greedy(), &[], &[1.0, 3.0, 2.0], 1);
    check(SamplerOptions::greedy(), &[], &[1.0, 3.0, 3.0], 1);
    check(SamplerOptions::greedy(), &[1, 1], &[1.0, 3.0, 2.0], 1);
    check(SamplerOptions::greedy(), &[], &[-5.0], 0);
    check(SamplerOptions::greedy(), &[], &[f32::NEG_INFINITY, -1e30], 1);
}

#[test]
fn the_repetition_penalty_is_that_of_ctrl() {
    let options = || SamplerOptions { repeat_penalty: 2.0, ..SamplerOptions::greedy() };
    // 3.0 / 2 = 1.5 lies below 1.6 and above 1.4; once, however often it occurred.
    check(options(), &[0], &[3.0, 1.6], 1);
    check(options(), &[0, 0, 0], &[3.0, 1.4], 0);
    // -3.0 * 2 = -6.0.
    check(options(), &[0], &[-3.0, -6.5], 0);
    check(options(), &[0], &[-3.0, -5.5], 1);
}

#[test]
fn presence_and_frequency_penalties_are_those_of_openai() {
    let presence = || SamplerOptions { presence_penalty: 1.0, ..SamplerOptions::greedy() };
    check(presence(), &[0, 0, 0], &[3.0, 1.9], 0);
    check(presence(), &[0, 0, 0], &[3.0, 2.1], 1);
    let frequency = || SamplerOptions { frequency_penalty: 0.5, ..SamplerOptions::greedy() };
    check(frequency(), &[0, 0, 0], &[3.0, 1.4], 0);
    check(frequency(), &[0, 0, 0], &[3.0, 1.6], 1);
    // Negative ones encourage.
    let encourage = || SamplerOptions { frequency_penalty: -0.5, ..SamplerOptions::greedy() };
    check(encourage(), &[1, 1, 1], &[3.0, 1.6], 1);
}

#[test]
fn the_window_forgets_the_oldest() {
    let options = |window| SamplerOptions {
        presence_penalty: 5.0,
        repeat_window: window,
        ..SamplerOptions::greedy()
    };
    check(options(None), &[0, 1, 1], &[3.0, 2.9, 0.0], 2);
    check(options(Some(3)), &[0, 1, 1], &[3.0, 2.9, 0.0], 2);
    check(options(Some(2)), &[0, 1, 1], &[3.0, 2.9, 0.0], 0);
    check(options(Some(1)), &[1, 1, 0], &[3.0, 2.9, 0.0], 1);
    check(options(Some(0)), &[0, 1, 1], &[3.0, 2.9, 0.0], 0);
}

#[test]
fn bias_comes_before_the_penalties() {
    let bias = |logit_bias: &[(u32, f32)]| SamplerOptions {
        logit_bias: logit_bias.to_vec(),
        ..SamplerOptions::greedy()
    };
    check(bias(&[(1, 1.5)]), &[], &[3.0, 2.0], 1);
    check(bias(&[(1, 0.6), (1, 0.6)]), &[], &[3.0, 2.0], 1);
    check(bias(&[(0, f32::NEG_INFINITY)]), &[], &[3.0, 2.0], 1);
    // (-1 + 3) / 4 = 0.5; the other order would give -1 * 4 + 3 = -1.
    let both = SamplerOptions { repeat_penalty: 4.0, ..bias(&[(0, 3.0)]) };
    check(both, &[0], &[-1.0, 0.4], 0);
}

#[test]
fn an_observed_id_outside_the_vocabulary_is_ignored() {
    let options = SamplerOptions { presence_penalty: 5.0, ..SamplerOptions::greedy() };
    check(options, &[2, 7, u32::MAX], &[3.0, 2.0], 0);
}

#[test]
fn broken_rows_are_errors() {
    let check = |logits: &[f32], expected: ChooseError| {
        for temperature in [0.0, 0.8] {
            for top_k in [0, 2] {
                let options = SamplerOptions { temperature, top_k, ..SamplerOptions::greedy() };
                let found = sampler(&options, 3).choose(&mut logits.to_vec(), Details::NONE);
                assert_eq!(found, Err(expected.clone()), "{options:?} {logits:?}");
            }
        }
    };
    check(&[1.0, 2.0], ChooseError::RowLength { expected: 3, found: 2 });
    check(&[1.0, f32::NAN, f32::NAN], ChooseError::NotANumber { token: 1 });
    check(&[f32::NAN; 3], ChooseError::NotANumber { token: 0 });
    check(&[1.0, 2.0, f32::INFINITY], ChooseError::Infinite { token: 2 });
    check(&[f32::NEG_INFINITY; 3], ChooseError::NoCandidate);
}

#[test]
fn forbidding_every_token_is_an_error_and_puts_the_row_back() {
    let forbidden = (0..2).map(|token| (token, f32::NEG_INFINITY)).collect();
    let options = SamplerOptions { logit_bias: forbidden, ..SamplerOptions::greedy() };
    let mut row = [1.0, 2.0];
    let found = sampler(&options, 2).choose(&mut row, Details::NONE);
    assert_eq!(found, Err(ChooseError::NoCandidate));
    assert_eq!(row, [1.0, 2.0]);
}

#[test]
fn a_forbidden_infinity_is_still_an_error() {
    let options =
        SamplerOptions { logit_bias: vec![(1, f32::NEG_INFINITY)], ..SamplerOptions::greedy() };
    let found = sampler(&options, 2).choose(&mut [0.0, f32::INFINITY], Details::NONE);
    assert_eq!(found, Err(ChooseError::Infinite { token: 1 }));
}

#[test]
fn an_empty_vocabulary_has_no_candidate() {
    for temperature in [0.0, 1.0] {
        let options = SamplerOptions { temperature, ..SamplerOptions::greedy() };
        let found = sampler(&options, 0).choose(&mut [], Details::NONE);
        assert_eq!(found, Err(ChooseError::NoCandidate));
    }
}

#[test]
fn details_are_of_the_raw_distribution() {
    // Bias forces token 2; the report is of the raw row, where it has 1/6.
    let options = SamplerOptions { logit_bias: vec![(2, 50.0)], ..SamplerOptions::greedy() };
    let mut row = [3f32.ln(), 2f32.ln(), 0.0];
    let details = Details { log_probability: true, n_top: 2 };
    let choice = sampler(&options, 3).choose(&mut row, details).unwrap();
    let close = |found: f64, expected: f64| assert!((found.exp() - expected).abs() < 1e-6);
    assert_eq!(choice.token, 2);
    close(choice.log_probability.unwrap(), 1.0 / 6.0);
    let tokens: Vec<u32> = choice.top.iter().map(|alternative| alternative.token).collect();
    assert_eq!(tokens, [0, 1]);
    close(choice.top[0].log_probability, 3.0 / 6.0);
    close(choice.top[1].log_probability, 2.0 / 6.0);
}

#[test]
fn details_come_only_when_asked() {
    let mut row = [0.0, 0.0];
    let mut greedy = sampler(&SamplerOptions::greedy(), 2);
    let plain = Choice { token: 0, log_probability: None, top: Vec::new() };
    assert_eq!(greedy.choose(&mut row, Details::NONE).unwrap(), plain);
    let half = -(2f64.ln());
    let details = Details { log_probability: false, n_top: 1 };
    let top = vec![Alternative { token: 0, log_probability: half }];
    assert_eq!(greedy.choose(&mut row, details).unwrap(), Choice { top, ..plain.clone() });
    let details = Details { log_probability: true, n_top: 0 };
    let expected = Choice { log_probability: Some(half), ..plain };
    assert_eq!(greedy.choose(&mut row, details).unwrap(), expected);
}

#[test]
fn a_clone_goes_on_as_the_original() {
    let options =
        SamplerOptions { temperature: 1.0, frequency_penalty: 0.3, ..SamplerOptions::greedy() };
    let mut original = sampler(&options, 50);
    let mut row: Vec<f32> = (0..50).map(|i| (i % 7) as f32 * 0.3).collect();
    let mut run = |sampler: &mut Sampler| -> Vec<u32> {
        let step = |_| {
            let token = sampler.choose(&mut row, Details::NONE).unwrap().token;
            sampler.observe(token);
            token
        };
        (0..20).map(step).collect()
    };
    run(&mut original);
    let mut fork = original.clone();
    assert_eq!(run(&mut fork), run(&mut original));
}

#[test]
fn presence_and_frequency_are_of_generated_tokens() {
    let chosen = |options: &SamplerOptions, prompt: &[u32], answer: &[u32]| {
        let mut sampler = Sampler::new(options.clone(), 3, Level::detect()).unwrap();
        prompt.iter().for_each(|&token| sampler.observe_prompt(token));
        answer.iter().for_each(|&token| sampler.observe(token));
        sampler.choose(&mut [2.0, 1.5, -9.0], Details::NONE).unwrap().token
    };
    let greedy = SamplerOptions::greedy();
    let presence = SamplerOptions { presence_penalty: 1.0, ..greedy.clone() };
    let frequency = SamplerOptions { frequency_penalty: 0.3, ..greedy.clone() };
    assert_eq!((chosen(&presence, &[0], &[]), chosen(&presence, &[], &[0])), (0, 1));
    assert_eq!((chosen(&frequency, &[0, 0], &[0]), chosen(&frequency, &[], &[0, 0])), (0, 1));
    let repeat = SamplerOptions { repeat_penalty: 2.0, ..greedy };
    assert_eq!((chosen(&repeat, &[0], &[]), chosen(&repeat, &[], &[0])), (1, 1));
    // What fell out of the window counts no longer, whichever it was.
    let window = SamplerOptions { repeat_window: Some(1), ..presence };
    assert_eq!((chosen(&window, &[0], &[2]), chosen(&window, &[2], &[0])), (0, 1));
    assert_eq!(chosen(&window, &[], &[0, 2]), 0);
}
