//! The operators that the decoder is made of, as functions from nodes to nodes.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use lapwing_formats::ir::{Dim, ElementType, IrWriter, NewPort, Node, Operation, WriteIrError};

use crate::error::ExportError;

/// An IR that is being written to disk.
pub(super) struct Graph {
    xml_path: PathBuf,
    writer: IrWriter<BufWriter<File>>,
    scope: String,
    n_names: usize,
}

impl Graph {
    /// Start the IR at `xml_path` and the BIN beside it.
    ///
    /// # Errors
    ///
    /// When the BIN cannot be created.
    pub(super) fn create(xml_path: &Path) -> Result<Graph, ExportError> {
        let bin_path = xml_path.with_extension("bin");
        let bin = File::create(&bin_path)
            .map_err(|source| ExportError::Write { path: bin_path, source })?;
        Ok(Graph {
            xml_path: xml_path.to_owned(),
            writer: IrWriter::new("lapwing", BufWriter::with_capacity(1 << 20, bin)),
            scope: String::new(),
            n_names: 0,
        })
    }

    /// Write what is left, and the XML with these notes.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub(super) fn finish(self, rt_info: &[(String, String)]) -> Result<(), ExportError> {
        let (xml, mut bin) = self.writer.finish(rt_info);
        let bin_path = self.xml_path.with_extension("bin");
        bin.flush().map_err(|source| ExportError::Write { path: bin_path, source })?;
        crate::sidecar::write_file(&self.xml_path, xml.as_bytes())
    }

    /// What the names of the following layers begin with.
    pub(super) fn set_scope(&mut self, scope: &str) {
        scope.clone_into(&mut self.scope);
    }

    /// An input of the model.
    pub(super) fn parameter(
        &mut self,
        name: &str,
        element_type: ElementType,
        n_dims: usize,
    ) -> Node {
        let shape = vec!["?"; n_dims].join(",");
        let attributes = [("shape", &*shape), ("element_type", element_type.name())];
        let operation = Operation {
            name,
            kind: "Parameter",
            opset: "opset1",
            attributes: &attributes,
            marks: &[],
        };
        let dims = vec![Dim::ANY; n_dims];
        self.writer.layer(operation, &[], NewPort { element_type, dims, name: Some(name.into()) })
    }

    /// An output of the model.
    pub(super) fn result(&mut self, node: &Node) {
        let operation = Operation {
            name: "logits_result",
            kind: "Result",
            opset: "opset1",
            attributes: &[],
            marks: &[],
        };
        self.writer.layer_with(operation, &[node], Vec::new());
    }

    /// A named constant.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(super) fn constant(
        &mut self,
        name: &str,
        element_type: ElementType,
        dims: &[usize],
        bytes: &[u8],
    ) -> Result<Node, ExportError> {
        let dims: Vec<u64> = dims.iter().map(|&dim| dim as u64).collect();
        self.writer.constant(name, element_type, &dims, bytes).map_err(|error| match error {
            WriteIrError::Bin { source, .. } => {
                ExportError::Write { path: self.xml_path.with_extension("bin"), source }
            }
            size @ WriteIrError::Size { .. } => {
                ExportError::Graph { path: self.xml_path.clone(), source: Box::new(size) }
            }
        })
    }

    /// A named constant of floats.
    ///
    /// # Errors
    ///
    /// As for [`Graph::constant`].
    pub(super) fn floats(
        &mut self,
        name: &str,
        dims: &[usize],
        values: &[f32],
    ) -> Result<Node, ExportError> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, ElementType::F32, dims, &bytes)
    }

    /// One float, of shape `[1, …, 1]`.
    ///
    /// # Errors
    ///
    /// As for [`Graph::constant`].
    pub(super) fn float(&mut self, value: f32, n_dims: usize) -> Result<Node, ExportError> {
        let name = self.name("Constant");
        self.floats(&name, &vec![1; n_dims], &[value])
    }

    /// A vector of integers.
    ///
    /// # Errors
    ///
    /// As for [`Graph::constant`].
    pub(super) fn integers(&mut self, values: &[i64]) -> Result<Node, ExportError> {
        let name = self.name("Constant");
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(&name, ElementType::I64, &[values.len()], &bytes)
    }

    /// One integer, without dimensions.
    ///
    /// # Errors
    ///
    /// As for [`Graph::constant`].
    pub(super) fn integer(&mut self, value: i64) -> Result<Node, ExportError> {
        let name = self.name("Constant");
        self.constant(&name, ElementType::I64, &[], &value.to_le_bytes())
    }

    /// Any operator with one output.
    pub(super) fn operator(
        &mut self,
        (kind, opset): (&str, &str),
        attributes: &[(&str, &str)],
        inputs: &[&Node],
        (element_type, dims): (ElementType, Vec<Dim>),
    ) -> Node {
        self.named_operator((kind, opset), attributes, inputs, (element_type, dims), None)
    }

    /// Any operator with one output, whose tensor has a name.
    pub(super) fn named_operator(
        &mut self,
        (kind, opset): (&str, &str),
        attributes: &[(&str, &str)],
        inputs: &[&Node],
        (element_type, dims): (ElementType, Vec<Dim>),
        tensor_name: Option<&str>,
    ) -> Node {
        let name = self.name(kind);
        let operation = Operation { name: &name, kind, opset, attributes, marks: &[] };
        let name = tensor_name.map(str::to_owned);
        self.writer.layer(operation, inputs, NewPort { element_type, dims, name })
    }

    /// A conversion of a constant that plugins do not fold.
    pub(super) fn decompress(&mut self, node: &Node, element_type: ElementType) -> Node {
        let name = self.name("Convert");
        let operation = Operation {
            name: &name,
            kind: "Convert",
            opset: "opset1",
            attributes: &[("destination_type", element_type.name())],
            marks: &["decompression"],
        };
        let port = NewPort { element_type, dims: node.dims.clone(), name: None };
        self.writer.layer(operation, &[node], port)
    }

    /// The same values in another type.
    pub(super) fn convert(&mut self, node: &Node, element_type: ElementType) -> Node {
        let attributes = [("destination_type", element_type.name())];
        let output = (element_type, node.dims.clone());
        self.operator(("Convert", "opset1"), &attributes, &[node], output)
    }

    /// An element-wise function of one input.
    pub(super) fn unary(&mut self, kind: &str, opset: &str, node: &Node) -> Node {
        self.operator((kind, opset), &[], &[node], (node.element_type, node.dims.clone()))
    }

    /// An element-wise function of two inputs that are broadcast.
    pub(super) fn binary(&mut self, kind: &str, a: &Node, b: &Node) -> Node {
        let output = (a.element_type, broadcast(&a.dims, &b.dims));
        self.operator((kind, "opset1"), &[("auto_broadcast", "numpy")], &[a, b], output)
    }

    /// A comparison, or a logical function, of two inputs that are broadcast.
    pub(super) fn condition(&mut self, kind: &str, a: &Node, b: &Node) -> Node {
        let output = (ElementType::Boolean, broadcast(&a.dims, &b.dims));
        self.operator((kind, "opset1"), &[("auto_broadcast", "numpy")], &[a, b], output)
    }

    /// The same elements in another shape. `pattern`: 0 keeps a size, -1 is what remains.
    ///
    /// # Errors
    ///
    /// As for [`Graph::constant`].
    pub(super) fn reshape(
        &mut self,
        node: &Node,
        pattern: &[i64],
        dims: Vec<Dim>,
    ) -> Result<Node, ExportError> {
        let pattern = self.integers(pattern)?;
        let output = (node.element_type, dims);
        let attributes = [("special_zero", "true")];
        Ok(self.operator(("Reshape", "opset1"), &attributes, &[node, &pattern], output))
    }

    /// The dimensions in another order.
    ///
    /// # Errors
    ///
    /// As for [`Graph::constant`].
    pub(super) fn transpose(&mut self, node: &Node, order: &[i64]) -> Result<Node, ExportError> {
        let dims = order.iter().map(|&dim_idx| node.dims[dim_idx as usize]).collect();
        let order = self.integers(order)?;
        let output = (node.element_type, dims);
        Ok(self.operator(("Transpose", "opset1"), &[], &[node, &order], output))
    }

    /// New dimensions of size 1 at these places of the result, in ascending order.
    ///
    /// # Errors
    ///
    /// As for [`Graph::constant`].
    pub(super) fn unsqueeze(&mut self, node: &Node, at: &[i64]) -> Result<Node, ExportError> {
        let mut dims = node.dims.clone();
        for &dim_idx in at {
            dims.insert(dim_idx as usize, Dim::Fixed(1));
        }
        let at = self.integers(at)?;
        let output = (node.element_type, dims);
        Ok(self.operator(("Unsqueeze", "opset1"), &[], &[node, &at], output))
    }

    /// Inputs joined along a dimension, which gets the size `joined`.
    pub(super) fn concat(&mut self, inputs: &[&Node], axis: usize, joined: Dim) -> Node {
        let mut dims = inputs[0].dims.clone();
        dims[axis] = joined;
        let output = (inputs[0].element_type, dims);
        // Plugins look for the axis counted from the end, except in vectors.
        let rank = inputs[0].dims.len();
        let axis = if rank == 1 { "0".to_owned() } else { format!("-{}", rank - axis) };
        self.operator(("Concat", "opset1"), &[("axis", &axis)], inputs, output)
    }

    /// Rows of `data` along a dimension.
    ///
    /// # Errors
    ///
    /// As for [`Graph::constant`].
    pub(super) fn gather(
        &mut self,
        data: &Node,
        rows: &Node,
        axis: usize,
    ) -> Result<Node, ExportError> {
        let mut dims = data.dims.clone();
        dims.splice(axis..=axis, rows.dims.iter().copied());
        let axis = self.integer(axis as i64)?;
        let output = (data.element_type, dims);
        let attributes = [("batch_dims", "0")];
        Ok(self.operator(("Gather", "opset8"), &attributes, &[data, rows, &axis], output))
    }

    /// The `k` largest elements of each row and where they are in it, the largest first.
    ///
    /// # Errors
    ///
    /// As for [`Graph::constant`].
    pub(super) fn top_k(&mut self, node: &Node, k: usize) -> Result<[Node; 2], ExportError> {
        let n_wanted = self.integer(k as i64)?;
        let mut dims = node.dims.clone();
        dims.pop();
        dims.push(Dim::Fixed(k as u64));
        let name = self.name("TopK");
        let attributes = [
            ("axis", "-1"),
            ("mode", "max"),
            ("sort", "value"),
            ("index_element_type", "i64"),
            ("stable", "false"),
        ];
        let operation = Operation {
            name: &name,
            kind: "TopK",
            opset: "opset11",
            attributes: &attributes,
            marks: &[],
        };
        let port = |element_type| NewPort { element_type, dims: dims.clone(), name: None };
        let outputs = vec![port(node.element_type), port(ElementType::I64)];
        let nodes = self.writer.layer_with(operation, &[node, &n_wanted], outputs);
        Ok(nodes.try_into().expect("two outputs were given"))
    }

    /// The sizes of a node, as integers.
    pub(super) fn shape_of(&mut self, node: &Node) -> Node {
        let output = (ElementType::I64, vec![Dim::Fixed(node.dims.len() as u64)]);
        self.operator(("ShapeOf", "opset3"), &[("output_type", "i64")], &[node], output)
    }

    /// A matrix product; `b` as `[n_columns, n_inner]` when it is transposed.
    pub(super) fn matmul(
        &mut self,
        a: &Node,
        b: &Node,
        transpose_b: bool,
        tensor_name: Option<&str>,
    ) -> Node {
        let mut dims = a.dims.clone();
        let column_dim = b.dims.len() - if transpose_b { 2 } else { 1 };
        dims.pop();
        dims.push(b.dims[column_dim]);
        let transpose_b = if transpose_b { "true" } else { "false" };
        let attributes = [("transpose_a", "false"), ("transpose_b", transpose_b)];
        let output = (a.element_type, dims);
        self.named_operator(("MatMul", "opset1"), &attributes, &[a, b], output, tensor_name)
    }

    fn name(&mut self, kind: &str) -> String {
        self.n_names += 1;
        format!("{}{kind}_{}", self.scope, self.n_names)
    }
}

/// The sizes of two inputs that numpy would broadcast.
fn broadcast(a: &[Dim], b: &[Dim]) -> Vec<Dim> {
    let rank = a.len().max(b.len());
    let from_end = |dims: &[Dim], at: usize| match dims.len().checked_sub(at) {
        Some(dim_idx) => dims[dim_idx],
        None => Dim::Fixed(1),
    };
    let pairs = (1..=rank).rev().map(|at| (from_end(a, at), from_end(b, at)));
    pairs
        .map(|pair| match pair {
            (Dim::Fixed(1), other) | (other, Dim::Fixed(1)) => other,
            (Dim::Fixed(size), _) | (_, Dim::Fixed(size)) => Dim::Fixed(size),
            _ => Dim::ANY,
        })
        .collect()
}
