//! README's table of models, made of what the exports here do: every folder is opened on each device and
//! asked for its golden values.
//!
//! `LAPWING_WRITE_TABLE=1` rewrites the table; without it the test demands that it is what came.
#![allow(clippy::unwrap_used, reason = "the lint knows tests, not their helpers")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use lapwing_host::backend::conformance::{
    GoldenCase, exact_options, golden_cases, library_file, shared_folder,
};
use lapwing_host::backend::{Backend, DeviceKind, DeviceRequest, OpenOptions};
use lapwing_host::model::{FolderKind, ModelFolder};
use lapwing_host::store::natives::Runtime;
use lapwing_host::store::{Origin, Pointer};
use lapwing_host::{Host, load};

const BEGIN: &str = "<!-- models: crates/lapwing-host/tests/models.rs -->\n";
const END: &str = "<!-- /models -->";

/// What the names of formats begin with, in the names of folders.
const FORMATS: [&str; 4] = ["int4", "int8", "fp32", "q4"];

/// On the CPU a logit may differ by this share of the largest, which is rounding, and on the path of
/// NPUs, which computes in f16, by that.
const SHARE_ON_CPU: f32 = 2e-3;
const SHARE_ON_NPU: f32 = 0.05;

/// One row: what its family says of itself, and what of it runs where.
#[derive(Default)]
struct Row {
    /// OpenVINO on the CPU, OpenVINO's path of NPUs, ONNX Runtime on the CPU: formats by outcome.
    cells: [BTreeMap<Outcome, BTreeSet<String>>; 3],
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Runs,
    Refused,
}

fn exports(shared: &Path) -> Vec<PathBuf> {
    let folders = ["exports", "exports/tiny", "exports-next"].map(|name| shared.join(name));
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap().flatten());
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    found.retain(|path| path.join("golden.json").is_file());
    found.sort();
    found
}

/// Whether a model opens, and then gives its golden values: what it opens with must be right.
fn outcome(
    backend: &dyn Backend,
    folder: &ModelFolder,
    device: DeviceKind,
    cases: &[GoldenCase],
) -> Outcome {
    let is_npu = device == DeviceKind::NpuOnCpu;
    let options = OpenOptions {
        device: DeviceRequest::One(device, None),
        n_positions_max: is_npu.then_some(512),
        n_prompt_tokens_max: is_npu.then_some(320),
        ..exact_options()
    };
    let Ok(model) = backend.open(folder, &options) else { return Outcome::Refused };
    let allowed = if is_npu { SHARE_ON_NPU } else { SHARE_ON_CPU };
    let mut logits = vec![0.0; model.n_vocab()];
    for case in cases {
        let mut decoder = model.decoder().unwrap();
        decoder.step(&case.prompt_ids, &mut logits).unwrap();
        let largest = case.first_step_top[0].1.abs();
        for &(id, expected) in &case.first_step_top {
            let found = logits[id as usize];
            let what = format!("{} on {device}: logit {id}", folder.graph.display());
            let is_close = (found - expected).abs() <= allowed * largest;
            assert!(is_close, "{what} is {found} instead of {expected}");
        }
    }
    Outcome::Runs
}

fn format_of(name: &str) -> String {
    let found = FORMATS.into_iter().find(|format| name.contains(format));
    found.unwrap_or(name).to_owned()
}

fn table(rows: &BTreeMap<String, Row>) -> String {
    let mut lines = vec![
        "| `model_type` | OpenVINO, CPU | OpenVINO's path of NPUs, on the CPU | ONNX Runtime, CPU |"
            .to_owned(),
        "|---|---|---|---|".to_owned(),
    ];
    for (family, row) in rows {
        let cells = row.cells.iter().map(|outcomes| {
            let words = outcomes.iter().map(|(outcome, formats)| {
                let formats = Vec::from_iter(formats.iter().map(String::as_str)).join(", ");
                match outcome {
                    Outcome::Runs => formats,
                    Outcome::Refused => format!("refused: {formats}"),
                }
            });
            let words: Vec<String> = words.collect();
            if words.is_empty() { "–".to_owned() } else { words.join("; ") }
        });
        let cells: Vec<String> = cells.collect();
        lines.push(format!("| {family} | {} |", cells.join(" | ")));
    }
    lines.join("\n") + "\n"
}

#[test]
fn the_readme_says_which_models_run_where() {
    let Some(shared) = shared_folder() else { return };
    let Some(ort) = library_file("LAPWING_TEST_ORT") else { return };
    let Some(openvino) = library_file("LAPWING_TEST_OPENVINO") else { return };
    let home = tempfile::tempdir().unwrap();
    let mut host = Host::below(home.path());
    let pointer = |path| Some(Pointer { path, origin: Origin::Environment("a test") });
    host.store.pointers.onnxruntime = pointer(ort);
    host.store.pointers.openvino = pointer(openvino.parent().unwrap().to_owned());
    let ort = load(Runtime::OnnxRuntime, &host).unwrap();
    let openvino = load(Runtime::OpenVino, &host).unwrap();
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for path in exports(&shared) {
        let golden = path.join("golden.json");
        let name = path.file_name().unwrap().to_str().unwrap();
        let first = ModelFolder::open(&path, None).unwrap();
        let folders: Vec<(ModelFolder, Option<String>)> = match first.kind {
            FolderKind::TransformersJs => {
                let sections = [("fp32", "model"), ("q4", "model_q4")];
                let open = |(variant, section): (&str, &str)| {
                    let folder = ModelFolder::open(&path, Some(variant)).unwrap();
                    (folder, Some(section.to_owned()))
                };
                sections.map(open).into()
            }
            _ => vec![(first, None)],
        };
        for (folder, section) in folders {
            let cases = golden_cases(&golden, section.as_deref());
            let parts = if folder.embeddings.is_empty() { "" } else { ", text of an image model" };
            let family = match folder.architecture.model_type.as_str() {
                // As onnxruntime-genai calls it.
                "gptoss" => "gpt_oss",
                other => other,
            };
            let family = format!("{family}{parts}");
            let format = format_of(folder.variant.as_deref().unwrap_or(name));
            let row = rows.entry(family).or_default();
            let mut put = |cell: usize, outcome: Outcome| {
                row.cells[cell].entry(outcome).or_default().insert(format.clone());
            };
            match folder.kind {
                FolderKind::OpenVinoIr => {
                    put(0, outcome(&*openvino, &folder, DeviceKind::Cpu, &cases));
                    put(1, outcome(&*openvino, &folder, DeviceKind::NpuOnCpu, &cases));
                }
                FolderKind::OnnxGenai | FolderKind::TransformersJs => {
                    put(2, outcome(&*ort, &folder, DeviceKind::Cpu, &cases));
                }
            }
        }
    }
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let text = fs::read_to_string(&readme).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (found, behind) = rest.split_once(END).unwrap();
    let made = table(&rows);
    if std::env::var_os("LAPWING_WRITE_TABLE").is_some() {
        fs::write(&readme, format!("{before}{BEGIN}{made}{END}{behind}")).unwrap();
    } else {
        assert_eq!(found, made, "LAPWING_WRITE_TABLE=1 rewrites it");
    }
}
