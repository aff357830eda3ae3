//! Models in more than one graph, or of more than one branch: made of an export in one graph by hand,
//! so that its golden values hold for them too.

use std::path::{Path, PathBuf};

use lapwing_backend::conformance::{
    OTHER, PROMPT, Tolerance, agrees_with_golden, chunks_do_not_matter, conforms, exact_options,
    golden_cases, rewind_equals_fresh,
};
use lapwing_backend::{Backend as _, OpenError};
use lapwing_formats::onnx::proto::{AttributeProto, GraphProto, NodeProto, ValueInfoProto};
use lapwing_formats::onnx::{Dim, ElementType, OnnxModel, Value};

use crate::{open, setup};

const EXPORT: &str = "stories260k-transformersjs";
const EMBEDDING: &str = "model.embed_tokens.weight";

fn original(exports: &Path) -> OnnxModel {
    OnnxModel::open(&exports.join(EXPORT).join("onnx/model.onnx")).expect("the graph")
}

fn nodes(model: &OnnxModel) -> Vec<NodeProto> {
    model.nodes().map(|node| node.expect("a node")).collect()
}

fn node(op_type: &str, input: &[&str], output: &str) -> NodeProto {
    NodeProto::new("", op_type, input, &[output])
}

fn int(value: i64, name: &str) -> NodeProto {
    node("Constant", &[], name).with(AttributeProto::int("value_int", value))
}

fn float(value: f32, name: &str) -> NodeProto {
    node("Constant", &[], name).with(AttributeProto::float("value_float", value))
}

fn tokens(element: ElementType, name: &str, more: &[Dim]) -> ValueInfoProto {
    let dims = [Dim::symbol("batch"), Dim::symbol("tokens")];
    Value::to_proto(name, element, &[&dims[..], more].concat())
}

/// The same opset as another model's.
fn like(model: &OnnxModel, graph: GraphProto) -> Vec<u8> {
    let mut model = model.clone();
    *model.graph_mut() = graph;
    model.encode()
}

/// A folder with these graphs below `onnx/`, and the side files of the export.
fn folder(exports: &Path, graphs: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("onnx")).expect("a folder");
    std::fs::copy(exports.join(EXPORT).join("config.json"), folder.path().join("config.json"))
        .expect("a copy");
    for (name, graph) in graphs {
        std::fs::write(folder.path().join("onnx").join(name), graph).expect("a graph");
    }
    folder
}

