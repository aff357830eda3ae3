//! Which experts exports choose.

use std::collections::BTreeSet;

use lapwing_backend::conformance::exact_options;
use lapwing_export::{ExportOptions, Precision};

use crate::checkpoint::Kind;
use crate::drawn::{Drawn, Scaling};
use crate::experts::Experts;
use crate::random::Random;
use crate::{N_PROMPT, backends, checkpoint, exported_as, forward, ids, quantised, rows};

const PRECISIONS: [Precision; 4] = [
    Precision::F32,
    Precision::Int8 { group_size: None, symmetric: false },
    Precision::Int4 { group_size: 32, symmetric: true },
    Precision::Int4 { group_size: 16, symmetric: false },
];

/// What an integer kernel may make of sums that are 0.
const NOTHING: f32 = 1e-6;

/// A mixture of one layer whose logits of the first tokens are not 0 just where the expert of that
/// number was used: nothing but its own projection reaches that element of the hidden state, and
/// nothing but this element that logit.
fn telling(model_type: &'static str, random: &mut Random) -> Drawn {
    let mut drawn = Drawn::of(model_type, random);
    let normalises = model_type != "qwen3_moe";
    let has_bias = model_type == "gpt_oss";
    drawn.experts = Some(Experts { n_experts: 6, n_used: 2, normalises, has_bias });
    drawn.is_mx = model_type == "gpt_oss";
    (drawn.hidden_size, drawn.intermediate_size, drawn.n_layers) = (64, 96, 1);
    (drawn.n_heads, drawn.n_kv_heads, drawn.head_size) = (4, 2, 16);
    (drawn.rope.n_rotated, drawn.rope.scaling) = (16, Scaling::None);
    (drawn.attention_scale, drawn.has_own_head) = (0.25, true);
    drawn.windowed = vec![drawn.window.is_some()];
    drawn.rotated = vec![true];
    drawn.tensors.clear();
    drawn.fill(random);
    let n_experts = drawn.experts.expect("it has experts").n_experts;
    for (name, (shape, values)) in &mut drawn.tensors {
        let expert = name.split("experts.").nth(1).and_then(|rest| rest.split('.').next());
        let expert: Option<usize> = expert.map(|number| number.parse().expect("a number"));
        let n_columns = shape[shape.len() - 1];
        for (idx, value) in values.iter_mut().enumerate() {
            let (row, column) = (idx / n_columns, idx % n_columns);
            let is_zero = match &**name {
                "model.embed_tokens.weight" => column < n_experts,
                "lm_head.weight" => row < n_experts && row != column,
                _ if name.ends_with("o_proj.weight") => row < n_experts,
                _ if name.ends_with("o_proj.bias") => column < n_experts,
                _ if name.ends_with("down_proj.bias") => {
                    column < n_experts && Some(column) != expert
                }
                _ if name.ends_with("down_proj.weight") => row < n_experts && Some(row) != expert,
                _ => false,
            };
            if is_zero {
                *value = 0.0;
            }
        }
    }
    drawn
}

#[test]
fn exports_choose_the_experts_that_the_forward_pass_chooses() {
    let Some(backends) = backends() else { return };
    for (target, backend) in &backends {
        for model_type in ["mixtral", "qwen3_moe", "gpt_oss"] {
            for precision in PRECISIONS {
                let mut random = Random::new(11);
                let drawn = telling(model_type, &mut random);
                let n_experts = drawn.experts.expect("it has experts").n_experts;
                // Only the experts have codes: kernels that round activations would move what the
                // router sees.
                let mut options = ExportOptions::new(Precision::F32);
                options.per_tensor.insert("*.experts.*".to_owned(), precision);
                let mut ids = ids(&drawn, &mut random);
                let mut chosen = BTreeSet::new();
                // A row behind each of several prompts, and behind what follows.
                for _ in 0..4 {
                    ids.rotate_left(5);
                    let expected = {
                        let drawn = quantised(drawn.clone(), *target, &options);
                        forward::logits(&drawn, &ids)
                    };
                    let folder = tempfile::tempdir().expect("a folder");
                    let source =
                        checkpoint::write(folder.path(), &drawn, Kind::HuggingFace, &mut random);
                    let out = folder.path().join("out");
                    exported_as(&source, *target, &options, &out).expect("it can be exported");
                    let found = rows(&**backend, &out, &exact_options(), &ids);
                    for (row_idx, row) in found.iter().enumerate() {
                        let expected = &expected[N_PROMPT - 1 + row_idx];
                        let what = format!("{model_type} {precision} {target:?}, row {row_idx}");
                        for (found, expected) in row.iter().zip(expected).take(n_experts) {
                            let is_used = NOTHING < found.abs();
                            // What is less may be lost among integers.
                            if *expected == 0.0 || expected.abs() > 1e-4 {
                                assert_eq!(is_used, *expected != 0.0, "{what}: {row:?}");
                            }
                        }
                        let used: Vec<usize> =
                            (0..n_experts).filter(|&idx| expected[idx] != 0.0).collect();
                        assert_eq!(used.len(), 2, "{what}");
                        chosen.insert(used);
                    }
                }
                assert!(chosen.len() > 2, "{model_type} {precision}: {chosen:?}");
            }
        }
    }
}
