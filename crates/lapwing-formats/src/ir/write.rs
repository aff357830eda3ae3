//! New IRs, written as a stream: constants go to the BIN as they come, the XML is kept until the
//! end.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write;

use quick_xml::escape::escape;

use super::element_type::ElementType;
use super::shape::Dim;

/// Where a constant may begin: whole cache lines, so that no runtime needs a copy to align it.
const ALIGNMENT: u64 = 64;
/// Constants up to this size are compared with those written before, and shared.
const SHARED_BYTES_MAX: usize = 4096;

/// Writes one IR.
///
/// The caller gives every layer after those that feed it, and tells types and sizes of what it
/// gives: the writer infers nothing.
#[derive(Debug)]
pub struct IrWriter<W> {
    name: String,
    bin: W,
    n_bin_bytes: u64,
    small: HashMap<Vec<u8>, u64>,
    layers: String,
    edges: String,
    n_layers: u32,
}

/// An output of a layer that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    layer_id: u32,
    port_id: u32,
    /// The type of its elements.
    pub element_type: ElementType,
    /// Sizes, outermost first.
    pub dims: Vec<Dim>,
}

/// An output of a layer that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPort {
    /// The type of its elements.
    pub element_type: ElementType,
    /// Sizes, outermost first.
    pub dims: Vec<Dim>,
    /// The tensor's name, where the model needs one.
    pub name: Option<String>,
}

/// A layer that is to be written, without what it takes and gives.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a> {
    /// The friendly name; distinct in the model.
    pub name: &'a str,
    /// Such as `MatMul`.
    pub kind: &'a str,
    /// Such as `opset1`.
    pub opset: &'a str,
    /// The operation's attributes.
    pub attributes: &'a [(&'a str, &'a str)],
    /// Runtime attributes without a value, such as `decompression`.
    pub marks: &'a [&'a str],
}

/// Why an IR could not be written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum WriteIrError {
    /// A constant's bytes do not fill its shape.
    #[error("constant {name}: expected {expected:?} bytes, found {found}")]
    Size {
        name: String,
        /// What type and shape need; none: the type has no fixed size or the shape is too large.
        expected: Option<u64>,
        found: usize,
    },
    /// The BIN could not be written.
    #[error("cannot write constant {name}")]
    Bin { name: String, source: std::io::Error },
}

impl<W: Write> IrWriter<W> {
    /// Start a model that puts its constants into `bin`.
    pub fn new(name: &str, bin: W) -> IrWriter<W> {
        IrWriter {
            name: name.to_owned(),
            bin,
            n_bin_bytes: 0,
            small: HashMap::new(),
            layers: String::new(),
            edges: String::new(),
            n_layers: 0,
        }
    }

