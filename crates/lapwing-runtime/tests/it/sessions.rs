//! What a follow-up prompt does not compute again.

use std::ops::ControlFlow;
use std::sync::Arc;

use lapwing_backend::FakeModel;
use lapwing_logits::Level;
use lapwing_runtime::{
    Event, Finish, GenerateError, Generated, Generation, Request, Session, generate,
};

use crate::models::{Fault, faulty, session};
use crate::{request, run};

/// Generate two tokens; returns them with how many tokens were reused and how many went in.
fn turn(session: &mut Session, prompt: &[u32]) -> (Vec<u32>, usize, usize) {
    let mut prefilled = None;
    let two = Request { n_tokens_max: 2, ..request(prompt) };
    let generated = generate(session, &two, &mut |event| {
        if let Event::Prefill { n_tokens, n_reused, .. } = event {
            prefilled = Some((n_tokens, n_reused));
        }
        ControlFlow::Continue(())
    })
    .expect("the request is fine");
    let n_reused = generated.usage.n_reused_tokens;
    let n_tokens = prompt.len() - n_reused;
    assert_eq!(prefilled, Some((n_tokens, n_reused)));
    (generated.token_ids, n_reused, n_tokens)
}

#[test]
fn a_follow_up_prefills_only_what_is_new() {
    for can_rewind in [true, false] {
        let mut session = session(20, 100, can_rewind);
        assert_eq!(turn(&mut session, &[1, 2, 3]), (vec![4, 5], 0, 3));
        assert_eq!(session.seen(), [1, 2, 3, 4]);
        // The answer's last token was never stepped.
        assert_eq!(turn(&mut session, &[1, 2, 3, 4, 5, 9]), (vec![10, 11], 4, 2));
        assert_eq!(session.seen(), [1, 2, 3, 4, 5, 9, 10]);
    }
}

#[test]
fn a_changed_prompt_rewinds_to_the_common_beginning() {
    let mut session = session(20, 100, true);
    turn(&mut session, &[1, 2, 3, 4]);
    assert_eq!(turn(&mut session, &[1, 2, 7]), (vec![8, 9], 2, 1));
    assert_eq!(session.seen(), [1, 2, 7, 8]);
    assert_eq!(turn(&mut session, &[5]), (vec![6, 7], 0, 1));
}

#[test]
fn the_same_prompt_steps_its_last_token_again() {
    let mut session = session(20, 100, true);
    turn(&mut session, &[1, 2, 3]);
    assert_eq!(turn(&mut session, &[1, 2, 3]), (vec![4, 5], 2, 1));
    // And a prompt that the decoder has seen more of than it says.
    assert_eq!(turn(&mut session, &[1, 2]), (vec![3, 4], 1, 1));
}

#[test]
fn a_decoder_that_cannot_rewind_is_replaced() {
    let mut session = session(20, 100, false);
    turn(&mut session, &[1, 2, 3, 4]);
    assert_eq!(turn(&mut session, &[1, 2, 7]), (vec![8, 9], 0, 3));
    assert_eq!(session.seen(), [1, 2, 7, 8]);
    assert_eq!(turn(&mut session, &[1, 2, 7]), (vec![8, 9], 0, 3));
}

#[test]
fn a_rewound_session_has_its_room_back() {
    let mut session = session(20, 6, true);
    turn(&mut session, &[1, 2, 3, 4, 5]);
    assert_eq!(turn(&mut session, &[1, 2, 3, 4, 9]).0, [10, 11]);
}

#[test]
fn a_session_recovers_from_a_failed_step() {
    let model = faulty(Fault::StepAt(3));
    let mut session = Session::new(Arc::new(model), Level::detect()).unwrap();
    let error = generate(&mut session, &request(&[1, 2]), &mut |_| ControlFlow::Continue(()));
    assert_eq!(error.unwrap_err().to_string(), "cannot go on after 2 generated tokens");
    // What the failed decoder holds is unknown, so nothing of it is reused.
    let one = Request { n_tokens_max: 1, ..request(&[1, 2, 3]) };
    let generated = run(&mut session, &one);
    assert_eq!((generated.token_ids.as_slice(), generated.usage.n_reused_tokens), (&[4][..], 0));
}

