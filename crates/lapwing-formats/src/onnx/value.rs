//! Names, element types and sizes of graph inputs, outputs and weights.

use super::proto::{DimensionProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto};

/// An input or output of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The name to bind by.
    pub name: String,
    /// Element type; none when the value is no dense tensor.
    pub element: Option<ElementType>,
    /// Sizes, outermost first; none when even the rank is unknown.
    pub dims: Option<Vec<Dim>>,
}

/// One size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Always this many.
    Fixed(usize),
    /// Any number, the same wherever the name is.
    Symbolic(String),
    /// Any number.
    Unknown,
}

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the variants are named as the format names them")]
pub enum ElementType {
    F32,
    U8,
    I8,
    U16,
    I16,
    I32,
    I64,
    String,
    Bool,
    F16,
    F64,
    U32,
    U64,
    Complex64,
    Complex128,
    Bf16,
    F8E4M3Fn,
    F8E4M3FnUz,
    F8E5M2,
    F8E5M2FnUz,
    U4,
    I4,
    F4E2M1,
    F8E8M0,
    U2,
    I2,
    F6E2M3,
    F6E3M2,
    /// A number that this version does not know.
    Other(i32),
}

/// Number in the file, type, name, bits an element (0: no fixed size).
const TABLE: [(i32, ElementType, &str, usize); 28] = [
    (1, ElementType::F32, "f32", 32),
    (2, ElementType::U8, "u8", 8),
    (3, ElementType::I8, "i8", 8),
    (4, ElementType::U16, "u16", 16),
    (5, ElementType::I16, "i16", 16),
    (6, ElementType::I32, "i32", 32),
    (7, ElementType::I64, "i64", 64),
    (8, ElementType::String, "string", 0),
    (9, ElementType::Bool, "bool", 8),
    (10, ElementType::F16, "f16", 16),
    (11, ElementType::F64, "f64", 64),
    (12, ElementType::U32, "u32", 32),
    (13, ElementType::U64, "u64", 64),
    (14, ElementType::Complex64, "complex64", 64),
    (15, ElementType::Complex128, "complex128", 128),
    (16, ElementType::Bf16, "bf16", 16),
    (17, ElementType::F8E4M3Fn, "f8e4m3fn", 8),
    (18, ElementType::F8E4M3FnUz, "f8e4m3fnuz", 8),
    (19, ElementType::F8E5M2, "f8e5m2", 8),
    (20, ElementType::F8E5M2FnUz, "f8e5m2fnuz", 8),
    (21, ElementType::U4, "u4", 4),
    (22, ElementType::I4, "i4", 4),
    (23, ElementType::F4E2M1, "f4e2m1", 4),
    (24, ElementType::F8E8M0, "f8e8m0", 8),
    (25, ElementType::U2, "u2", 2),
    (26, ElementType::I2, "i2", 2),
    (27, ElementType::F6E2M3, "f6e2m3", 0),
    (28, ElementType::F6E3M2, "f6e3m2", 0),
];

impl ElementType {
    /// The type with this number in the file.
    pub fn from_number(number: i32) -> ElementType {
        let known = TABLE.iter().find(|row| row.0 == number);
        known.map_or(ElementType::Other(number), |row| row.1)
    }

    /// The number in the file.
    pub fn number(self) -> i32 {
        match self {
            ElementType::Other(number) => number,
            known => TABLE.iter().find(|row| row.1 == known).map_or(0, |row| row.0),
        }
    }

    /// A short name such as `f32` or `u4`; `?` for an unknown number.
    pub fn name(self) -> &'static str {
        TABLE.iter().find(|row| row.1 == self).map_or("?", |row| row.2)
    }

    /// Bits of one element; none where elements have no fixed size.
    pub fn n_bits(self) -> Option<usize> {
        TABLE.iter().find(|row| row.1 == self).map(|row| row.3).filter(|&n_bits| n_bits > 0)
    }

    /// Bytes of a packed tensor of these sizes; none where that cannot be said or overflows.
    pub fn n_bytes(self, dims: &[i64]) -> Option<u64> {
        let n_bits = self.n_bits()? as u64;
        let n_elements = dims
            .iter()
            .try_fold(1u64, |product, &size| product.checked_mul(u64::try_from(size).ok()?))?;
        Some(n_elements.checked_mul(n_bits)?.div_ceil(8))
    }
}

