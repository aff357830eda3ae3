//! Sequences over a library that writes down what it is asked for.

use std::any::Any;
use std::sync::{Arc, Mutex};

use super::*;
use crate::{Device, FakeModel, MemoryBreakdown, N_ROW_MAX, OpenError, Step, row_length};

const N_VOCAB: usize = 50;

const LIMITS: Limits = Limits {
    n_positions_max: 100,
    n_chunk_tokens_max: 4,
    n_prompt_tokens_max: None,
    n_follow_tokens_max: 2,
    n_scored_tokens_max: 4,
    n_positions_switch: None,
    can_rewind: true,
    can_score: true,
};

/// A call of the library: positions before, tokens, rows that were wanted.
type Call = (usize, usize, usize);

/// A library whose rows hold their token; what it was asked for is in `calls`.
#[derive(Clone)]
struct Library {
    model: FakeModel,
    limits: Limits,
    calls: Arc<Mutex<Vec<Call>>>,
    /// Rows that it gives beyond those that are wanted.
    n_extra: usize,
    /// It says which part of a run is its own.
    is_timed: bool,
    /// It can be broken off within a run.
    is_breakable: bool,
    outlives_stops: bool,
    /// Tokens that it has seen together with others in one call.
    n_together: Arc<Mutex<usize>>,
}

impl Library {
    fn new(limits: Limits) -> Library {
        let model = FakeModel::new(N_VOCAB, limits.n_positions_max, limits.can_rewind);
        Library {
            model,
            limits,
            calls: Arc::default(),
            n_extra: 0,
            is_timed: true,
            is_breakable: false,
            outlives_stops: false,
            n_together: Arc::default(),
        }
    }

    fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

impl Inference for Library {
    fn run(&mut self, chunk: &mut Chunk<'_>) -> Result<(), Source> {
        self.calls.lock().unwrap().push((chunk.n_past, chunk.tokens.len(), chunk.n_rows));
        std::thread::sleep(Duration::from_millis(2));
        if self.is_breakable {
            let goes_on =
                chunk.time_while(|is_wanted| is_wanted.is_none_or(|is_wanted| is_wanted()));
            if !goes_on {
                return Err("cancelled".into());
            }
        }
        if self.is_timed {
            chunk.time(|| std::thread::sleep(Duration::from_millis(1)));
        }
        if chunk.tokens.contains(&13) {
            return Err("the cable fell out".into());
        }
        if chunk.tokens.contains(&14) {
            chunk.give(&[14.0; 3], None);
            return Ok(());
        }
        for row_idx in 0..chunk.n_rows + self.n_extra {
            let token_idx = chunk.tokens.len() - chunk.n_rows + row_idx;
            let token = chunk.tokens.get(token_idx).copied().unwrap_or_default();
            chunk.give(&[token as f32; N_VOCAB], Some(&[token as f32]));
        }
        Ok(())
    }

    fn forget(&mut self, n_positions: usize) -> Result<(), &'static str> {
        if n_positions == 0 || self.limits.can_rewind { Ok(()) } else { Err("made so") }
    }

    fn outlives_stops(&self) -> bool {
        self.outlives_stops
    }
}

