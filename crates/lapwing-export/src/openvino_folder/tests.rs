use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use half::f16;
use lapwing_formats::ir::{Dim, ElementType, IrModel, SliceEdit, slice_before_head};
use lapwing_model::{Architecture, Layers, Transformer};
use lapwing_quant::{Bits, Grid, quantize};
use lapwing_weights::Codes;

use super::source::Written;
use super::*;
use crate::plan::{PlannedWeight, Precision, TakeWeight, WHOLE_ROW};

const INT4: Precision = Precision::Int4 { group_size: 8, symmetric: false };
const INT4_SYMMETRIC: Precision = Precision::Int4 { group_size: 8, symmetric: true };
const INT8: Precision = Precision::Int8 { group_size: None, symmetric: false };

fn architecture() -> Architecture<Transformer> {
    let family = Transformer { intermediate_size: 20, ..Transformer::plain(4) };
    Architecture {
        model_type: "llama".to_owned(),
        n_vocab: 24,
        n_layers: 2,
        n_heads: 4,
        n_kv_heads: 2,
        head_size: 4,
        hidden_size: 16,
        n_positions_max: 64,
        sliding_window: None,
        conv_cache_size: None,
        family,
    }
}

/// Weights made up from the architecture, all matrices but the embedding at one precision.
struct MadeUp {
    shapes: BTreeMap<String, Vec<usize>>,
    precision: Precision,
    is_affine: bool,
}

impl TakeWeight for MadeUp {
    fn fine_head(&mut self) -> Result<Option<PlannedWeight>, ExportError> {
        Ok(None)
    }

    fn logits_constant(&self) -> Result<Option<Vec<f32>>, ExportError> {
        Ok(None)
    }

    fn precision(&self, name: &str) -> Result<Precision, ExportError> {
        let is_head = name.contains("embed") || name.contains("lm_head");
        Ok(if is_head { self.precision.head_default() } else { self.precision })
    }

    fn take_as(&mut self, name: &str, precision: Precision) -> Result<PlannedWeight, ExportError> {
        let shape = &self.shapes[name];
        let n_columns = *shape.last().unwrap();
        let n_rows = shape.iter().product::<usize>() / n_columns;
        let values: Vec<f32> =
            (0..n_rows * n_columns).map(|i| (i * 37 % 53) as f32 / 53.0 - 0.3).collect();
        let (bits, group_size, symmetric) = match precision {
            Precision::F32 => return Ok(PlannedWeight::F32(values)),
            Precision::F16 => {
                return Ok(PlannedWeight::F16(values.into_iter().map(f16::from_f32).collect()));
            }
            Precision::Int8 { group_size, symmetric } => {
                (Bits::Eight, group_size.unwrap_or(n_columns), symmetric)
            }
            Precision::Int4 { group_size, symmetric } => (Bits::Four, group_size, symmetric),
        };
        if self.is_affine && bits == Bits::Four && !symmetric {
            let n_groups = n_rows * n_columns / group_size;
            return Ok(PlannedWeight::Affine(Codes {
                n_rows,
                n_columns,
                n_bits: 4,
                group_size,
                codes: vec![0x71; n_rows * n_columns / 2],
                scales: vec![1.0; n_groups],
                zero_points: Some(vec![7.5; n_groups]),
            }));
        }
        let grid = Grid { bits, group_size, symmetric };
        let values = ndarray::ArrayView2::from_shape((n_rows, n_columns), &values).unwrap();
        Ok(PlannedWeight::Quantized(quantize(values, grid).unwrap()))
    }
}

/// The IR of made-up weights, opened, and how its matrices were stored.
fn exported(
    architecture: &Architecture<Transformer>,
    precision: Precision,
    is_affine: bool,
) -> (IrModel, Vec<Written>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("openvino_model.xml");
    let shapes: BTreeMap<_, _> = architecture.expected_tensors().collect();
    let n_tensors = shapes.len();
    let mut weights = MadeUp { shapes, precision, is_affine };
    let mut n_announced = 0;
    let mut on_progress = |progress: crate::progress::Progress<'_>| {
        assert_eq!((progress.n_tensors_done, progress.n_tensors), (n_announced, n_tensors));
        n_announced += 1;
        ControlFlow::Continue(())
    };
    let mut source = Matrices::new(Source::new(&mut weights, &mut on_progress, n_tensors));
    let mut graph = Graph::create(&path).unwrap();
    decoder::write(&mut graph, architecture, &mut source).unwrap();
    let written = source.written().to_vec();
    graph.finish(&notes::rt_info(architecture, &written)).unwrap();
    assert_eq!(n_announced, n_tensors);
    (IrModel::open(&path).unwrap(), written)
}

