//! The loop's own cost per token: the fake model only fills a row.

use std::ops::ControlFlow;
use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use lapwing_backend::{FakeModel, Model};
use lapwing_logits::{Details, Level, SamplerOptions};
use lapwing_runtime::{Request, Session, generate};
use lapwing_text::SpecialPieces;

const N_TOKENS: usize = 256;
const N_VOCABS: [usize; 2] = [49_152, 151_936];

fn main() {
    divan::main();
}

/// What the fake itself costs: subtract it from the others.
#[divan::bench(args = N_VOCABS)]
fn fake_alone(bencher: Bencher, n_vocab: usize) {
    let model = FakeModel::new(n_vocab, N_TOKENS + 1, true);
    let mut logits = vec![0.0; n_vocab];
    bencher.counter(ItemsCount::new(N_TOKENS)).bench_local(|| {
        let mut decoder = model.decoder().expect("fake starts");
        for token in 0..N_TOKENS as u32 {
            decoder.step(&[token], black_box(&mut logits)).expect("there is room");
        }
    });
}

#[divan::bench(args = N_VOCABS)]
fn greedy(bencher: Bencher, n_vocab: usize) {
    run(bencher, n_vocab, 0.0);
}

#[divan::bench(args = N_VOCABS)]
fn sampled(bencher: Bencher, n_vocab: usize) {
    run(bencher, n_vocab, 0.8);
}

fn run(bencher: Bencher, n_vocab: usize, temperature: f32) {
    let model: Arc<dyn Model> = Arc::new(FakeModel::new(n_vocab, N_TOKENS + 1, true));
    let mut session = Session::new(model, Level::detect()).expect("fake starts");
    let sampler = SamplerOptions {
        temperature,
        top_k: 40,
        top_p: 0.95,
        min_p: 0.05,
        repeat_penalty: 1.1,
        ..SamplerOptions::greedy()
    };
    let request = Request {
        prompt: &[1],
        tokenizer: None,
        special: SpecialPieces::Skip,
        reply: None,
        sampler: &sampler,
        details: Details::NONE,
        n_tokens_max: N_TOKENS,
        stop_ids: &[2],
        ignore_stop_ids: true,
        stop_texts: &[],
        n_first_step_top: 0,
    };
    bencher.counter(ItemsCount::new(N_TOKENS)).bench_local(|| {
        generate(&mut session, &request, &mut |event| {
            black_box(event);
            ControlFlow::Continue(())
        })
        .expect("the request is fine")
    });
}
