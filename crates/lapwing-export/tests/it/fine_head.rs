//! Heads whose common rows have more bits.

use std::ops::ControlFlow;

use lapwing_backend::conformance::exact_options;
use lapwing_export::{ExportOptions, Precision, Target, export};

use crate::checkpoint::Kind;
use crate::drawn::MODEL_TYPES;
use crate::{
    ALLOWED, N_PROMPT, backends, checkpoint, difference, forward, ids, quantised, rows, with_groups,
};

const N_FINE: usize = 10;

#[test]
fn common_tokens_get_their_logits_from_rows_of_eight_bits() {
    let Some(backends) = backends() else { return };
    for model_type in MODEL_TYPES {
        for symmetric in [false, true] {
            let (mut drawn, mut random, seed) = with_groups(model_type);
            drawn.has_own_head = false;
            drawn.tensors.remove("lm_head.weight");
            let int4 = Precision::Int4 { group_size: 16, symmetric };
            let mut options = ExportOptions::new(int4);
            (options.head, options.n_fine_head_rows) = (int4, N_FINE);
            let folder = tempfile::tempdir().expect("a folder");
            let source = checkpoint::write(folder.path(), &drawn, Kind::HuggingFace, &mut random);
            let ids = ids(&drawn, &mut random);

            // What is computed: the embedding in 4 bits, and a head of rows of both kinds.
            let embedding = drawn.tensors["model.embed_tokens.weight"].clone();
            let n_fine_values = N_FINE * embedding.0[1];
            let mut fine = drawn.clone();
            fine.tensors.retain(|name, _| name == "model.embed_tokens.weight");
            let fine = quantised(
                fine,
                &ExportOptions::new(Precision::Int8 { group_size: None, symmetric }),
            );
            let mut expected = quantised(drawn.clone(), &options);
            let mut head = expected.tensors["model.embed_tokens.weight"].clone();
            head.1[..n_fine_values]
                .copy_from_slice(&fine.tensors["model.embed_tokens.weight"].1[..n_fine_values]);
            assert_ne!(head, expected.tensors["model.embed_tokens.weight"]);
            expected.has_own_head = true;
            expected.tensors.insert("lm_head.weight".to_owned(), head);
            let expected = forward::logits(&expected, &ids);

            for (target, backend) in &backends {
                let out = folder.path().join(target.name());
                let report =
                    export(&source, *target, &options, &out, &mut |_| ControlFlow::Continue(()))
                        .unwrap_or_else(|error| panic!("{error:?}: {drawn:?}"));
                let is_fine = |name: &str| name == "lm_head.fine_rows.weight";
                assert!(report.tensors.iter().any(|tensor| is_fine(&tensor.name)));
                assert_eq!(report.n_other_precision(), 0);
                // ONNX Runtime rounds activations to 8 bits before products with codes.
                let allowed = if *target == Target::Onnx { 0.1 } else { ALLOWED };
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
