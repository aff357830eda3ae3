//! Calibrations of a real export against its full precision.

use std::ops::ControlFlow;
use std::path::Path;

use lapwing_backend::conformance::{exact_options, library_file, shared_folder};
use lapwing_backend::{Backend, Model, OpenOptions};
use lapwing_eval::{
    CalibrateInputs, CalibrateOptions, Calibration, HeadMatrix, Place, RepetitionOptions, calibrate,
};
use lapwing_logits::{Details, Level, Sampler, SamplerOptions};
use lapwing_model::ModelFolder;
use lapwing_openvino::OpenVinoBackend;
use lapwing_text::Tokenizer;

use crate::calibrations;

const BEGIN: u32 = 1;
const END: u32 = 2;
const N_WINDOW: usize = 128;

fn open(backend: &OpenVinoBackend, folder: &Path) -> Box<dyn Model> {
    let options = OpenOptions { hidden_states: true, ..exact_options() };
    let folder = ModelFolder::open(folder, None).expect("the folder opens");
    backend.open(&folder, &options).expect("the model opens")
}

/// Stories as the model writes them, at temperature 1.
fn stories(model: &dyn Model, seed: u64, n_tokens: usize) -> Vec<u32> {
    let options = SamplerOptions { temperature: 1.0, seed, ..SamplerOptions::greedy() };
    let mut sampler = Sampler::new(options, model.n_vocab(), Level::detect()).expect("options");
    let mut logits = vec![0.0; model.n_vocab()];
    let mut text = Vec::new();
    while text.len() < n_tokens {
        let mut decoder = model.decoder().expect("a decoder");
        let mut token = BEGIN;
        for _ in 0..300 {
            text.push(token);
            if token == END {
                break;
            }
            decoder.step(&[token], &mut logits).expect("a step");
            token = sampler.choose(&mut logits, Details::NONE).expect("a choice").token;
        }
    }
    text.truncate(n_tokens);
    text
}

/// An `F32` array of a safetensors file.
fn array(file: &Path, name: &str) -> Vec<f32> {
    let bytes = std::fs::read(file).expect("the file");
    let (length, rest) = bytes.split_first_chunk().expect("a length");
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: serde_json::Value = serde_json::from_slice(header).expect("a header");
    let at = |idx: usize| header[name]["data_offsets"][idx].as_u64().expect("an offset") as usize;
    data[at(0)..at(1)].as_chunks().0.iter().copied().map(f32::from_le_bytes).collect()
}

fn options() -> CalibrateOptions {
    CalibrateOptions {
        n_window_tokens: N_WINDOW,
        n_calibration_windows_max: 40,
        n_judged_windows_max: 20,
        ridges: vec![1e-4, 1e-3, 1e-2, 1e-1],
        repetition: RepetitionOptions {
            n_prompts: 16,
            n_prompt_tokens: 16,
            n_new_tokens: 48,
            stop_ids: vec![END],
        },
        ..calibrations::options()
    }
}

fn table(found: &Calibration) -> String {
    let mut lines = vec![format!("{:#?}", found.diagnostics.pooled)];
    lines.push(format!(
        "a: median {}, none in {}; ML {:?}",
        found.diagnostics.coefficient_median,
        found.diagnostics.share_without_coefficient,
        found.diagnostics.scalar
    ));
    let mut score = |idx: usize, reason: String| {
        let home = &found.home[idx];
        let other = &found.other.as_ref().expect("another domain")[idx];
        lines.push(format!(
            "{:48} {:8.4} {:8.5} {:8.4} {:8.5}  {reason}",
            home.name,
            home.mean_negative_log_likelihood(),
            home.mean_divergence().unwrap_or(f64::NAN),
            other.mean_negative_log_likelihood(),
            other.mean_divergence().unwrap_or(f64::NAN),
        ));
    };
    score(0, String::new());
    for (idx, verdict) in found.verdicts.iter().enumerate() {
        let mark = if verdict.passes { "+" } else { "-" };
        let repeats = verdict.repetition.as_ref().map_or(String::new(), |repetition| {
            let of = |share: &lapwing_eval::ShareComparison| {
                let reference = share.reference.unwrap_or(f64::NAN);
                format!("{:.3}/{:.3}/{reference:.3}", share.raw, share.corrected)
            };
            format!(" [{} {}]", of(&repetition.grams), of(&repetition.immediate))
        });
        score(idx + 1, format!("{mark} {}{repeats}", verdict.reason));
    }
    lines.push(format!("chosen: {}", found.reason));
    lines.join("\n")
}

