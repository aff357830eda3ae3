//! Exports as named tensors, against the checkpoints they were made from and against arithmetic of
//! the tests' own.
#![allow(clippy::unwrap_used, reason = "the helpers beside the tests belong to the tests")]

use std::path::Path;

use half::f16;
use lapwing_formats::ir::{Constant, ElementType, IrModel};
use lapwing_weights::{Checkpoint, Encoding, Source, Tensor};

use crate::shared::shared;

fn stories() -> Option<Checkpoint> {
    Some(Checkpoint::open(&shared("exports/stories260k-hf")?).unwrap())
}

fn open(name: &str) -> Source {
    Source::open(&shared(&format!("exports/{name}")).unwrap()).unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Root mean square of the difference over that of what is expected.
fn relative_rms(expected: &[f32], found: &[f32]) -> f32 {
    assert_eq!(expected.len(), found.len());
    let error: f32 = expected.iter().zip(found).map(|(a, b)| (a - b).powi(2)).sum();
    (error / expected.iter().map(|a| a * a).sum::<f32>()).sqrt()
}

/// Matrices by their names; other constants have no names of the checkpoint's.
fn matrices(checkpoint: &Checkpoint) -> impl Iterator<Item = (String, Tensor<'_>)> {
    let names = checkpoint.tensor_names().into_iter();
    let tensors = names.map(|name| (checkpoint.tensor(&name).unwrap(), name));
    tensors.filter(|(tensor, _)| tensor.shape.len() == 2).map(|(tensor, name)| (name, tensor))
}

#[test]
fn an_ir_of_floats_has_the_checkpoints_bits() {
    let Some(checkpoint) = stories() else { return };
    let source = open("stories260k-ov-fp32");
    for (name, expected) in matrices(&checkpoint) {
        let found = source.tensor(&format!("self.{name}")).unwrap();
        assert_eq!((&found.shape, found.dtype_name().as_str()), (&expected.shape, "F32"), "{name}");
        assert!(bits(&found.to_f32()) == bits(&expected.to_f32()), "{name} differs");
        assert_eq!(bits(&found.rows_to_f32(3..5)), bits(&expected.rows_to_f32(3..5)), "{name}");
    }
    // Norms are constants of no name.
    let constants: Vec<Vec<f32>> = source
        .names()
        .iter()
        .map(|name| source.tensor(name).unwrap().to_f32())
        .filter(|values| values.len() == checkpoint.architecture.hidden_size)
        .collect();
    for name in checkpoint.tensor_names().iter().filter(|name| name.contains("norm")) {
        let expected = checkpoint.tensor(name).unwrap().to_f32();
        assert!(constants.iter().any(|found| bits(found) == bits(&expected)), "{name}");
    }
}

/// Codes one by one, as the layers of the IR say.
fn by_hand(model: &IrModel, name: &str) -> Vec<f32> {
    let constant = |name: &str| model.constants().find(|constant| constant.name == name);
    let codes_of = |constant: &Constant<'_>| -> Vec<f32> {
        let bytes = model.constant_bytes(constant).iter();
        match constant.element_type {
            ElementType::U8 => bytes.map(|&code| f32::from(code)).collect(),
            ElementType::I4 => bytes
                .flat_map(|&pair| [pair << 4, pair])
                .map(|high| f32::from((high as i8) >> 4))
                .collect(),
            other => panic!("{other}"),
        }
    };
    let codes = constant(name).unwrap();
    let scales = constant(&format!("{name}/scale")).unwrap();
    let zeros = constant(&format!("{name}/zero_point")).map(|zeros| codes_of(&zeros));
    let scales: Vec<f32> = model
        .constant_bytes(&scales)
        .chunks_exact(2)
        .map(|half| f16::from_le_bytes([half[0], half[1]]).to_f32())
        .collect();
    let group_size = *codes.dims.last().unwrap() as usize;
    let weights = codes_of(&codes).into_iter().enumerate().map(|(weight_idx, code)| {
        let group_idx = weight_idx / group_size;
        (code - zeros.as_ref().map_or(0.0, |zeros| zeros[group_idx])) * scales[group_idx]
    });
    weights.collect()
}

#[test]
fn an_ir_of_codes_stands_for_the_weights_that_its_layers_compute() {
    let Some(checkpoint) = stories() else { return };
    for (export, error_max) in [("stories260k-ov-int8", 0.01), ("stories260k-ov-int4", 0.1)] {
        let source = open(export);
        let path = shared(&format!("exports/{export}/openvino_model.xml")).unwrap();
        let model = IrModel::open(&path).unwrap();
        for (name, expected) in matrices(&checkpoint) {
            let name = format!("self.{name}");
            let found = source.tensor(&name).unwrap();
            assert!(matches!(found.encoding, Encoding::Grid(_)), "{name}");
            assert_eq!(found.shape, expected.shape, "{export} {name}");
            let weights = found.to_f32();
            assert!(weights == by_hand(&model, &name), "{export} {name} differs");
            let error = relative_rms(&expected.to_f32(), &weights);
            assert!(error < error_max, "{export} {name}: {error}");
            check_codes(&found, &weights);
            assert!(source.tensor(&format!("{name}/scale")).is_err());
        }
    }
}

