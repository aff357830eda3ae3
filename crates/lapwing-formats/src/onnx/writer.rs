//! Writing a model: weights stream to a data file, the graph follows.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;

use super::ElementType;
use super::externalize::refer_to;
use super::proto::{ModelProto, TensorProto};

/// Weights below this stay in the graph file, where runtimes can fold them.
const N_INLINE_BYTES_MAX: usize = 1024;

/// Weights from here on begin at a page, so that a runtime can map them one by one.
const N_PAGED_BYTES_MIN: usize = 64 * 1024;

const PAGE: u64 = 4096;
const CACHE_LINE: u64 = 64;

/// Writes `<graph>` and `<graph>.data`, one weight at a time.
///
/// A writer that is dropped before [`OnnxWriter::finish`] leaves a data file without a graph: write
/// into a folder that is renamed at the end.
#[derive(Debug)]
pub struct OnnxWriter {
    graph_path: PathBuf,
    data_path: PathBuf,
    location: String,
    data: BufWriter<File>,
    n_bytes: u64,
}

/// Why a model could not be written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum WriteOnnxError {
    /// The path has no UTF-8 file name that the graph could refer to.
    #[error("cannot name a data file after {}", path.display())]
    Name { path: PathBuf },
    /// The system refused.
    #[error("cannot write {}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// A weight's bytes do not agree with its sizes.
    #[error("weight {name}: expected {expected} bytes, found {found}")]
    Length {
        name: String,
        /// Product of the sizes times the element size.
        expected: u64,
        found: u64,
    },
}

impl OnnxWriter {
    /// Start the files for a graph at `graph_path`; an existing data file is replaced.
    ///
    /// # Errors
    ///
    /// When the path has no UTF-8 file name or the data file cannot be created.
    pub fn create(graph_path: &Path) -> Result<OnnxWriter, WriteOnnxError> {
        let name = graph_path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| WriteOnnxError::Name { path: graph_path.to_owned() })?;
        let location = format!("{name}.data");
        let data_path = graph_path.with_file_name(&location);
        let file = File::create(&data_path)
            .map_err(|source| WriteOnnxError::Io { path: data_path.clone(), source })?;
        Ok(OnnxWriter {
            graph_path: graph_path.to_owned(),
            data_path,
            location,
            data: BufWriter::with_capacity(1 << 20, file),
            n_bytes: 0,
        })
    }

    /// Store a weight and give the initializer that refers to it; small ones stay in the graph.
    ///
    /// Shapes: `elements` are the packed little-endian elements of `dims`.
    ///
    /// # Errors
    ///
    /// When the number of bytes does not agree with `dims`, or the system refuses.
    pub fn tensor(
        &mut self,
        name: &str,
        element: ElementType,
        dims: &[usize],
        elements: &[u8],
    ) -> Result<TensorProto, WriteOnnxError> {
        let dims: Vec<i64> = dims.iter().map(|&n| i64::try_from(n).unwrap_or(i64::MAX)).collect();
        let n_bytes = elements.len();
        let expected = element.n_bytes(&dims).unwrap_or(u64::MAX);
        if expected != n_bytes as u64 {
            let found = n_bytes as u64;
            return Err(WriteOnnxError::Length { name: name.to_owned(), expected, found });
        }
        let mut tensor = TensorProto {
            dims,
            data_type: Some(element.number()),
            name: Some(name.to_owned()),
            ..TensorProto::default()
        };
        if n_bytes <= N_INLINE_BYTES_MAX {
            tensor.raw_data = Some(Bytes::copy_from_slice(elements));
        } else {
            let alignment = if n_bytes < N_PAGED_BYTES_MIN { CACHE_LINE } else { PAGE };
            let offset = self
                .append(elements, alignment)
                .map_err(|source| WriteOnnxError::Io { path: self.data_path.clone(), source })?;
            refer_to(&mut tensor, &self.location, offset, n_bytes as u64);
        }
        Ok(tensor)
    }

    /// Write out what is buffered, then the graph.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn finish(mut self, model: &ModelProto) -> Result<(), WriteOnnxError> {
        self.data
            .flush()
            .map_err(|source| WriteOnnxError::Io { path: self.data_path.clone(), source })?;
        std::fs::write(&self.graph_path, model.encode_to_vec())
            .map_err(|source| WriteOnnxError::Io { path: self.graph_path.clone(), source })
    }

    /// Append at the next multiple of `alignment`; gives the offset.
    fn append(&mut self, elements: &[u8], alignment: u64) -> std::io::Result<u64> {
        let offset = self.n_bytes.next_multiple_of(alignment);
        let padding = vec![0; usize::try_from(offset - self.n_bytes).unwrap_or(0)];
        self.data.write_all(&padding)?;
        self.data.write_all(elements)?;
        self.n_bytes = offset + elements.len() as u64;
        Ok(offset)
    }
}
