//! Graphs that give rows for a text, by a small one of optimum-intel's form.

use std::path::Path;

use lapwing_backend::conformance::{
    N_TINY_HIDDEN, N_TINY_WORDS, TINY_TYPES, encodes, exact_options, library_file, tiny_rows,
    tiny_words,
};
use lapwing_backend::{Backend as _, OpenError, OpenOptions};
use lapwing_formats::ir::{Dim, ElementType, IrWriter, NewPort, Node, Operation};
use lapwing_model::ModelFolder;
use lapwing_openvino::OpenVinoBackend;

const CONFIG: &str = r#"{"model_type": "bert", "vocab_size": 12, "hidden_size": 4,
    "num_hidden_layers": 1, "num_attention_heads": 1, "max_position_embeddings": 16}"#;

fn backend() -> Option<OpenVinoBackend> {
    let library = library_file("LAPWING_TEST_OPENVINO")?;
    Some(OpenVinoBackend::load(&library).expect("OpenVINO loads"))
}

/// Layers in the order that they are written.
struct Graph(IrWriter<Vec<u8>>);

impl Graph {
    fn add(
        &mut self,
        name: &str,
        (kind, opset): (&str, &str),
        attributes: &[(&str, &str)],
        inputs: &[&Node],
        (element_type, n_dims): (ElementType, usize),
    ) -> Node {
        let operation = Operation { name, kind, opset, attributes, marks: &[] };
        let port = NewPort { element_type, dims: vec![Dim::ANY; n_dims], name: Some(name.into()) };
        self.0.layer(operation, inputs, port)
    }

    fn floats(&mut self, name: &str, dims: &[u64], numbers: &[f32]) -> Node {
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.0.constant(name, ElementType::F32, dims, &bytes).expect("a constant")
    }

    fn integer(&mut self, name: &str, dims: &[u64], number: i64) -> Node {
        self.0.constant(name, ElementType::I64, dims, &number.to_le_bytes()).expect("a constant")
    }
}

/// The small encoder with BERT's inputs and the output `output`.
fn folder(root: &Path, output: &str) -> ModelFolder {
    let mut graph = Graph(IrWriter::new("tiny-encoder", Vec::new()));
    let ids = [("shape", "?,?"), ("element_type", "i64")];
    let mut input =
        |name| graph.add(name, ("Parameter", "opset1"), &ids, &[], (ElementType::I64, 2));
    let [input_ids, mask, types] =
        ["input_ids", "attention_mask", "token_type_ids"].map(&mut input);
    let n_hidden = N_TINY_HIDDEN as u64;
    let words = graph.floats("words", &[N_TINY_WORDS as u64, n_hidden], &tiny_words());
    let type_rows = graph.floats("types", &[2, n_hidden], TINY_TYPES.as_flattened());
    let (first, last) = (graph.integer("zero", &[], 0), graph.integer("minus one", &[1], -1));
    let one = graph.integer("one", &[1], 1);
    let rows = (ElementType::F32, 3);
    let gather = ("Gather", "opset8");
    let word =
        graph.add("word", gather, &[("batch_dims", "0")], &[&words, &input_ids, &first], rows);
    let kind =
        graph.add("type", gather, &[("batch_dims", "0")], &[&type_rows, &types, &first], rows);
    let numpy = [("auto_broadcast", "numpy")];
    let typed = graph.add("typed", ("Add", "opset1"), &numpy, &[&word, &kind], rows);
    let float = [("destination_type", "f32")];
    let mask = graph.add("mask", ("Convert", "opset1"), &float, &[&mask], (ElementType::F32, 2));
    let column = graph.add("column", ("Unsqueeze", "opset1"), &[], &[&mask, &last], rows);
    let counted = graph.add("counted", ("Multiply", "opset1"), &numpy, &[&typed, &column], rows);
    let keeps = [("keep_dims", "true")];
    let mean = graph.add("mean", ("ReduceMean", "opset1"), &keeps, &[&counted, &one], rows);
    let with_mean = graph.add(output, ("Add", "opset1"), &numpy, &[&counted, &mean], rows);
    let result =
        Operation { name: "result", kind: "Result", opset: "opset1", attributes: &[], marks: &[] };
    graph.0.layer_with(result, &[&with_mean], Vec::new());
    let (xml, bin) = graph.0.finish(&[]);
    for (name, bytes) in [
        ("openvino_model.xml", xml.into_bytes()),
        ("openvino_model.bin", bin),
        ("config.json", CONFIG.into()),
    ] {
        std::fs::write(root.join(name), bytes).expect("a file");
    }
    ModelFolder::open(root, None).expect("it opens")
}

#[test]
fn rows_are_those_of_the_graph() {
    let Some(backend) = backend() else { return };
    let root = tempfile::tempdir().expect("a folder");
    encodes(&backend, &folder(root.path(), "last_hidden_state"), &tiny_rows);
}

#[test]
fn decoders_and_encoders_are_not_taken_for_each_other() {
    let Some(backend) = backend() else { return };
    let root = tempfile::tempdir().expect("a folder");
    let encoder = folder(root.path(), "last_hidden_state");
    // Its only output would be taken for logits.
    let refused = backend.open(&encoder, &exact_options()).map(drop).expect_err("no decoder");
    assert!(matches!(refused, OpenError::Encoder { .. }), "{refused}");
    for device in ["gpu", "npu", "npu:cpu"] {
        let options = OpenOptions { device: device.parse().unwrap(), ..exact_options() };
        let refused = backend.open_encoder(&encoder, &options).map(drop).expect_err(device);
        assert!(refused.to_string().contains("made on the CPU"), "{refused}");
    }
    let other = folder(root.path(), "logits");
    let refused = backend.open_encoder(&other, &exact_options()).map(drop).expect_err("no rows");
    assert!(matches!(&refused, OpenError::NoEncoder { found, .. } if found == "`logits`"));
}
