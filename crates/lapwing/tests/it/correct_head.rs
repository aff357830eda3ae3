//! `export --correct-head`: the algebra on both runtimes, and what is refused.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use lapwing_backend::Precision as Arithmetic;
use lapwing_backend::{Backend, DeviceKind, DeviceRequest, OpenOptions, Row};
use lapwing_export::{BodyRecipe, ExportOptions, HeadMap, Precision, Target, export, read_recipe};
use lapwing_logits::profile::{
    Array, Arrays, CorrectionProfile, CorrectionRecipe, Diagnostics, Gate, GateRules,
    HeadMapRecipe, ProfiledModel, SCHEMA_VERSION, Sidecar, Verdict,
};
use lapwing_model::ModelFolder;
use lapwing_weights::Checkpoint;
use serde_json::{Value, json};

use crate::evaluating::Lab;
use crate::real::{library, shared_folder};
use crate::{Lapwing, files_below, sha256};

const PROMPT: [u32; 9] = [1, 403, 407, 261, 378, 432, 383, 286, 261];
const N_HIDDEN: usize = 64;
const RULES: GateRules = GateRules {
    confidence: 0.95,
    min_gain_nats: 0.01,
    min_divergence_share: 0.01,
    allow_one_domain: false,
};
const TARGETS: [(Target, &str); 2] = [(Target::OpenVino, "openvino"), (Target::Onnx, "onnx")];

fn checkpoint() -> Option<PathBuf> {
    Some(shared_folder()?.join("exports/stories260k-hf"))
}

/// A map whose entries all differ; `scale` 0 leaves the identity and no constant.
fn map(scale: f32) -> HeadMap {
    let entry = |idx: usize| scale * ((idx * 29 % 53) as f32 / 53.0 - 0.5);
    let identity = |idx: usize| if idx.is_multiple_of(N_HIDDEN + 1) { 1.0 } else { 0.0 };
    HeadMap {
        n_hidden: N_HIDDEN,
        matrix: (0..N_HIDDEN * N_HIDDEN).map(|idx| identity(idx) + entry(idx)).collect(),
        bias: (0..N_HIDDEN).map(|idx| entry(idx * 7 + 3)).collect(),
        body: None,
    }
}

fn backend(target: Target) -> Option<Box<dyn Backend>> {
    Some(match target {
        Target::OpenVino => {
            let library = library("LAPWING_TEST_OPENVINO")?;
            Box::new(lapwing_openvino::OpenVinoBackend::load(library.as_ref()).unwrap())
        }
        Target::Onnx => {
            let library = library("LAPWING_TEST_ORT")?;
            Box::new(lapwing_ort::OrtBackend::load(library.as_ref()).unwrap())
        }
    })
}

/// Every entry is within `allowed` of the expected one.
#[track_caller]
fn close(found: &[f32], expected: &[f32], allowed: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (idx, (found, expected)) in found.iter().zip(expected).enumerate() {
        let is_close = (found - expected).abs() <= allowed;
        assert!(is_close, "{what}: entry {idx} is {found} instead of {expected}");
    }
}

/// The rows of a folder: logits and hidden states.
fn rows(backend: &dyn Backend, folder: &Path) -> Vec<(Vec<f32>, Vec<f32>)> {
    let options = OpenOptions {
        device: DeviceRequest::One(DeviceKind::Cpu, None),
        n_threads: Some(2),
        precision: Arithmetic::Exact,
        n_positions_max: None,
        n_chunk_tokens: None,
        hidden_states: true,
        cache_folder: None,
        n_prompt_tokens_max: None,
        whole_prompts: false,
        properties: Default::default(),
    };
    let model = backend.open(&ModelFolder::open(folder, None).unwrap(), &options).unwrap();
    assert_eq!(model.n_hidden(), Some(N_HIDDEN));
    let mut rows = Vec::new();
    let mut take = |row: Row<'_>| {
        rows.push((row.logits.to_vec(), row.hidden.unwrap().to_vec()));
    };
    model.decoder().unwrap().score(&PROMPT, &mut take).unwrap();
    rows
}

