//! Checkpoints that lack a tensor.

use lapwing_weights::Checkpoint;

use crate::checkpoint::{self, Kind};
use crate::drawn::{Drawn, MODEL_TYPES};
use crate::random::Random;

/// A name that readers pass over.
const NEEDLESS: &str = "model.rotary_emb.inv_freq";

#[test]
fn the_message_names_the_tensor_that_was_taken_away() {
    for model_type in MODEL_TYPES {
        // Files have them in several forms.
        for seed in 0..6 {
            let mut random = Random::new(seed);
            let drawn = Drawn::of(model_type, &mut random);
            let folder = tempfile::tempdir().expect("a folder");
            let source = checkpoint::write(folder.path(), &drawn, Kind::HuggingFace, &mut random);
            let path = source.join("model.safetensors");
            let stored = std::fs::read(&path).expect("the file");
            for name in checkpoint::names(&stored) {
                // A tied head needs none, and in one layer nothing tells of this bias.
                let is_alone = drawn.n_layers == 1 && name.ends_with("o_proj.bias");
                if name == "lm_head.weight" || is_alone {
                    continue;
                }
                let without = checkpoint::renamed(&stored, &[(&name, NEEDLESS)]);
                std::fs::write(&path, without).expect("the file");
                let error = Checkpoint::open(&source).expect_err(&name).to_string();
                let message = error.replace(&*source.to_string_lossy(), "");
                let is_half = ["_blocks", "_scales"].iter().any(|end| name.ends_with(end));
                let is_told = match is_half {
                    true => message.contains(&format!("expected {name} as U8 [")),
                    false => message.starts_with(&format!(" has no tensor {name}")),
                };
                assert!(is_told, "{model_type}, seed {seed}: {name}: {message}");
            }
        }
    }
}

/// Instead of the other half of MXFP4.
#[test]
fn exponents_of_another_shape_are_told_with_both_shapes() {
    let mut random = Random::new(0);
    let drawn = (0..).map(|seed| Drawn::of("gpt_oss", &mut Random::new(seed)));
    let drawn = drawn.into_iter().find(|drawn| drawn.is_mx).expect("there is a seed");
    let folder = tempfile::tempdir().expect("a folder");
    let source = checkpoint::write(folder.path(), &drawn, Kind::HuggingFace, &mut random);
    let path = source.join("model.safetensors");
    let stored = std::fs::read(&path).expect("the file");
    let module = "model.layers.0.mlp.experts";
    let (gate, down) = (format!("{module}.gate_up_proj"), format!("{module}.down_proj"));
    let check = |exchanged: [String; 2], expected: &str| {
        let [one, other] = exchanged.each_ref().map(String::as_str);
        let names = [(one, other), (other, one)];
        std::fs::write(&path, checkpoint::renamed(&stored, &names)).expect("the file");
        let message = Checkpoint::open(&source).expect_err(expected).to_string();
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    };
    let n = drawn.experts.expect("it has experts").n_experts;
    let (rows, blocks) = (2 * drawn.intermediate_size, drawn.hidden_size / 32);
    check(
        [format!("{gate}_scales"), format!("{gate}_bias")],
        &format!(
            "exponents of MXFP4 beside {gate}_blocks: expected {gate}_scales as U8 [{n}, {rows}, \
             {blocks}], found F32 [{n}, {rows}]"
        ),
    );
    check(
        [format!("{gate}_blocks"), format!("{down}_bias")],
        &format!(
            "codes of MXFP4 beside {gate}_scales: expected {gate}_blocks as U8 [experts, rows, \
             blocks, 16], found F32 [{n}, {}]",
            drawn.hidden_size
        ),
    );
}
