//! Where the correction stage sits in the loop, and when it forgets.

use std::ops::ControlFlow;
use std::sync::Arc;

use lapwing_logits::{Candidate, Correction, Gains, Gauge, Level, Rescale, Scope, Smoothing};
use lapwing_runtime::{GenerateError, Request, Session, generate};

use crate::models::{Fault, faulty, session};
use crate::{request, run};

const N_VOCAB: usize = 20;

fn offset_of(token: usize, offset: f32) -> Arc<Correction> {
    let mut offsets = vec![0.0; N_VOCAB];
    offsets[token] = offset;
    Arc::new(Correction::new(N_VOCAB, Some(offsets.into()), None).expect("finite"))
}

/// A filter that keeps its first row for ever.
fn frozen() -> Arc<Correction> {
    let smoothing = Smoothing {
        gains: Gains::One(0.0),
        scope: Scope::Full,
        gauge: Gauge::Mean,
        reversion: None,
        rescale: Rescale::Off,
    };
    Arc::new(Correction::new(N_VOCAB, None, Some(smoothing)).expect("0 is a gain"))
}

#[test]
fn the_choice_is_made_from_corrected_logits_and_the_report_is_of_raw_ones() {
    let mut session = session(N_VOCAB, 100, true);
    session.set_correction(Some(offset_of(7, 100.0)));
    let generated = run(&mut session, &Request { n_first_step_top: 1, ..request(&[1, 2]) });
    assert_eq!(generated.token_ids, [7; 5]);
    assert_eq!(generated.first_step_top, [Candidate { token_idx: 3, logit: 10.0 }]);
    assert!(generated.timings.tokens.iter().all(|token| token.correct.is_some()));

    session.set_correction(None);
    let generated = run(&mut session, &request(&[1, 2]));
    assert_eq!(generated.token_ids, [3, 4, 5, 6, 7]);
    assert!(generated.timings.tokens.iter().all(|token| token.correct.is_none()));
}

#[test]
fn smoothing_starts_anew_with_every_prompt() {
    let mut session = session(N_VOCAB, 100, true);
    session.set_correction(Some(frozen()));
    assert_eq!(run(&mut session, &request(&[1, 2])).token_ids, [3; 5]);
    // A follow-up that the session still knows the beginning of.
    assert_eq!(run(&mut session, &request(&[1, 2, 3, 8])).token_ids, [9; 5]);
}

#[test]
fn rows_without_a_number_are_an_error_of_the_correction() {
    let model = Arc::new(faulty(Fault::NanFrom(0)));
    let mut session = Session::new(model, Level::detect()).expect("it starts");
    session.set_correction(Some(frozen()));
    let failed = generate(&mut session, &request(&[1]), &mut |_| ControlFlow::Continue(()));
    assert!(matches!(failed, Err(GenerateError::Correct { n_generated: 0, .. })), "{failed:?}");
}
