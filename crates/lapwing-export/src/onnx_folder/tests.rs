use std::collections::HashMap;
use std::ops::ControlFlow;

use half::f16;
use lapwing_formats::onnx::proto::NodeProto;
use lapwing_formats::onnx::{Dim, ElementType, OnnxModel, SliceEdit, slice_before_head};
use lapwing_model::{Architecture, Biases, SpecialTokens, Transformer};
use lapwing_quant::{Bits, Grid};

use super::*;
use crate::plan::{PlannedWeight, Precision, TakeWeight};

/// A model of two layers.
fn architecture(head_size: usize) -> Architecture<Transformer> {
    let family = Transformer { intermediate_size: 80, ..Transformer::plain(head_size) };
    Architecture {
        model_type: "llama".to_owned(),
        n_vocab: 96,
        n_layers: 2,
        n_heads: 4,
        n_kv_heads: 2,
        head_size,
        hidden_size: 64,
        n_positions_max: 50,
        sliding_window: None,
        conv_cache_size: None,
        family,
    }
}

fn tokens() -> SpecialTokens {
    SpecialTokens { bos: Some(1), eos: vec![2, 5], pad: None }
}

/// How the fake weights come.
#[derive(Clone, Copy)]
enum Stored {
    F32,
    F16,
    Grid(Grid),
}

/// Deterministic weights of the shapes that an architecture calls for.
struct Fake {
    shapes: HashMap<String, Vec<usize>>,
    stored: Stored,
}

impl TakeWeight for Fake {
    fn fine_head(&mut self) -> Result<Option<PlannedWeight>, ExportError> {
        Ok(None)
    }

    fn logits_constant(&self) -> Result<Option<Vec<f32>>, ExportError> {
        Ok(None)
    }

    fn precision(&self, _: &str) -> Result<Precision, ExportError> {
        Ok(Precision::F32)
    }

    fn take_as(&mut self, name: &str, _: Precision) -> Result<PlannedWeight, ExportError> {
        let shape = self.shapes.remove(name).unwrap_or_else(|| panic!("{name} taken twice"));
        let n = shape.iter().product::<usize>();
        let values: Vec<f32> =
            (0..n).map(|index| ((index * 29) % 53) as f32 / 53.0 - 0.5).collect();
        let [n_rows, n_columns] = shape[..] else { return Ok(PlannedWeight::F32(values)) };
        Ok(match self.stored {
            Stored::F32 => PlannedWeight::F32(values),
            Stored::F16 => PlannedWeight::F16(values.into_iter().map(f16::from_f32).collect()),
            Stored::Grid(grid) => PlannedWeight::Quantized(
                lapwing_quant::quantize(
                    ndarray::ArrayView2::from_shape((n_rows, n_columns), &values).expect("it fits"),
                    grid,
                )
                .expect("it fits"),
            ),
        })
    }
}

fn written(
    architecture: &Architecture<Transformer>,
    stored: Stored,
) -> Result<OnnxModel, ExportError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let shapes: HashMap<_, _> = architecture.expected_tensors().collect();
    let n_tensors = shapes.len();
    let mut fake = Fake { shapes, stored };
    let mut n_calls = 0;
    let mut on_progress = |_: crate::progress::Progress<'_>| {
        n_calls += 1;
        ControlFlow::Continue(())
    };
    let mut source = Source::new(&mut fake, &mut on_progress, n_tensors);
    let mut graph = Graph::create(&path)?;
    let kind = AttentionKind::of(architecture);
    decoder::write(&mut graph, architecture, kind, &mut source)?;
    graph.finish()?;
    assert_eq!(n_calls, n_tensors);
    assert!(fake.shapes.is_empty(), "never taken: {:?}", fake.shapes);
    Ok(OnnxModel::open(&path).expect("what is written opens"))
}

fn nodes(model: &OnnxModel) -> Vec<NodeProto> {
    model.nodes().map(Result::unwrap).collect()
}

