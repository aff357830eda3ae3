//! Exports of a trained mixture beside those of optimum-intel: how well they foresee stories.

use std::path::{Path, PathBuf};

use lapwing_backend::Backend;
use lapwing_backend::conformance::{exact_options, library_file, shared_folder};
use lapwing_export::{ExportOptions, Precision, Target};
use lapwing_model::ModelFolder;
use lapwing_openvino::OpenVinoBackend;

use crate::exported_as;
use crate::random::Random;

const BEGIN: u32 = 1;
const END: u32 = 2;
/// Tokens of a story at most, and stories.
const N_TOKENS: usize = 200;
const N_STORIES: usize = 12;

fn open(backend: &OpenVinoBackend, folder: &Path) -> Box<dyn lapwing_backend::Model> {
    let folder = ModelFolder::open(folder, None).expect("the folder opens");
    backend.open(&folder, &exact_options()).expect("the model opens")
}

/// Shares of the next token.
fn shares(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shares: Vec<f64> = logits.iter().map(|logit| f64::from(logit - largest).exp()).collect();
    let total: f64 = shares.iter().sum();
    shares.into_iter().map(|share| share / total).collect()
}

/// Stories as the model that was trained on them writes them.
fn stories(backend: &OpenVinoBackend, folder: &Path) -> Vec<Vec<u32>> {
    let model = open(backend, folder);
    let mut random = Random::new(3);
    let mut logits = vec![0.0; model.n_vocab()];
    let mut story = || {
        let mut decoder = model.decoder().expect("a decoder");
        let mut tokens = vec![BEGIN];
        while tokens.len() < N_TOKENS && tokens.last() != Some(&END) {
            decoder.step(&tokens[tokens.len() - 1..], &mut logits).expect("a step");
            let mut left = random.below(1 << 30) as f64 / f64::from(1 << 30);
            let shares = shares(&logits);
            let chosen = shares.iter().position(|share| {
                left -= share;
                left < 0.0
            });
            tokens.push(chosen.unwrap_or(0) as u32);
        }
        tokens
    };
    (0..N_STORIES).map(|_| story()).collect()
}

/// The perplexity of the stories.
fn perplexity(backend: &OpenVinoBackend, folder: &Path, stories: &[Vec<u32>]) -> f64 {
    let model = open(backend, folder);
    let mut logits = vec![0.0; model.n_vocab()];
    let (mut total, mut n) = (0.0, 0);
    for story in stories {
        let mut decoder = model.decoder().expect("a decoder");
        for pair in story.windows(2) {
            decoder.step(&pair[..1], &mut logits).expect("a step");
            total -= shares(&logits)[pair[1] as usize].ln();
            n += 1;
        }
    }
    (total / f64::from(n)).exp()
}

#[test]
fn a_trained_mixture_foresees_stories_as_optimum_intels_exports_of_it_do() {
    let Some(shared) = shared_folder() else { return };
    let Some(library) = library_file("LAPWING_TEST_OPENVINO") else { return };
    let backend = OpenVinoBackend::load(&library).expect("it loads");
    let exports: PathBuf = shared.join("exports");
    let stories = stories(&backend, &exports.join("stories260k-ov-fp32"));
    let rows = Precision::Int8 { group_size: None, symmetric: false };
    let int4 = Precision::Int4 { group_size: 64, symmetric: true };
    let mut of_int4 = ExportOptions::new(int4);
    of_int4.head = rows;
    let formats = [
        ("fp32", ExportOptions::new(Precision::F32)),
        ("int8", ExportOptions::new(rows)),
        ("int4", of_int4),
    ];
    for (name, options) in formats {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("out");
        exported_as(&exports.join("storymoe-hf"), Target::OpenVino, &options, &out)
            .expect("it can be exported");
        let found = perplexity(&backend, &out, &stories);
        let theirs = exports.join(format!("storymoe-ov-{name}"));
        let expected = perplexity(&backend, &theirs, &stories);
        let percent = 100.0 * (found / expected - 1.0);
        eprintln!("{name}: {found:.4}, optimum-intel {expected:.4}, {percent:+.3} %");
        assert!(percent < 0.5, "{name}: {found:.4}, optimum-intel {expected:.4}, {percent:+.3} %");
    }
}
