//! Heads whose common rows have more bits.

use std::ops::ControlFlow;

use lapwing_backend::conformance::exact_options;
use lapwing_export::{ExportOptions, Precision, Target, export};

use crate::checkpoint::Kind;
use crate::drawn::{Drawn, MODEL_TYPES};
use crate::{
    ALLOWED, N_PROMPT, backends, checkpoint, difference, forward, ids, keep_activations, quantised,
    rows, with_groups,
};

const N_FINE: usize = 10;
const EMBEDDING: &str = "model.embed_tokens.weight";

#[test]
fn common_tokens_get_their_logits_from_rows_of_eight_bits() {
    let Some(backends) = backends() else { return };
    for model_type in MODEL_TYPES {
        for symmetric in [false, true] {
            let (mut drawn, mut random, seed) = with_groups(model_type);
            drawn.has_own_head = false;
            drawn.tensors.remove("lm_head.weight");
            if let Some(experts) = &mut drawn.experts {
                // Rounded activations may choose others: `choices` compares which.
                experts.n_used = experts.n_experts;
            }
            let int4 = Precision::Int4 { group_size: 16, symmetric };
            let mut options = ExportOptions::new(int4);
            (options.head, options.n_fine_head_rows) = (int4, N_FINE);
            let folder = tempfile::tempdir().expect("a folder");
            let source = checkpoint::write(folder.path(), &drawn, Kind::HuggingFace, &mut random);
            let ids = ids(&drawn, &mut random);

            for (target, backend) in &backends {
                let expected = forward::logits(&computed(&drawn, *target, &options), &ids);
                let out = folder.path().join(target.name());
                let report =
                    export(&source, *target, &options, &out, &mut |_| ControlFlow::Continue(()))
                        .unwrap_or_else(|error| panic!("{error:?}: {drawn:?}"));
                let is_fine = |name: &str| name == "lm_head.fine_rows.weight";
                assert!(report.tensors.iter().any(|tensor| is_fine(&tensor.name)));
                assert_eq!(report.n_other_precision(), 0);
                let mut allowed = ALLOWED;
                if *target == Target::Onnx {
                    keep_activations(&out.join("model.onnx"));
                    // `QMoE` cannot be told so.
                    allowed = if drawn.experts.is_some() { 0.1 } else { ALLOWED };
                }
                let found = rows(&**backend, &out, &exact_options(), &ids);
                for (row_idx, row) in found.iter().enumerate() {
                    let error = difference(row, &expected[N_PROMPT - 1 + row_idx]);
                    let what = format!("seed {seed}, {target:?}, {symmetric}, {drawn:?}");
                    assert!(error <= allowed, "row {row_idx} is {error:e} off: {what}");
                }
            }
        }
    }
}

/// The model that such an export computes: the embedding in 4 bits, and a head of its own with rows of
/// both kinds.
fn computed(drawn: &Drawn, target: Target, options: &ExportOptions) -> Drawn {
    let Precision::Int4 { symmetric, .. } = options.weights else {
        panic!("4 bits, found {}", options.weights)
    };
    let int8 = ExportOptions::new(Precision::Int8 { group_size: None, symmetric });
    let mut fine = drawn.clone();
    fine.tensors.retain(|name, _| name == EMBEDDING);
    let fine = quantised(fine, target, &int8);
    let mut expected = quantised(drawn.clone(), target, options);
    let mut head = expected.tensors[EMBEDDING].clone();
    let n_fine_values = N_FINE * head.0[1];
    head.1[..n_fine_values].copy_from_slice(&fine.tensors[EMBEDDING].1[..n_fine_values]);
    assert_ne!(head, expected.tensors[EMBEDDING]);
    expected.has_own_head = true;
    expected.tensors.insert("lm_head.weight".to_owned(), head);
    expected
}
