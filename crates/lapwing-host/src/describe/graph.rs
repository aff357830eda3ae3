//! Graphs: ONNX and OpenVINO IR.

use std::path::Path;

use lapwing_formats::ir::IrModel;
use lapwing_formats::onnx::{self, OnnxModel};
use lapwing_model::EncoderOutput;
use serde_json::json;

use super::{DescribeError, Found, Places, TensorLine};

pub(super) fn onnx(path: &Path) -> Result<Found, DescribeError> {
    let model = OnnxModel::open(path).map_err(DescribeError::of)?;
    let mut found = Found { kind: "onnx", ..Found::default() };
    let value = |value: &onnx::Value| {
        let element = value.element.map_or("?", |element| element.name());
        let dims = value.dims.as_ref().map_or("?".to_owned(), |dims| {
            let dims = dims.iter().map(|dim| match dim {
                onnx::Dim::Fixed(size) => size.to_string(),
                onnx::Dim::Symbolic(name) => name.clone(),
                onnx::Dim::Unknown => "?".to_owned(),
            });
            dims.collect::<Vec<_>>().join(", ")
        });
        format!("{} {element} [{dims}]", value.name)
    };
    let is_state =
        |value: &&onnx::Value| value.name.starts_with("past") || value.name.starts_with("present");
    let (inputs, outputs) = (model.inputs(), model.outputs());
    found.encoder = EncoderOutput::of(outputs.iter().map(|value| value.name.as_str()));
    let n_states = inputs.iter().filter(is_state).count();
    for (name, values) in [("input", &inputs), ("output", &outputs)] {
        let shown = values.iter().filter(|each| !is_state(each)).map(value);
        found.facts.insert(format!("{name}s"), json!(shown.collect::<Vec<_>>().join("; ")));
    }
    if let Some(first) = inputs.iter().find(is_state) {
        found
            .facts
            .insert("states".to_owned(), json!(format!("{n_states} such as {}", value(first))));
    }
    let mut places = Places::default();
    found.tensors = model
        .initializers()
        .map(|weight| TensorLine {
            same_as: match weight.place {
                onnx::Place::External(range) if weight.n_bytes != Some(0) => {
                    places.same_as((range.location, range.offset, weight.n_bytes), &weight.name)
                }
                _ => None,
            },
            name: weight.name,
            dtype: weight.element.name().to_owned(),
            shape: weight.dims.iter().map(|&dim| u64::try_from(dim).unwrap_or(0)).collect(),
            n_bytes: weight.n_bytes,
        })
        .collect();
    Ok(found)
}

pub(super) fn ir(path: &Path) -> Result<Found, DescribeError> {
    let model = IrModel::open(path).map_err(DescribeError::of)?;
    let mut found = Found { kind: "openvino-ir", ..Found::default() };
    let inputs: Vec<String> = model
        .parameters()
        .iter()
        .map(|input| format!("{} {}", input.names.join("/"), input.element_type.name()))
        .collect();
    let results = model.results();
    let names = results.iter().flat_map(|result| &result.names);
    found.encoder = EncoderOutput::of(names.map(String::as_str));
    let outputs: Vec<String> = results
        .iter()
        .map(|output| format!("{} {}", output.names.join("/"), output.element_type.name()))
        .collect();
    found.facts.insert("inputs".to_owned(), json!(inputs.join("; ")));
    found.facts.insert("outputs".to_owned(), json!(outputs.join("; ")));
    let variables = model.variables();
    if let Some(first) = variables.first() {
        let text = format!("{} such as {}", variables.len(), first.id);
        found.facts.insert("states".to_owned(), json!(text));
    }
    if let Some(compression) = model.weight_compression() {
        let mut text = compression.mode;
        if let Some(group_size) = compression.group_size {
            text = format!("{text}, group {group_size}");
        }
        found.facts.insert("weight compression".to_owned(), json!(text));
    }
    let mut places = Places::default();
    found.tensors = model
        .constants()
        .map(|constant| TensorLine {
            same_as: match constant.range.is_empty() {
                true => None,
                false => places.same_as(constant.range.clone(), &constant.name),
            },
            name: constant.name.into_owned(),
            dtype: constant.element_type.name().to_owned(),
            shape: constant.dims,
            n_bytes: Some(constant.range.end.saturating_sub(constant.range.start)),
        })
        .collect();
    Ok(found)
}
