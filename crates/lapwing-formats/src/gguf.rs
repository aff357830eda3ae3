//! GGUF versions 2 and 3: metadata and tensors of a memory-mapped file, or of several that one model
//! was split into.
//!
//! [`Gguf::open`] checks the whole structure once; afterwards values and tensors are views of the
//! maps. Knows nothing of architectures and tokenizers: a key is a key.
//! Source: the GGUF specification in the ggml repository (docs/gguf.md).

mod cursor;
mod dequantize;
mod dtype;
mod split;
mod value;

use std::path::{Path, PathBuf};

use crate::{Map, MapError};
use cursor::Cursor;

pub use dequantize::{DequantizeError, dequantize};
pub use dtype::DType;
pub use split::{SplitName, only_model};
pub use value::{Array, Value, ValueType};

const MAGIC: [u8; 4] = *b"GGUF";
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=3;
const ALIGNMENT_DEFAULT: u64 = 32;
const ALIGNMENT_MAX: u64 = 1 << 20;
const N_DIMENSIONS_MAX: usize = 4;

/// An open GGUF model; tensors and values borrow from its maps.
#[derive(Debug)]
pub struct Gguf {
    /// The file, or all its parts in their order; values are in the first.
    files: Vec<Map>,
    version: u32,
    alignment: u64,
    entries: Vec<Entry>,
    entries_by_key: Vec<u32>,
    tensors: Vec<TensorEntry>,
    tensors_by_name: Vec<u32>,
}

/// One tensor: its description and its still encoded bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tensor<'a> {
    /// Name, as in the file.
    pub name: &'a str,
    /// Encoding of the elements.
    pub dtype: DType,
    /// Sizes, outermost first (the file stores them innermost first).
    pub shape: &'a [usize],
    /// The encoded elements; empty when the type is unknown, as its size then is too.
    pub bytes: &'a [u8],
    /// Where the bytes start in the file, or in the part that holds them.
    pub file_offset: usize,
}

/// Why a GGUF file could not be opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum OpenGgufError {
    /// The file could not be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The bytes break a rule of the format.
    #[error(
        "{} is damaged: {what} at byte {offset}: expected {expected}, found {found}",
        path.display()
    )]
    Malformed { path: PathBuf, what: String, offset: usize, expected: String, found: String },
    /// It is a part of a model, and the other parts are not there or are other ones.
    #[error("{} is not a whole model: {problem}", path.display())]
    Split { path: PathBuf, problem: String },
}

/// A metadata entry, checked; its value is read again from the map when asked for.
#[derive(Debug)]
struct Entry {
    key: Box<str>,
    value_type: ValueType,
    value_offset: usize,
}

#[derive(Debug)]
struct TensorEntry {
    name: Box<str>,
    dtype: DType,
    shape: [usize; N_DIMENSIONS_MAX],
    n_dimensions: u8,
    /// Which of the files.
    part: u16,
    file_offset: usize,
    n_bytes: usize,
}

impl Gguf {
    /// Map the file at `path` and check its structure: every key, value, name, shape and byte range.
    /// Any part of a split model opens all of it: the parts lie beside each other.
    ///
    /// Allocates less than four times the file, whatever its counts claim.
    ///
    /// # Errors
    ///
    /// When the file cannot be mapped, is no GGUF of a known version, ends early, names a key or a
    /// tensor twice, or has tensors that are misaligned, overlap or lie beyond its end; when it is a
    /// part and another is missing.
    pub fn open(path: &Path) -> Result<Gguf, OpenGgufError> {
        split::whole(Gguf::read(Map::open(path)?)?)
    }

    fn read(map: Map) -> Result<Gguf, OpenGgufError> {
        let mut cursor = Cursor::new(map.path(), &map);
        let (version, n_tensors, n_entries) = read_header(&mut cursor)?;
        let entries = read_entries(&mut cursor, n_entries)?;
        let entries_by_key = sorted_by(&entries, |entry| &entry.key);
        refuse_twice(&cursor, "metadata key", &entries, &entries_by_key, |entry| &entry.key)?;
        let mut gguf = Gguf {
            version,
            alignment: ALIGNMENT_DEFAULT,
            entries,
            entries_by_key,
            tensors: Vec::new(),
            tensors_by_name: Vec::new(),
            files: vec![map.clone()],
        };
        gguf.alignment = gguf.stated_alignment(&cursor)?;
        gguf.tensors = read_tensor_entries(&mut cursor, n_tensors)?;
        place_tensors(&cursor, &mut gguf.tensors, gguf.alignment)?;
        gguf.tensors_by_name = sorted_by(&gguf.tensors, |tensor| &tensor.name);
        let by_name = &gguf.tensors_by_name;
        refuse_twice(&cursor, "tensor name", &gguf.tensors, by_name, |tensor| &tensor.name)?;
        Ok(gguf)
    }