fn count(model: &OnnxModel, operator: &str) -> usize {
    nodes(model).iter().filter(|node| node.op_type() == operator).count()
}

fn int4(symmetric: bool) -> Stored {
    Stored::Grid(Grid { bits: Bits::Four, group_size: 32, symmetric })
}

/// Every value is written before it is read, once, and every output is written.
fn check_wiring(model: &OnnxModel) {
    let mut known: Vec<String> = vec![String::new()];
    known.extend(model.inputs().into_iter().map(|input| input.name));
    known.extend(model.initializers().map(|weight| weight.name));
    for node in nodes(model) {
        for input in &node.input {
            assert!(known.contains(input), "{} reads {input}, not yet written", node.name());
        }
        for output in node.output.iter().filter(|output| !output.is_empty()) {
            assert!(!known.contains(output), "{} writes {output} again", node.name());
            known.push(output.clone());
        }
    }
    let read: Vec<String> = nodes(model).into_iter().flat_map(|node| node.input).collect();
    for weight in model.initializers() {
        assert!(read.contains(&weight.name), "{} is never read", weight.name);
    }
    for output in model.outputs() {
        assert!(known.contains(&output.name), "{} is not written", output.name);
    }
}

#[test]
fn every_variant_is_wired() {
    for head_size in [16, 8] {
        for (qkv, qk_norm, tied_head) in
            [(false, false, true), (true, false, false), (false, true, true)]
        {
            for stored in [Stored::F32, Stored::F16, int4(true), int4(false)] {
                let plain = architecture(head_size);
                let biases = Biases { qkv, ..Biases::default() };
                let family = Transformer { biases, qk_norm, tied_head, ..plain.family.clone() };
                let architecture = Architecture { family, ..plain };
                check_wiring(&written(&architecture, stored).unwrap());
            }
        }
    }
}

#[test]
fn int4_with_fused_attention() {
    let mut model = written(&architecture(16), int4(true)).unwrap();
    let inputs: Vec<String> = model.inputs().into_iter().map(|input| input.name).collect();
    assert_eq!(
        inputs,
        [
            "input_ids",
            "attention_mask",
            "past_key_values.0.key",
            "past_key_values.0.value",
            "past_key_values.1.key",
            "past_key_values.1.value"
        ]
    );
    let past = &model.inputs()[2];
    assert_eq!(past.element, Some(ElementType::F32));
    let dims = past.dims.as_ref().unwrap();
    assert_eq!((&dims[1], &dims[3]), (&Dim::Fixed(2), &Dim::Fixed(16)));
    // q, k and v are one product: four a layer and gate and up, then the head.
    assert_eq!(count(&model, "MatMulNBits"), 2 * 5 + 1);
    assert_eq!(count(&model, "GroupQueryAttention"), 2);
    assert_eq!(count(&model, "SkipSimplifiedLayerNormalization"), 4);
    assert_eq!(count(&model, "SimplifiedLayerNormalization"), 1);
    let nodes = nodes(&model);
    let packed = nodes.iter().find(|node| node.op_type() == "MatMulNBits").unwrap();
    let attribute = |name: &str| packed.attribute(name).unwrap().unwrap().i();
    let attributes = ["K", "N", "bits", "block_size", "accuracy_level"].map(attribute);
    assert_eq!(attributes, [64, (4 + 2 + 2) * 16, 4, 32, 4]);
    assert_eq!(packed.input.len(), 3, "a symmetric grid needs no zero points");
    assert_eq!(count(&model, "GatherBlockQuantized"), 1);
    let outcome = slice_before_head(&mut model, "logits").unwrap();
    assert!(matches!(outcome, SliceEdit::Inserted { .. }), "{outcome:?}");
}

#[test]
fn a_tied_head_shares_its_bytes_with_the_embedding() {
    let model = written(&architecture(16), int4(true)).unwrap();
    let place = |name: &str| {
        let found = model.initializers().find(|weight| weight.name == name);
        found.unwrap_or_else(|| panic!("no {name}")).place
    };
    let name = "model.embed_tokens.weight";
    assert_eq!(place(&format!("{name}_Q4")), place(&format!("{name}_rows")));
}

