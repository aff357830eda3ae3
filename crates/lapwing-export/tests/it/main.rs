//! Exports against an independent forward pass in double precision, for configurations drawn at
//! random from every key that the readers claim to know.

mod checkpoint;
mod choices;
mod drawn;
mod experts;
mod fine_head;
mod forward;
mod kept_mx;
mod missing;
mod mx;
mod random;
mod stories;

#[path = "../../../lapwing-weights/tests/support/gguf_file.rs"]
mod gguf_file;

use std::ops::ControlFlow;
use std::path::Path;

use lapwing_backend::conformance::{exact_options, library_file};
use lapwing_backend::{Backend, DeviceKind, DeviceRequest, OpenOptions};
use lapwing_export::{ExportError, ExportOptions, Precision, Target, WHOLE_ROW, export};
use lapwing_model::ModelFolder;
use lapwing_openvino::OpenVinoBackend;
use lapwing_ort::OrtBackend;
use lapwing_quant::{Bits, Grid, quantize};
use lapwing_weights::Checkpoint;
use ndarray::ArrayView2;

use checkpoint::Kind;
use drawn::{Drawn, MODEL_TYPES, Scaling};
use random::Random;

/// Configurations of a run; `LAPWING_TEST_CONFIGURATIONS` asks for more.
const N_CONFIGURATIONS: u64 = 40;
/// How far a logit may be off, of the largest or of 1.
const ALLOWED: f64 = 1e-4;
/// The same on the path of NPUs, where NPUW keeps its cache in f16.
const ALLOWED_OF_NPU: f64 = 0.02;
/// Tokens of a prompt, and those that follow it one by one.
const N_PROMPT: usize = 21;
const N_FOLLOWING: usize = 3;

fn backends() -> Option<[(Target, Box<dyn Backend>); 2]> {
    let openvino =
        OpenVinoBackend::load(&library_file("LAPWING_TEST_OPENVINO")?).expect("it loads");
    let ort = OrtBackend::load(&library_file("LAPWING_TEST_ORT")?).expect("it loads");
    Some([(Target::OpenVino, Box::new(openvino)), (Target::Onnx, Box::new(ort))])
}

fn exported(source: &Path, target: Target, out: &Path) -> Result<(), ExportError> {
    exported_as(source, target, &ExportOptions::new(Precision::F32), out)
}

fn exported_as(
    source: &Path,
    target: Target,
    options: &ExportOptions,
    out: &Path,
) -> Result<(), ExportError> {
    let options = ExportOptions { overwrite: true, ..options.clone() };
    export(source, target, &options, out, &mut |_| ControlFlow::Continue(())).map(drop)
}

/// The rows behind the prompt and each token that follows it.
fn rows(backend: &dyn Backend, folder: &Path, options: &OpenOptions, ids: &[u32]) -> Vec<Vec<f32>> {
    let folder = ModelFolder::open(folder, None).expect("the folder opens");
    let model = backend.open(&folder, options).expect("the model opens");
    let mut decoder = model.decoder().expect("a decoder");
    let (prompt, following) = ids.split_at(N_PROMPT);
    let mut row = vec![0.0; model.n_vocab()];
    let steps = std::iter::once(prompt).chain(following.chunks(1));
    let rows = steps.map(|tokens| {
        decoder.step(tokens, &mut row).expect("a step");
        row.clone()
    });
    rows.collect()
}

/// The largest difference, of the largest logit or of 1.
fn difference(found: &[f32], expected: &[f64]) -> f64 {
    let largest = expected.iter().fold(1.0_f64, |most, logit| most.max(logit.abs()));
    let pairs = found.iter().zip(expected);
    let errors = pairs.map(|(found, expected)| (f64::from(*found) - expected).abs());
    // NaN is no agreement.
    errors.map(|error| if error.is_nan() { f64::INFINITY } else { error }).fold(0.0, f64::max)
        / largest
}

