//! What it costs to read the clock at every token: the fake model does nothing that could hide it.
//!
//! The clocks of the generation loop itself, which tell inference from choosing a token, run in
//! both: they are part of every answer, measured or not.

use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use lapwing_backend::{FakeModel, Model};
use lapwing_logits::Level;
use lapwing_measure::measuring::{Detail, NoObserver, Subject, Timed, Work, run};

const N_STEPS: usize = 256;
/// Small, so that a step takes hardly more than its clocks.
const N_VOCAB: usize = 64;

fn main() {
    divan::main();
}

#[divan::bench]
fn every_token(bencher: Bencher) {
    decode(bencher, Detail::Steps);
}

#[divan::bench]
fn first_and_last(bencher: Bencher) {
    decode(bencher, Detail::Bare);
}

fn decode(bencher: Bencher, detail: Detail) {
    let model: Arc<dyn Model> = Arc::new(FakeModel::new(N_VOCAB, N_STEPS + 1, true));
    let level = Level::detect();
    let subject =
        Subject { model: &model, level, correction: None, tokenizer: None, n_tokens: N_VOCAB };
    let (timed, seed, run_idx) = (Timed::Decode, 1, 0);
    let work = Work { timed, n_prompt_tokens: 1, n_steps: N_STEPS, seed, run_idx, detail };
    bencher.counter(ItemsCount::new(N_STEPS)).bench_local(|| {
        black_box(run(&subject, &work, &mut NoObserver, &|| false).expect("there is room"))
    });
}