fn dot(one: &[f32], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(one, other)| f64::from(*one) * other).sum()
}

#[test]
fn a_corrected_head_gives_the_logits_of_the_mapped_hidden_states() {
    let Some(source) = checkpoint() else { return };
    let head = Checkpoint::open(&source).unwrap().head_rows(0..512).unwrap();
    for (target, name) in TARGETS {
        let Some(backend) = backend(target) else { return };
        let folder = tempfile::tempdir().unwrap();
        let exported = |head_map: Option<HeadMap>, name: &str| {
            let out = folder.path().join(name);
            let options = ExportOptions { head_map, ..ExportOptions::new(Precision::F32) };
            let go_on = &mut |_: lapwing_export::Progress<'_>| ControlFlow::Continue(());
            export(&source, target, &options, &out, go_on).unwrap();
            rows(&*backend, &out)
        };
        let plain = exported(None, "plain");
        let identity = exported(Some(map(0.0)), "identity");
        let random = exported(Some(map(0.2)), "random");
        let mut largest_change = 0.0_f32;
        for (token_idx, (logits, hidden)) in plain.iter().enumerate() {
            let what = format!("{name}, row {token_idx}");
            // The body is the same, so that a map fits the export that it is folded into.
            close(&random[token_idx].1, hidden, 1e-5, &format!("{what}: hidden state"));
            close(&identity[token_idx].0, logits, 1e-4, &format!("{what}: identity"));
            let HeadMap { matrix, bias, .. } = map(0.2);
            let hidden: Vec<f64> = hidden.iter().map(|&entry| f64::from(entry)).collect();
            let mapped = matrix.chunks_exact(N_HIDDEN).zip(&bias);
            let mapped: Vec<f64> =
                mapped.map(|(row, bias)| dot(row, &hidden) + f64::from(*bias)).collect();
            let expected: Vec<f32> =
                head.chunks_exact(N_HIDDEN).map(|row| dot(row, &mapped) as f32).collect();
            close(&random[token_idx].0, &expected, 1e-3, &format!("{what}: mapped"));
            let changes = expected.iter().zip(logits).map(|(one, other)| (one - other).abs());
            largest_change = changes.fold(largest_change, f32::max);
        }
        assert!(1.0 < largest_change, "{name}: the map changes nothing: {largest_change}");
    }
}

