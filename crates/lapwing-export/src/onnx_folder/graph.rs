//! The graph while it grows: nodes in memory, weights on disk.

use std::path::{Path, PathBuf};

use half::f16;
use lapwing_formats::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
};
use lapwing_formats::onnx::{Dim, ElementType, OnnxWriter, Value, WriteOnnxError};

use crate::error::ExportError;

/// Version of the file format; read by ONNX Runtime since 1.18.
const IR_VERSION: i64 = 10;
/// Version of the standard operators.
const OPSET: i64 = 21;
/// Namespace of ONNX Runtime's own operators.
const MICROSOFT: &str = "com.microsoft";
/// Those of them that are used here.
const MICROSOFT_OPERATORS: [&str; 7] = [
    "FusedMatMul",
    "GatherBlockQuantized",
    "GroupQueryAttention",
    "MatMulNBits",
    "MoE",
    "QMoE",
    "SkipSimplifiedLayerNormalization",
];

/// A graph that is being written.
pub(super) struct Graph {
    path: PathBuf,
    writer: OnnxWriter,
    graph: GraphProto,
}

impl Graph {
    /// Start the files at `path`.
    ///
    /// # Errors
    ///
    /// When the data file cannot be created.
    pub(super) fn create(path: &Path) -> Result<Graph, ExportError> {
        let writer = OnnxWriter::create(path).map_err(|error| export_error(path, error))?;
        let graph = GraphProto { name: Some("decoder".to_owned()), ..GraphProto::default() };
        Ok(Graph { path: path.to_owned(), writer, graph })
    }

    /// Declare an input.
    pub(super) fn input(&mut self, name: &str, element: ElementType, dims: &[Dim]) {
        self.graph.input.push(Value::to_proto(name, element, dims));
    }

    /// Declare an output.
    pub(super) fn output(&mut self, name: &str, element: ElementType, dims: &[Dim]) {
        self.graph.output.push(Value::to_proto(name, element, dims));
    }

    /// Add a node with one output and give that value's name.
    pub(super) fn node(
        &mut self,
        name: &str,
        operator: &str,
        input: &[&str],
        attributes: impl IntoIterator<Item = AttributeProto>,
    ) -> String {
        let output = format!("{name}/output_0");
        self.node_to(name, operator, input, &[&output], attributes);
        output
    }

    /// Add a node that writes the named values.
    pub(super) fn node_to(
        &mut self,
        name: &str,
        operator: &str,
        input: &[&str],
        output: &[&str],
        attributes: impl IntoIterator<Item = AttributeProto>,
    ) {
        let domain = if MICROSOFT_OPERATORS.contains(&operator) { MICROSOFT } else { "" };
        let mut node = NodeProto::new(domain, operator, input, output);
        node.name = Some(name.to_owned());
        let node = attributes.into_iter().fold(node, NodeProto::with);
        self.graph.node.push(node.encoded());
    }

    /// Store a weight.
    ///
    /// Shapes: `elements` are the packed little-endian elements of `dims`.
    ///
    /// # Errors
    ///
    /// When the data file cannot be written.
    pub(super) fn weight(
        &mut self,
        name: &str,
        element: ElementType,
        dims: &[usize],
        elements: &[u8],
    ) -> Result<(), ExportError> {
        let stored = self.writer.tensor(name, element, dims, elements);
        let tensor = stored.map_err(|error| export_error(&self.path, error))?;
        self.graph.initializer.push(tensor);
        Ok(())
    }

    /// Store 32-bit floats.
    ///
    /// # Errors
    ///
    /// When the data file cannot be written.
    pub(super) fn f32_weight(
        &mut self,
        name: &str,
        dims: &[usize],
        values: &[f32],
    ) -> Result<(), ExportError> {
        let elements: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.weight(name, ElementType::F32, dims, &elements)
    }

    /// Store 16-bit floats.
    ///
    /// # Errors
    ///
    /// When the data file cannot be written.
    pub(super) fn f16_weight(
        &mut self,
        name: &str,
        dims: &[usize],
        values: &[f16],
    ) -> Result<(), ExportError> {
        let elements: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.weight(name, ElementType::F16, dims, &elements)
    }

    /// A second name for the last weight stored, under which it has other sizes. No byte is
    /// written twice.
    pub(super) fn alias_last(&mut self, name: &str, dims: &[i64]) {
        let last = self.graph.initializer.last().expect("a weight was stored before its alias");
        let alias =
            TensorProto { name: Some(name.to_owned()), dims: dims.to_vec(), ..last.clone() };
        self.graph.initializer.push(alias);
    }

    /// A small constant list of integers; gives its name.
    pub(super) fn i64_list(&mut self, name: &str, values: &[i64]) -> String {
        self.i64_constant(name, vec![values.len() as i64], values)
    }

    /// A constant integer without axes; gives its name.
    pub(super) fn i64_scalar(&mut self, name: &str, value: i64) -> String {
        self.i64_constant(name, Vec::new(), &[value])
    }

    /// A constant float without axes; gives its name.
    pub(super) fn f32_scalar(&mut self, name: &str, value: f32) -> String {
        self.constant(name, ElementType::F32, Vec::new(), value.to_le_bytes().to_vec())
    }

    fn i64_constant(&mut self, name: &str, dims: Vec<i64>, values: &[i64]) -> String {
        let elements: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, ElementType::I64, dims, elements)
    }

    /// Constants of one name are stored once.
    fn constant(
        &mut self,
        name: &str,
        element: ElementType,
        dims: Vec<i64>,
        elements: Vec<u8>,
    ) -> String {
        if !self.graph.initializer.iter().any(|known| known.name() == name) {
            self.graph.initializer.push(TensorProto {
                dims,
                data_type: Some(element.number()),
                name: Some(name.to_owned()),
                raw_data: Some(elements.into()),
                ..TensorProto::default()
            });
        }
        name.to_owned()
    }

    /// Write what is left: buffered weights, then the graph.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub(super) fn finish(self) -> Result<(), ExportError> {
        let opset = |domain: &str, version| OperatorSetIdProto {
            domain: Some(domain.to_owned()),
            version: Some(version),
        };
        let model = ModelProto {
            ir_version: Some(IR_VERSION),
            opset_import: vec![opset("", OPSET), opset(MICROSOFT, 1)],
            producer_name: Some("lapwing".to_owned()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            graph: Some(self.graph),
            ..ModelProto::default()
        };
        self.writer.finish(&model).map_err(|error| export_error(&self.path, error))
    }
}

fn export_error(graph_path: &Path, error: WriteOnnxError) -> ExportError {
    match error {
        WriteOnnxError::Io { path, source } => ExportError::Write { path, source },
        other => ExportError::Graph { path: graph_path.to_owned(), source: other.into() },
    }
}
