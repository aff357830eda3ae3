//! Many answers at a time: each is what it would be alone.

use std::ops::ControlFlow;
use std::sync::Arc;

use lapwing_backend::{FakeModel, Model};
use lapwing_logits::{Alternative, Correction, Details, Level, SamplerOptions};
use lapwing_runtime::{
    Constraint, ConstraintError, Event, Finish, GenerateError, Generated, Generation, Request,
    Session, Timings, advance_together, generate,
};
use lapwing_text::Tokenizer;

use crate::models::{Fault, faulty, session};
use crate::{FUSE, request, run, tokenizer};

/// An event without what it cost.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Heard {
    Prefill { n_tokens: usize, n_reused: usize },
    Token { token: u32, log_probability: Option<f64>, top: Vec<Alternative>, text: String },
}

impl Heard {
    /// None of a prompt that is still read: the slower the machine, the more often that is told.
    pub(crate) fn of(event: Event<'_>) -> Option<Heard> {
        Some(match event {
            Event::Reading => return None,
            Event::Prefill { n_tokens, n_reused, .. } => Heard::Prefill { n_tokens, n_reused },
            Event::Token { token, log_probability, top, text, .. } => {
                let (top, text) = (top.to_vec(), text.to_owned());
                Heard::Token { token, log_probability, top, text }
            }
        })
    }
}

/// What `generate` gives in this session, and its events.
pub(crate) fn alone(session: &mut Session, request: &Request<'_>) -> (Generated, Vec<Heard>) {
    let mut heard = Vec::new();
    let generated = generate(session, request, &mut |event| {
        heard.extend(Heard::of(event));
        ControlFlow::Continue(())
    });
    (generated.expect("the request is fine"), heard)
}

/// Take up each generation in turn until all have ended; `lead` turns go to the first at once.
pub(crate) fn in_turn(
    mut generations: Vec<Generation<Session>>,
    lead: usize,
) -> Vec<(Session, Generated, Vec<Heard>)> {
    let mut heard = vec![Vec::new(); generations.len()];
    let mut is_over = vec![false; generations.len()];
    let first = (0..lead).map(|_| 0);
    let n_generations = generations.len();
    for idx in first.chain((0..).map(|turn| turn % n_generations)) {
        if is_over.iter().all(|&is_over| is_over) {
            break;
        }
        if is_over[idx] {
            continue;
        }
        let generation = &mut generations[idx];
        is_over[idx] = generation.advance().expect("the model works").is_some();
        heard[idx].extend(Heard::of(generation.event().expect("something was done")));
    }
    let ended = generations.into_iter().map(Generation::end);
    ended.zip(heard).map(|((session, generated), heard)| (session, generated, heard)).collect()
}

/// The same but for what it cost.
pub(crate) fn assert_same(found: &Generated, expected: &Generated, what: &str) {
    let without_cost = |generated: &Generated| Generated {
        timings: Timings { tokens: Vec::new(), ..expected.timings.clone() },
        ..generated.clone()
    };
    assert_eq!(without_cost(found), without_cost(expected), "{what}");
    let n_timed = |generated: &Generated| generated.timings.tokens.len();
    assert_eq!(n_timed(found), n_timed(expected), "{what}");
}

/// Give all that go on their next token together until all have ended, after their prompts were read
/// in parts of `n_tokens`.
fn together(mut generations: Vec<Generation<Session>>, n_tokens: usize) -> Vec<Generated> {
    for generation in &mut generations {
        while generation.is_reading() {
            let n_before = generation.n_read();
            assert_eq!(generation.read(n_tokens, &mut || true).expect("it is read"), None);
            assert!((n_before + 1..=n_before + n_tokens).contains(&generation.n_read()));
        }
    }
    while generations.iter().any(|generation| !generation.is_over()) {
        let going_on = generations.iter_mut().filter(|generation| !generation.is_over());
        let turns = advance_together(&mut going_on.collect::<Vec<_>>());
        assert!(turns.iter().all(Result::is_ok), "{turns:?}");
    }
    generations.into_iter().map(|generation| generation.end().1).collect()
}

/// Allows only what comes after the last token in a list, and is complete at its end.
struct Listed(Vec<u32>);

