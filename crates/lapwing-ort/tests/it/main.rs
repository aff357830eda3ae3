//! ONNX Runtime against the conformance suite and the reference outputs of real exports.

mod apart;
mod encoder;
mod hybrid;

use std::path::{Path, PathBuf};

use lapwing_backend::conformance::{
    PROMPT, ReadmeColumn, Tolerance, a_prompt_can_be_stopped, agrees_with_golden, close, conforms,
    exact_options, golden_case, golden_cases, hidden_states_make_the_logits, library_file,
    shared_folder,
};
use lapwing_backend::{Backend as _, Model, OpenError, OpenOptions};
use lapwing_formats::onnx::OnnxModel;
use lapwing_formats::onnx::proto::{GraphProto, ValueInfoProto};
use lapwing_formats::safetensors::SafeTensors;
use lapwing_model::ModelFolder;
use lapwing_ort::OrtBackend;

/// Graphs that quantise activations over a whole chunk at once: their results depend on the
/// chunks, in ONNX Runtime's own loop as well.
const DYNAMICALLY_QUANTISED: &str = "quantized";

/// ONNX Runtime 1.31.1 multiplies one row by another kernel than several when activations are
/// int8 (`accuracy_level` 4): a plain Python loop over this export, token by token, is 0.71 away
/// from one over the whole prompt, and 0.0 when both take two rows or more. The largest logit is 34.
const ONE_ROW_DIFFERS: f32 = 1.0;

/// The folder of exports and the backend; `None` when either is absent on a user's machine.
fn setup() -> Option<(PathBuf, OrtBackend)> {
    let exports = shared_folder()?.join("exports");
    let library = library_file("LAPWING_TEST_ORT")?;
    Some((exports, OrtBackend::load(&library).expect("ONNX Runtime loads")))
}

fn open(folder: &Path, variant: Option<&str>) -> ModelFolder {
    ModelFolder::open(folder, variant).expect("the folder opens")
}

#[test]
fn every_export_agrees_with_its_golden_file() {
    let Some((exports, backend)) = setup() else { return };
    let folders = [exports.join("tiny"), exports.join("../exports-next")];
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).expect("a folder"));
    let paths = entries.flatten().map(|entry| entry.path());
    let genai = paths.filter(|path| path.join("genai_config.json").is_file());
    let mut cases: Vec<_> = genai.map(|path| (path, None, None)).collect();
    assert!(10 <= cases.len(), "{cases:?}");
    let path = exports.join("stories260k-transformersjs");
    let variants =
        [("fp32", "model"), ("q4", "model_q4"), (DYNAMICALLY_QUANTISED, "model_quantized")];
    let variants = variants.map(|(variant, section)| (path.clone(), Some(variant), Some(section)));
    cases.extend(variants);
    let mut column = ReadmeColumn::new("ONNX Runtime, CPU");
    for (path, variant, section) in cases {
        println!("{}, {variant:?}", path.display());
        let folder = open(&path, variant);
        let model = backend.open(&folder, &exact_options()).expect("it opens");
        for case in golden_cases(&path.join("golden.json"), section) {
            agrees_with_golden(&*model, &case, Tolerance::Relative(2e-3));
        }
        // What that one is called says nothing to a reader.
        if variant != Some(DYNAMICALLY_QUANTISED) {
            column.add(&folder, true);
        }
    }
    column.check();
}

#[test]
fn smollm2_agrees_with_its_golden_file() {
    let Some((exports, backend)) = setup() else { return };
    let path = exports.join("smollm2-135m-instruct-ort-int4");
    let model = backend.open(&open(&path, None), &exact_options()).expect("it opens");
    let golden = exports.join("../golden/smollm2-135m.json");
    let text = std::fs::read(golden).expect("the golden file");
    let cases: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    for case in cases.as_array().expect("a list") {
        let case = golden_case(&case["prompt_ids"], &case["onnx_int4"]);
        agrees_with_golden(&*model, &case, Tolerance::Absolute(0.05));
    }
}

