//! The initializers of an ONNX graph as tensors.
//!
//! Codes are recognised by the nodes that use them, `MatMulNBits` and `GatherBlockQuantized` of ONNX
//! Runtime: blocks of a row, with a scale and perhaps a zero point for each.

use std::collections::HashMap;
use std::path::Path;

use lapwing_formats::Map;
use lapwing_formats::gguf::DType;
use lapwing_formats::onnx::proto::{NodeProto, TensorProto};
use lapwing_formats::onnx::{ElementType, OnnxModel, Place};

use super::OpenSourceError;
use crate::Tensor;
use crate::grid::{Floats, Grid, ZeroPoints};
use crate::tensor::Encoding;

/// An open graph.
#[derive(Debug)]
pub(crate) struct OnnxWeights {
    model: OnnxModel,
    /// The other files that weights lie in, by their location.
    files: Vec<(String, Map)>,
    /// Sorted by name.
    entries: Vec<Entry>,
}

/// Indices of initializers.
#[derive(Clone, Copy, Debug)]
struct Entry {
    initializer: u32,
    codes: Option<CodeParts>,
}

#[derive(Clone, Copy, Debug)]
struct CodeParts {
    n_rows: u32,
    n_columns: u32,
    n_bits: u8,
    block_size: u32,
    /// Whether rows are padded to whole blocks.
    is_padded: bool,
    scales: u32,
    zero_points: Option<u32>,
}

impl OnnxWeights {
    /// Open the graph at `path` and map the files that it names.
    pub(super) fn open(path: &Path) -> Result<OnnxWeights, OpenSourceError> {
        let model = OnnxModel::open(path)?;
        let mut onnx = OnnxWeights { model, files: Vec::new(), entries: Vec::new() };
        onnx.map_files()?;
        let by_name = onnx.by_name(path)?;
        let mut codes = onnx.code_entries(&by_name);
        let mut parts: Vec<u32> = codes
            .iter()
            .filter_map(|entry| entry.codes)
            .flat_map(CodeParts::initializers)
            .collect();
        parts.sort_unstable();
        codes.sort_by_key(|entry| entry.initializer);
        onnx.entries = by_name
            .into_iter()
            .filter_map(|initializer| {
                let at = codes.binary_search_by_key(&initializer, |entry| entry.initializer);
                let entry = match at {
                    Ok(at) => codes[at],
                    Err(_) if parts.binary_search(&initializer).is_ok() => return None,
                    Err(_) => Entry { initializer, codes: None },
                };
                onnx.view(entry).is_some().then_some(entry)
            })
            .collect();
        Ok(onnx)
    }