impl Value {
    pub(super) fn from_proto(info: &ValueInfoProto) -> Value {
        let tensor = info.r#type.as_ref().and_then(|r#type| r#type.tensor_type.as_ref());
        let shape = tensor.and_then(|tensor| tensor.shape.as_ref());
        Value {
            name: info.name().to_owned(),
            element: tensor.map(|tensor| ElementType::from_number(tensor.elem_type())),
            dims: shape.map(|shape| shape.dim.iter().map(Dim::from_proto).collect()),
        }
    }

    /// The message that declares a dense tensor.
    pub fn to_proto(name: &str, element: ElementType, dims: &[Dim]) -> ValueInfoProto {
        let shape = TensorShapeProto { dim: dims.iter().map(Dim::to_proto).collect() };
        let tensor = TensorTypeProto { elem_type: Some(element.number()), shape: Some(shape) };
        let r#type = TypeProto { tensor_type: Some(tensor), ..TypeProto::default() };
        ValueInfoProto {
            name: Some(name.to_owned()),
            r#type: Some(Box::new(r#type)),
            ..ValueInfoProto::default()
        }
    }
}

impl Dim {
    /// A symbolic size.
    pub fn symbol(name: &str) -> Dim {
        Dim::Symbolic(name.to_owned())
    }

    fn from_proto(dim: &DimensionProto) -> Dim {
        match (dim.dim_value, dim.dim_param.as_deref()) {
            // Some exporters write -1 for "any".
            (Some(value), _) => usize::try_from(value).map_or(Dim::Unknown, Dim::Fixed),
            (None, None | Some("")) => Dim::Unknown,
            (None, Some(name)) => Dim::Symbolic(name.to_owned()),
        }
    }

    pub(super) fn to_proto(&self) -> DimensionProto {
        let mut dim = DimensionProto::default();
        match self {
            Dim::Fixed(size) => dim.dim_value = i64::try_from(*size).ok(),
            Dim::Symbolic(name) => dim.dim_param = Some(name.clone()),
            Dim::Unknown => {}
        }
        dim
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_survives() {
        for number in -1..40 {
            assert_eq!(ElementType::from_number(number).number(), number);
        }
        assert_eq!(ElementType::from_number(10), ElementType::F16);
        assert_eq!(ElementType::from_number(22).name(), "i4");
    }

    #[test]
    fn packed_bytes() {
        let check = |element: ElementType, dims: &[i64], expected: Option<u64>| {
            assert_eq!(element.n_bytes(dims), expected, "{element:?} {dims:?}");
        };
        check(ElementType::F32, &[2, 3], Some(24));
        check(ElementType::F16, &[], Some(2));
        check(ElementType::U4, &[3], Some(2));
        check(ElementType::U2, &[5], Some(2));
        check(ElementType::I64, &[0, 1 << 40], Some(0));
        check(ElementType::F32, &[-1], None);
        check(ElementType::F32, &[i64::MAX, 3], None);
        check(ElementType::String, &[1], None);
        check(ElementType::Other(99), &[1], None);
    }

    #[test]
    fn dims_there_and_back() {
        let dims = [Dim::Fixed(0), Dim::Fixed(7), Dim::symbol("n"), Dim::Unknown];
        let value = Value::from_proto(&Value::to_proto("x", ElementType::I64, &dims));
        assert_eq!(value.dims.as_deref(), Some(&dims[..]));
        assert_eq!(value.element, Some(ElementType::I64));
        let minus_one = DimensionProto { dim_value: Some(-1), ..DimensionProto::default() };
        assert_eq!(Dim::from_proto(&minus_one), Dim::Unknown);
    }
}
