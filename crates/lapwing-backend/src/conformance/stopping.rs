//! Steps that nobody wants any more.

use std::time::{Duration, Instant};

use lapwing_model::TokenId;

use super::{close, logits_after};
use crate::{Decoder, Model, RewindError, StepError};

/// How often a step is stopped until that was quick: other work on the machine delays some.
const N_TRIES_MAX: usize = 8;

/// A step that may be stopped and is not gives what any step gives; one that is stopped ends early,
/// and says truly what its sequence can go on behind.
///
/// Give a `prompt` that takes the model tens of milliseconds.
///
/// # Panics
///
/// When a logit differs by more than `allowed`, or a step does not end when it is no longer wanted.
pub fn a_prompt_can_be_stopped(model: &dyn Model, prompt: &[TokenId], allowed: f32) {
    let started = Instant::now();
    let expected = logits_after(&mut *model.decoder().expect("a decoder"), model, prompt);
    let whole = started.elapsed();
    let mut logits = vec![0.0; model.n_vocab()];
    let mut decoder = model.decoder().expect("a decoder");
    decoder.step_while(prompt, &mut logits, &mut || true).expect("it is wanted");
    close(&logits, &expected, 0.0, "a step that was wanted");
    let (mut decoder, n_positions) = stopped_early(model, prompt, whole);
    if n_positions.is_none() {
        goes_on_no_more(&mut *decoder, prompt[0], &mut logits);
        decoder = model.decoder().expect("a decoder");
    }
    let n_positions = n_positions.unwrap_or(0);
    assert_eq!(decoder.n_positions(), n_positions);
    let found = logits_after(&mut *decoder, model, &prompt[n_positions..]);
    close(&found, &expected, allowed, &format!("stopped after {n_positions} positions"));
}

/// A decoder whose step over `prompt` was stopped, in less than three quarters of the time of a whole
/// one, which was `whole` once, and the positions that it holds.
fn stopped_early(
    model: &dyn Model,
    prompt: &[TokenId],
    mut whole: Duration,
) -> (Box<dyn Decoder>, Option<usize>) {
    let mut logits = vec![0.0; model.n_vocab()];
    let mut n_tries = 0;
    loop {
        let mut decoder = model.decoder().expect("a decoder");
        let started = Instant::now();
        let stopped = decoder.step_while(prompt, &mut logits, &mut || false);
        let took = started.elapsed();
        let Err(StepError::Stopped { n_positions }) = stopped else {
            panic!("a step that nobody wants ended in {took:?} of {whole:?} with {stopped:?}")
        };
        if took < whole * 3 / 4 {
            return (decoder, n_positions);
        }
        n_tries += 1;
        assert!(n_tries < N_TRIES_MAX, "it took {took:?} to stop, and {whole:?} is the whole step");
        // The one that was timed may have been the quick one.
        let started = Instant::now();
        logits_after(&mut *model.decoder().expect("a decoder"), model, prompt);
        whole = started.elapsed();
    }
}

/// Whatever is asked of it, the decoder refuses.
fn goes_on_no_more(decoder: &mut dyn Decoder, token: TokenId, logits: &mut [f32]) {
    let n_positions = decoder.n_positions();
    let is_lost = |outcome: &Result<(), StepError>| matches!(outcome, Err(StepError::Lost { n_positions: found, .. }) if *found == n_positions);
    let stepped = decoder.step(&[token], logits);
    assert!(is_lost(&stepped), "a step after one that it cannot go on behind gave {stepped:?}");
    let scored = decoder.score(&[token], &mut |_| {});
    assert!(is_lost(&scored), "so did a score: {scored:?}");
    for n_positions in 0..=n_positions {
        let rewound = decoder.rewind(n_positions);
        assert!(matches!(rewound, Err(RewindError::Lost { .. })), "{n_positions}: {rewound:?}");
    }
}