/// The model with the weights that an export at these precisions has.
fn quantised(mut drawn: Drawn, target: Target, options: &ExportOptions) -> Drawn {
    for (name, (shape, values)) in &mut drawn.tensors {
        let is_mx = drawn.is_mx && mx::is_stored_so(name);
        let grid = match options.precision(name, shape.len()) {
            Precision::F32 | Precision::F16 => continue,
            // Kept as they are.
            Precision::Int4 { group_size: 32, .. } if is_mx && target == Target::OpenVino => {
                continue;
            }
            Precision::Int8 { group_size: Some(32), symmetric: true } if is_mx => continue,
            Precision::Int8 { group_size, symmetric } => {
                (Bits::Eight, group_size.unwrap_or(WHOLE_ROW), symmetric)
            }
            Precision::Int4 { group_size, symmetric } => (Bits::Four, group_size, symmetric),
        };
        let (bits, group_size, symmetric) = grid;
        let grid = Grid { bits, group_size: group_size.min(shape[1]), symmetric };
        let matrix = ArrayView2::from_shape((shape[0], shape[1]), values).expect("a matrix");
        let codes = quantize(matrix, grid).expect("it can be quantised");
        *values = codes.dequantize().into_iter().collect();
    }
    drawn
}

/// A model of the family whose every matrix has groups of 16 columns.
fn with_groups(model_type: &'static str) -> (Drawn, Random, u64) {
    let fits = |drawn: &Drawn| {
        // An NPU, which reads nothing anew, has one side of the border only.
        if matches!(drawn.rope.scaling, Scaling::LongRope(_)) {
            return false;
        }
        let sizes = [drawn.head_size, drawn.hidden_size, drawn.intermediate_size];
        sizes.iter().all(|size| size.is_multiple_of(16)) && drawn.rope.n_rotated.is_multiple_of(16)
    };
    let drawn = (0..).map(|seed| {
        let mut random = Random::new(seed);
        (Drawn::of(model_type, &mut random), random, seed)
    });
    let mut drawn = drawn.filter(|(drawn, ..)| fits(drawn));
    drawn.next().expect("there is a seed")
}

#[test]
fn a_quantised_export_computes_with_the_weights_that_its_codes_stand_for() {
    let Some(backends) = backends() else { return };
    let int4 = |symmetric| Precision::Int4 { group_size: 16, symmetric };
    let plans = [int4(false), int4(true), Precision::Int8 { group_size: None, symmetric: false }];
    for model_type in MODEL_TYPES {
        for plan in plans {
            let (mut drawn, mut random, seed) = with_groups(model_type);
            if let Some(experts) = &mut drawn.experts {
                // Rounded activations may choose others: `choices` compares which.
                experts.n_used = experts.n_experts;
            }
            let options = ExportOptions::new(plan);
            let folder = tempfile::tempdir().expect("a folder");
            let source = checkpoint::write(folder.path(), &drawn, Kind::HuggingFace, &mut random);
            let ids = ids(&drawn, &mut random);
            for (target, backend) in &backends {
                let drawn = quantised(drawn.clone(), *target, &options);
                let expected = forward::logits(&drawn, &ids);
                let out = folder.path().join(target.name());
                export(&source, *target, &options, &out, &mut |_| ControlFlow::Continue(()))
                    .unwrap_or_else(|error| panic!("{error:?}: {drawn:?}"));
                let mut allowed = ALLOWED;
                if *target == Target::Onnx {
                    keep_activations(&out.join("model.onnx"));
                    // `QMoE` cannot be told so.
                    allowed = if drawn.experts.is_some() { 0.1 } else { ALLOWED };
                }
                let found = rows(&**backend, &out, &exact_options(), &ids);
                for (row_idx, row) in found.iter().enumerate() {
                    let error = difference(row, &expected[N_PROMPT - 1 + row_idx]);
                    let what = format!("seed {seed}, {target:?}, {plan}, {drawn:?}");
                    assert!(error <= allowed, "row {row_idx} is {error:e} off: {what}");
                }
            }
        }
    }
}