fn n_layers_of(model: &IrModel, kind: &str) -> usize {
    model.layers().filter(|layer| layer.kind() == kind).count()
}

fn constant_type(model: &IrModel, name: &str) -> (ElementType, Vec<u64>) {
    let constant = model.constants().find(|constant| constant.name == name);
    let constant = constant.unwrap_or_else(|| panic!("no constant {name}"));
    (constant.element_type, constant.dims)
}

#[test]
fn inputs_outputs_and_states_are_those_of_optimum_intel() {
    let (model, _) = exported(&architecture(), Precision::F32, false);
    let parameters: Vec<_> = model
        .parameters()
        .into_iter()
        .map(|parameter| (parameter.names.concat(), parameter.element_type, parameter.dims))
        .collect();
    let dims = |n_dims| Some(vec![Dim::ANY; n_dims]);
    assert_eq!(
        parameters,
        [
            ("input_ids".to_owned(), ElementType::I64, dims(2)),
            ("attention_mask".to_owned(), ElementType::I64, dims(2)),
            ("position_ids".to_owned(), ElementType::I64, dims(2)),
            ("beam_idx".to_owned(), ElementType::I32, dims(1)),
        ]
    );
    let results = model.results();
    assert_eq!(results[0].names, ["logits"]);
    assert_eq!(results[0].dims, [Dim::ANY, Dim::ANY, Dim::Fixed(24)]);
    let variables = model.variables();
    let ids: Vec<_> = variables.iter().map(|variable| &*variable.id).collect();
    assert_eq!(
        ids,
        [
            "past_key_values.0.keypresent.0.key",
            "past_key_values.0.valuepresent.0.value",
            "past_key_values.1.keypresent.1.key",
            "past_key_values.1.valuepresent.1.value",
        ]
    );
    let state_dims = vec![Dim::ANY, Dim::Fixed(2), Dim::ANY, Dim::Fixed(4)];
    assert!(variables.iter().all(|variable| variable.dims.as_ref() == Some(&state_dims)));
    assert_eq!(n_layers_of(&model, "Assign"), 4);
    assert_eq!(n_layers_of(&model, "ScaledDotProductAttention"), 2);
    // Keys and values of two heads serve four; rotary frequencies serve the batch.
    assert_eq!(n_layers_of(&model, "Broadcast"), 4 + 4 + 1);
    assert_eq!(model.weight_compression(), None);
}

#[test]
fn the_logits_of_an_export_can_be_sliced() {
    for is_affine in [false, true] {
        let (mut model, _) = exported(&architecture(), INT4, is_affine);
        let outcome = slice_before_head(&mut model).unwrap();
        assert!(matches!(outcome, SliceEdit::Sliced { .. }), "{outcome:?}");
    }
}

#[test]
fn families_differ_in_biases_norms_windows_and_heads() {
    let plain = exported(&architecture(), Precision::F32, false).0;
    let count = |change: &dyn Fn(&mut Architecture<Transformer>), kind: &str| {
        let mut architecture = architecture();
        change(&mut architecture);
        n_layers_of(&exported(&architecture, Precision::F32, false).0, kind)
            - n_layers_of(&plain, kind)
    };
    assert_eq!(count(&|a| a.family.biases.qkv = true, "Add"), 2 * 3);
    assert_eq!(count(&|a| a.family.qk_norm = true, "ReduceMean"), 2 * 2);
    assert_eq!(count(&|a| a.sliding_window = Some(8), "Greater"), 1);
    let mixed = |a: &mut Architecture<Transformer>| {
        a.sliding_window = Some(8);
        a.family.full_layers = Layers::Listed(std::iter::once(1..2).collect());
    };
    assert_eq!((count(&mixed, "Greater"), count(&mixed, "Select")), (1, 1));
    // The embedding, when it is also the head, is stored once.
    let mut architecture = architecture();
    architecture.family.tied_head = false;
    let (model, _) = exported(&architecture, Precision::F32, false);
    assert_eq!(constant_type(&model, "self.lm_head.weight"), (ElementType::F32, vec![24, 16]));
    assert!(!plain.constants().any(|constant| constant.name == "self.lm_head.weight"));
}