impl Constraint for Listed {
    fn forbid(&mut self, logits: &mut [f32]) -> Result<(), ConstraintError> {
        let next = self.0.first().copied();
        let next = next.ok_or(ConstraintError { what: "the list is over".into(), source: None })?;
        let forbidden = logits.iter_mut().enumerate().filter(|(token, _)| *token != next as usize);
        forbidden.for_each(|(_, logit)| *logit = f32::NEG_INFINITY);
        Ok(())
    }

    fn take(&mut self, token: u32) -> bool {
        assert_eq!(self.0.remove(0), token);
        self.0.is_empty()
    }
}

#[test]
fn answers_side_by_side_are_those_that_each_gives_alone() {
    let talks = Talks::new();
    let prompt = [0, 4, 3, 2, 1, 0];
    let request = |idx| Request { prompt: &prompt, ..talks.request(idx) };
    for n_tokens in [1, 4, 100] {
        let begin = |idx| Generation::new(talks.session(idx), &request(idx)).expect("it is fine");
        let found = together([0, 1, 2].into_iter().map(begin).collect(), n_tokens);
        for (idx, found) in found.iter().enumerate() {
            let (expected, _) = alone(&mut talks.session(idx), &request(idx));
            assert_same(found, &expected, &format!("talk {idx}, read in parts of {n_tokens}"));
        }
    }
}

#[test]
fn a_constraint_decides_what_may_be_chosen_and_when_the_answer_is_complete() {
    let begin = |list: &[u32], n_tokens_max| {
        let request = Request { n_tokens_max, ..request(&[1]) };
        let generation = Generation::new(session(20, 100, true), &request).expect("it is fine");
        generation.constrained(Some(Box::new(Listed(list.to_vec()))))
    };
    let check = |list: &[u32], n_tokens_max, expected: Finish| {
        let mut generation = begin(list, n_tokens_max);
        while generation.advance().expect("it goes on").is_none() {}
        let generated = generation.end().1;
        assert_eq!(generated.token_ids, list[..n_tokens_max.min(list.len())]);
        assert_eq!(generated.finish, expected);
    };
    check(&[7, 3, 9], 5, Finish::Complete);
    check(&[7, 3, 9], 2, Finish::MaxTokens);
    let mut nothing = begin(&[], 5);
    nothing.advance().expect("the prompt is read");
    let error = nothing.advance().expect_err("nothing may come");
    assert!(matches!(error, GenerateError::Constrain { n_generated: 0, .. }), "{error}");
}

/// Three unlike conversations: drawn tokens with details, a stop string across tokens, and a
/// correction.
struct Talks {
    model: Arc<dyn Model>,
    words: Tokenizer,
    stops: Vec<String>,
    drawn: SamplerOptions,
    greedy: SamplerOptions,
    correction: Arc<Correction>,
}

impl Talks {
    fn new() -> Talks {
        let mut offsets = vec![0.0; 8];
        offsets[6] = 12.0;
        Talks {
            model: Arc::new(FakeModel::new(8, 100, true)),
            words: tokenizer(&["a", "b", "x<", "/", "s>y", "c", "d", "e"], FUSE),
            stops: vec!["</s>".to_owned()],
            drawn: SamplerOptions { temperature: 4.0, seed: 3, ..SamplerOptions::greedy() },
            greedy: SamplerOptions { presence_penalty: 6.0, ..SamplerOptions::greedy() },
            correction: Arc::new(Correction::new(8, Some(offsets.into()), None).expect("finite")),
        }
    }

    fn session(&self, idx: usize) -> Session {
        let mut session =
            Session::new(Arc::clone(&self.model), Level::detect()).expect("fake starts");
        session.set_correction((idx == 2).then(|| Arc::clone(&self.correction)));
        session
    }

    fn request(&self, idx: usize) -> Request<'_> {
        let details = Details { log_probability: true, n_top: 2 };
        let words = Request { tokenizer: Some(&self.words), ..request(&[0]) };
        match idx {
            0 => Request { sampler: &self.drawn, details, n_tokens_max: 20, ..words },
            1 => Request { stop_texts: &self.stops, n_tokens_max: 9, ..words },
            _ => Request { sampler: &self.greedy, n_first_step_top: 3, ..words },
        }
    }

    fn begin(&self, idx: usize) -> Generation<Session> {
        Generation::new(self.session(idx), &self.request(idx)).expect("the request is fine")
    }
}