    /// Where the file is; of several, the first.
    pub fn path(&self) -> &Path {
        self.files[0].path()
    }

    /// Where all its files are, in the order of the parts.
    pub fn paths(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.files.iter().map(Map::path)
    }

    /// 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Bytes that each tensor's start is a multiple of.
    pub fn alignment(&self) -> u64 {
        self.alignment
    }

    /// The value of a metadata key.
    pub fn get(&self, key: &str) -> Option<Value<'_>> {
        let found = self
            .entries_by_key
            .binary_search_by(|&index| (*self.entries[index as usize].key).cmp(key))
            .ok()?;
        self.value(&self.entries[self.entries_by_key[found] as usize])
    }

    /// Every key with its value, in the order of the file.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.entries.iter().filter_map(|entry| Some((&*entry.key, self.value(entry)?)))
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let found = self
            .tensors_by_name
            .binary_search_by(|&index| (*self.tensors[index as usize].name).cmp(name))
            .ok()?;
        Some(self.view(&self.tensors[self.tensors_by_name[found] as usize]))
    }

    /// Every tensor, in the order of the file or the parts.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = Tensor<'_>> {
        self.tensors.iter().map(|entry| self.view(entry))
    }

    fn value(&self, entry: &Entry) -> Option<Value<'_>> {
        let mut cursor = Cursor::at(self.path(), &self.files[0], entry.value_offset);
        value::read(&mut cursor, entry.value_type).ok()
    }

    fn view<'a>(&'a self, entry: &'a TensorEntry) -> Tensor<'a> {
        Tensor {
            name: &entry.name,
            dtype: entry.dtype,
            shape: entry.shape(),
            bytes: &self.files[usize::from(entry.part)]
                [entry.file_offset..entry.file_offset + entry.n_bytes],
            file_offset: entry.file_offset,
        }
    }

    fn stated_alignment(&self, cursor: &Cursor<'_>) -> Result<u64, OpenGgufError> {
        let Some(value) = self.get("general.alignment") else { return Ok(ALIGNMENT_DEFAULT) };
        match value.as_u64() {
            Some(alignment) if alignment.is_power_of_two() && alignment <= ALIGNMENT_MAX => {
                Ok(alignment)
            }
            _ => Err(cursor.malformed(
                "general.alignment",
                format!("a power of two up to {ALIGNMENT_MAX}"),
                format!("{value:?}"),
            )),
        }
    }
}

impl TensorEntry {
    fn shape(&self) -> &[usize] {
        &self.shape[..usize::from(self.n_dimensions)]
    }
}

fn read_header(cursor: &mut Cursor<'_>) -> Result<(u32, u64, u64), OpenGgufError> {
    let magic = cursor.array::<4>("magic")?;
    if magic != MAGIC {
        return Err(cursor.malformed("magic", "GGUF", format!("\"{}\"", magic.escape_ascii())));
    }
    let version = cursor.u32("version")?;
    if !VERSIONS.contains(&version) {
        let found = match VERSIONS.contains(&version.swap_bytes()) {
            true => "a big-endian file".to_owned(),
            false => version.to_string(),
        };
        return Err(cursor.malformed("version", "2 or 3", found));
    }
    Ok((version, cursor.u64("number of tensors")?, cursor.u64("number of metadata entries")?))
}

/// Read every metadata entry. A first walk proves that the claimed count is there, so that the
/// second may reserve it.
fn read_entries(cursor: &mut Cursor<'_>, n_claimed: u64) -> Result<Vec<Entry>, OpenGgufError> {
    let mut walk = cursor.clone();
    let mut n_entries = 0_usize;
    for _ in 0..n_claimed {
        walk.string("metadata key")?;
        let value_type = ValueType::read(&mut walk)?;
        value::read(&mut walk, value_type)?;
        n_entries += 1;
    }
    let mut entries = Vec::with_capacity(n_entries);
    for _ in 0..n_entries {
        let key = cursor.utf8("metadata key")?.into();
        let value_type = ValueType::read(cursor)?;
        entries.push(Entry { key, value_type, value_offset: cursor.offset() });
        value::read(cursor, value_type)?;
    }
    Ok(entries)
}

/// Read every tensor description; the same two walks as [`read_entries`].
fn read_tensor_entries(
    cursor: &mut Cursor<'_>,
    n_claimed: u64,
) -> Result<Vec<TensorEntry>, OpenGgufError> {
    let mut walk = cursor.clone();
    let mut n_tensors = 0_usize;
    for _ in 0..n_claimed {
        walk.string("tensor name")?;
        let n_dimensions = read_n_dimensions(&mut walk)?;
        walk.take("tensor description", n_dimensions * 8 + 12)?;
        n_tensors += 1;
    }
    let mut tensors = Vec::with_capacity(n_tensors);
    for _ in 0..n_tensors {
        tensors.push(read_tensor_entry(cursor)?);
    }
    Ok(tensors)
}