#[test]
fn a_small_model_is_helped_by_what_helps() {
    let Some(shared) = shared_folder() else { return };
    let Some(library) = library_file("LAPWING_TEST_OPENVINO") else { return };
    let backend = OpenVinoBackend::load(&library).expect("OpenVINO loads");
    let exports = shared.join("exports");
    let reference = open(&backend, &exports.join("stories260k-ov-fp32"));
    let model = open(&backend, &exports.join("stories260k-ov-int4"));
    let tokenizer = Tokenizer::open(&exports.join("stories260k-ov-fp32/tokenizer.json"));
    let tokenizer = tokenizer.expect("a tokenizer");
    let novel = std::fs::read_to_string(shared.join("data/war-and-peace-head.txt"));
    let start: String = novel.expect("the file").chars().take(12_000).collect();
    let other_domain = tokenizer.encode(&start, false).expect("tokens");
    let calibration = stories(&*reference, 1, 40 * N_WINDOW);
    let held_out = stories(&*reference, 2, 20 * N_WINDOW);
    // The embedding is the head as well.
    let checkpoint = exports.join("stories260k-hf/model.safetensors");
    let weights = array(&checkpoint, "model.embed_tokens.weight");
    let n_hidden = model.n_hidden().expect("asked for");
    let n_tokens = tokenizer.n_vocab();
    let head = HeadMatrix::new(&weights, n_tokens, n_hidden).expect("fits");

    let inputs = CalibrateInputs {
        model: &*model,
        reference: Some(&*reference),
        head: Some(head),
        n_tokens,
        begin: Some(BEGIN),
        calibration: &[&calibration],
        held_out: &held_out,
        other_domain: Some(&other_domain),
    };
    let found = calibrate(&inputs, &options(), &mut |_| ControlFlow::Continue(()));
    let found = found.expect("it can be calibrated");
    eprintln!("{}", table(&found));

    let of = |name: &str| {
        let idx = found.candidates.iter().position(|candidate| candidate.name == name);
        found.home[idx.expect("is a candidate") + 1].mean_divergence().expect("a reference")
    };
    let raw = found.home[0].mean_divergence().expect("a reference");
    // Logits of neighbouring positions have little in common: the less is believed of the new
    // one, the worse, and the published estimator believes a fifth of the tokens for ever.
    assert!(raw <= of("kls, gain 0.97") && of("kls, gain 0.97") < of("kls, gain 0.9"));
    assert!(5.0 * raw < of("kls, published, each token"));
    assert!(0.1 < found.diagnostics.pooled.share_frozen, "{:?}", found.diagnostics.pooled);
    assert!(of("bias") < raw);
    // Smoothing alone never passes.
    for (verdict, candidate) in found.verdicts.iter().zip(&found.candidates) {
        let smooths = candidate.estimator.is_some() && !candidate.name.starts_with("bias");
        assert!(!(verdict.passes && smooths), "{}: {}", verdict.name, verdict.reason);
    }
    // The head's map is worth a tenth of the KL at least.
    assert!(of("head map, ridge 0.1") < 0.9 * raw);
    let export = found.export.map(|idx| found.candidates[idx].place);
    assert!(export.is_none_or(|place| place == Place::Export));
}
