//! ONNX files with flipped, missing and inserted bytes: an error or a model, never a panic, a hang
//! or more memory than the file warrants.
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::path::{Path, PathBuf};

use lapwing_formats::onnx::{OnnxModel, expose_hidden, slice_before_head};

use crate::hostile;

const N_MUTATIONS: usize = 10_000;

/// The exports beside the repository, where they are.
fn shared_exports() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("LAPWING_SHARED").map_or(beside, PathBuf::from);
    let exports = shared.join("exports");
    if exports.is_dir() {
        return Some(exports);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is missing", exports.display());
    eprintln!("skipped: no ../shared");
    None
}

/// Everything that looks at a model.
fn read(path: &Path) {
    let Ok(mut model) = OnnxModel::open(path) else { return };
    drop((model.inputs(), model.outputs()));
    model.initializers().for_each(drop);
    let _ = slice_before_head(&mut model, "logits");
    let _ = expose_hidden(&mut model, "logits");
    model.externalize(64);
}

#[test]
fn mutations_of_a_model_with_inline_weights() {
    let seed = include_bytes!("../data/inline.onnx");
    hostile::check_mutations(seed, N_MUTATIONS, read);
}

#[test]
fn mutations_of_a_real_export() {
    let Some(exports) = shared_exports() else { return };
    let source = exports.join("tiny/tiny-llama-ort_int4");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = "model.onnx.data";
    std::fs::copy(source.join(data), folder.path().join(data)).expect("the export has weights");
    let seed = std::fs::read(source.join("model.onnx")).expect("the export has a graph");
    hostile::check_mutations_in(folder.path(), "model.onnx", &seed, N_MUTATIONS, read);
}

#[test]
fn real_exports_stay_within_the_limit() {
    let Some(exports) = shared_exports() else { return };
    let graphs = [
        "smollm2-135m-instruct-ort-int4/model.onnx",
        "stories260k-ort-int4/model.onnx",
        "stories260k-transformersjs/onnx/model.onnx",
        "stories260k-transformersjs/onnx/model_q4.onnx",
        "stories260k-transformersjs/onnx/model_quantized.onnx",
        "tiny/tiny-lfm2-ort_int4/model.onnx",
        "tiny/tiny-llama-ort_fp32/model.onnx",
        "tiny/tiny-qwen2-ort_int4/model.onnx",
    ];
    for graph in graphs {
        let path = exports.join(graph);
        let n_bytes = std::fs::metadata(&path).expect("the export is there").len();
        let peak = hostile::peak_allocation(|| {
            OnnxModel::open(&path).expect("a real export opens");
        });
        assert!(peak as u64 <= 4 * n_bytes, "{graph}: {peak} bytes for {n_bytes}");
    }
}
