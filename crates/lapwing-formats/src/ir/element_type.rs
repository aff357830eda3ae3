//! The element types of OpenVINO tensors and the space that they take.

use std::fmt;

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are OpenVINO's own and say all there is")]
pub enum ElementType {
    Boolean,
    Bf16,
    F16,
    F32,
    F64,
    F4E2M1,
    F8E4M3,
    F8E5M2,
    F8E8M0,
    Nf4,
    I4,
    I8,
    I16,
    I32,
    I64,
    U1,
    U2,
    U3,
    U4,
    U6,
    U8,
    U16,
    U32,
    U64,
    String,
    Dynamic,
}

use ElementType as E;

/// Type, name in a `data` attribute, name in a port, bits of an element (0: not fixed).
const TABLE: &[(ElementType, &str, &str, u8)] = &[
    (E::Boolean, "boolean", "BOOL", 8),
    (E::Bf16, "bf16", "BF16", 16),
    (E::F16, "f16", "FP16", 16),
    (E::F32, "f32", "FP32", 32),
    (E::F64, "f64", "FP64", 64),
    (E::F4E2M1, "f4e2m1", "F4E2M1", 4),
    (E::F8E4M3, "f8e4m3", "F8E4M3", 8),
    (E::F8E5M2, "f8e5m2", "F8E5M2", 8),
    (E::F8E8M0, "f8e8m0", "F8E8M0", 8),
    (E::Nf4, "nf4", "NF4", 4),
    (E::I4, "i4", "I4", 4),
    (E::I8, "i8", "I8", 8),
    (E::I16, "i16", "I16", 16),
    (E::I32, "i32", "I32", 32),
    (E::I64, "i64", "I64", 64),
    (E::U1, "u1", "BIN", 1),
    (E::U2, "u2", "U2", 2),
    (E::U3, "u3", "U3", 3),
    (E::U4, "u4", "U4", 4),
    (E::U6, "u6", "U6", 6),
    (E::U8, "u8", "U8", 8),
    (E::U16, "u16", "U16", 16),
    (E::U32, "u32", "U32", 32),
    (E::U64, "u64", "U64", 64),
    (E::String, "string", "STRING", 0),
    (E::Dynamic, "dynamic", "dynamic", 0),
];

impl ElementType {
    /// The type with this name, as attributes (`f32`) or ports (`FP32`) write it.
    pub fn parse(name: &str) -> Option<ElementType> {
        if matches!(name, "undefined" | "UNSPECIFIED") {
            return Some(ElementType::Dynamic);
        }
        TABLE.iter().find(|row| row.1 == name || row.2 == name).map(|row| row.0)
    }

    /// The name in an attribute, such as `f32`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The name in a port, such as `FP32`.
    pub fn port_name(self) -> &'static str {
        self.row().2
    }

    /// Bytes that `n_elements` take in the BIN; none when the type has no fixed size or the
    /// product does not fit.
    pub fn n_bytes(self, n_elements: u64) -> Option<u64> {
        match self.row().3 {
            0 => None,
            // Three- and six-bit codes come in whole groups of three bytes.
            3 => n_elements.div_ceil(8).checked_mul(3),
            6 => n_elements.div_ceil(4).checked_mul(3),
            bits @ (1 | 2 | 4) => Some(n_elements.div_ceil(8 / u64::from(bits))),
            bits => n_elements.checked_mul(u64::from(bits / 8)),
        }
    }

    fn row(self) -> &'static (ElementType, &'static str, &'static str, u8) {
        TABLE.iter().find(|row| row.0 == self).expect("the table lists every type")
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_type() {
        for &(element_type, name, port, _) in TABLE {
            assert_eq!(ElementType::parse(name), Some(element_type));
            assert_eq!(ElementType::parse(port), Some(element_type));
            assert_eq!((element_type.name(), element_type.port_name()), (name, port));
        }
        assert_eq!(ElementType::parse("f33"), None);
    }

    #[track_caller]
    fn check(element_type: ElementType, n_elements: u64, expected: Option<u64>) {
        assert_eq!(element_type.n_bytes(n_elements), expected, "{element_type} {n_elements}");
    }

    #[test]
    fn bytes() {
        check(E::F32, 3, Some(12));
        check(E::I4, 3, Some(2));
        check(E::U4, 0, Some(0));
        check(E::U1, 9, Some(2));
        check(E::U2, 5, Some(2));
        check(E::U3, 9, Some(6));
        check(E::U6, 5, Some(6));
        check(E::String, 1, None);
        check(E::I64, u64::MAX, None);
        check(E::U4, u64::MAX, Some(1 << 63));
    }
}