/// The files of `export` in a snapshot of Hugging Face's cache: links to files whose names are
/// hashes, all in one folder.
#[cfg(unix)]
fn snapshot(export: &Path, cache: &Path) -> PathBuf {
    let (blobs, snapshot) = (cache.join("blobs"), cache.join("snapshots/0123"));
    std::fs::create_dir_all(&blobs).expect("a folder");
    for (number, file) in files_below(export).iter().enumerate() {
        let link = snapshot.join(file.strip_prefix(export).expect("it is below"));
        std::fs::create_dir_all(link.parent().expect("a folder")).expect("a folder");
        let blob = blobs.join(format!("{number:064x}"));
        std::fs::copy(file, &blob).expect("a copy");
        std::os::unix::fs::symlink(blob, link).expect("a link");
    }
    snapshot
}

/// Every file of `export`, by a link of the same name.
#[cfg(unix)]
fn linked(export: &Path, folder: &Path) -> PathBuf {
    for file in files_below(export) {
        let link = folder.join(file.strip_prefix(export).expect("it is below"));
        std::fs::create_dir_all(link.parent().expect("a folder")).expect("a folder");
        std::os::unix::fs::symlink(file.canonicalize().expect("it is there"), link)
            .expect("a link");
    }
    folder.to_owned()
}

#[cfg(unix)]
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[cfg(unix)]
#[test]
fn exports_behind_links_agree_with_their_golden_files() {
    let Some((exports, backend)) = setup() else { return };
    // Weights in a file of their own, and inside the graph.
    for (name, variant, section) in [
        ("tiny/tiny-qwen2-ort_int4", None, None),
        ("tiny/tiny-llama-ort_fp32", None, None),
        ("stories260k-transformersjs", Some("fp32"), Some("model")),
        ("stories260k-transformersjs", Some("q4"), Some("model_q4")),
    ] {
        let export = exports.join(name);
        let (one, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir());
        let other = other.expect("a folder");
        for path in [snapshot(&export, one.path()), linked(&export, other.path())] {
            let model = backend.open(&open(&path, variant), &exact_options()).expect(name);
            for case in golden_cases(&export.join("golden.json"), section) {
                agrees_with_golden(&*model, &case, Tolerance::Relative(2e-3));
            }
        }
    }
}

/// The conformance suite over the export `name`; a test for each, as they run beside each other.
fn export_conforms(name: &str, variant: Option<&str>, allowed_alone: f32) {
    let Some((exports, backend)) = setup() else { return };
    conforms(&backend, &open(&exports.join(name), variant), allowed_alone);
}

#[test]
fn stories_in_fp32_conform() {
    export_conforms("stories260k-transformersjs", Some("fp32"), 2e-3);
}

#[test]
fn stories_in_q4_conform() {
    export_conforms("stories260k-transformersjs", Some("q4"), 2e-3);
}

#[test]
fn llama_in_int4_conforms() {
    export_conforms("tiny/tiny-llama-ort_int4", None, 2e-3);
}

#[test]
fn qwen2_in_fp32_conforms() {
    export_conforms("tiny/tiny-qwen2-ort_fp32", None, 2e-3);
}

#[test]
fn gpt_oss_in_int4_conforms() {
    export_conforms("tiny/tiny-gpt_oss-ort_int4", None, 2e-3);
}

#[test]
fn phi4_in_int4_conforms() {
    export_conforms("tiny/tiny-phi4-ort_int4", None, 2e-3);
}

#[test]
fn smollm2_in_int4_conforms() {
    export_conforms("smollm2-135m-instruct-ort-int4", None, ONE_ROW_DIFFERS);
}

#[test]
fn a_long_prompt_can_be_stopped_within_it() {
    let Some((exports, backend)) = setup() else { return };
    let folder = open(&exports.join("smollm2-135m-instruct-ort-int4"), None);
    let model = backend.open(&folder, &exact_options()).expect("it opens");
    let prompt: Vec<u32> = (0..1000).map(|idx| 100 + idx * 37 % 4000).collect();
    a_prompt_can_be_stopped(&*model, &prompt, 0.0);
}