impl Model for Library {
    fn n_vocab(&self) -> usize {
        N_VOCAB
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn device_used(&self) -> &Device {
        self.model.device_used()
    }

    fn memory(&self) -> MemoryBreakdown {
        MemoryBreakdown::default()
    }

    fn decoder(&self) -> Result<Box<dyn Decoder>, OpenError> {
        Ok(Box::new(Sequence::new("library", self, self.clone())))
    }

    /// As a backend would that runs single tokens of its own sequences together.
    fn step_many(&self, steps: &mut [Step<'_>]) -> Vec<Result<(), StepError>> {
        let outcomes = steps.iter_mut().map(|step| {
            let decoder: &mut dyn Any = step.decoder;
            let is_own = decoder.downcast_mut::<Sequence<Library>>().is_some();
            *self.n_together.lock().unwrap() += usize::from(is_own && step.tokens.len() == 1);
            step.decoder.step(step.tokens, step.logits)
        });
        outcomes.collect()
    }
}

fn step(decoder: &mut dyn Decoder, tokens: &[TokenId]) -> Result<f32, StepError> {
    let mut logits = vec![-1.0; N_VOCAB];
    decoder.step(tokens, &mut logits)?;
    Ok(logits[0])
}

#[test]
fn steps_go_in_as_the_limits_allow_and_the_last_row_comes_out() {
    let library = Library::new(LIMITS);
    let mut decoder = library.decoder().unwrap();
    let prompt: Vec<TokenId> = (1..=9).collect();
    assert_eq!(step(&mut *decoder, &prompt).unwrap(), 9.0);
    assert_eq!(library.calls(), [(0, 4, 1), (4, 2, 1), (6, 2, 1), (8, 1, 1)]);
    assert_eq!(step(&mut *decoder, &[7, 8, 9]).unwrap(), 9.0);
    assert_eq!(library.calls(), [(9, 2, 1), (11, 1, 1)]);
    assert_eq!(decoder.n_positions(), 12);
}

#[test]
fn a_row_of_another_length_is_an_error_and_not_an_old_row() {
    let library = Library::new(LIMITS);
    let mut decoder = library.decoder().unwrap();
    let error = step(&mut *decoder, &[14]).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "expected rows of 50 logits, found one of 3");
}

#[test]
fn a_length_that_no_row_has_is_refused() {
    assert_eq!(row_length(50), Ok(50));
    assert_eq!(row_length(N_ROW_MAX as u64), Ok(N_ROW_MAX));
    for claimed in [0, N_ROW_MAX as u64 + 1, 1 << 33, 1 << 62, u64::MAX] {
        let refused = row_length(claimed).unwrap_err();
        assert!(refused.ends_with(&format!("found {claimed}")), "{refused}");
    }
}

#[test]
fn scores_give_every_row_in_order_and_none_comes_alone() {
    let check = |n_tokens: u32, n_at_once: usize, expected: &[usize]| {
        let library = Library::new(Limits { n_scored_tokens_max: n_at_once, ..LIMITS });
        let tokens: Vec<TokenId> = (20..20 + n_tokens).collect();
        let mut n_rows = 0;
        let mut check_row = |row: Row<'_>| {
            assert_eq!(row.token_idx, n_rows);
            assert_eq!(row.logits[0], tokens[n_rows] as f32);
            assert_eq!(row.hidden, Some(&[tokens[n_rows] as f32][..]));
            n_rows += 1;
        };
        library.decoder().unwrap().score(&tokens, &mut check_row).unwrap();
        let mut n_past = 0;
        let expected = expected.iter().map(|&n_new| {
            n_past += n_new;
            (n_past - n_new, n_new, n_new)
        });
        assert_eq!(library.calls(), expected.collect::<Vec<_>>(), "{n_tokens} by {n_at_once}");
        assert_eq!(n_rows, tokens.len());
    };
    check(8, 4, &[4, 4]);
    check(9, 4, &[4, 3, 2]);
    check(5, 4, &[3, 2]);
    check(10, 4, &[4, 4, 2]);
    check(1, 4, &[1]);
    check(3, 2, &[2, 1]);
    check(3, 1, &[1, 1, 1]);
}