/// The export with its embedding apart, and positions in three rows, as models that also see have them.
fn with_embedding_apart(exports: &Path) -> [(&'static str, Vec<u8>); 2] {
    let model = original(exports);
    let mut graph = model.graph().clone();
    let mut nodes = nodes(&model);
    let at = nodes.iter().position(|node| node.input.iter().any(|name| name == "input_ids"));
    let embedding = nodes.remove(at.expect("it takes ids"));
    let embedded = &embedding.output[0];
    let matrix = graph.initializer.iter().find(|weight| weight.name() == EMBEDDING);
    let before = GraphProto {
        node: vec![node("Gather", &[EMBEDDING, "input_ids"], "inputs_embeds").encoded()],
        initializer: vec![matrix.expect("the embedding").clone()],
        input: vec![tokens(ElementType::I64, "input_ids", &[])],
        output: vec![tokens(ElementType::F32, "inputs_embeds", &[Dim::Fixed(64)])],
        ..GraphProto::default()
    };
    // The second row of the positions is used, so that all must be right.
    let row = [int(1, "second"), node("Gather", &["position_rows", "second"], "position_row")];
    let row = row.map(|node| match node.op_type() {
        "Gather" => node.with(AttributeProto::int("axis", 0)),
        _ => node,
    });
    for node in &mut nodes {
        for name in &mut node.input {
            match name.as_str() {
                "position_ids" => *name = "position_row".to_owned(),
                other if other == embedded => *name = "inputs_embeds".to_owned(),
                _ => {}
            }
        }
    }
    graph.node = row.iter().chain(&nodes).map(NodeProto::encoded).collect();
    // The input keeps its name; inside, a copy of it.
    let copy = node("Identity", &["position_ids"], "position_rows");
    graph.node.insert(0, copy.encoded());
    graph.input.retain(|input| !["input_ids", "position_ids"].contains(&input.name()));
    graph.input.push(tokens(ElementType::F32, "inputs_embeds", &[Dim::Fixed(64)]));
    let positions = [Dim::Fixed(3), Dim::symbol("batch"), Dim::symbol("tokens")];
    graph.input.push(Value::to_proto("position_ids", ElementType::I64, &positions));
    [
        ("embed_tokens.onnx", like(&model, before)),
        ("decoder_model_merged.onnx", like(&model, graph)),
    ]
}

#[test]
fn a_model_whose_embedding_is_a_graph_of_its_own_runs() {
    let Some((exports, backend)) = setup() else { return };
    let graphs = with_embedding_apart(&exports);
    let root = folder(&exports, &graphs);
    std::fs::write(root.path().join("onnx/vision_encoder_q4.onnx"), "").expect("a file");
    let folder = open(root.path(), None);
    assert_eq!(folder.embeddings, [root.path().join("onnx/embed_tokens.onnx")]);
    assert_eq!(folder.unused_parts, ["vision"]);
    let model = backend.open(&folder, &exact_options()).expect("it opens");
    for case in golden_cases(&exports.join(EXPORT).join("golden.json"), Some("model")) {
        agrees_with_golden(&*model, &case, Tolerance::Relative(2e-3));
    }
    conforms(&backend, &folder, 2e-3);
}

#[test]
fn a_graph_that_does_not_fit_the_decoder_is_refused_by_name() {
    let Some((exports, backend)) = setup() else { return };
    let [embedding, decoder] = with_embedding_apart(&exports);
    let refusal = |graphs: &[(&str, Vec<u8>)]| {
        let root = folder(&exports, graphs);
        let refused = backend.open(&open(root.path(), None), &exact_options()).map(drop);
        let refused = refused.expect_err("it does not fit");
        assert!(matches!(refused, OpenError::Unsupported { .. }), "{refused}");
        refused.to_string()
    };
    let found = refusal(std::slice::from_ref(&decoder));
    assert!(found.contains("no integer input `input_ids`"), "{found}");
    // Names of one length, so that the file stays an ONNX model.
    let mut other = embedding.1.clone();
    let (from, to) = (b"inputs_embeds", b"outputs_embed");
    while let Some(at) = other.windows(from.len()).position(|name| name == from) {
        other[at..at + to.len()].copy_from_slice(to);
    }
    let found = refusal(&[("embed_tokens.onnx", other), decoder]);
    assert!(found.contains("`outputs_embed` (f32 [batch, tokens, 64])"), "{found}");
    assert!(found.contains("an input of the decoder of the same name"), "{found}");
}

/// The export as one of two branches, by whether there is a past. Each gives the negative of its logits
/// where the other should have been taken.
fn with_branches(exports: &Path) -> [(&'static str, Vec<u8>); 1] {
    let model = original(exports);
    let mut graph = model.graph().clone();
    let outputs: Vec<String> = graph.output.iter().map(|output| output.name().to_owned()).collect();
    let inside = |name: &str| format!("inside.{name}");
    let mut inner = nodes(&model);
    for node in &mut inner {
        let names = node.input.iter_mut().chain(&mut node.output);
        names.filter(|name| outputs.contains(name)).for_each(|name| *name = inside(name));
    }
    let body = |branch: &str, is_for_a_past: bool| {
        let mut judged = vec![
            node("Shape", &["past_key_values.0.key"], "past_sizes"),
            int(2, "positions"),
            node("Gather", &["past_sizes", "positions"], "n_past"),
            int(0, "none"),
            node("Greater", &["n_past", "none"], "has_past"),
            float(1.0, "one"),
            float(-1.0, "minus_one"),
        ];
        let signs = if is_for_a_past { ["one", "minus_one"] } else { ["minus_one", "one"] };
        judged.push(node("Where", &["has_past", signs[0], signs[1]], "sign"));
        judged.push(node("Mul", &[&inside("logits"), "sign"], "inside.judged"));
        let body = GraphProto {
            node: inner.iter().chain(&judged).map(NodeProto::encoded).collect(),
            name: Some(branch.to_owned()),
            output: graph
                .output
                .iter()
                .map(|output| ValueInfoProto {
                    name: Some(match output.name() {
                        "logits" => "inside.judged".to_owned(),
                        name => inside(name),
                    }),
                    ..output.clone()
                })
                .collect(),
            ..GraphProto::default()
        };
        AttributeProto::graph(branch, &body)
    };
    let chosen = NodeProto {
        output: outputs.clone(),
        ..node("If", &["use_cache_branch"], "")
            .with(body("then_branch", true))
            .with(body("else_branch", false))
    };
    graph.node = vec![chosen.encoded()];
    graph.input.push(Value::to_proto("use_cache_branch", ElementType::Bool, &[Dim::Fixed(1)]));
    [("decoder_model_merged.onnx", like(&model, graph))]
}

#[test]
fn a_merged_decoder_is_told_whether_there_is_a_past() {
    let Some((exports, backend)) = setup() else { return };
    let root = folder(&exports, &with_branches(&exports));
    let folder = open(root.path(), None);
    assert_eq!(folder.embeddings, Vec::<PathBuf>::new());
    let model = backend.open(&folder, &exact_options()).expect("it opens");
    for case in golden_cases(&exports.join(EXPORT).join("golden.json"), Some("model")) {
        agrees_with_golden(&*model, &case, Tolerance::Relative(2e-3));
    }
    // Of the branch for a past nobody knows more than that one token may go in.
    assert_eq!(model.limits().n_follow_tokens_max, 1);
    chunks_do_not_matter(&backend, &folder, &*model, &PROMPT, 2e-3, 2e-3);
    rewind_equals_fresh(&*model, &PROMPT, &OTHER, 2e-3);
}
