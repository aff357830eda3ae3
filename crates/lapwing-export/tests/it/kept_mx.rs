//! MXFP4 whose codes exports keep.

use std::ops::ControlFlow;

use lapwing_backend::conformance::exact_options;
use lapwing_export::{ExportOptions, Precision, Target, export};

use crate::checkpoint::Kind;
use crate::drawn::{Drawn, Scaling};
use crate::random::Random;
use crate::{
    ALLOWED, N_PROMPT, backends, checkpoint, difference, forward, ids, mx, quantised, rows,
};

/// What `QMoE` of ONNX Runtime makes of a logit, of the largest, by rounding activations to 8 bits.
const ALLOWED_OF_ROUNDED: f64 = 0.06;

/// A model with experts of two blocks a row and of one, all of which are used: rounded activations may
/// choose others.
fn stored_so(kind: Kind) -> (Drawn, Random) {
    let drawn = (0..).map(|seed| {
        let mut random = Random::new(seed);
        let mut drawn = Drawn::of("gpt_oss", &mut random);
        drawn.is_mx = true;
        (drawn.hidden_size, drawn.intermediate_size) = (64, 32);
        if let Some(experts) = &mut drawn.experts {
            experts.n_used = experts.n_experts;
        }
        drawn.tensors.clear();
        drawn.fill(&mut random);
        (drawn, random)
    });
    let is_long = |drawn: &Drawn| matches!(drawn.rope.scaling, Scaling::LongRope(_));
    let mut drawn = drawn.filter(|(drawn, _)| drawn.fits(kind) && !is_long(drawn));
    drawn.next().expect("there is a seed")
}

#[test]
fn kept_codes_stand_for_the_weights_of_the_checkpoint() {
    let Some(backends) = backends() else { return };
    let int4 = |symmetric| Precision::Int4 { group_size: 32, symmetric };
    let int8 = Precision::Int8 { group_size: Some(32), symmetric: true };
    for kind in [Kind::HuggingFace, Kind::Gguf] {
        let (drawn, mut random) = stored_so(kind);
        let folder = tempfile::tempdir().expect("a folder");
        let source = checkpoint::write(folder.path(), &drawn, kind, &mut random);
        let ids = ids(&drawn, &mut random);
        let of_checkpoint = forward::logits(&drawn, &ids);
        for precision in [int4(false), int4(true), int8] {
            // All else would hide the experts' part of an error.
            let mut options = ExportOptions::new(Precision::F32);
            options.per_tensor.insert("*.experts.*".to_owned(), precision);
            for (target, backend) in &backends {
                let what = format!("{kind:?}, {target:?}, {precision}, {drawn:?}");
                let is_kept = *target == Target::OpenVino || precision == int8;
                let out = folder.path().join(format!("{} {precision}", target.name()));
                let report =
                    export(&source, *target, &options, &out, &mut |_| ControlFlow::Continue(()))
                        .unwrap_or_else(|error| panic!("{error:?}: {what}"));
                let mut experts = report.tensors.iter().filter(|t| mx::is_stored_so(&t.name));
                assert!(experts.all(|tensor| tensor.kept_grid == is_kept), "{what}");

                let expected = forward::logits(&quantised(drawn.clone(), *target, &options), &ids);
                assert_eq!(expected == of_checkpoint, is_kept, "{what}");
                let is_rounded = *target == Target::Onnx && precision == int8;
                let allowed = if is_rounded { ALLOWED_OF_ROUNDED } else { ALLOWED };
                let found = rows(&**backend, &out, &exact_options(), &ids);
                for (row_idx, row) in found.iter().enumerate() {
                    let error = difference(row, &expected[N_PROMPT - 1 + row_idx]);
                    assert!(error <= allowed, "row {row_idx} is {error:e} off: {what}");
                }
            }
        }
    }
}