/// A session on a device that was compiled for prompts of up to `n_prompt_tokens_max`.
fn fixed(n_prompt_tokens_max: usize) -> Session {
    let model = FakeModel::new(100, 60, true).with_fixed_prompt(n_prompt_tokens_max);
    Session::new(Arc::new(model), Level::detect()).expect("fake starts")
}

#[test]
fn where_tokens_follow_one_by_one_a_long_follow_up_starts_anew() {
    let mut session = fixed(30);
    turn(&mut session, &[1, 2, 3]);
    let short = [1, 2, 3, 4, 5, 9];
    assert_eq!(turn(&mut session, &short), (vec![10, 11], 4, 2));
    let mut long = vec![1, 2, 3, 4, 5, 9, 10, 11];
    long.extend(20..29);
    assert_eq!(turn(&mut session, &long), (vec![29, 30], 0, 17));
    // Beyond the longest prompt it is the only way.
    let mut beyond = long.clone();
    beyond.push(29);
    beyond.extend(40..60);
    assert_eq!(turn(&mut session, &beyond), (vec![60, 61], 18, 20));
}

#[test]
fn a_first_prompt_beyond_the_compilation_is_refused_before_inference() {
    let mut session = fixed(4);
    assert_eq!(turn(&mut session, &[1, 2, 3, 4]).1, 0);
    let refused = generate(&mut session, &request(&[7; 5]), &mut |_| panic!("no event"));
    let expected = GenerateError::PromptBeyondCompiled { n_tokens: 5, n_prompt_tokens_max: 4 };
    assert_eq!(refused.unwrap_err().to_string(), expected.to_string());
    // The session goes on.
    assert_eq!(turn(&mut session, &[7, 8]), (vec![9, 10], 0, 2));
}

/// Generate in a session, and break off while the prompt is read, when that was heard `n_heard`
/// times.
fn broken_off(session: &mut Session, prompt: &[u32], n_heard: usize) -> Generated {
    let mut n_reading = 0;
    let generated = generate(session, &request(prompt), &mut |event| {
        n_reading += usize::from(event == Event::Reading);
        if n_reading == n_heard { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    generated.expect("to break off is no error")
}

#[test]
fn a_prompt_that_is_broken_off_while_it_is_read_is_read_on_later() {
    // Three tokens at once, then one by one.
    let model = FakeModel::new(20, 100, true).with_fixed_prompt(3);
    let mut session = Session::new(Arc::new(model), Level::detect()).unwrap();
    turn(&mut session, &[1, 2, 3]);
    let generated = broken_off(&mut session, &[1, 2, 3, 4, 5, 7, 8, 9], 2);
    assert_eq!(generated.finish, Finish::Cancelled);
    assert!(generated.token_ids.is_empty() && generated.text.is_empty());
    assert_eq!(generated.usage.n_reused_tokens, 4);
    assert_eq!(generated.timings.time_to_first_token, None);
    assert_eq!(session.seen(), [1, 2, 3, 4, 5, 7]);
    assert_eq!(turn(&mut session, &[1, 2, 3, 4, 5, 7, 8, 9]), (vec![10, 11], 6, 2));
}

#[test]
fn a_cancelled_prompt_ends_a_generation() {
    let model = FakeModel::new(20, 100, true).with_fixed_prompt(3);
    let mut session = Session::new(Arc::new(model), Level::detect()).unwrap();
    turn(&mut session, &[1, 2, 3]);
    let prompt = [1, 2, 3, 4, 5, 6];
    let mut generation = Generation::new(session, &request(&prompt)).expect("fine");
    assert_eq!(generation.advance_while(&mut || false).unwrap(), Some(Finish::Cancelled));
    assert_eq!(generation.advance().unwrap(), Some(Finish::Cancelled));
    assert!(generation.event().is_none(), "nothing was done");
    let (session, generated) = generation.end();
    assert_eq!((session.seen(), generated.finish), (&prompt[..5], Finish::Cancelled));
}