/// Tell ONNX Runtime not to round activations to 8 bits before products with codes, as exports allow
/// it: a logit is then off by up to 0.1 of the largest.
fn keep_activations(graph: &Path) {
    let (rounds, keeps) = (b"accuracy_level\x18\x04", b"accuracy_level\x18\x00");
    let mut bytes = std::fs::read(graph).expect("the graph");
    let mut n_found = 0;
    while let Some(at) = bytes.windows(rounds.len()).position(|part| part == rounds) {
        bytes[at..at + keeps.len()].copy_from_slice(keeps);
        n_found += 1;
    }
    assert!(n_found > 0, "{} has no products with codes", graph.display());
    std::fs::write(graph, bytes).expect("it can be written");
}

#[test]
fn what_is_exported_for_an_npu_runs_there() {
    let Some([(target, backend), _]) = backends() else { return };
    for model_type in MODEL_TYPES {
        let (drawn, mut random, seed) = with_groups(model_type);
        if drawn.experts.is_some() {
            // Refused: NPUW of OpenVINO 2026.4.1 takes experts only of some widths.
            continue;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let source = checkpoint::write(folder.path(), &drawn, Kind::HuggingFace, &mut random);
        let ids = ids(&drawn, &mut random);
        let checkpoint = Checkpoint::open(&source).expect("it opens");
        let options = ExportOptions::for_npu(&checkpoint.architecture);
        let drawn = quantised(drawn, target, &options);
        let expected = forward::logits(&drawn, &ids);
        let out = folder.path().join("out");
        export(&source, target, &options, &out, &mut |_| ControlFlow::Continue(()))
            .unwrap_or_else(|error| panic!("{error:?}: {drawn:?}"));
        for (row_idx, row) in rows(&*backend, &out, &npu_options(), &ids).iter().enumerate() {
            let error = difference(row, &expected[N_PROMPT - 1 + row_idx]);
            assert!(
                error < ALLOWED_OF_NPU,
                "seed {seed}, row {row_idx} is {error:e} off: {drawn:?}"
            );
        }
    }
}

/// In f16 an angle has no fraction left beyond position 2048: computed so, logits are off by 0.3 of the
/// largest at position 1000 and by 0.8 at 4000.
#[test]
fn an_npu_looks_cosines_and_sines_up() {
    let Some([(target, backend), _]) = backends() else { return };
    for model_type in ["qwen2", "gemma3_text"] {
        let (drawn, mut random, seed) = with_groups(model_type);
        let folder = tempfile::tempdir().expect("a folder");
        let source = checkpoint::write(folder.path(), &drawn, Kind::HuggingFace, &mut random);
        let out = folder.path().join("out");
        exported(&source, target, &out).expect("it can be exported");
        // NPUW replaces the first of each.
        let graph = std::fs::read_to_string(out.join("openvino_model.xml")).expect("the graph");
        for kind in ["Sin", "Cos"] {
            let n = graph.matches(&format!("type=\"{kind}\"")).count();
            assert_eq!(n, 1, "seed {seed}, {kind}: {drawn:?}");
        }
        let ids = ids(&drawn, &mut random);
        let without_table = [("NPUW_LLM_CACHE_ROPE".to_owned(), "NO".to_owned())].into();
        let computing = OpenOptions { properties: without_table, ..npu_options() };
        // A table has 11 bits.
        let looked_up = rows(&*backend, &out, &npu_options(), &ids);
        let computed = rows(&*backend, &out, &computing, &ids);
        assert_ne!(looked_up, computed, "seed {seed}: {drawn:?}");
    }
}

fn npu_options() -> OpenOptions {
    OpenOptions {
        device: DeviceRequest::One(DeviceKind::NpuOnCpu, None),
        n_positions_max: Some(64),
        n_prompt_tokens_max: Some(32),
        ..exact_options()
    }
}

/// A prompt and what follows it.
fn ids(drawn: &Drawn, random: &mut Random) -> Vec<u32> {
    let n_ids = N_PROMPT + N_FOLLOWING;
    (0..n_ids).map(|_| random.below(drawn.n_vocab as u64) as u32).collect()
}

fn n_configurations() -> u64 {
    let asked = std::env::var("LAPWING_TEST_CONFIGURATIONS").ok();
    asked.map_or(N_CONFIGURATIONS, |n| n.parse().expect("a number of configurations"))
}

#[test]
fn an_export_computes_what_its_configuration_says() {
    let Some(backends) = backends() else { return };
    for seed in 0..n_configurations() {
        let mut random = Random::new(seed);
        let drawn = Drawn::new(&mut random);
        let kind = if random.one_in(3) { Kind::Gguf } else { Kind::HuggingFace };
        let Some(kind) = Some(kind).filter(|kind| drawn.fits(*kind)).or(Some(Kind::HuggingFace))
        else {
            continue;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let source = checkpoint::write(folder.path(), &drawn, kind, &mut random);
        let ids = ids(&drawn, &mut random);
        let expected = forward::logits(&drawn, &ids);
        for (target, backend) in &backends {
            let what = || {
                let config = std::fs::read_to_string(source.join("config.json"));
                format!(
                    "seed {seed}, {kind:?}, {target:?}: {drawn:?} {}",
                    config.unwrap_or_default()
                )
            };
            let out = folder.path().join("out");
            exported(&source, *target, &out).unwrap_or_else(|error| {
                panic!("{error}: {:?}: {}", std::error::Error::source(&error), what())
            });
            let found = rows(&**backend, &out, &exact_options(), &ids);
            for (row_idx, row) in found.iter().enumerate() {
                let error = difference(row, &expected[N_PROMPT - 1 + row_idx]);
                assert!(error <= ALLOWED, "row {row_idx} is {error:e} off: {}", what());
            }
        }
    }
}

#[test]
fn a_configuration_that_says_more_is_refused_by_name() {
    for seed in 0..n_configurations() {
        let mut random = Random::new(seed);
        let drawn = Drawn::new(&mut random);
        let folder = tempfile::tempdir().expect("a folder");
        let source = checkpoint::write(folder.path(), &drawn, Kind::HuggingFace, &mut random);
        let path = source.join("config.json");
        let text = std::fs::read_to_string(&path).expect("the file");
        let mut json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let (key, value) = random.choose(&[
            ("logit_scale", "0.5"),
            ("scale_emb", "30.0"),
            ("no_rope_layer_list", "[0]"),
            ("bias", "true"),
            ("rotary_pct", "0.5"),
            ("hidden_act", "\"relu\""),
            ("rope_interleaved", "true"),
            ("quantization_config", "{}"),
            ("num_nextn_predict_layers", "1"),
            ("a_key_of_tomorrow", "1"),
        ]);
        json[key] = serde_json::from_str(value).expect("JSON");
        std::fs::write(&path, json.to_string()).expect("the file");
        let error = exported(&source, Target::Onnx, &folder.path().join("out")).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(key), "seed {seed}: {message:?} does not name {key}");
    }
}

#[test]
fn the_text_part_of_a_model_with_vision_is_exported_as_that_model() {
    let tensors: [&[(&str, &str)]; 2] = [
        &[("model.", "language_model.model."), ("lm_head.", "language_model.lm_head.")],
        &[("model.", "model.language_model.")],
    ];
    let mut random = Random::new(7);
    let drawn = Drawn::of("gemma3_text", &mut random);
    let folder = tempfile::tempdir().expect("a folder");
    let source = checkpoint::write(folder.path(), &drawn, Kind::HuggingFace, &mut random);
    let graph = |name: &str| {
        let out = folder.path().join(name);
        exported(&source, Target::OpenVino, &out).unwrap_or_else(|error| panic!("{error:?}"));
        std::fs::read(out.join("openvino_model.bin")).expect("the file")
    };
    let plain = graph("plain");
    let (config, weights) = (source.join("config.json"), source.join("model.safetensors"));
    let text = std::fs::read_to_string(&config).expect("the file");
    let stored = std::fs::read(&weights).expect("the file");
    let with_vision = format!(
        r#"{{"model_type":"gemma3","vision_config":{{}},"text_config":{text},"eos_token_id":[1,2]}}"#
    );
    std::fs::write(&config, with_vision).expect("the file");
    for (naming_idx, names) in tensors.into_iter().enumerate() {
        std::fs::write(&weights, checkpoint::renamed(&stored, names)).expect("the file");
        assert!(graph(&format!("text{naming_idx}")) == plain, "{names:?}");
    }
}

#[test]
fn an_export_with_two_sets_of_rotary_factors_tells_where_it_changes_them() {
    let Some(backends) = backends() else { return };
    let (mut borders, mut n_plain) = (std::collections::BTreeSet::new(), 0);
    for seed in 0.. {
        let mut random = Random::new(seed);
        let drawn = Drawn::of("phi3", &mut random);
        let border = match &drawn.rope.scaling {
            Scaling::LongRope(long) => Some(long.n_original),
            _ => None,
        };
        let folder = tempfile::tempdir().expect("a folder");
        let source = checkpoint::write(folder.path(), &drawn, Kind::HuggingFace, &mut random);
        for (target, backend) in &backends {
            let out = folder.path().join(target.name());
            exported(&source, *target, &out).expect("it can be exported");
            let folder = ModelFolder::open(&out, None).expect("the folder opens");
            let model = backend.open(&folder, &exact_options()).expect("the model opens");
            assert_eq!(model.limits().n_positions_switch, border, "{target:?} {drawn:?}");
            let Some(border) = border else { continue };
            // One by one over the border, and all at once.
            let ids: Vec<u32> = (0..border + 2).map(|_| random.below(40) as u32).collect();
            let row = |chunks: &mut dyn Iterator<Item = &[u32]>| {
                let mut decoder = model.decoder().expect("a decoder");
                let mut row = vec![0.0; model.n_vocab()];
                chunks.for_each(|chunk| decoder.step(chunk, &mut row).expect("a step"));
                row
            };
            let (prompt, rest) = ids.split_at(border - 2);
            let grown = row(&mut std::iter::once(prompt).chain(rest.chunks(1)));
            let at_once: Vec<f64> =
                row(&mut std::iter::once(&ids[..])).into_iter().map(f64::from).collect();
            let error = difference(&grown, &at_once);
            assert!(error <= ALLOWED, "{error:e} off at {border}: {target:?} {drawn:?}");
        }
        n_plain += usize::from(border.is_none());
        borders.extend(border);
        if borders.len() == 2 && n_plain > 0 {
            break;
        }
    }
}

#[test]
fn windows_hold_under_a_cache_of_fixed_slots() {
    let Some([(target, backend), _]) = backends() else { return };
    let npu = npu_options();
    let mut n_windows = 0;
    for seed in 0.. {
        let mut random = Random::new(seed);
        let drawn = Drawn::new(&mut random);
        // An NPU reads nothing anew, as LongRoPE asks for, and in f16 another expert may be chosen.
        let is_long = matches!(drawn.rope.scaling, Scaling::LongRope(_));
        if drawn.window.is_none() || is_long || drawn.experts.is_some() {
            continue;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let source = checkpoint::write(folder.path(), &drawn, Kind::HuggingFace, &mut random);
        let ids = ids(&drawn, &mut random);
        let expected = forward::logits(&drawn, &ids);
        let out = folder.path().join("out");
        exported(&source, target, &out).expect("it can be exported");
        for (row_idx, row) in rows(&*backend, &out, &npu, &ids).iter().enumerate() {
            let error = difference(row, &expected[N_PROMPT - 1 + row_idx]);
            // A wrong mask is off by half of the largest logit.
            assert!(
                error < ALLOWED_OF_NPU,
                "seed {seed}, row {row_idx} is {error:e} off: {drawn:?}"
            );
        }
        n_windows += 1;
        if n_windows == 6 {
            break;
        }
    }
}