#[track_caller]
fn check_codes(
    precision: Precision,
    is_affine: bool,
    expected: (ElementType, &[u64]),
    zero_point: Option<ElementType>,
) {
    let (model, _) = exported(&architecture(), precision, is_affine);
    let name = "self.model.layers.0.self_attn.q_proj.weight";
    assert_eq!(constant_type(&model, name), (expected.0, expected.1.to_vec()));
    assert_eq!(constant_type(&model, &format!("{name}/scale")).0, ElementType::F16);
    let zero_name = format!("{name}/zero_point");
    let found = model.constants().find(|constant| constant.name == zero_name);
    assert_eq!(found.map(|constant| constant.element_type), zero_point);
}

#[test]
fn codes_are_laid_out_as_nncf_does() {
    let grouped: &[u64] = &[16, 2, 8];
    check_codes(INT4, false, (ElementType::U4, grouped), Some(ElementType::U4));
    check_codes(INT4, true, (ElementType::U4, grouped), Some(ElementType::F32));
    check_codes(INT4_SYMMETRIC, true, (ElementType::I4, grouped), None);
    check_codes(INT8, false, (ElementType::U8, &[16, 16]), Some(ElementType::U8));
    let symmetric = Precision::Int8 { group_size: Some(8), symmetric: true };
    check_codes(symmetric, false, (ElementType::I8, grouped), None);
}

#[test]
fn codes_and_zero_points_stand_for_the_weights() {
    let architecture = architecture();
    for precision in [INT4, INT4_SYMMETRIC] {
        let (model, _) = exported(&architecture, precision, false);
        let bytes = |name: &str| {
            let constant = model.constants().find(|constant| constant.name == name).unwrap();
            model.constant_bytes(&constant).to_vec()
        };
        let name = "self.model.layers.1.mlp.up_proj.weight";
        let codes = bytes(name);
        let scales = bytes(&format!("{name}/scale"));
        let nibble = |bytes: &[u8], i: usize| bytes[i / 2] >> (i % 2 * 4) & 15;
        for weight_idx in 0..20 * 16 {
            let group_idx = weight_idx / 8;
            let scale = f16::from_le_bytes([scales[2 * group_idx], scales[2 * group_idx + 1]]);
            let code = nibble(&codes, weight_idx);
            let steps = match precision {
                INT4 => {
                    let zeros = bytes(&format!("{name}/zero_point"));
                    f32::from(code) - f32::from(nibble(&zeros, group_idx))
                }
                _ => f32::from((code as i8) << 4 >> 4),
            };
            let expected = (weight_idx * 37 % 53) as f32 / 53.0 - 0.3;
            let error = (steps * scale.to_f32() - expected).abs();
            assert!(error <= 1.1 * scale.to_f32().abs(), "{weight_idx}: {error}");
        }
    }
}

#[test]
fn half_precision_is_marked_as_decompression() {
    let (model, _) = exported(&architecture(), Precision::F16, false);
    let name = "self.model.layers.0.mlp.down_proj.weight";
    assert_eq!(constant_type(&model, name), (ElementType::F16, vec![16, 20]));
    // Fourteen projections and the embedding.
    assert_eq!(model.xml().matches("name=\"decompression\"").count(), 15);
}

#[test]
fn groups_that_do_not_divide_the_columns_give_way_to_rows() {
    let (model, written) = exported(&architecture(), INT4_SYMMETRIC, false);
    // The feed-forward width is 20, no multiple of 8.
    let down = "self.model.layers.0.mlp.down_proj.weight";
    assert_eq!(constant_type(&model, down), (ElementType::I8, vec![16, 20]));
    let rows = Precision::Int8 { group_size: None, symmetric: true };
    assert_eq!(written.iter().filter(|weight| weight.precision == rows).count(), 2 + 1);
}

