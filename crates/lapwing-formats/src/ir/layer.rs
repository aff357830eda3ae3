//! Layers and ports, read from the text when they are asked for.

use std::borrow::Cow;
use std::ops::Range;

use super::IrModel;
use super::cursor::{Cursor, Fault, Tag};
use super::element_type::ElementType;
use super::record::{LayerRecord, Side};
use super::shape::{Dim, RANK_MAX, parse_port_dim, parse_shape};

/// Why reading again what `Index::build` has read cannot fail.
const CHECKED: &str = "the text was checked when the model was opened";

/// One operation of the graph.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    pub(super) model: &'a IrModel,
    pub(super) record: LayerRecord,
}

impl<'a> Layer<'a> {
    /// The id that edges use.
    pub fn id(&self) -> u32 {
        self.record.id
    }

    /// The friendly name.
    pub fn name(&self) -> Cow<'a, str> {
        self.tag().required("name").expect(CHECKED)
    }

    /// The operation, such as `MatMul`.
    pub fn kind(&self) -> Cow<'a, str> {
        self.tag().required("type").expect(CHECKED)
    }

    /// The operation set, such as `opset1`; empty when the text has none.
    pub fn opset(&self) -> Cow<'a, str> {
        self.tag().attribute("version").expect(CHECKED).unwrap_or_default()
    }

    /// The attributes of the operation (of its `data` element), in order.
    pub fn attributes(&self) -> Vec<(&'a str, Cow<'a, str>)> {
        match self.data_tag() {
            Some(data) => data.attributes().expect(CHECKED),
            None => Vec::new(),
        }
    }

    /// One attribute of the operation.
    pub fn attribute(&self, key: &str) -> Option<Cow<'a, str>> {
        self.data_tag().and_then(|data| data.attribute(key).expect(CHECKED))
    }

    /// The ports that take, by id.
    pub fn inputs(&self) -> impl Iterator<Item = Port<'a>> + use<'a> {
        self.ports(Side::Input)
    }

    /// The ports that give, by id.
    pub fn outputs(&self) -> impl Iterator<Item = Port<'a>> + use<'a> {
        self.ports(Side::Output)
    }

    /// The layer that feeds an input port, and the id of its output port.
    pub fn source_of(&self, input_port: u32) -> Option<(Layer<'a>, u32)> {
        let edges = self.model.index.edges_into(self.record.id);
        let edge = edges.iter().find(|edge| edge.to_port == input_port)?;
        Some((self.model.layer(edge.from_layer)?, edge.from_port))
    }

    /// What feeds each input, in the order of the ports.
    pub fn sources(&self) -> impl Iterator<Item = Layer<'a>> + use<'a> {
        let model = self.model;
        let edges = model.index.edges_into(self.record.id);
        edges.iter().filter_map(move |edge| model.layer(edge.from_layer))
    }

    /// The constant's facts, when this is a `Const`.
    pub fn constant(&self) -> Option<Constant<'a>> {
        if self.kind() != "Const" {
            return None;
        }
        let data = self.data_tag()?;
        let facts = constant_facts(&data).expect(CHECKED)?;
        Some(Constant {
            name: self.name(),
            element_type: facts.element_type,
            dims: facts.dims,
            range: facts.range,
        })
    }

    fn ports(&self, side: Side) -> impl Iterator<Item = Port<'a>> + use<'a> {
        let text: &'a str = &self.model.text;
        let ports = self.model.index.ports(self.record).iter();
        ports.filter(move |port| port.side() == side).map(move |port| {
            let mut cursor = Cursor::at(text, port.start as usize);
            let tag = cursor.child().expect(CHECKED).expect(CHECKED);
            Port::read(&tag, &mut cursor).expect(CHECKED)
        })
    }

    pub(super) fn tag(&self) -> Tag<'a> {
        self.tag_at(self.record.start)
    }

    fn data_tag(&self) -> Option<Tag<'a>> {
        (self.record.data != self.record.start).then(|| self.tag_at(self.record.data))
    }

    fn tag_at(&self, start: u32) -> Tag<'a> {
        let mut cursor = Cursor::at(&self.model.text, start as usize);
        cursor.child().expect(CHECKED).expect(CHECKED)
    }
}

/// One input or output of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port<'a> {
    /// The id that edges use, distinct among the layer's inputs and among its outputs.
    pub id: u32,
    /// The element type as the port writes it (`FP32`); empty when it does not.
    pub precision: Cow<'a, str>,
    /// Sizes, outermost first. Empty for a scalar, and when the rank is not known.
    pub dims: Vec<Dim>,
    names: Cow<'a, str>,
}

impl<'a> Port<'a> {
    /// The tensor's names, in order. Layers have names of their own.
    pub fn names(&self) -> Vec<String> {
        let mut names = vec![String::new()];
        let mut characters = self.names.chars();
        while let Some(c) = characters.next() {
            let name = names.last_mut().expect("it starts with one and only grows");
            match c {
                // A comma inside a name is escaped.
                '\\' if characters.as_str().starts_with(',') => {
                    characters.next();
                    name.push(',');
                }
                ',' => names.push(String::new()),
                c => name.push(c),
            }
        }
        names.retain(|name| !name.is_empty());
        names
    }

