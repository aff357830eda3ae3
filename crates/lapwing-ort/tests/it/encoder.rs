//! Graphs that give rows for a text: a small one, and the real one that `LAPWING_TEST_MINILM` names.

use std::path::{Path, PathBuf};

use lapwing_backend::conformance::{
    N_TINY_HIDDEN, N_TINY_WORDS, TINY_TYPES, encodes, exact_options, library_file, tiny_rows,
    tiny_words,
};
use lapwing_backend::{Backend as _, OpenError, OpenOptions};
use lapwing_formats::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
};
use lapwing_formats::onnx::{Dim, ElementType, OnnxWriter, Value};
use lapwing_model::{EmbeddingRecipe, ModelFolder};
use lapwing_ort::OrtBackend;

const IDS: [&str; 3] = ["input_ids", "attention_mask", "token_type_ids"];

/// The folder that other crates' tests open, too.
fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny-encoder")
}

fn backend() -> Option<OrtBackend> {
    Some(OrtBackend::load(&library_file("LAPWING_TEST_ORT")?).expect("ONNX Runtime loads"))
}

/// A graph with BERT's inputs and the output `output`, written to `path`.
fn write(path: &Path, output: &str, is_pooled: bool) {
    let mut writer = OnnxWriter::create(path).expect("a file");
    let floats = |numbers: &[f32]| numbers.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>();
    let mut weight = |name: &str, element, dims: &[usize], bytes: &[u8]| -> TensorProto {
        writer.tensor(name, element, dims, bytes).expect("a weight")
    };
    let initializer = vec![
        weight("words", ElementType::F32, &[N_TINY_WORDS, N_TINY_HIDDEN], &floats(&tiny_words())),
        weight("types", ElementType::F32, &[2, N_TINY_HIDDEN], &floats(TINY_TYPES.as_flattened())),
        weight("last", ElementType::I64, &[1], &(-1_i64).to_le_bytes()),
    ];
    let mean = |from: &str, to: &str, keeps: i64| {
        let axes = AttributeProto::ints("axes", &[1]);
        let node = NodeProto::new("", "ReduceMean", &[from], &[to]).with(axes);
        node.with(AttributeProto::int("keepdims", keeps))
    };
    let nodes = [
        NodeProto::new("", "Gather", &["words", IDS[0]], &["word"]),
        NodeProto::new("", "Gather", &["types", IDS[2]], &["type"]),
        NodeProto::new("", "Add", &["word", "type"], &["typed"]),
        NodeProto::new("", "Cast", &[IDS[1]], &["mask"]).with(AttributeProto::int("to", 1)),
        NodeProto::new("", "Unsqueeze", &["mask", "last"], &["column"]),
        NodeProto::new("", "Mul", &["typed", "column"], &["counted"]),
        mean("counted", "mean", 1),
        NodeProto::new("", "Add", &["counted", "mean"], &[if is_pooled { "rows" } else { output }]),
        mean("rows", output, 0),
    ];
    let n_nodes = if is_pooled { nodes.len() } else { nodes.len() - 1 };
    let batch = [Dim::symbol("batch"), Dim::symbol("tokens"), Dim::Fixed(N_TINY_HIDDEN)];
    let dims = if is_pooled { vec![batch[0].clone(), batch[2].clone()] } else { batch.to_vec() };
    let graph = GraphProto {
        name: Some("tiny-encoder".to_owned()),
        node: nodes[..n_nodes].iter().map(NodeProto::encoded).collect(),
        initializer,
        input: IDS.map(|name| Value::to_proto(name, ElementType::I64, &batch[..2])).into(),
        output: vec![Value::to_proto(output, ElementType::F32, &dims)],
        ..GraphProto::default()
    };
    let opset = OperatorSetIdProto { version: Some(17), ..OperatorSetIdProto::default() };
    let model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![opset],
        graph: Some(graph),
        ..ModelProto::default()
    };
    writer.finish(&model).expect("the graph is written");
}

/// The fixture with another graph.
fn folder(output: &str, is_pooled: bool) -> (tempfile::TempDir, ModelFolder) {
    let root = tempfile::tempdir().expect("a folder");
    let config = std::fs::read(fixture().join("config.json")).expect("the fixture");
    std::fs::write(root.path().join("config.json"), config).expect("a copy");
    write(&root.path().join("model.onnx"), output, is_pooled);
    let model = ModelFolder::open(root.path(), None).expect("it opens");
    (root, model)
}

#[test]
fn the_fixture_is_what_is_written_here() {
    let (root, _) = folder("last_hidden_state", false);
    let bytes = std::fs::read(root.path().join("model.onnx")).expect("written above");
    let file = fixture().join("model.onnx");
    let is_same = std::fs::read(&file).is_ok_and(|kept| kept == bytes);
    let written = root.keep().join("model.onnx");
    assert!(is_same, "copy {} to {}", written.display(), file.display());
}