    pub(super) fn model(&self) -> &OnnxModel {
        &self.model
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| self.initializer(entry.initializer).name())
    }

    pub(super) fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let name_of = |entry: &Entry| self.initializer(entry.initializer).name();
        let found = self.entries.binary_search_by(|entry| name_of(entry).cmp(name)).ok()?;
        self.view(self.entries[found])
    }

    pub(super) fn files(&self) -> Vec<&Path> {
        let others = self.files.iter().map(|(_, map)| map.path());
        std::iter::once(self.model.path()).chain(others).collect()
    }

    fn initializer(&self, initializer: u32) -> &TensorProto {
        &self.model.graph().initializer[initializer as usize]
    }

    fn map_files(&mut self) -> Result<(), OpenSourceError> {
        for tensor in &self.model.graph().initializer {
            // Those that cannot be read were refused when the model was opened.
            let Ok(Place::External(range)) = tensor.place() else { continue };
            if !self.files.iter().any(|(location, _)| *location == range.location) {
                let map = Map::open(&self.model.folder().join(&range.location))?;
                self.files.push((range.location, map));
            }
        }
        Ok(())
    }

    /// Every initializer, sorted by its name.
    fn by_name(&self, path: &Path) -> Result<Vec<u32>, OpenSourceError> {
        let name = |&initializer: &u32| self.initializer(initializer).name();
        let n_initializers = self.model.graph().initializer.len();
        let mut by_name: Vec<u32> =
            (0..u32::try_from(n_initializers).unwrap_or(u32::MAX)).collect();
        by_name.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        match by_name.windows(2).find(|pair| name(&pair[0]) == name(&pair[1])) {
            None => Ok(by_name),
            Some(pair) => {
                let (path, name) = (path.to_owned(), name(&pair[0]).to_owned());
                Err(OpenSourceError::NameTwice { path, name })
            }
        }
    }

    /// The initializers that are understood as codes; each once.
    fn code_entries(&self, by_name: &[u32]) -> Vec<Entry> {
        let find = |name: &str| {
            let name_of = |&initializer: &u32| self.initializer(initializer).name();
            let found = by_name.binary_search_by(|initializer| name_of(initializer).cmp(name));
            found.ok().map(|at| by_name[at])
        };
        let casts = self.casts();
        let find = |name: &str| find(casts.get(name).map_or(name, String::as_str));
        let mut entries: Vec<Entry> = Vec::new();
        for node in self.model.nodes().flatten() {
            let entry = self.code_entry(&node, find).filter(|&entry| self.view(entry).is_some());
            entries.extend(entry);
        }
        entries.sort_by_key(|entry| entry.initializer);
        entries.dedup_by_key(|entry| entry.initializer);
        entries
    }

    /// What each cast value is cast from: scales may be stored narrower than they are used.
    fn casts(&self) -> HashMap<String, String> {
        let nodes = self.model.nodes().flatten();
        let casts = nodes.filter(|node| node.op_type() == "Cast" && node.domain().is_empty());
        casts
            .filter_map(|node| {
                Some((node.output.into_iter().next()?, node.input.into_iter().next()?))
            })
            .collect()
    }

    /// The codes that a node uses, if it does.
    fn code_entry(&self, node: &NodeProto, find: impl Fn(&str) -> Option<u32>) -> Option<Entry> {
        if node.domain() != "com.microsoft" {
            return None;
        }
        let input = |at: usize| node.input.get(at).map(String::as_str).filter(|n| !n.is_empty());
        let number = |name: &str, default: Option<u32>| match node.attribute(name) {
            Ok(Some(attribute)) => u32::try_from(attribute.i()).ok(),
            Ok(None) => default,
            Err(_) => None,
        };
        let (initializer, n_bits, block_size, n_rows, n_columns, is_padded) = match node.op_type() {
            // An order of the columns other than their own is not understood.
            "MatMulNBits" if input(4).is_none() => {
                let (n_rows, n_columns) = (number("N", None)?, number("K", None)?);
                let (n_bits, block_size) = (number("bits", Some(4))?, number("block_size", None)?);
                (find(input(1)?)?, n_bits, block_size, n_rows, n_columns, true)
            }
            "GatherBlockQuantized" => {
                let initializer = find(input(0)?)?;
                let (n_bits, block_size) =
                    (number("bits", Some(4))?, number("block_size", Some(128))?);
                let is_by_rows =
                    number("gather_axis", Some(0))? == 0 && number("quantize_axis", Some(1))? == 1;
                let &[n_rows, n_row_bytes] = &self.initializer(initializer).dims[..] else {
                    return None;
                };
                let n_columns = n_row_bytes.checked_mul(8)?.checked_div(n_bits.into())?;
                let sizes = (u32::try_from(n_rows).ok()?, u32::try_from(n_columns).ok()?);
                if !is_by_rows {
                    return None;
                }
                (initializer, n_bits, block_size, sizes.0, sizes.1, false)
            }
            _ => return None,
        };
        let codes = CodeParts {
            n_rows,
            n_columns,
            n_bits: u8::try_from(n_bits).ok()?,
            block_size,
            is_padded,
            scales: find(input(2)?)?,
            zero_points: input(3).map(|name| find(name).ok_or(())).transpose().ok()?,
        };
        Some(Entry { initializer, codes: Some(codes) })
    }

    fn view(&self, entry: Entry) -> Option<Tensor<'_>> {
        let tensor = self.initializer(entry.initializer);
        let Some(parts) = entry.codes else {
            let Floats { dtype, bytes } = self.floats(tensor)?;
            let shape: Option<Vec<usize>> =
                tensor.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect();
            return Some(Tensor::of_blocks(shape?, dtype, bytes));
        };
        let (n_rows, n_columns) = (parts.n_rows as usize, parts.n_columns as usize);
        let (n_bits, block_size) = (usize::from(parts.n_bits), parts.block_size as usize);
        if !matches!(n_bits, 4 | 8) || block_size == 0 {
            return None;
        }
        let n_blocks = n_columns.div_ceil(block_size);
        let n_row_codes =
            if parts.is_padded { n_blocks.checked_mul(block_size)? } else { n_columns };
        let zero_points = match parts.zero_points.map(|zeros| self.initializer(zeros)) {
            None => ZeroPoints::Middle,
            Some(zeros) if is_bytes(zeros) => {
                // Each row of zero points is packed to whole bytes.
                let n_row_codes = n_blocks.next_multiple_of(8 / n_bits);
                ZeroPoints::Codes { bytes: self.bytes(zeros)?, n_row_codes }
            }
            Some(zeros) => ZeroPoints::Floats(self.floats(zeros)?),
        };
        let grid = Grid {
            n_rows,
            n_columns,
            n_bits,
            is_signed: false,
            codes: Some(tensor).filter(|tensor| is_bytes(tensor)).and_then(|t| self.bytes(t))?,
            n_row_bytes: n_row_codes.checked_mul(n_bits)?.div_ceil(8),
            group_size: block_size,
            scales: self.floats(self.initializer(parts.scales))?,
            zero_points,
        };
        let (shape, encoding) = (vec![n_rows, n_columns], Encoding::Grid(grid.checked()?));
        Some(Tensor::new(shape, encoding))
    }

    fn floats<'a>(&'a self, tensor: &'a TensorProto) -> Option<Floats<'a>> {
        let dtype = match ElementType::from_number(tensor.data_type()) {
            ElementType::F32 => DType::F32,
            ElementType::F16 => DType::F16,
            ElementType::Bf16 => DType::BF16,
            _ => return None,
        };
        Some(Floats { dtype, bytes: self.bytes(tensor)? })
    }

    /// The packed elements, as many as the sizes say; none where they are not packed.
    fn bytes<'a>(&'a self, tensor: &'a TensorProto) -> Option<&'a [u8]> {
        let element = ElementType::from_number(tensor.data_type());
        let n_bytes = usize::try_from(element.n_bytes(&tensor.dims)?).ok()?;
        match tensor.place().ok()? {
            Place::Inline => tensor.raw_data.as_deref().filter(|raw| raw.len() == n_bytes),
            Place::External(range) => {
                let (_, map) =
                    self.files.iter().find(|(location, _)| *location == range.location)?;
                let start = usize::try_from(range.offset).ok()?;
                map.get(start..start.checked_add(n_bytes)?)
            }
        }
    }
}

impl CodeParts {
    fn initializers(self) -> impl Iterator<Item = u32> {
        std::iter::once(self.scales).chain(self.zero_points)
    }
}

fn is_bytes(tensor: &TensorProto) -> bool {
    ElementType::from_number(tensor.data_type()) == ElementType::U8
}