#[test]
fn what_the_limits_do_not_allow_never_reaches_the_library() {
    let check = |limits: Limits, tokens: &[TokenId], expected: &str| {
        let library = Library::new(limits);
        let mut decoder = library.decoder().unwrap();
        let error = step(&mut *decoder, tokens).expect_err("it is refused");
        assert_eq!(error.to_string(), expected);
        assert_eq!((library.calls(), decoder.n_positions()), (Vec::new(), 0));
    };
    let small = Limits { n_positions_max: 3, ..LIMITS };
    check(small, &[1; 4], "context is full: 0 positions seen, 4 new, 3 allowed");
    check(LIMITS, &[1, 50, 51], "token 50 is not in the vocabulary of 50");
    let fixed = Limits { n_prompt_tokens_max: Some(2), n_scored_tokens_max: 1, ..LIMITS };
    check(fixed, &[1; 3], "prompt of 3 tokens is too long: 2 were compiled for");
    // Behind others, or one by one, as many are no prompt.
    let library = Library::new(fixed);
    let mut decoder = library.decoder().unwrap();
    decoder.score(&[1; 3], &mut |_| {}).unwrap();
    step(&mut *decoder, &[1; 3]).unwrap();
    let last_only = Library::new(Limits { can_score: false, ..LIMITS });
    let error = last_only.decoder().unwrap().score(&[1], &mut |_| {}).expect_err("it cannot");
    assert!(matches!(error, StepError::LastPositionOnly { backend: "library" }), "{error}");
}

#[test]
fn a_library_that_fails_or_gives_other_rows_is_an_error() {
    let check = |library: Library, tokens: &[TokenId], n_seen: usize, expected: &str| {
        let mut decoder = library.decoder().unwrap();
        let error = step(&mut *decoder, tokens).expect_err("it fails");
        let StepError::Library { backend: "library", n_positions, source } = error else {
            panic!("{error}")
        };
        assert_eq!((n_positions, source.to_string()), (n_seen, expected.to_owned()));
    };
    check(Library::new(LIMITS), &[1, 2, 3, 4, 13], 4, "the cable fell out");
    let chatty = Library { n_extra: 1, ..Library::new(LIMITS) };
    check(chatty, &[1], 0, "expected 1 rows, found 2");
}

#[test]
fn the_librarys_time_is_what_it_says_or_all_of_the_run() {
    for (is_timed, at_least, at_most) in [(true, 3, Some(6)), (false, 6, None)] {
        let library = Library { is_timed, ..Library::new(LIMITS) };
        let mut decoder = library.decoder().unwrap();
        let started = Instant::now();
        step(&mut *decoder, &[1; 8]).unwrap();
        let (elapsed, inference) = (started.elapsed(), decoder.last_inference());
        assert!(Duration::from_millis(at_least) <= inference && inference <= elapsed);
        // The other part of each of the three runs is ours.
        let ours = at_most.map_or(Duration::ZERO, Duration::from_millis);
        assert!(ours <= elapsed - inference, "{inference:?} of {elapsed:?}");
    }
}

#[test]
fn rewinds_are_asked_for_only_where_they_change_something() {
    let library = Library::new(Limits { can_rewind: false, ..LIMITS });
    let mut decoder = library.decoder().unwrap();
    step(&mut *decoder, &[1; 5]).unwrap();
    let error = decoder.rewind(6).expect_err("they were never seen");
    assert!(matches!(error, RewindError::Ahead { n_asked: 6, n_positions: 5 }), "{error}");
    decoder.rewind(5).expect("the present is no way back");
    let error = decoder.rewind(4).expect_err("the library refuses");
    assert_eq!(error.to_string(), "library cannot rewind here: made so");
    assert_eq!(decoder.n_positions(), 5, "nothing changed");
    decoder.rewind(0).expect("the start");
    assert_eq!(decoder.n_positions(), 0);
}

#[test]
fn many_sequences_step_together_and_one_that_fails_hides_no_other() {
    let fake: Box<dyn Model> = Box::new(FakeModel::new(N_VOCAB, 10, true));
    let library = Library::new(Limits { n_positions_max: 10, ..LIMITS });
    let n_together = Arc::clone(&library.n_together);
    for model in [fake, Box::new(library)] {
        let mut decoders: Vec<_> = (0..4).map(|_| model.decoder().unwrap()).collect();
        let mut rows = vec![vec![0.0; N_VOCAB]; 4];
        let tokens: [&[TokenId]; 4] = [&[1, 2, 3], &[7], &[50], &[8]];
        let parts = decoders.iter_mut().zip(&mut rows).zip(tokens);
        let mut steps: Vec<Step<'_>> = parts
            .map(|((decoder, logits), tokens)| Step { decoder: &mut **decoder, tokens, logits })
            .collect();
        let outcomes = model.step_many(&mut steps);
        let is_ok: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
        assert_eq!(is_ok, [true, true, false, true], "{outcomes:?}");
        let counts: Vec<usize> = decoders.iter().map(|decoder| decoder.n_positions()).collect();
        assert_eq!(counts, [3, 1, 0, 1]);
        for ((found, tokens), is_ok) in rows.iter().zip(tokens).zip(is_ok) {
            let mut expected = vec![0.0; N_VOCAB];
            let alone = model.decoder().unwrap().step(tokens, &mut expected);
            assert_eq!((found, is_ok), (&expected, alone.is_ok()));
        }
    }
    assert_eq!(*n_together.lock().unwrap(), 3, "a backend knows its own");
}