fn read_tensor_entry(cursor: &mut Cursor<'_>) -> Result<TensorEntry, OpenGgufError> {
    let name: Box<str> = cursor.utf8("tensor name")?.into();
    let n_dimensions = read_n_dimensions(cursor)?;
    let mut shape = [0; N_DIMENSIONS_MAX];
    for size in shape[..n_dimensions].iter_mut().rev() {
        *size = cursor.usize("tensor size")?;
    }
    let dtype = DType::from_id(cursor.u32("tensor type")?);
    let n_bytes = match dtype.n_bytes(&shape[..n_dimensions]) {
        Ok(n_bytes) => n_bytes.unwrap_or(0),
        Err(expected) => {
            let what = format!("shape of {name}");
            return Err(cursor.malformed(what, expected, format!("{:?}", &shape[..n_dimensions])));
        }
    };
    // Relative to the start of the data until `place_tensors`, which knows that start.
    let file_offset = cursor.usize("tensor offset")?;
    let n_dimensions = n_dimensions as u8;
    Ok(TensorEntry { name, dtype, shape, n_dimensions, part: 0, file_offset, n_bytes })
}

fn read_n_dimensions(cursor: &mut Cursor<'_>) -> Result<usize, OpenGgufError> {
    let n_dimensions = cursor.u32("number of dimensions")?;
    usize::try_from(n_dimensions).ok().filter(|&n| n <= N_DIMENSIONS_MAX).ok_or_else(|| {
        let expected = format!("at most {N_DIMENSIONS_MAX}");
        cursor.malformed("number of dimensions", expected, n_dimensions.to_string())
    })
}

/// Turn offsets into file offsets and check that every tensor is aligned, inside the file, and
/// alone there.
fn place_tensors(
    cursor: &Cursor<'_>,
    tensors: &mut [TensorEntry],
    alignment: u64,
) -> Result<(), OpenGgufError> {
    let file_size = cursor.file_size();
    let alignment = alignment as usize;
    let data_start = cursor.offset().next_multiple_of(alignment);
    for tensor in tensors.iter_mut() {
        let what = || format!("data of {}", tensor.name);
        if !tensor.file_offset.is_multiple_of(alignment) {
            let expected = format!("a multiple of {alignment}");
            return Err(cursor.malformed(what(), expected, tensor.file_offset.to_string()));
        }
        let start = data_start.checked_add(tensor.file_offset);
        let end = start.and_then(|start| start.checked_add(tensor.n_bytes));
        match (start, end) {
            (Some(start), Some(end)) if end <= file_size => tensor.file_offset = start,
            (_, Some(end)) => {
                let expected = format!("a file of at least {end} bytes");
                return Err(cursor.malformed(what(), expected, format!("{file_size} bytes")));
            }
            (_, None) => {
                let expected = "an offset within a file";
                return Err(cursor.malformed(what(), expected, tensor.file_offset.to_string()));
            }
        }
    }
    refuse_overlaps(cursor, tensors)
}

fn refuse_overlaps(cursor: &Cursor<'_>, tensors: &[TensorEntry]) -> Result<(), OpenGgufError> {
    let mut by_offset: Vec<u32> = (0..tensors.len() as u32).collect();
    by_offset.retain(|&index| tensors[index as usize].n_bytes > 0);
    by_offset.sort_unstable_by_key(|&index| tensors[index as usize].file_offset);
    for pair in by_offset.windows(2) {
        let (first, second) = (&tensors[pair[0] as usize], &tensors[pair[1] as usize]);
        let first_end = first.file_offset + first.n_bytes;
        if second.file_offset < first_end {
            return Err(cursor.malformed(
                format!("data of {}", second.name),
                format!("a start from byte {first_end} on, the end of {}", first.name),
                second.file_offset.to_string(),
            ));
        }
    }
    Ok(())
}

fn sorted_by<T>(items: &[T], name: impl Fn(&T) -> &str) -> Vec<u32> {
    let mut sorted: Vec<u32> = (0..items.len() as u32).collect();
    sorted.sort_unstable_by(|&a, &b| name(&items[a as usize]).cmp(name(&items[b as usize])));
    sorted
}

fn refuse_twice<T>(
    cursor: &Cursor<'_>,
    what: &str,
    items: &[T],
    sorted: &[u32],
    name: impl Fn(&T) -> &str,
) -> Result<(), OpenGgufError> {
    let twice = sorted
        .windows(2)
        .find(|pair| name(&items[pair[0] as usize]) == name(&items[pair[1] as usize]));
    match twice {
        Some(pair) => {
            let found = format!("{:?} twice", name(&items[pair[0] as usize]));
            Err(cursor.malformed(what, "each name once", found))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