/// Write a profile whose head map is `map`, and its sidecar, into `folder`.
fn write_profile(folder: &Path, map: &HeadMap, change: &dyn Fn(&mut CorrectionProfile)) -> String {
    let mut arrays = Arrays::default();
    let shape = vec![N_HIDDEN, N_HIDDEN];
    arrays.insert("matrix", Array { shape, values: map.matrix.clone().into() });
    arrays.insert("bias", Array::vector(map.bias.clone().into()));
    let sidecar = arrays.to_bytes().unwrap();
    std::fs::write(folder.join("p.safetensors"), &sidecar).unwrap();
    let chosen = "head map".to_owned();
    let mut profile = CorrectionProfile {
        schema_version: SCHEMA_VERSION,
        model: ProfiledModel {
            name: "stories".to_owned(),
            sha256: "0".repeat(64),
            backend: "ort".to_owned(),
            device: "CPU".to_owned(),
            precision: "exact".to_owned(),
            n_vocab: 512,
        },
        reference: None,
        texts: Vec::new(),
        seed: 1,
        estimator: "maximum-likelihood".to_owned(),
        diagnostics: Diagnostics {
            n_positions: 2,
            n_windows: 1,
            frozen_share: 0.0,
            bands: Vec::new(),
        },
        candidates: vec![Verdict {
            name: chosen.clone(),
            texts: Vec::new(),
            repetition: None,
            helps: true,
            reason: "less KL".to_owned(),
        }],
        gate: Gate {
            open: true,
            chosen: Some(chosen),
            reason: "it helps".to_owned(),
            rules: RULES,
        },
        correction: CorrectionRecipe { offset: None, smoothing: None },
        head_map: Some(HeadMapRecipe {
            n_hidden: N_HIDDEN,
            matrix: "matrix".to_owned(),
            bias: "bias".to_owned(),
            ridge: 0.1,
            body_recipe: map.body.as_ref().map(|body| serde_json::to_value(body).unwrap()),
        }),
        sidecar: Some(Sidecar {
            file: "p.safetensors".to_owned(),
            sha256: sha256(&sidecar),
            n_bytes: sidecar.len() as u64,
        }),
    };
    change(&mut profile);
    let path = folder.join("p.correction.json");
    std::fs::write(&path, profile.to_json().unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn body_of(folder: &Path) -> BodyRecipe {
    read_recipe(folder).unwrap().unwrap().body()
}

#[test]
fn a_profile_corrects_the_head_of_its_own_body_only() {
    let Some(source) = checkpoint() else { return };
    let lapwing = Lapwing::new();
    let source = source.to_str().unwrap();
    for (_, name) in TARGETS {
        let folder = tempfile::tempdir().unwrap();
        let out = |name: &str| folder.path().join(name);
        let export = |out: &Path, more: &[&str]| {
            let out = out.to_str().unwrap();
            let arguments = ["export", source, "--to", name, "--weights", "int8", "--out", out];
            lapwing.run(&[&arguments[..], more].concat())
        };
        export(&out("plain"), &[]).expect_code(0);
        let body = body_of(&out("plain"));
        let map = HeadMap { body: Some(body), ..map(0.05) };
        let profile = write_profile(folder.path(), &map, &|_| {});
        export(&out("corrected"), &["--correct-head", &profile]).expect_code(0);
        let recipe = read_recipe(&out("corrected")).unwrap().unwrap();
        assert_eq!(recipe.head_map_sha256, Some(map.sha256()));
        assert_eq!(recipe.body(), body_of(&out("plain")));
        let inspected = lapwing.json(&["inspect", out("corrected").to_str().unwrap(), "--json"]);
        assert!(inspected.to_string().contains("512"), "{inspected}");

        let refused = |more: &[&str], expected: &[&str]| {
            let more = [&["--correct-head", &*profile][..], more].concat();
            export(&out("refused"), &more).expect_code(1).expect_says(expected);
            assert!(!out("refused").exists());
        };
        let says = ["precision of the embedding", "int8 per row", "found f16", "hint: "];
        refused(&["--head", "f16"], &says);
        write_profile(folder.path(), &map, &|profile| {
            let reason = "no help".to_owned();
            profile.gate = Gate { open: false, chosen: None, reason, rules: RULES };
        });
        let closed = "no head map that may be used: its gate is closed: no help";
        refused(&[], &[closed, "hint: leave out --correct-head"]);
        write_profile(folder.path(), &map, &|profile| {
            profile.head_map = None;
            profile.sidecar = None;
        });
        let other = "holds no head map: its gate let through head map only";
        refused(&[], &[other, "hint: leave out --correct-head; `lapwing calibrate --checkpoint`"]);
        write_profile(folder.path(), &HeadMap { body: None, ..map.clone() }, &|_| {});
        refused(&[], &["does not say how its model was exported", "hint: export"]);
        write_profile(folder.path(), &map, &|profile| {
            let recipe = profile.head_map.as_mut().unwrap();
            recipe.body_recipe = Some(json!({"checkpoint_sha256": 3}));
        });
        refused(&[], &["does not say how its model was exported", "hint: export"]);
        write_profile(folder.path(), &map, &|_| {});
        let sidecar = std::fs::read(out("p.safetensors")).unwrap();
        std::fs::write(out("p.safetensors"), &sidecar[..sidecar.len() / 2]).unwrap();
        refused(&[], &["p.safetensors", "hint: make the profile again", "--correct-head"]);
    }
}

#[test]
fn a_profile_for_an_export_is_found_by_its_name() {
    let Some(source) = checkpoint() else { return };
    let Some(lab) = Lab::new() else { return };
    let lapwing = &lab.lapwing;
    let (source, profiles) = (source.to_str().unwrap(), lapwing.path("profiles"));
    let plain = lapwing.path("plain");
    let export = |out: &Path, more: &[&str]| {
        let out = out.to_str().unwrap();
        let arguments = ["export", source, "--to", "onnx", "--weights", "f32", "--out", out];
        lapwing.run(&[&arguments[..], more].concat())
    };
    export(&plain, &[]).expect_code(0);
    let map = HeadMap { body: Some(body_of(&plain)), ..map(0.05) };
    std::fs::create_dir_all(&profiles).unwrap();
    let whole = write_profile(&profiles, &map, &|_| {});
    std::fs::rename(whole, profiles.join("mine.cpu.correction.json")).unwrap();
    for (name, folder) in [("mine", "one"), ("mine.cpu", "two")] {
        let out = lapwing.path(folder);
        export(&out, &["--correct-head", name]).expect_code(0);
        assert_eq!(read_recipe(&out).unwrap().unwrap().head_map_sha256, Some(map.sha256()));
    }
    let missing = export(&lapwing.path("three"), &["--correct-head", "other"]).expect_code(1);
    missing.expect_says(&["no correction profile \"other\"", "hint: --correct-head takes"]);
    // What was edited is not folded into anything, and the advice is of this command.
    let path = profiles.join("mine.cpu.correction.json");
    let edited = std::fs::read_to_string(&path).unwrap().replace("it helps", "it helped");
    std::fs::write(&path, edited).unwrap();
    let changed = export(&lapwing.path("three"), &["--correct-head", "mine"]).expect_code(1);
    changed.expect_says(&["was changed after it was written", "hint: make the profile again"]);
    // A head that was corrected once is not calibrated for another map.
    let corrected = lapwing.path("one");
    let text = lapwing.path("text.txt");
    std::fs::write(&text, "Once upon a time there was a lapwing.".repeat(200)).unwrap();
    let again = lab.run(&[
        "calibrate",
        "--model",
        corrected.to_str().unwrap(),
        "--reference",
        plain.to_str().unwrap(),
        "--checkpoint",
        source,
        "--text",
        text.to_str().unwrap(),
    ]);
    let again = again.expect_code(1);
    again.expect_says(&["is corrected already, with map", "hint: calibrate an export"]);
}

#[test]
fn a_corrected_export_lives_in_the_store_as_any_other() {
    let Some(source) = checkpoint() else { return };
    let lapwing = Lapwing::new();
    let folder = tempfile::tempdir().unwrap();
    let source = source.to_str().unwrap();
    let arguments = ["export", source, "--to", "onnx", "--weights", "f32", "--name", "mine"];
    lapwing.run(&arguments).expect_code(0);
    let stored = lapwing.path("models/mine");
    let map = HeadMap { body: Some(body_of(&stored)), ..map(0.05) };
    let profile = write_profile(folder.path(), &map, &|_| {});
    let more = ["--overwrite", "--correct-head", &profile];
    lapwing.run(&[&arguments[..], &more].concat()).expect_code(0);
    assert_eq!(read_recipe(&stored).unwrap().unwrap().head_map_sha256, Some(map.sha256()));
    let listed: Value = lapwing.json(&["list", "--json"]);
    assert!(listed.to_string().contains("mine"), "{listed}");
    lapwing.run(&["rm", "mine", "--yes"]).expect_code(0);
    assert_eq!(files_below(&stored), [""; 0]);
}
