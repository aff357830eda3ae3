//! The long arrays of a profile, as safetensors bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use safetensors::tensor::{Metadata, TensorView};
use safetensors::{Dtype, SafeTensorError};

use super::{ReadProfileError, WriteProfileError};

/// A header of five arrays has some 500 bytes; its JSON takes more memory than it has bytes.
const HEADER_BYTES_MAX: u64 = 4 << 10;
const LENGTH_BYTES: usize = 8;
/// What a sidecar has besides its data, at most.
pub(super) const OVERHEAD_BYTES_MAX: u64 = LENGTH_BYTES as u64 + HEADER_BYTES_MAX;

/// Arrays of `f32` by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arrays(BTreeMap<String, Array>);

/// One array, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The length of each dimension.
    pub shape: Vec<usize>,
    /// As many as the product of the shape.
    pub values: Arc<[f32]>,
}

impl Arrays {
    /// Read the bytes of a sidecar.
    ///
    /// # Errors
    ///
    /// When the bytes are cut off or too long, not safetensors, or an array is not of `F32`.
    pub fn parse(bytes: &[u8]) -> Result<Arrays, ReadProfileError> {
        let (header, data) = split(bytes)?;
        let metadata: Metadata =
            serde_json::from_slice(header).map_err(|source| ReadProfileError::Header { source })?;
        if metadata.data_len() != data.len() {
            let expected = (bytes.len() - data.len()) as u64;
            let expected = expected.saturating_add(metadata.data_len() as u64);
            return Err(ReadProfileError::SidecarLength { expected, found: bytes.len() as u64 });
        }
        let mut arrays = Arrays::default();
        for (name, info) in metadata.tensors() {
            if info.dtype != Dtype::F32 {
                let found = info.dtype.to_string();
                return Err(ReadProfileError::ArrayType { array: name, expected: "F32", found });
            }
            let (start, end) = info.data_offsets;
            let values = data[start..end].as_chunks().0.iter().copied().map(f32::from_le_bytes);
            arrays.insert(name, Array { shape: info.shape.clone(), values: values.collect() });
        }
        Ok(arrays)
    }

    /// The bytes of a sidecar: the same for the same arrays.
    ///
    /// # Errors
    ///
    /// When a shape and its values do not go together, or the names are very long.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WriteProfileError> {
        let refused = |source: SafeTensorError| WriteProfileError::Arrays { source };
        let bytes_of =
            |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let data: Vec<Vec<u8>> = self.0.values().map(|array| bytes_of(&array.values)).collect();
        let views = self.0.iter().zip(&data).map(|((name, array), data)| {
            Ok((name, TensorView::new(Dtype::F32, array.shape.clone(), data)?))
        });
        let views: Vec<_> = views.collect::<Result<_, _>>().map_err(refused)?;
        let bytes = safetensors::serialize(views, None).map_err(refused)?;
        match split(&bytes) {
            Ok(_) => Ok(bytes),
            Err(source) => Err(WriteProfileError::Refused { source: Box::new(source) }),
        }
    }

    /// Add an array, in place of one of the same name.
    pub fn insert(&mut self, name: impl Into<String>, array: Array) {
        self.0.insert(name.into(), array);
    }

    /// An array by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Array> {
        self.0.get(name)
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// An array that must be there, of this shape and finite.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub fn finite(&self, name: &str, shape: &[usize]) -> Result<Arc<[f32]>, ReadProfileError> {
        let array = name.to_owned();
        let Some(Array { shape: found, values }) = self.get(name) else {
            return Err(ReadProfileError::MissingArray { array });
        };
        if found != shape {
            let (expected, found) = (shape.to_vec(), found.clone());
            return Err(ReadProfileError::ArrayShape { array, expected, found });
        }
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(Arc::clone(values)),
            Some(index) => Err(ReadProfileError::NotFinite { array, index, found: values[index] }),
        }
    }
}

impl Array {
    /// An array of one dimension.
    #[must_use]
    pub fn vector(values: Arc<[f32]>) -> Array {
        Array { shape: vec![values.len()], values }
    }
}

/// The header and the data of safetensors bytes.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), ReadProfileError> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        let (expected, found) = (LENGTH_BYTES as u64, bytes.len() as u64);
        return Err(ReadProfileError::SidecarLength { expected, found });
    };
    let n_header = u64::from_le_bytes(*length);
    if HEADER_BYTES_MAX < n_header {
        return Err(ReadProfileError::HeaderLength { expected: HEADER_BYTES_MAX, found: n_header });
    }
    rest.split_at_checked(n_header as usize).ok_or_else(|| ReadProfileError::SidecarLength {
        expected: LENGTH_BYTES as u64 + n_header,
        found: bytes.len() as u64,
    })
}
