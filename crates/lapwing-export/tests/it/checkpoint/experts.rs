//! The tensors of experts as files have them.

use crate::drawn::Drawn;
use crate::experts::Tensors;
use crate::mx;
use crate::random::Random;

/// A tensor of bytes: its shape and these.
pub(super) type Bytes = (Vec<usize>, Vec<u8>);

/// As safetensors have them: one by one, by the family, or all in two tensors.
pub(super) fn in_safetensors(drawn: &Drawn, tensors: Tensors, random: &mut Random) -> Tensors {
    if drawn.experts.is_none() {
        return tensors;
    }
    if drawn.model_type == "gpt_oss" {
        return in_turn(drawn, tensors);
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
    let tensors = stacked(drawn, tensors, &wholes);
    let mut whole = Tensors::new();
    for (name, (shape, values)) in tensors {
        let Some((module, parameter)) = name.split_once(".experts.") else {
            whole.insert(name, (shape, values));
            continue;
        };
        // A bias of one expert: those of all follow each other in the order of their names.
        let rest = parameter.split_once('.').map_or(parameter, |(number, rest)| {
            if number.parse::<usize>().is_ok() { rest } else { parameter }
        });
        let entry = whole.entry(format!("{module}.experts.{rest}")).or_default();
        match parameter.ends_with(".bias") {
            true => {
                entry.1.extend(values);
                entry.0 = vec![entry.1.len() / shape[0], shape[0]];
            }
            false => *entry = (shape, values),
        }
    }
    whole
}

/// As gpt-oss has them: gate and up in turn, each expert's matrix with its columns first.
fn in_turn(drawn: &Drawn, mut tensors: Tensors) -> Tensors {
    let Some(experts) = drawn.experts else { return tensors };
    let names: Vec<String> = tensors.keys().cloned().collect();
    for name in names.iter().filter(|name| name.contains(".mlp.gate.")) {
        let tensor = tensors.remove(name).expect("it is there");
        tensors.insert(name.replace(".mlp.gate.", ".mlp.router."), tensor);
    }
    for layer_idx in 0..drawn.n_layers {
        let prefix = format!("model.layers.{layer_idx}.mlp.experts");
        for (whole, parts) in [("gate_up_proj", &["gate", "up"][..]), ("down_proj", &["down"][..])]
        {
            let (mut weights, mut biases, mut size) = (Vec::new(), Vec::new(), [0, 0]);
            for expert_idx in 0..experts.n_experts {
                let mut take = |parameter: &str| -> Vec<(Vec<usize>, Vec<f32>)> {
                    let name =
                        |part: &str| format!("{prefix}.{expert_idx}.{part}_proj.{parameter}");
                    let parts = parts.iter();
                    parts.map(|part| tensors.remove(&name(part)).expect("it is drawn")).collect()
                };
                let (of_weights, of_biases) = (take("weight"), take("bias"));
                let (n_rows, n_columns) = (of_weights[0].0[0], of_weights[0].0[1]);
                size = [n_rows * parts.len(), n_columns];
                let row = |row_idx: usize| {
                    let (_, values) = &of_weights[row_idx % parts.len()];
                    &values[row_idx / parts.len() * n_columns..][..n_columns]
                };
                if drawn.is_mx {
                    weights.extend((0..size[0]).flat_map(row));
                } else {
                    let column =
                        |column_idx| (0..size[0]).map(move |row_idx| (row_idx, column_idx));
                    let places = (0..n_columns).flat_map(column);
                    weights.extend(places.map(|(row_idx, column_idx)| row(row_idx)[column_idx]));
                }
                let bias = |idx: usize| of_biases[idx % parts.len()].1[idx / parts.len()];
                biases.extend((0..size[0]).map(bias));
            }
            let shape = match drawn.is_mx {
                true => vec![experts.n_experts, size[0], size[1]],
                false => vec![experts.n_experts, size[1], size[0]],
            };
            tensors.insert(format!("{prefix}.{whole}"), (shape, weights));
            let shape = vec![experts.n_experts, size[0]];
            tensors.insert(format!("{prefix}.{whole}_bias"), (shape, biases));
        }
    }
    tensors
}

/// Rows as transformers has MXFP4: codes, and exponents.
pub(super) fn blocks_and_scales(shape: &[usize], values: &[f32]) -> [Bytes; 2] {
    let (mut codes, mut exponents) = (Vec::new(), Vec::new());
    for (exponent, block) in values.chunks(mx::N_COLUMNS).map(mx::block) {
        exponents.push(exponent);
        codes.extend(block.chunks(2).map(|pair| pair[0] | pair[1] << 4));
    }
    let n_blocks = shape[2] / mx::N_COLUMNS;
    [
        (vec![shape[0], shape[1], n_blocks, 16], codes),
        (vec![shape[0], shape[1], n_blocks], exponents),
    ]
}

/// Rows as a GGUF has MXFP4.
pub(super) fn ggml_blocks(values: &[f32]) -> Vec<u8> {
    let blocks = values.chunks(mx::N_COLUMNS).map(mx::block);
    let bytes = blocks.flat_map(|(exponent, codes)| {
        let pairs = (0..16).map(|idx| codes[idx] | codes[idx + 16] << 4);
        std::iter::once(exponent).chain(pairs).collect::<Vec<u8>>()
    });
    bytes.collect()
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
