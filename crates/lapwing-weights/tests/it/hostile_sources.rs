//! Damaged graphs as sources of weights: each is opened or refused, and what is listed can be read,
//! quickly and within its memory.
#![allow(clippy::unwrap_used, reason = "the helpers beside the tests belong to the tests")]

use std::hint::black_box;
use std::path::Path;

use lapwing_formats::ir::{Dim, ElementType, IrWriter, NewPort, Node, Operation};
use lapwing_weights::{OpenSourceError, Source};

use crate::{hostile, shared};

const N_MUTATIONS: usize = 10_000;
/// What reading may hold beside four times the graph: the floats of a row, whose bytes lie in
/// another file.
const ALLOWANCE: usize = 64 * 1024;

/// Everything that a source offers.
fn read(path: &Path) {
    let Ok(source) = Source::open(path) else { return };
    for name in source.names() {
        let tensor = source.tensor(&name).expect("what is listed can be read");
        black_box((tensor.dtype_name(), tensor.n_elements()));
        if tensor.n_elements() <= 1024 {
            black_box((tensor.to_f32(), tensor.codes()));
        }
    }
}

struct Writer(IrWriter<Vec<u8>>);

impl Writer {
    fn constant(&mut self, name: &str, element_type: ElementType, dims: &[u64]) -> Node {
        let n_elements = dims.iter().product();
        let bytes = vec![0x11; element_type.n_bytes(n_elements).unwrap() as usize];
        self.0.constant(name, element_type, dims, &bytes).unwrap()
    }

    fn layer(&mut self, kind: &str, inputs: &[&Node], dims: &[u64]) -> Node {
        let attributes = [("destination_type", "f16")];
        let operation =
            Operation { name: kind, kind, opset: "opset1", attributes: &attributes, marks: &[] };
        let dims = dims.iter().map(|&dim| Dim::Fixed(dim)).collect();
        self.0.layer(
            operation,
            inputs,
            NewPort { element_type: ElementType::F16, dims, name: None },
        )
    }
}

/// Codes of 4 bits in groups with zero points, and floats; the XML and the BIN.
fn graph(name_of_floats: &str) -> (String, Vec<u8>) {
    let mut writer = Writer(IrWriter::new("test", Vec::new()));
    let codes = writer.constant("codes", ElementType::U4, &[4, 2, 8]);
    let codes = writer.layer("Convert", &[&codes], &[4, 2, 8]);
    let zeros = writer.constant("zeros", ElementType::U4, &[4, 2, 1]);
    let zeros = writer.layer("Convert", &[&zeros], &[4, 2, 1]);
    let distances = writer.layer("Subtract", &[&codes, &zeros], &[4, 2, 8]);
    let scales = writer.constant("scales", ElementType::F16, &[4, 2, 1]);
    let weights = writer.layer("Multiply", &[&distances, &scales], &[4, 2, 8]);
    let pattern = writer.constant("pattern", ElementType::I64, &[2]);
    writer.layer("Reshape", &[&weights, &pattern], &[4, 16]);
    writer.constant(name_of_floats, ElementType::Bf16, &[3, 5]);
    let (xml, bin) = writer.0.finish(&[]);
    (xml, bin)
}

#[test]
fn mutated_irs_neither_panic_nor_hang_nor_fill_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (xml, bin) = graph("floats");
    let path = folder.path().join("mutated.xml");
    std::fs::write(path.with_extension("bin"), bin).unwrap();
    std::fs::write(&path, &xml).unwrap();
    let source = Source::open(&path).unwrap();
    assert_eq!(source.names(), ["codes", "floats"]);
    assert_eq!(source.tensor("codes").unwrap().shape, [4, 16]);
    let (path, name) = (folder.path(), "mutated.xml");
    hostile::check_mutations_within(ALLOWANCE, path, name, xml.as_bytes(), N_MUTATIONS, read);
}

#[test]
fn two_tensors_of_one_name_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (xml, bin) = graph("codes");
    let path = folder.path().join("twice.xml");
    std::fs::write(path.with_extension("bin"), bin).unwrap();
    std::fs::write(&path, &xml).unwrap();
    let error = Source::open(&path).unwrap_err();
    assert!(matches!(error, OpenSourceError::NameTwice { .. }), "{error}");
    assert!(error.to_string().ends_with("has two tensors of the name codes"), "{error}");
}

#[test]
fn mutated_onnx_graphs_neither_panic_nor_hang_nor_fill_the_memory() {
    let Some(export) = shared::shared("exports/tiny/tiny-llama-ort_int4") else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = "model.onnx.data";
    std::fs::copy(export.join(data), folder.path().join(data)).unwrap();
    let seed = std::fs::read(export.join("model.onnx")).unwrap();
    let (path, name) = (folder.path(), "model.onnx");
    hostile::check_mutations_within(ALLOWANCE, path, name, &seed, N_MUTATIONS / 4, read);
}