#[test]
fn a_step_ends_between_chunks_when_nobody_wants_it() {
    let library = Library::new(LIMITS);
    let mut decoder = library.decoder().unwrap();
    let mut logits = vec![0.0; N_VOCAB];
    let mut n_asked = 0;
    let stopped = decoder.step_while(&[1, 2, 3, 4, 5, 6, 7, 8], &mut logits, &mut || {
        n_asked += 1;
        n_asked < 2
    });
    assert!(matches!(stopped, Err(StepError::Stopped { n_positions: Some(6) })), "{stopped:?}");
    assert_eq!((decoder.n_positions(), library.calls()), (6, vec![(0, 4, 1), (4, 2, 1)]));
    decoder.step_while(&[7, 8, 9], &mut logits, &mut || true).unwrap();
    assert_eq!((decoder.n_positions(), logits[0]), (9, 9.0));
}

#[test]
fn a_run_that_is_broken_off_is_no_failure_of_the_library() {
    for outlives_stops in [false, true] {
        let library = Library { is_breakable: true, outlives_stops, ..Library::new(LIMITS) };
        let mut decoder = library.decoder().unwrap();
        let mut logits = vec![0.0; N_VOCAB];
        decoder.step_while(&[1, 2], &mut logits, &mut || true).unwrap();
        let stopped = decoder.step_while(&[3, 4], &mut logits, &mut || false);
        let held = outlives_stops.then_some(2);
        assert!(matches!(stopped, Err(StepError::Stopped { n_positions }) if n_positions == held));
        assert_eq!(decoder.n_positions(), 2);
        if !outlives_stops {
            is_lost(&library, &mut *decoder);
            continue;
        }
        // One token is not worth asking for, and what fails while it is wanted has failed.
        decoder.step_while(&[5], &mut logits, &mut || false).unwrap();
        let failed = decoder.step_while(&[13, 4], &mut logits, &mut || true);
        assert!(matches!(failed, Err(StepError::Library { n_positions: 3, .. })), "{failed:?}");
        is_lost(&library, &mut *decoder);
    }
}

/// Whatever is asked of it, the decoder refuses without a call of the library.
#[track_caller]
fn is_lost(library: &Library, decoder: &mut dyn Decoder) {
    library.calls();
    let n_positions = decoder.n_positions();
    let expected = format!("a step behind {n_positions} positions failed or was broken off");
    let stepped = step(decoder, &[5]).expect_err("it is lost");
    assert_eq!(stepped.to_string(), format!("library cannot go on: {expected}"));
    let mut logits = vec![0.0; N_VOCAB];
    let stepped = decoder.step_while(&[5, 6], &mut logits, &mut || true);
    assert!(matches!(stepped, Err(StepError::Lost { .. })), "{stepped:?}");
    let scored = decoder.score(&[5, 6], &mut |_| panic!("a row of what is lost"));
    assert!(matches!(scored, Err(StepError::Lost { .. })), "{scored:?}");
    for n_asked in 0..=n_positions + 1 {
        let refused = decoder.rewind(n_asked).expect_err("it is lost");
        assert_eq!(refused.to_string(), format!("library cannot rewind: {expected}"));
    }
    assert_eq!((decoder.n_positions(), library.calls()), (n_positions, Vec::new()));
}