    /// Read the port that `tag` opened, to its end.
    pub(super) fn read(tag: &Tag<'a>, cursor: &mut Cursor<'a>) -> Result<Port<'a>, Fault> {
        let mut dims = Vec::new();
        while let Some(child) = cursor.child_of(tag)? {
            if child.name() != "dim" {
                cursor.skip(&child, &mut |inner| inner.attributes().map(drop))?;
                continue;
            }
            let text = cursor.text_of(&child)?;
            let dim = parse_port_dim(text)
                .ok_or_else(|| Fault::new(child.start, "a size or -1", text))?;
            if dims.len() == RANK_MAX {
                return Err(Fault::new(child.start, "at most 64 dimensions", "more"));
            }
            dims.push(dim);
        }
        Ok(Port {
            id: tag.number("id")?,
            precision: tag.attribute("precision")?.unwrap_or_default(),
            dims,
            names: tag.attribute("names")?.unwrap_or_default(),
        })
    }
}

/// A `Const` layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constant<'a> {
    /// The layer's name.
    pub name: Cow<'a, str>,
    /// The type of its elements.
    pub element_type: ElementType,
    /// Sizes, outermost first.
    pub dims: Vec<u64>,
    /// Where its bytes lie in the BIN; checked to lie inside.
    pub range: Range<u64>,
}

struct ConstantFacts {
    element_type: ElementType,
    dims: Vec<u64>,
    range: Range<u64>,
}

/// Check the attributes of a `data` element of a layer of this kind; none: a layer inside another
/// one's body, whose kind is not known.
pub(super) fn check_attributes(
    data: &Tag<'_>,
    kind: Option<&str>,
    n_bin_bytes: u64,
) -> Result<(), Fault> {
    data.attributes()?;
    let is_constant = match kind {
        Some(kind) => kind == "Const",
        None => data.attribute("offset")?.is_some() && data.attribute("size")?.is_some(),
    };
    if is_constant {
        return check_constant(data, n_bin_bytes);
    }
    match kind {
        Some("Parameter") => {
            element_type(data, "element_type")?;
            shape(data, "shape")?;
        }
        Some("ReadValue" | "Assign") => {
            data.required("variable_id")?;
            if data.attribute("variable_type")?.is_some() {
                element_type(data, "variable_type")?;
            }
            if data.attribute("variable_shape")?.is_some() {
                shape(data, "variable_shape")?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// An element type in an attribute.
pub(super) fn element_type(data: &Tag<'_>, key: &str) -> Result<ElementType, Fault> {
    let name = data.required(key)?;
    ElementType::parse(&name).ok_or_else(|| Fault::new(data.start, "an element type", &name))
}

/// A shape in an attribute.
pub(super) fn shape(data: &Tag<'_>, key: &str) -> Result<Option<Vec<Dim>>, Fault> {
    let text = data.required(key)?;
    parse_shape(&text).ok_or_else(|| Fault::new(data.start, "a shape", &text))
}

fn check_constant(data: &Tag<'_>, n_bin_bytes: u64) -> Result<(), Fault> {
    let Some(ConstantFacts { element_type, dims, range }) = constant_facts(data)? else {
        return Err(Fault::new(data.start, "a constant with an offset and a size", "overflow"));
    };
    if range.end > n_bin_bytes {
        let found = format!("bytes {}..{}", range.start, range.end);
        return Err(Fault::new(
            data.start,
            format!("its bytes inside the BIN of {n_bin_bytes} bytes"),
            &found,
        ));
    }
    if element_type == ElementType::String {
        return Ok(());
    }
    let n_elements = dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim));
    let expected = n_elements.and_then(|n| element_type.n_bytes(n));
    let found = range.end - range.start;
    // OpenVINO writes one byte for a constant without elements.
    if expected == Some(found) || expected == Some(0) && found == 1 {
        return Ok(());
    }
    let expected = match expected {
        Some(expected) => format!("{expected} bytes for {element_type} {dims:?}"),
        None => format!("a size that fits, not {element_type} {dims:?}"),
    };
    Err(Fault::new(data.start, expected, &format!("{found} bytes")))
}

/// None when the end of the range does not fit 64 bits.
fn constant_facts(data: &Tag<'_>) -> Result<Option<ConstantFacts>, Fault> {
    let element_type = element_type(data, "element_type")?;
    let dims = shape(data, "shape")?.unwrap_or_default();
    let dims: Option<Vec<u64>> = dims.into_iter().map(Dim::fixed).collect();
    let dims = dims.ok_or_else(|| Fault::new(data.start, "fixed sizes", "a dynamic one"))?;
    let offset: u64 = data.number("offset")?;
    let size: u64 = data.number("size")?;
    let end = offset.checked_add(size);
    Ok(end.map(|end| ConstantFacts { element_type, dims, range: offset..end }))
}
