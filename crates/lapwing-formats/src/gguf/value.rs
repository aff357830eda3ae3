//! Metadata values, borrowed from the file.

use super::OpenGgufError;
use super::cursor::Cursor;

/// Arrays inside arrays, at most.
const ARRAY_DEPTH_MAX: usize = 4;

/// The type of a metadata value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// 8 bits, unsigned.
    U8,
    /// 8 bits, signed.
    I8,
    /// 16 bits, unsigned.
    U16,
    /// 16 bits, signed.
    I16,
    /// 32 bits, unsigned.
    U32,
    /// 32 bits, signed.
    I32,
    /// 32-bit float.
    F32,
    /// One byte; anything but 0 is true.
    Bool,
    /// A length and bytes.
    String,
    /// A type, a length and that many values.
    Array,
    /// 64 bits, unsigned.
    U64,
    /// 64 bits, signed.
    I64,
    /// 64-bit float.
    F64,
}

/// One metadata value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A signed or unsigned integer of any width; all fit.
    Integer(i128),
    /// A float of either width.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// Text, not yet checked to be UTF-8; see [`Value::as_str`].
    String(&'a [u8]),
    /// A list.
    Array(Array<'a>),
}

/// A list of values of one type.
#[derive(Clone, Copy, PartialEq)]
pub struct Array<'a> {
    element_type: ValueType,
    n_elements: usize,
    bytes: &'a [u8],
}

impl<'a> Value<'a> {
    /// The text, when this is a string of UTF-8.
    pub fn as_str(&self) -> Option<&'a str> {
        match self {
            Value::String(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The number, when this is an integer of that range.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Value::Integer(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// The number, when this is a float or an integer.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Float(value) => Some(*value),
            Value::Integer(value) => Some(*value as f64),
            _ => None,
        }
    }

    /// The truth value, when this is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The list, when this is one.
    pub fn as_array(&self) -> Option<Array<'a>> {
        match self {
            Value::Array(array) => Some(*array),
            _ => None,
        }
    }
}

impl<'a> Array<'a> {
    /// Type of every element.
    pub fn element_type(&self) -> ValueType {
        self.element_type
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.n_elements
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.n_elements == 0
    }

    /// Every element in order.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let element_type = self.element_type;
        let mut cursor = Cursor::new(std::path::Path::new(""), self.bytes);
        (0..self.n_elements).map_while(move |_| read(&mut cursor, element_type).ok())
    }
}

impl std::fmt::Debug for Array<'_> {
    /// Type and length: the elements may be a whole vocabulary.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:?} x {}", self.element_type, self.n_elements)
    }
}

impl ValueType {
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<ValueType, OpenGgufError> {
        let id = cursor.u32("value type")?;
        Ok(match id {
            0 => ValueType::U8,
            1 => ValueType::I8,
            2 => ValueType::U16,
            3 => ValueType::I16,
            4 => ValueType::U32,
            5 => ValueType::I32,
            6 => ValueType::F32,
            7 => ValueType::Bool,
            8 => ValueType::String,
            9 => ValueType::Array,
            10 => ValueType::U64,
            11 => ValueType::I64,
            12 => ValueType::F64,
            _ => return Err(cursor.malformed("value type", "0 to 12", id.to_string())),
        })
    }

    /// Bytes of one value; none where that differs from value to value.
    fn n_bytes(self) -> Option<usize> {
        match self {
            ValueType::U8 | ValueType::I8 | ValueType::Bool => Some(1),
            ValueType::U16 | ValueType::I16 => Some(2),
            ValueType::U32 | ValueType::I32 | ValueType::F32 => Some(4),
            ValueType::U64 | ValueType::I64 | ValueType::F64 => Some(8),
            ValueType::String | ValueType::Array => None,
        }
    }
}

/// Read one value and leave the cursor behind it.
pub(super) fn read<'a>(
    cursor: &mut Cursor<'a>,
    value_type: ValueType,
) -> Result<Value<'a>, OpenGgufError> {
    read_nested(cursor, value_type, 0)
}

fn read_nested<'a>(
    cursor: &mut Cursor<'a>,
    value_type: ValueType,
    depth: usize,
) -> Result<Value<'a>, OpenGgufError> {
    const WHAT: &str = "metadata value";
    Ok(match value_type {
        ValueType::U8 => Value::Integer(cursor.array::<1>(WHAT)?[0].into()),
        ValueType::I8 => Value::Integer(i8::from_le_bytes(cursor.array(WHAT)?).into()),
        ValueType::U16 => Value::Integer(u16::from_le_bytes(cursor.array(WHAT)?).into()),
        ValueType::I16 => Value::Integer(i16::from_le_bytes(cursor.array(WHAT)?).into()),
        ValueType::U32 => Value::Integer(cursor.u32(WHAT)?.into()),
        ValueType::I32 => Value::Integer(i32::from_le_bytes(cursor.array(WHAT)?).into()),
        ValueType::U64 => Value::Integer(cursor.u64(WHAT)?.into()),
        ValueType::I64 => Value::Integer(i64::from_le_bytes(cursor.array(WHAT)?).into()),
        ValueType::F32 => Value::Float(f32::from_le_bytes(cursor.array(WHAT)?).into()),
        ValueType::F64 => Value::Float(f64::from_le_bytes(cursor.array(WHAT)?)),
        ValueType::Bool => Value::Bool(cursor.array::<1>(WHAT)?[0] != 0),
        ValueType::String => Value::String(cursor.string(WHAT)?),
        ValueType::Array => Value::Array(read_array(cursor, depth)?),
    })
}

fn read_array<'a>(cursor: &mut Cursor<'a>, depth: usize) -> Result<Array<'a>, OpenGgufError> {
    if depth == ARRAY_DEPTH_MAX {
        let expected = format!("at most {ARRAY_DEPTH_MAX} arrays in each other");
        return Err(cursor.malformed("metadata array", expected, "one more"));
    }
    let element_type = ValueType::read(cursor)?;
    let n_elements = cursor.usize("array length")?;
    let start = cursor.offset();
    if let Some(n_bytes) = element_type.n_bytes() {
        // A product too large for a number is too large for the file.
        cursor.take("metadata array", n_elements.saturating_mul(n_bytes))?;
    } else {
        // Every element has at least its own length in the file, which bounds the loop.
        for _ in 0..n_elements {
            read_nested(cursor, element_type, depth + 1)?;
        }
    }
    Ok(Array { element_type, n_elements, bytes: cursor.since(start) })
}