#[test]
fn a_group_of_a_whole_row_keeps_four_bits() {
    let whole_row = Precision::Int4 { group_size: WHOLE_ROW, symmetric: true };
    let (model, _) = exported(&architecture(), whole_row, false);
    let down = "self.model.layers.0.mlp.down_proj.weight";
    assert_eq!(constant_type(&model, down), (ElementType::I4, vec![16, 20]));
    assert_eq!(model.weight_compression().unwrap().group_size, Some(-1));
}

#[test]
fn notes_say_how_the_weights_were_compressed() {
    let check = |precision, expected: Option<(&str, i64, f64, &str)>| {
        let (model, _) = exported(&architecture(), precision, false);
        let found = model.weight_compression();
        let found = found.map(|found| {
            (
                found.mode,
                found.group_size.unwrap(),
                found.ratio.unwrap(),
                found.backup_mode.unwrap(),
            )
        });
        let expected = expected.map(|(mode, group_size, ratio, backup_mode)| {
            (mode.to_owned(), group_size, ratio, backup_mode.to_owned())
        });
        assert_eq!(found, expected, "{precision}");
    };
    // Per layer 320 of 1728 weights, the down projection, have 8 bits.
    check(INT4_SYMMETRIC, Some(("int4_sym", 8, 0.8148, "int8_sym")));
    check(INT8, Some(("int8_asym", -1, 1.0, "int8_asym")));
    check(Precision::F16, None);
    let factor = exported(&architecture(), Precision::F16, false).0;
    let factor = factor.rt_info(&["runtime_options", "ACTIVATIONS_SCALE_FACTOR"]);
    assert_eq!(factor.as_deref(), Some("8.0"));
}

#[test]
fn weights_for_an_npu_are_what_their_notes_say() {
    let check = |hidden_size: usize, group_size: i64, code_dims: &[u64]| {
        let mut architecture = architecture();
        (architecture.hidden_size, architecture.head_size) = (hidden_size, 32);
        architecture.family.intermediate_size = 256;
        let options = crate::plan::ExportOptions::for_npu(&architecture);
        let (model, _) = exported(&architecture, options.weights, true);
        let notes = model.weight_compression().unwrap();
        assert_eq!((&*notes.mode, notes.group_size), ("int4_sym", Some(group_size)));
        assert_eq!((notes.ratio, notes.backup_mode.as_deref()), (Some(1.0), Some("int8_sym")));
        let name = "self.model.layers.0.mlp.up_proj.weight";
        assert_eq!(constant_type(&model, name), (ElementType::I4, code_dims.to_vec()));
        let embedding = constant_type(&model, "self.model.embed_tokens.weight");
        assert_eq!(embedding, (ElementType::I8, vec![24, hidden_size as u64]));
        let mut n_scales = 0;
        for constant in model.constants() {
            assert!(!constant.name.ends_with("/zero_point"), "{}", constant.name);
            if constant.name.ends_with("/scale") {
                assert_eq!(constant.element_type, ElementType::F16, "{}", constant.name);
                n_scales += 1;
            }
        }
        assert_eq!(n_scales, 2 * 7 + 1);
    };
    // One group a row needs no third dimension.
    check(128, 128, &[256, 128]);
    check(384, 128, &[256, 3, 128]);
    check(96, -1, &[256, 96]);
}

#[test]
fn a_stop_is_an_error() {
    let architecture = architecture();
    let shapes: BTreeMap<_, _> = architecture.expected_tensors().collect();
    let mut weights = MadeUp { shapes, precision: Precision::F32, is_affine: false };
    let mut on_progress = |progress: crate::progress::Progress<'_>| match progress.n_tensors_done {
        3 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let mut source = Matrices::new(Source::new(&mut weights, &mut on_progress, 9));
    let folder = tempfile::tempdir().unwrap();
    let mut graph = Graph::create(&folder.path().join("openvino_model.xml")).unwrap();
    let error = decoder::write(&mut graph, &architecture, &mut source).unwrap_err();
    assert!(matches!(error, ExportError::Stopped), "{error}");
}

#[test]
fn a_bin_that_cannot_be_created_is_named() {
    match Graph::create(Path::new("/nowhere/at/all.xml")) {
        Err(ExportError::Write { path, .. }) => assert!(path.ends_with("all.bin")),
        _ => panic!("a file in a folder that is not there"),
    }
}