#[test]
fn answers_in_turn_are_those_that_each_gives_alone() {
    let talks = Talks::new();
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        for lead in [0, 1, 5] {
            let generations = order.iter().map(|&idx| talks.begin(idx)).collect();
            for (&idx, (session, found, heard)) in order.iter().zip(in_turn(generations, lead)) {
                let mut alone_session = talks.session(idx);
                let (expected, expected_heard) = alone(&mut alone_session, &talks.request(idx));
                let what = format!("talk {idx} of {order:?}, {lead} ahead");
                assert_same(&found, &expected, &what);
                assert_eq!(heard, expected_heard, "{what}");
                assert_eq!(session.seen(), alone_session.seen(), "{what}");
            }
        }
    }
}

#[test]
fn a_generation_waits_and_goes_on_elsewhere() {
    let talks = Talks::new();
    let (expected, _) = alone(&mut talks.session(0), &talks.request(0));
    for n_before in [0, 1, 2, 7] {
        let mut generation = talks.begin(0);
        for _ in 0..n_before {
            assert_eq!(generation.advance().expect("it goes on"), None);
        }
        // It owns what it needs, its session too.
        let rest = std::thread::spawn(move || {
            while generation.advance().expect("it goes on").is_none() {}
            generation.end().1
        });
        let found = rest.join().expect("it ends");
        assert_same(&found, &expected, &format!("moved after {n_before}"));
    }
}

#[test]
fn an_answer_that_is_ended_early_is_cancelled_with_what_there_was() {
    let mut lent = session(20, 100, true);
    for n_turns in 0..=5 {
        let mut generation = Generation::new(&mut lent, &request(&[1])).expect("it is fine");
        for _ in 0..n_turns {
            assert_eq!(generation.advance().expect("it goes on"), None);
        }
        let (given_back, generated) = generation.end();
        assert_eq!(generated.finish, Finish::Cancelled);
        assert_eq!(generated.token_ids, [2, 3, 4, 5][..usize::saturating_sub(n_turns, 1)]);
        // The session goes on as if nothing had happened.
        assert_eq!(run(given_back, &request(&[1])).token_ids, [2, 3, 4, 5, 6]);
    }
}

#[test]
fn the_end_stays_the_end() {
    let mut generation = Generation::new(session(20, 100, true), &request(&[1])).expect("fine");
    assert!(generation.event().is_none(), "nothing was done");
    while generation.advance().expect("it goes on").is_none() {}
    for _ in 0..2 {
        assert_eq!(generation.advance().expect("nothing is done"), Some(Finish::MaxTokens));
        assert!(matches!(generation.event(), Some(Event::Token { token: 6, .. })));
    }
    assert_eq!(generation.session().seen(), [1, 2, 3, 4, 5]);
    assert_eq!(generation.end().1.token_ids, [2, 3, 4, 5, 6]);
}

#[test]
fn what_fails_gives_the_session_back() {
    let (mut session, error) =
        Generation::new(session(20, 100, true), &request(&[])).expect_err("it is empty");
    assert!(matches!(error, GenerateError::EmptyPrompt));
    assert_eq!(run(&mut session, &request(&[1])).token_ids, [2, 3, 4, 5, 6]);

    let session = Session::new(Arc::new(faulty(Fault::StepAt(3))), Level::detect());
    let mut generation =
        Generation::new(session.expect("it starts"), &request(&[1, 2])).expect("it is fine");
    let error = loop {
        match generation.advance() {
            Ok(None) => {}
            Ok(Some(finish)) => panic!("ended by {finish:?}"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, GenerateError::Step { n_generated: 2, .. }), "{error}");
    assert_eq!(generation.advance().expect("it is over"), Some(Finish::Cancelled));
    let (mut session, generated) = generation.end();
    assert_eq!((generated.token_ids, generated.finish), (vec![3, 4], Finish::Cancelled));
    let again = Request { n_tokens_max: 1, ..request(&[1, 2]) };
    assert_eq!(run(&mut session, &again).token_ids, [3]);
}