#[test]
fn asymmetric_grids_bring_zero_points() {
    let model = written(&architecture(16), int4(false)).unwrap();
    for node in nodes(&model).iter().filter(|node| node.op_type() == "MatMulNBits") {
        assert_eq!(node.input.len(), 4, "{}", node.name());
    }
}

#[test]
fn standard_operators_where_the_head_size_asks_for_them() {
    let model = written(&architecture(8), Stored::F32).unwrap();
    assert_eq!(count(&model, "GroupQueryAttention"), 0);
    assert_eq!(count(&model, "Softmax"), 2);
    assert!(model.inputs().iter().any(|input| input.name == "position_ids"));
    let genai = genai_config::genai_config(&architecture(8), &tokens(), None, AttentionKind::Plain);
    assert_eq!(genai["model"]["decoder"]["inputs"]["position_ids"], "position_ids");
    assert_eq!(genai["search"]["past_present_share_buffer"], false);
}

#[test]
fn genai_config_has_every_end_id() {
    let genai =
        genai_config::genai_config(&architecture(16), &tokens(), None, AttentionKind::Fused);
    assert_eq!(genai["model"]["eos_token_id"], serde_json::json!([2, 5]));
    assert_eq!(genai["model"]["pad_token_id"], 2);
    assert_eq!(genai["model"]["decoder"]["inputs"].get("position_ids"), None);
    assert_eq!(genai["search"]["past_present_share_buffer"], true);
}

#[test]
fn genai_config_samples_as_the_makers_do() {
    let own = serde_json::json!({
        "do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95,
        "repetition_penalty": 1.1, "min_p": 0.05, "max_length": 7, "eos_token_id": 9
    });
    let search = |own: &serde_json::Value| {
        let genai = genai_config::genai_config(
            &architecture(16),
            &tokens(),
            Some(own),
            AttentionKind::Fused,
        );
        genai["search"].clone()
    };
    let found = search(&own);
    for key in ["do_sample", "temperature", "top_k", "top_p", "repetition_penalty"] {
        assert_eq!(found[key], own[key], "{key}");
    }
    assert_eq!((found.get("min_p"), &found["max_length"]), (None, &50.into()));
    // What the runtime does not take leaves its own default.
    let odd = serde_json::json!({
        "do_sample": null, "temperature": "hot", "top_k": -1, "top_p": 1.5, "repetition_penalty": 0
    });
    assert_eq!(search(&odd), search(&serde_json::json!({})));
}

#[test]
fn genai_config_without_an_end_id_names_none() {
    let tokens = SpecialTokens::default();
    let genai = genai_config::genai_config(&architecture(16), &tokens, None, AttentionKind::Fused);
    for key in ["eos_token_id", "bos_token_id", "pad_token_id"] {
        assert_eq!(genai["model"].get(key), None, "{key}");
    }
}

#[test]
fn groups_that_no_block_fits_are_refused() {
    let grid = Grid { bits: Bits::Four, group_size: 24, symmetric: true };
    let error = written(&architecture(16), Stored::Grid(grid)).unwrap_err();
    assert!(matches!(error, ExportError::Unsupported { .. }), "{error:?}");
}

#[test]
fn a_break_stops_the_export() {
    let folder = tempfile::tempdir().unwrap();
    let architecture = architecture(16);
    let shapes = architecture.expected_tensors().collect();
    let mut fake = Fake { shapes, stored: Stored::F32 };
    let mut on_progress = |progress: crate::progress::Progress<'_>| {
        if progress.n_tensors_done == 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let mut source = Source::new(&mut fake, &mut on_progress, 21);
    let mut graph = Graph::create(&folder.path().join("model.onnx")).unwrap();
    let error =
        decoder::write(&mut graph, &architecture, AttentionKind::Fused, &mut source).unwrap_err();
    assert!(matches!(error, ExportError::Stopped));
}