    /// Add a constant. Small ones with the same bytes share their place in the BIN.
    ///
    /// # Errors
    ///
    /// When the bytes do not fill the shape, or cannot be written.
    pub fn constant(
        &mut self,
        name: &str,
        element_type: ElementType,
        dims: &[u64],
        bytes: &[u8],
    ) -> Result<Node, WriteIrError> {
        let n_elements = dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim));
        let expected = n_elements.and_then(|n_elements| element_type.n_bytes(n_elements));
        if expected != Some(bytes.len() as u64) {
            return Err(WriteIrError::Size { name: name.into(), expected, found: bytes.len() });
        }
        let offset = self
            .place(bytes)
            .map_err(|source| WriteIrError::Bin { name: name.to_owned(), source })?
            .to_string();
        let shape = dims.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        let (size, type_name) = (bytes.len().to_string(), element_type.name());
        let port = NewPort {
            element_type,
            dims: dims.iter().map(|&dim| Dim::Fixed(dim)).collect(),
            name: None,
        };
        let operation = Operation {
            name,
            kind: "Const",
            opset: "opset1",
            attributes: &[
                ("element_type", type_name),
                ("shape", &shape),
                ("offset", &offset),
                ("size", &size),
            ],
            marks: &[],
        };
        Ok(self.layer(operation, &[], port))
    }

    /// Add a layer with one output, fed by `inputs` in the order of its ports.
    pub fn layer(&mut self, operation: Operation<'_>, inputs: &[&Node], output: NewPort) -> Node {
        let mut nodes = self.layer_with(operation, inputs, vec![output]);
        nodes.pop().expect("one output was given")
    }

    /// Add a layer with any number of outputs, such as a `Result` with none.
    pub fn layer_with(
        &mut self,
        operation: Operation<'_>,
        inputs: &[&Node],
        outputs: Vec<NewPort>,
    ) -> Vec<Node> {
        let id = self.n_layers;
        self.n_layers += 1;
        let Operation { name, kind, opset, .. } = operation;
        // Writing to a string cannot fail: the results are dropped.
        let name = escape(name);
        let out = &mut self.layers;
        let _ = writeln!(
            out,
            "\t\t<layer id=\"{id}\" name=\"{name}\" type=\"{kind}\" version=\"{opset}\">"
        );
        if !operation.attributes.is_empty() {
            let _ = write!(out, "\t\t\t<data");
            for (key, value) in operation.attributes {
                let _ = write!(out, " {key}=\"{}\"", escape(*value));
            }
            let _ = writeln!(out, " />");
        }
        if !operation.marks.is_empty() {
            let _ = writeln!(out, "\t\t\t<rt_info>");
            for mark in operation.marks {
                let _ = writeln!(out, "\t\t\t\t<attribute name=\"{mark}\" version=\"0\" />");
            }
            let _ = writeln!(out, "\t\t\t</rt_info>");
        }
        if !inputs.is_empty() {
            let _ = writeln!(out, "\t\t\t<input>");
            for (port_id, input) in inputs.iter().enumerate() {
                write_port(out, port_id, input.element_type, &input.dims, None);
                let _ = writeln!(
                    self.edges,
                    "\t\t<edge from-layer=\"{}\" from-port=\"{}\" to-layer=\"{id}\" \
                     to-port=\"{port_id}\" />",
                    input.layer_id, input.port_id
                );
            }
            let _ = writeln!(out, "\t\t\t</input>");
        }
        let nodes = write_outputs(out, id, inputs.len(), outputs);
        let _ = writeln!(out, "\t\t</layer>");
        nodes
    }

    /// The XML, and the BIN's sink. `rt_info` holds paths such as `nncf/weight_compression/mode`
    /// with their values; paths with a common start must follow each other.
    pub fn finish(self, rt_info: &[(String, String)]) -> (String, W) {
        let name = escape(&self.name);
        let mut xml = String::with_capacity(self.layers.len() + self.edges.len() + 4096);
        let _ = writeln!(xml, "<?xml version=\"1.0\"?>\n<net name=\"{name}\" version=\"11\">");
        let _ = write!(xml, "\t<layers>\n{}\t</layers>\n", self.layers);
        let _ = write!(xml, "\t<edges>\n{}\t</edges>\n", self.edges);
        let entries: Vec<(&str, &str)> =
            rt_info.iter().map(|(path, value)| (path.as_str(), value.as_str())).collect();
        xml.push_str("\t<rt_info>\n");
        write_info(&mut xml, &entries, 2);
        xml.push_str("\t</rt_info>\n</net>\n");
        (xml, self.bin)
    }

    fn place(&mut self, bytes: &[u8]) -> std::io::Result<u64> {
        if let Some(&offset) = self.small.get(bytes) {
            return Ok(offset);
        }
        let padding = self.n_bin_bytes.next_multiple_of(ALIGNMENT) - self.n_bin_bytes;
        self.bin.write_all(&[0; ALIGNMENT as usize][..padding as usize])?;
        self.bin.write_all(bytes)?;
        let offset = self.n_bin_bytes + padding;
        self.n_bin_bytes = offset + bytes.len() as u64;
        if bytes.len() <= SHARED_BYTES_MAX {
            self.small.insert(bytes.to_vec(), offset);
        }
        Ok(offset)
    }
}

/// Output ports are numbered on from the inputs.
fn write_outputs(out: &mut String, id: u32, n_inputs: usize, outputs: Vec<NewPort>) -> Vec<Node> {
    if outputs.is_empty() {
        return Vec::new();
    }
    let _ = writeln!(out, "\t\t\t<output>");
    let mut nodes = Vec::with_capacity(outputs.len());
    for (port_id, port) in (n_inputs..).zip(outputs) {
        write_port(out, port_id, port.element_type, &port.dims, port.name.as_deref());
        nodes.push(Node {
            layer_id: id,
            port_id: u32::try_from(port_id).expect("a layer has few ports"),
            element_type: port.element_type,
            dims: port.dims,
        });
    }
    let _ = writeln!(out, "\t\t\t</output>");
    nodes
}

fn write_port(
    out: &mut String,
    port_id: usize,
    element_type: ElementType,
    dims: &[Dim],
    name: Option<&str>,
) {
    let precision = element_type.port_name();
    let _ = write!(out, "\t\t\t\t<port id=\"{port_id}\" precision=\"{precision}\"");
    if let Some(name) = name {
        let _ = write!(out, " names=\"{}\"", escape(name).replace(',', "\\,"));
    }
    if dims.is_empty() {
        let _ = writeln!(out, " />");
        return;
    }
    let _ = writeln!(out, ">");
    for dim in dims {
        let _ = match dim.fixed() {
            Some(size) => writeln!(out, "\t\t\t\t\t<dim>{size}</dim>"),
            None => writeln!(out, "\t\t\t\t\t<dim>-1</dim>"),
        };
    }
    let _ = writeln!(out, "\t\t\t\t</port>");
}

/// Entries with the same first name become one element.
fn write_info(out: &mut String, entries: &[(&str, &str)], depth: usize) {
    let indent = "\t".repeat(depth);
    let first = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    for group in entries.chunk_by(|a, b| first(a.0) == first(b.0)) {
        let name = first(group[0].0);
        if let [(path, value)] = group
            && !path.contains('/')
        {
            let _ = writeln!(out, "{indent}<{name} value=\"{}\" />", escape(*value));
            continue;
        }
        let rest: Vec<(&str, &str)> = group
            .iter()
            .map(|&(path, value)| (path.split_once('/').map_or("value", |(_, rest)| rest), value))
            .collect();
        let _ = writeln!(out, "{indent}<{name}>");
        write_info(out, &rest, depth + 1);
        let _ = writeln!(out, "{indent}</{name}>");
    }
}