/// The codes of a tensor stand for its weights.
fn check_codes(tensor: &Tensor<'_>, weights: &[f32]) {
    let codes = tensor.codes().unwrap();
    assert_eq!(vec![codes.n_rows, codes.n_columns], tensor.shape);
    let n_groups = codes.n_columns.div_ceil(codes.group_size);
    let middle = if codes.n_bits == 4 { 8.0 } else { 128.0 };
    let n_row_bytes = (codes.n_columns * codes.n_bits).div_ceil(8);
    for (weight_idx, &weight) in weights.iter().enumerate() {
        let (row_idx, column_idx) = (weight_idx / codes.n_columns, weight_idx % codes.n_columns);
        let row = &codes.codes[row_idx * n_row_bytes..];
        let code = match codes.n_bits {
            4 => row[column_idx / 2] >> (column_idx % 2 * 4) & 15,
            _ => row[column_idx],
        };
        let group_idx = row_idx * n_groups + column_idx / codes.group_size;
        let zero_point = codes.zero_points.as_ref().map_or(middle, |zeros| zeros[group_idx]);
        assert_eq!((f32::from(code) - zero_point) * codes.scales[group_idx], weight);
    }
}

/// `[n, m]` as `[m, n]`.
fn transposed(values: &[f32], n_columns: usize) -> Vec<f32> {
    let columns = (0..n_columns).flat_map(|at| values[at..].iter().step_by(n_columns));
    columns.copied().collect()
}

#[test]
fn an_onnx_graph_of_floats_has_the_checkpoints_bits() {
    let Some(checkpoint) = stories() else { return };
    let path = shared("exports/stories260k-transformersjs/onnx/model.onnx").unwrap();
    let source = Source::open(&path).unwrap();
    let check = |name: &str, expected: &[f32], shape: &[usize]| {
        let found = source.tensor(name).unwrap();
        assert_eq!(found.shape, shape, "{name}");
        assert!(bits(&found.to_f32()) == bits(expected), "{name} differs");
    };
    for name in ["model.embed_tokens.weight", "model.norm.weight"] {
        let expected = checkpoint.tensor(name).unwrap();
        check(name, &expected.to_f32(), &expected.shape);
    }
    let query = checkpoint.tensor("model.layers.0.self_attn.q_proj.weight").unwrap();
    check("onnx::MatMul_1593", &transposed(&query.to_f32(), 64), &[64, 64]);
}

#[test]
fn an_onnx_graph_of_blocks_stands_for_the_checkpoints_weights() {
    let Some(checkpoint) = stories() else { return };
    let layer =
        |name: &str| checkpoint.tensor(&format!("model.layers.0.{name}.weight")).unwrap().to_f32();
    let packed = ["q", "k", "v"].map(|part| layer(&format!("self_attn.{part}_proj"))).concat();
    let check = |path: &str, name: &str, expected: &[f32], shape: [usize; 2]| {
        let source = Source::open(&shared(path).unwrap()).unwrap();
        let found = source.tensor(name).unwrap();
        assert_eq!((&*found.shape, &*found.dtype_name()), (&shape[..], "int4 group 32"));
        let weights = found.to_f32();
        let error = relative_rms(expected, &weights);
        assert!(error < 0.15, "{name}: {error}");
        check_codes(&found, &weights);
        assert!(source.tensor(&name.replace("_Q4", "_scales")).is_err());
    };
    let name = "model.layers.0.attn.qkv_proj.MatMul.weight_Q4";
    check("exports/stories260k-ort-int4", name, &packed, [128, 64]);
    // 172 columns: the last block of a row is padded.
    let name = "model.layers.0.mlp.down_proj.MatMul.weight_Q4";
    check("exports/stories260k-ort-int4", name, &layer("mlp.down_proj"), [64, 172]);
    let path = "exports/stories260k-transformersjs/onnx/model_q4.onnx";
    check(path, "onnx::MatMul_1593_Q4", &layer("self_attn.q_proj"), [64, 64]);
}

fn graphs_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name == "openvino_model.xml" || name.ends_with(".onnx") {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn every_export_is_a_source() {
    let Some(exports) = shared("exports") else { return };
    let graphs = graphs_below(&exports);
    assert!(graphs.len() > 40, "only {} graphs", graphs.len());
    for path in graphs {
        let source = Source::open(&path).unwrap();
        let mut n_grids = 0;
        for name in source.names() {
            let tensor = source.tensor(&name).unwrap();
            let n_rows = tensor.shape.first().map_or(1, |&n_rows| n_rows.min(2));
            let weights = tensor.rows_to_f32(0..n_rows);
            assert!(weights.iter().all(|weight| weight.is_finite()), "{}: {name}", path.display());
            n_grids += usize::from(matches!(tensor.encoding, Encoding::Grid(_)));
        }
        if path.extension().is_some_and(|extension| extension == "xml") {
            let model = IrModel::open(&path).unwrap();
            let n_scales = model.constants().filter(|c| c.name.ends_with("/scale")).count();
            assert_eq!(n_grids, n_scales, "{}", path.display());
        }
    }
}

#[test]
fn a_file_that_is_no_source_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "no model").unwrap();
    let message = Source::open(&path).unwrap_err().to_string();
    assert!(message.contains("magic"), "{message}");
    let message = Source::open(folder.path()).unwrap_err().to_string();
    assert!(message.contains("is no model folder"), "{message}");
}
