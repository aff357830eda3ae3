//! The JSON header of one file.
//!
//! Read here and not by the `safetensors` crate's reader, whose sums can overflow on hostile
//! offsets and whose tables can grow far beyond the file; element types and their sizes are that
//! crate's.

use std::fmt;

use safetensors::Dtype;
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{OpenSafeTensorsError, malformed};
use crate::Map;

/// Bytes of the length in front of the header.
const N_LENGTH_BYTES: usize = 8;
/// What the format allows a header.
const HEADER_BYTES_MAX: usize = 100_000_000;
/// Keys of the header that are no tensors.
const METADATA_KEY: &str = "__metadata__";
const N_DIMENSIONS_MAX: usize = 8;
/// Bytes of the shortest entry that is read: `"":["U8",[],[0,0]],`.
const ENTRY_BYTES_MIN: usize = 19;

/// One tensor, checked: its bytes are `start..end` of the file.
#[derive(Debug)]
pub(super) struct TensorEntry {
    pub(super) name: Box<str>,
    pub(super) dtype: Dtype,
    pub(super) shape: Box<[usize]>,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// The tensors of the file, sorted by name.
pub(super) fn read(map: &Map) -> Result<Vec<TensorEntry>, OpenSafeTensorsError> {
    let header = header_bytes(map)?;
    let failed = |source| {
        let path = map.path().to_owned();
        OpenSafeTensorsError::Json { path, what: "header", source }
    };
    // A first walk counts, so that the table needs no room to grow.
    let Count(n_tensors) = serde_json::from_slice(header).map_err(failed)?;
    let mut json = serde_json::Deserializer::from_slice(header);
    // A key may have anything behind it: what is reserved is what tensors have room for.
    let n_tensors_max = n_tensors.min(header.len() / ENTRY_BYTES_MIN);
    let mut tensors = json.deserialize_map(Tensors { n_tensors_max }).map_err(failed)?;
    place(map, &mut tensors, N_LENGTH_BYTES + header.len())?;
    tensors.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    match tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
        Some(pair) => {
            let found = format!("{:?} twice", pair[0].name);
            Err(malformed(map, "header", "each name once", found))
        }
        None => Ok(tensors),
    }
}

fn header_bytes(map: &Map) -> Result<&[u8], OpenSafeTensorsError> {
    let Some((length, rest)) = map.split_first_chunk::<N_LENGTH_BYTES>() else {
        let found = format!("{} in all", map.len());
        return Err(malformed(map, "header length", format!("{N_LENGTH_BYTES} bytes"), found));
    };
    let n_bytes = u64::from_le_bytes(*length);
    let n_bytes_max = rest.len().min(HEADER_BYTES_MAX);
    let header = usize::try_from(n_bytes).ok().filter(|&n_bytes| n_bytes <= n_bytes_max);
    header.and_then(|n_bytes| rest.get(..n_bytes)).ok_or_else(|| {
        malformed(map, "header length", format!("at most {n_bytes_max}"), n_bytes.to_string())
    })
}

/// Turn data offsets into file offsets; check that they fit the shapes and fill the file.
fn place(
    map: &Map,
    tensors: &mut [TensorEntry],
    data_start: usize,
) -> Result<(), OpenSafeTensorsError> {
    tensors.sort_unstable_by_key(|entry| (entry.start, entry.end));
    let n_data_bytes = map.len() - data_start;
    let mut n_placed = 0;
    for entry in tensors {
        let what = || format!("data of {}", entry.name);
        let n_bytes = n_bytes(entry.dtype, &entry.shape);
        let end = n_bytes.and_then(|n_bytes| entry.start.checked_add(n_bytes));
        if end != Some(entry.end) {
            let expected = format!("the bytes of {} {:?}", entry.dtype, entry.shape);
            return Err(malformed(
                map,
                what(),
                expected,
                format!("{}..{}", entry.start, entry.end),
            ));
        }
        if entry.start != n_placed || n_data_bytes < entry.end {
            let expected = format!("a start at {n_placed} and an end by {n_data_bytes}");
            return Err(malformed(
                map,
                what(),
                expected,
                format!("{}..{}", entry.start, entry.end),
            ));
        }
        n_placed = entry.end;
        entry.start += data_start;
        entry.end += data_start;
    }
    if n_placed != n_data_bytes {
        return Err(malformed(map, "data", format!("{n_placed} bytes"), n_data_bytes.to_string()));
    }
    Ok(())
}

fn n_bytes(dtype: Dtype, shape: &[usize]) -> Option<usize> {
    let n_elements = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size))?;
    let n_bits = n_elements.checked_mul(dtype.bitsize())?;
    n_bits.is_multiple_of(8).then_some(n_bits / 8)
}

/// The header's keys, counted.
struct Count(usize);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Count, D::Error> {
        struct Counter;
        impl<'de> Visitor<'de> for Counter {
            type Value = Count;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
                let mut n_keys = 0;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    n_keys += 1;
                }
                Ok(Count(n_keys))
            }
        }
        json.deserialize_map(Counter)
    }
}

/// Reads the header into a table with room for so many.
struct Tensors {
    n_tensors_max: usize,
}

impl<'de> Visitor<'de> for Tensors {
    type Value = Vec<TensorEntry>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<TensorEntry>, A::Error> {
        let mut tensors: Option<Vec<TensorEntry>> = None;
        while let Some(name) = map.next_key::<Box<str>>()? {
            if *name == *METADATA_KEY {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let Description { dtype, shape: Shape(shape), data_offsets: (start, end) } =
                map.next_value()?;
            let tensors = tensors.get_or_insert_with(|| Vec::with_capacity(self.n_tensors_max));
            tensors.push(TensorEntry { name, dtype, shape, start, end });
        }
        Ok(tensors.unwrap_or_default())
    }
}

#[derive(Deserialize)]
struct Description {
    dtype: Dtype,
    shape: Shape,
    data_offsets: (usize, usize),
}

struct Shape(Box<[usize]>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Shape, D::Error> {
        struct Sizes;
        impl<'de> Visitor<'de> for Sizes {
            type Value = Shape;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "a list of up to {N_DIMENSIONS_MAX} sizes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sizes: A) -> Result<Shape, A::Error> {
                let mut shape = [0; N_DIMENSIONS_MAX];
                let mut n_dimensions = 0;
                while let Some(size) = sizes.next_element()? {
                    let place = shape.get_mut(n_dimensions);
                    *place.ok_or_else(|| A::Error::invalid_length(n_dimensions + 1, &self))? = size;
                    n_dimensions += 1;
                }
                Ok(Shape(shape[..n_dimensions].into()))
            }
        }
        json.deserialize_seq(Sizes)
    }
}