#[test]
fn the_logits_are_the_head_times_the_hidden_states() {
    let Some((exports, backend)) = setup() else { return };
    let checkpoint = SafeTensors::open(&exports.join("stories260k-hf")).expect("the checkpoint");
    let embedding = checkpoint.tensor("model.embed_tokens.weight").expect("it is tied");
    let (entries, _) = embedding.bytes.as_chunks::<4>();
    let head: Vec<f32> = entries.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let options = OpenOptions { hidden_states: true, ..exact_options() };
    // The head of the second has codes of 8 bits on both sides, with one scale each.
    for (variant, allowed) in [("fp32", 1e-3), (DYNAMICALLY_QUANTISED, 0.5)] {
        let folder = open(&exports.join("stories260k-transformersjs"), Some(variant));
        let model = backend.open(&folder, &options).expect(variant);
        hidden_states_make_the_logits(&*model, &PROMPT, &head, allowed);
    }
}

#[test]
fn a_long_sequence_grows_its_cache_without_changing_results() {
    let Some((exports, backend)) = setup() else { return };
    let folder = open(&exports.join("tiny/tiny-llama-ort_fp32"), None);
    let model = backend.open(&folder, &exact_options()).expect("it opens");
    let prompt: Vec<u32> = (0..400).map(|n| 3 + n * 7 % 900).collect();
    let mut at_once = vec![0.0; model.n_vocab()];
    model.decoder().expect("a decoder").step(&prompt, &mut at_once).expect("a step");
    let mut grown = vec![0.0; model.n_vocab()];
    let mut decoder = model.decoder().expect("a decoder");
    for part in prompt.chunks(97) {
        decoder.step(part, &mut grown).expect("a step");
    }
    close(&grown, &at_once, 2e-3, "grown");
}

/// The likeliest ids behind `n_prompt` tokens.
fn greedy(model: &dyn Model, n_prompt: u32, n_ids: usize) -> Vec<u32> {
    let prompt: Vec<u32> = (0..n_prompt).map(|n| 3 + n * 7 % 900).collect();
    let mut logits = vec![0.0; model.n_vocab()];
    let mut decoder = model.decoder().expect("a decoder");
    decoder.step(&prompt, &mut logits).expect("a step");
    let likeliest = |logits: &[f32]| {
        let best = logits.iter().enumerate().max_by(|one, other| one.1.total_cmp(other.1));
        best.expect("a row").0 as u32
    };
    let mut ids = Vec::new();
    for _ in 0..n_ids {
        ids.push(likeliest(&logits));
        decoder.step(&ids[ids.len() - 1..], &mut logits).expect("a step");
    }
    ids
}

/// The ids are those of a plain loop in Python, which puts the whole sequence in for every token; behind
/// 400 tokens they are onnxruntime-genai's, too, which goes on behind 256 with keys that do not fit.
#[test]
fn a_sequence_may_become_longer_than_the_graphs_first_rotary_factors_are_for() {
    let Some((exports, backend)) = setup() else { return };
    let folder = open(&exports.join("../exports-next/tiny-phi4long-ort_int4"), None);
    let model = backend.open(&folder, &exact_options()).expect("it opens");
    assert_eq!(model.limits().n_positions_switch, Some(256));
    for (n_prompt, expected) in [
        (400, [153, 372, 976, 560, 840, 418, 49, 523, 1008, 401, 907, 558, 554, 706, 954, 641]),
        (250, [36, 537, 35, 930, 402, 852, 73, 908, 517, 705, 90, 287, 1022, 40, 291, 121]),
        (255, [610, 861, 1013, 821, 882, 92, 253, 416, 0, 159, 499, 152, 316, 203, 821, 321]),
        (256, [743, 882, 157, 951, 107, 830, 115, 838, 954, 598, 250, 779, 51, 131, 976, 716]),
        (257, [49, 231, 975, 496, 185, 19, 399, 518, 266, 778, 159, 499, 533, 959, 937, 472]),
    ] {
        assert_eq!(greedy(&*model, n_prompt, 16), expected, "behind {n_prompt} tokens");
    }
}