#[test]
fn what_failed_in_the_library_is_lost_and_what_never_reached_it_is_not() {
    for token in [13, 14] {
        let library = Library::new(LIMITS);
        let mut decoder = library.decoder().unwrap();
        step(&mut *decoder, &[1; 3]).unwrap();
        step(&mut *decoder, &[1, N_VOCAB as u32]).expect_err("no such token");
        step(&mut *decoder, &[1; 100]).expect_err("they do not fit");
        step(&mut *decoder, &[1]).unwrap();
        let failed = decoder.score(&[1, 1, token], &mut |_| {}).expect_err("it fails");
        assert!(matches!(failed, StepError::Library { n_positions: 4, .. }), "{failed}");
        is_lost(&library, &mut *decoder);
    }
}

#[test]
fn a_sequence_that_becomes_long_is_read_anew_and_at_once() {
    let switching = Limits { n_positions_switch: Some(6), ..LIMITS };
    let library = Library::new(switching);
    let mut decoder = library.decoder().unwrap();
    // A long prompt: what goes in first makes the sequence long.
    let prompt: Vec<TokenId> = (1..=9).collect();
    assert_eq!(step(&mut *decoder, &prompt).unwrap(), 9.0);
    assert_eq!(library.calls(), [(0, 7, 1), (7, 2, 1)]);
    // A short one, which an answer makes long.
    let mut decoder = library.decoder().unwrap();
    step(&mut *decoder, &prompt[..5]).unwrap();
    step(&mut *decoder, &[6]).unwrap();
    assert_eq!(library.calls(), [(0, 4, 1), (4, 1, 1), (5, 1, 1)]);
    assert_eq!(step(&mut *decoder, &[7]).unwrap(), 7.0);
    assert_eq!(step(&mut *decoder, &[8]).unwrap(), 8.0);
    assert_eq!(library.calls(), [(0, 7, 1), (7, 1, 1)]);
    assert_eq!(decoder.n_positions(), 8);
    // Back over the border nothing fits but the beginning.
    assert!(matches!(decoder.rewind(6), Err(RewindError::Unsupported { .. })));
    decoder.rewind(7).unwrap();
    decoder.rewind(0).unwrap();
    step(&mut *decoder, &prompt[..3]).unwrap();
    decoder.rewind(2).unwrap();
    let rewound = step(&mut *decoder, &[40, 41, 42, 43, 44]).unwrap();
    assert_eq!(rewound, 44.0);
    assert_eq!(library.calls(), [(0, 3, 1), (0, 7, 1)]);
}

#[test]
fn rows_on_both_sides_of_a_switch_are_refused() {
    let library = Library::new(Limits { n_positions_switch: Some(6), ..LIMITS });
    let mut decoder = library.decoder().unwrap();
    let tokens: Vec<TokenId> = (1..=9).collect();
    let mut n_rows = 0;
    let refused = decoder.score(&tokens, &mut |_| n_rows += 1).unwrap_err();
    let expected = "cannot score 9 tokens behind 0 positions: the model computes all of a sequence \
                    otherwise when it has more than 6";
    assert_eq!((refused.to_string().as_str(), n_rows), (expected, 0));
    decoder.score(&tokens[..6], &mut |_| n_rows += 1).unwrap();
    assert_eq!(n_rows, 6);
}

#[test]
fn a_sequence_that_was_not_read_anew_to_its_end_is_of_no_use() {
    let mut library = Library::new(Limits { n_positions_switch: Some(6), ..LIMITS });
    (library.is_breakable, library.outlives_stops) = (true, true);
    let mut decoder = library.decoder().unwrap();
    step(&mut *decoder, &[1, 2, 3, 4, 5]).unwrap();
    let mut logits = vec![0.0; N_VOCAB];
    let stopped = decoder.step_while(&[6, 7], &mut logits, &mut || false).unwrap_err();
    assert!(matches!(stopped, StepError::Stopped { n_positions: None }), "{stopped:?}");
}
