//! Runs of a model without a library.

use lapwing_backend::FakeModel;

use super::*;

const N_VOCAB: usize = 50;

/// What was called, in order.
#[derive(Default)]
struct Calls(Vec<&'static str>);

impl Observer for Calls {
    fn window_begins(&mut self) {
        self.0.push("begins");
    }
    fn window_ends(&mut self) {
        self.0.push("ends");
    }
    fn prefilled(&mut self) {
        self.0.push("prefilled");
    }
    fn decoded(&mut self) {
        self.0.push("decoded");
    }
}

fn work(timed: Timed, n_prompt_tokens: usize, n_steps: usize) -> Work {
    Work { timed, n_prompt_tokens, n_steps, seed: 1, run_idx: 0, detail: Detail::Steps }
}

fn run_of(work: &Work, n_positions_max: usize) -> (Result<Run, MeasureError>, Calls) {
    let model: Arc<dyn Model> = Arc::new(FakeModel::new(N_VOCAB, n_positions_max, true));
    let subject = Subject {
        model: &model,
        level: Level::detect(),
        correction: None,
        tokenizer: None,
        n_tokens: N_VOCAB,
    };
    let mut calls = Calls::default();
    (run(&subject, work, &mut calls, &|| false), calls)
}

#[test]
fn a_prefill_times_the_first_token() {
    let (run, calls) = run_of(&work(Timed::Prefill, 8, 0), 8);
    let run = run.unwrap();
    assert_eq!(calls.0, ["begins", "ends", "prefilled"]);
    assert_eq!(run.total_ms, run.ttft_ms);
    assert!(0.0 < run.total_ms && run.total_ms <= run.wall_ms, "{run:?}");
    assert!(run.steps.is_empty());
    // The fake says the successor of the prompt's last token.
    let last = workload::prompt(1, 0, 8, N_VOCAB)[7];
    assert_eq!(run.token_ids, [(last + 1) % N_VOCAB as TokenId]);
}

#[test]
fn a_decode_times_each_step_after_the_prompt() {
    let (run, calls) = run_of(&work(Timed::Decode, 8, 16), 24);
    let run = run.unwrap();
    assert_eq!(calls.0, ["prefilled", "begins", "ends", "decoded"]);
    assert_eq!(run.token_ids.len(), 17);
    assert_eq!(run.steps.len(), 16);
    let sum: f64 = run.steps.iter().map(|step| step.inter_token_ms).sum();
    assert!((sum - run.total_ms).abs() < 1e-6, "{sum} is not {}", run.total_ms);
    for step in &run.steps {
        assert_eq!(step.correction_us, None, "there is none");
        let parts = step.inference_us + step.sampler_us + step.detokenizer_us + step.rest_us;
        assert!((parts - step.inter_token_ms * 1e3).abs() < 1e-3, "{step:?}");
    }
}

#[test]
fn a_bare_run_gives_the_same_tokens_and_no_steps() {
    let detailed = work(Timed::Decode, 8, 16);
    let bare = Work { detail: Detail::Bare, ..detailed };
    let (detailed, bare) = (run_of(&detailed, 24).0.unwrap(), run_of(&bare, 24).0.unwrap());
    assert_eq!(detailed.token_ids, bare.token_ids);
    assert!(bare.steps.is_empty());
    assert!(bare.total_ms > 0.0);
}

#[test]
fn a_context_that_is_too_small_is_an_error() {
    let outcome = run_of(&work(Timed::Decode, 8, 16), 23).0;
    let Err(MeasureError::Short { expected: 17, found: 16, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    let outcome = run_of(&work(Timed::Prefill, 8, 0), 7).0;
    assert!(matches!(outcome, Err(MeasureError::Generate(_))), "{outcome:?}");
    assert_eq!(n_positions(Timed::Decode, 8, 16), 24);
    assert_eq!(n_positions(Timed::Prefill, 8, 0), 8);
}

#[test]
fn a_run_can_be_broken_off() {
    let model: Arc<dyn Model> = Arc::new(FakeModel::new(N_VOCAB, 100, true));
    let (level, n_tokens) = (Level::detect(), N_VOCAB);
    let subject = Subject { model: &model, level, correction: None, tokenizer: None, n_tokens };
    let outcome = run(&subject, &work(Timed::Decode, 8, 16), &mut NoObserver, &|| true);
    assert!(matches!(outcome, Err(MeasureError::Cancelled)), "{outcome:?}");
}

#[test]
fn positions_are_counted_without_overflow() {
    assert_eq!(n_positions(Timed::Prefill, 8, 0), 8);
    assert_eq!(n_positions(Timed::Decode, 8, 16), 24);
    assert_eq!(n_positions(Timed::Decode, usize::MAX, 16), usize::MAX);
}