#[test]
fn rows_are_those_of_the_graph() {
    let Some(backend) = backend() else { return };
    let (_root, model) = folder("last_hidden_state", false);
    encodes(&backend, &model, &tiny_rows);
    let (_root, model) = folder("token_embeddings", false);
    encodes(&backend, &model, &tiny_rows);
}

#[test]
fn what_a_graph_pools_itself_is_one_row() {
    let Some(backend) = backend() else { return };
    let (_root, model) = folder("sentence_embedding", true);
    let pooled = |tokens: &[u32]| {
        let rows = tiny_rows(tokens);
        let of = |column: usize| rows.iter().skip(column).step_by(N_TINY_HIDDEN).sum::<f32>();
        (0..N_TINY_HIDDEN).map(|column| of(column) / tokens.len() as f32).collect()
    };
    encodes(&backend, &model, &pooled);
}

#[test]
fn decoders_and_encoders_are_not_taken_for_each_other() {
    let Some(backend) = backend() else { return };
    let (_root, encoder) = folder("last_hidden_state", false);
    let refused = backend.open(&encoder, &exact_options()).map(drop).expect_err("no decoder");
    assert!(matches!(refused, OpenError::Encoder { .. }), "{refused}");
    let (_root, other) = folder("logits", false);
    let refused = backend.open_encoder(&other, &exact_options()).map(drop).expect_err("no rows");
    assert!(matches!(&refused, OpenError::NoEncoder { found, .. } if found == "`logits`"));
    let device = |name: &str| OpenOptions { device: name.parse().unwrap(), ..exact_options() };
    let refused = backend.open_encoder(&encoder, &device("gpu")).map(drop).expect_err("no GPU");
    assert!(refused.to_string().contains("made on the CPU"), "{refused}");
    backend.open_encoder(&encoder, &device("cpu")).expect("it is the CPU");
}

/// Vectors of length 1 by onnxruntime 1.31.1 and numpy, of the ids that `tokenizers` gives; the model
/// stores its weights in 8 bits and computes in f32, so that neither threads nor batches change a
/// number by more than the order of additions does.
#[test]
fn the_real_model_agrees_with_onnxruntime_in_python() {
    let path = std::env::var_os("LAPWING_TEST_MINILM").map(PathBuf::from);
    let Some(path) = path.filter(|path| path.is_dir()) else {
        println!("skipped: LAPWING_TEST_MINILM names no folder of all-minilm-l6-v2");
        return;
    };
    let Some(backend) = backend() else { return };
    let model = ModelFolder::open(&path, None).expect("the folder opens");
    let recipe = EmbeddingRecipe::read(&model).expect("it says how");
    let encoder = backend.open_encoder(&model, &exact_options()).expect("it opens");
    let check = |ids: &[u32], raw_length: f32, first: [f32; 8]| {
        let rows = encoder.encode(ids).expect("rows");
        let vector = recipe.pooling.pool(&rows, 384);
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!((length - raw_length).abs() < 1e-4, "{ids:?}: {length}");
        for (found, expected) in vector.iter().zip(first) {
            assert!((found / length - expected).abs() < 1e-5, "{ids:?}: {found} / {length}");
        }
    };
    check(
        &[101, 1996, 4937, 7719, 2006, 1996, 13523, 1012, 102],
        5.871994,
        [0.130867, -0.032577, -0.022619, 0.03991, -0.036047, 0.041354, 0.03233, 0.040244],
    );
    check(
        &[101, 1037, 10768, 4179, 16626, 2588, 1037, 20452, 1012, 102],
        6.399418,
        [0.074758, 0.025008, 0.038312, 0.114526, -0.047945, 0.06456, 0.026832, 0.003907],
    );
    check(
        &[101, 4518, 6089, 3062, 9249, 2006, 9857, 1012, 102],
        5.735312,
        [0.031205, -0.048144, 0.07269, 0.070617, -0.030039, 0.027531, -0.065704, 0.055329],
    );
    check(
        &[101, 15536, 2063, 14690, 21541, 9686, 1999, 10204, 1029, 1879, 1755, 15743, 7668, 102],
        5.496827,
        [0.038892, 0.04607, 0.087713, -0.007512, 0.006419, 0.019208, 0.108269, 0.020937],
    );
    check(
        &[101, 1060, 102],
        6.323871,
        [-0.100206, -0.068896, -0.026241, -0.047764, 0.020233, -0.028015, 0.155258, 0.058229],
    );
}
