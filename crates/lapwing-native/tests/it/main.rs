//! What real exports are read as, by what their networks compute.

mod plain;

use std::path::Path;

use lapwing_backend::conformance::{golden_cases, shared_folder};
use lapwing_native::Network;
use lapwing_native::read::{of_checkpoint, of_onnx};
use lapwing_weights::{Checkpoint, Source};
use plain::Plain;

/// The logits behind each prompt of `golden` are the reference's.
fn check(network: &Network<'_>, golden: &Path, tolerance: f32) {
    for case in golden_cases(golden, None) {
        let mut plain = Plain::new(network);
        let logits = case.prompt_ids.iter().map(|&id| plain.step(id)).last();
        let logits = logits.expect("prompts have tokens");
        for (id, expected) in case.first_step_top {
            let found = logits[id as usize];
            assert!(
                (found - expected).abs() <= tolerance,
                "{}: {found} for {expected} of token {id} behind {:?}",
                golden.display(),
                case.prompt_ids
            );
        }
    }
}

#[test]
fn onnx_exports_are_what_the_library_computes() {
    let Some(shared) = shared_folder() else { return };
    let check = |name: &str, tolerance| {
        let folder = shared.join("exports/tiny").join(name);
        let source = Source::open(&folder).expect("the folder is an export");
        let network = of_onnx(&source).expect("every node is understood");
        check(&network, &folder.join("golden.json"), tolerance);
    };
    for name in ["tiny-llama-ort_fp32", "tiny-qwen2-ort_fp32"] {
        check(name, 1e-3);
    }
    // The library rounds activations to 8 bits.
    for name in ["llama", "llama3rope", "qwen2", "phi4"] {
        check(&format!("tiny-{name}-ort_int4"), 0.15);
    }
}

#[test]
fn a_checkpoint_is_what_its_export_computes() {
    let Some(shared) = shared_folder() else { return };
    let exports = shared.join("exports");
    let checkpoint = Checkpoint::open(&exports.join("stories260k-hf")).expect("a checkpoint");
    let network = of_checkpoint(&checkpoint).expect("a plain llama");
    check(&network, &exports.join("stories260k-ov-fp32/golden.json"), 1e-3);
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    let Some(shared) = shared_folder() else { return };
    let check = |folder: &str, expected: &str| {
        let source = Source::open(&shared.join("exports").join(folder)).expect("an export");
        let error = of_onnx(&source).expect_err("no plain decoder").to_string();
        assert!(error.contains(expected), "{folder}: {error}");
    };
    check("tiny/tiny-gpt_oss-ort_int4", "expected a product with a matrix, found QMoE");
    check("tiny/tiny-lfm2-ort_fp32", "expected GroupQueryAttention, found Transpose");
    // Attention in standard operators is not read yet.
    check("stories260k-transformersjs", "expected an RMS normalisation, found Mul");
}