#[test]
fn heads_that_the_librarys_attention_does_not_take_are_refused_at_open() {
    let Some((exports, backend)) = setup() else { return };
    let folder = open(&exports.join("stories260k-ort-int4"), None);
    let error = backend.open(&folder, &exact_options()).map(drop).expect_err("it is refused");
    assert!(matches!(error, OpenError::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("heads of size 8"), "{error}");
}

#[test]
fn inputs_that_are_no_states_are_refused_by_name() {
    let Some((exports, backend)) = setup() else { return };
    let real = exports.join("tiny/tiny-lfm2-ort_int4");
    let copy = std::env::temp_dir().join(format!("lapwing-renamed-{}", std::process::id()));
    std::fs::create_dir_all(&copy).expect("a folder");
    for name in ["genai_config.json", "model.onnx.data"] {
        std::fs::copy(real.join(name), copy.join(name)).expect("a copy");
    }
    let graph = std::fs::read(real.join("model.onnx")).expect("the graph");
    // Names of one length, so that the file stays an ONNX model.
    for (from, to, reason) in [
        ("past.0.conv", "past.0.wkv_", "expected integers by a known name"),
        ("present.0.conv", "pxesent.0.conv", "that belongs to it is missing"),
    ] {
        let mut renamed = graph.clone();
        while let Some(at) = renamed.windows(from.len()).position(|name| name == from.as_bytes()) {
            renamed[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
        std::fs::write(copy.join("model.onnx"), renamed).expect("the graph");
        let error = backend.open(&open(&copy, None), &exact_options()).map(drop);
        let error = error.expect_err("it is refused").to_string();
        assert!(error.contains("`past.0.") && error.contains(reason), "{error}");
    }
    std::fs::remove_dir_all(&copy).expect("the folder goes");
}

#[test]
fn folders_and_devices_of_others_are_refused() {
    let Some((exports, backend)) = setup() else { return };
    let folder = open(&exports.join("stories260k-ov-fp32"), None);
    let error = backend.open(&folder, &exact_options()).map(drop).expect_err("it is refused");
    assert!(matches!(error, OpenError::WrongKind { .. }), "{error}");
    let folder = open(&exports.join("tiny/tiny-llama-ort_fp32"), None);
    let options = OpenOptions { device: "npu".parse().expect("a device"), ..exact_options() };
    let error = backend.open(&folder, &options).map(drop).expect_err("it is refused");
    assert!(matches!(error, OpenError::NoDevice { .. }), "{error}");
}

/// A copy of an export whose graph says something else.
fn changed(export: &Path, to: &Path, change: &dyn Fn(&mut GraphProto)) -> ModelFolder {
    for entry in std::fs::read_dir(export).expect("the export").flatten() {
        let bytes = std::fs::read(entry.path()).expect("a file of the export");
        std::fs::write(to.join(entry.file_name()), bytes).expect("a copy");
    }
    let folder = open(to, None);
    let mut model = OnnxModel::open(&folder.graph).expect("the graph");
    change(model.graph_mut());
    std::fs::write(&folder.graph, model.encode()).expect("the graph is written");
    folder
}

/// Let the last axis of a value claim to be of another size.
fn claim(values: &mut [ValueInfoProto], name: &str, size: i64) {
    let value = values.iter_mut().find(|value| value.name() == name).expect(name);
    let tensor = value.r#type.as_mut().and_then(|kind| kind.tensor_type.as_mut());
    let shape = tensor.and_then(|tensor| tensor.shape.as_mut()).expect("a shape");
    let last = shape.dim.last_mut().expect("an axis");
    (last.dim_value, last.dim_param) = (Some(size), None);
}

#[test]
fn sizes_that_a_graph_claims_are_not_believed() {
    let Some((exports, backend)) = setup() else { return };
    let export = exports.join("tiny/tiny-llama-ort_fp32");
    let check = |change: &dyn Fn(&mut GraphProto), expected: &str| {
        let copy = tempfile::tempdir().expect("a folder");
        let folder = changed(&export, copy.path(), change);
        let refused = backend.open(&folder, &exact_options()).map(drop).expect_err(expected);
        let mut said = refused.to_string();
        if let Some(source) = std::error::Error::source(&refused) {
            said = format!("{said}: {source}");
        }
        assert!(said.contains(expected), "{said}");
    };
    for size in [0, 1 << 33, 1 << 62] {
        let logits = |graph: &mut GraphProto| claim(&mut graph.output, "logits", size);
        check(&logits, &format!("found {size}"));
    }
    let state = |graph: &mut GraphProto| {
        claim(&mut graph.input, "past_key_values.0.key", 1 << 40);
    };
    check(&state, "past_key_values.0.key");
    // One that memory is there for, and that the library knows better.
    let wider = |graph: &mut GraphProto| claim(&mut graph.output, "logits", 100_000);
    check(&wider, "100000");
}
