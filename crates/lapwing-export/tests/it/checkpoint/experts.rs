//! The tensors of experts as files have them.

use crate::drawn::Drawn;
use crate::experts::Tensors;
use crate::random::Random;

/// As safetensors have them: one by one, by the family, or all in two tensors.
pub(super) fn in_safetensors(drawn: &Drawn, tensors: Tensors, random: &mut Random) -> Tensors {
    if drawn.experts.is_none() {
        return tensors;
    }
    if random.one_in(3) {
        return stacked(
            drawn,
            tensors,
            &[("gate_up_proj", &["gate", "up"]), ("down_proj", &["down"])],
        );
    }
    if drawn.model_type != "mixtral" {
        return tensors;
    }
    let renamed = tensors.into_iter().map(|(name, tensor)| {
        let name = name.replace("mlp.", "block_sparse_moe.");
        let name = name.replace("gate_proj", "w1").replace("up_proj", "w3");
        (name.replace("down_proj", "w2"), tensor)
    });
    renamed.collect()
}

/// As a GGUF has them: all of one projection in one tensor.
pub(super) fn in_gguf(drawn: &Drawn, tensors: Tensors) -> Tensors {
    let wholes: [(&str, &[&str]); 3] = [
        ("gate_proj.weight", &["gate"]),
        ("up_proj.weight", &["up"]),
        ("down_proj.weight", &["down"]),
    ];
    stacked(drawn, tensors, &wholes)
}

/// The parts of each expert below each other, and all experts behind each other.
fn stacked(drawn: &Drawn, mut tensors: Tensors, wholes: &[(&str, &[&str])]) -> Tensors {
    let Some(experts) = drawn.experts else { return tensors };
    for layer_idx in 0..drawn.n_layers {
        let prefix = format!("model.layers.{layer_idx}.mlp.experts");
        for (whole, parts) in wholes {
            let (mut values, mut shape) = (Vec::new(), vec![experts.n_experts, 0, 0]);
            for expert_idx in 0..experts.n_experts {
                shape[1] = 0;
                for part in *parts {
                    let name = format!("{prefix}.{expert_idx}.{part}_proj.weight");
                    let (size, part) = tensors.remove(&name).expect("it is drawn");
                    values.extend(part);
                    (shape[1], shape[2]) = (shape[1] + size[0], size[1]);
                }
            }
            tensors.insert(format!("{prefix}.{whole}"), (shape, values));
        }
    }
    tensors
}
