//! The constants of an OpenVINO IR as tensors.
//!
//! Codes are recognised by the layers that turn them into floats, as NNCF and our own exporter
//! write them:
//!
//! ```text
//! Const codes ─ Convert ─ Subtract ─ Multiply ─ Reshape     the last where a row has many groups
//! Const zero points ─ Convert ┘        │
//!                  Const scales ─ (Convert)                 one for each group of the last dimension
//! ```

use std::borrow::Cow;
use std::path::Path;

use lapwing_formats::gguf::DType;
use lapwing_formats::ir::{Constant, ElementType, IrModel, Layer};

use super::OpenSourceError;
use crate::Tensor;
use crate::grid::{Floats, Grid, ZeroPoints};
use crate::tensor::Encoding;

/// Conversions between a constant and what it is used for.
const N_CONVERSIONS_MAX: usize = 4;

/// An open IR.
#[derive(Debug)]
pub(crate) struct IrWeights {
    model: IrModel,
    /// Sorted by name.
    entries: Vec<Entry>,
}

/// Layer ids of the parts of a tensor: few bytes, since an IR may have many layers.
#[derive(Clone, Copy, Debug)]
struct Entry {
    constant: u32,
    codes: Option<CodeParts>,
}

#[derive(Clone, Copy, Debug)]
struct CodeParts {
    scales: u32,
    zero_points: Option<u32>,
    /// What has the tensor's shape, where the constant has another.
    reshape: Option<u32>,
}

impl IrWeights {
    /// Open the IR at `xml_path` and the BIN beside it.
    pub(super) fn open(xml_path: &Path) -> Result<IrWeights, OpenSourceError> {
        let model = IrModel::open(xml_path)?;
        let mut ir = IrWeights { model, entries: Vec::new() };
        let mut entries = ir.code_entries();
        let mut parts: Vec<u32> =
            entries.iter().flat_map(|entry| entry.codes).flat_map(CodeParts::constants).collect();
        parts.sort_unstable();
        let floats = ir.model.layers().filter(|layer| {
            layer.constant().is_some_and(|constant| float_type(&constant).is_some())
                && parts.binary_search(&layer.id()).is_err()
        });
        entries.extend(floats.map(|layer| Entry { constant: layer.id(), codes: None }));
        entries.sort_unstable_by(|a, b| ir.name(a).cmp(&ir.name(b)));
        let twice = entries.windows(2).find(|pair| ir.name(&pair[0]) == ir.name(&pair[1]));
        if let Some(pair) = twice {
            let (path, name) = (xml_path.to_owned(), ir.name(&pair[0]).into_owned());
            return Err(OpenSourceError::NameTwice { path, name });
        }
        ir.entries = entries;
        Ok(ir)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.entries.iter().map(|entry| self.name(entry))
    }

    pub(super) fn tensor(&self, name: &str) -> Option<Tensor<'_>> {
        let found = self.entries.binary_search_by(|entry| (*self.name(entry)).cmp(name)).ok()?;
        self.view(self.entries[found])
    }

    pub(super) fn files(&self) -> Vec<&Path> {
        vec![self.model.xml_path(), self.model.bin().path()]
    }

    /// The constants that are understood as codes, each with the layers that it is understood by.
    fn code_entries(&self) -> Vec<Entry> {
        let of_kind = |kind: &'static str| self.model.layers().filter(move |l| l.kind() == kind);
        // What gives the floats, and the tensor.
        let mut found: Vec<(u32, Entry)> = of_kind("Multiply")
            .filter_map(|multiply| Some((multiply.id(), code_entry(multiply)?)))
            .collect();
        found.sort_unstable_by_key(|&(multiply, _)| multiply);
        for reshape in of_kind("Reshape") {
            let Some(source) = reshape.sources().next() else { continue };
            let at = found.binary_search_by_key(&source.id(), |&(multiply, _)| multiply);
            if let Some(codes) = at.ok().and_then(|at| found[at].1.codes.as_mut()) {
                codes.reshape = Some(reshape.id());
            }
        }
        let mut entries: Vec<Entry> = found.into_iter().map(|(_, entry)| entry).collect();
        // Two products of the same codes are one tensor.
        entries.sort_by_key(|entry| entry.constant);
        entries.dedup_by_key(|entry| entry.constant);
        entries.retain(|&entry| self.view(entry).is_some());
        entries
    }

    fn name(&self, entry: &Entry) -> Cow<'_, str> {
        self.model.layer(entry.constant).map(|layer| layer.name()).unwrap_or_default()
    }

    fn view(&self, entry: Entry) -> Option<Tensor<'_>> {
        let constant = self.model.layer(entry.constant)?.constant()?;
        match entry.codes {
            Some(parts) => self.grid(&constant, parts),
            None => {
                let Floats { dtype, bytes } = self.floats(&constant)?;
                let shape = sizes(&constant)?;
                let n_bytes = product(&shape)?.checked_mul(dtype.block()?.1)?;
                // OpenVINO writes one byte for a constant without elements.
                Some(Tensor::of_blocks(shape, dtype, bytes.get(..n_bytes)?))
            }
        }
    }

    fn grid(&self, constant: &Constant<'_>, parts: CodeParts) -> Option<Tensor<'_>> {
        let (n_bits, is_signed) = width(constant.element_type)?;
        let dims = sizes(constant)?;
        let shape = match parts.reshape {
            None => dims.clone(),
            Some(id) => {
                let dims = self.model.layer(id)?.outputs().next()?.dims;
                let fixed = dims.into_iter().map(|dim| usize::try_from(dim.fixed()?).ok());
                fixed.collect::<Option<Vec<usize>>>()?
            }
        };
        let (n_elements, &n_columns) = (product(&shape)?, shape.last()?);
        let (&group_size, group_dims) = dims.split_last()?;
        // A group, and a row of 4-bit codes, must not begin inside of another or of a byte.
        let fits = Some(n_elements) == product(&dims)
            && group_size > 0
            && n_columns.is_multiple_of(group_size)
            && n_columns.checked_mul(n_bits)?.is_multiple_of(8);
        if !fits {
            return None;
        }
        let zero_points = match parts.zero_points {
            None if is_signed => ZeroPoints::Middle,
            None => ZeroPoints::Lowest,
            Some(id) => {
                let zeros = self.one_a_group(id, group_dims)?;
                match width(zeros.element_type) {
                    Some(found) if found == (n_bits, is_signed) => ZeroPoints::Codes {
                        bytes: self.model.constant_bytes(&zeros),
                        n_row_codes: n_columns / group_size,
                    },
                    Some(_) => return None,
                    None => ZeroPoints::Floats(self.floats(&zeros)?),
                }
            }
        };
        let grid = Grid {
            n_rows: n_elements.checked_div(n_columns)?,
            n_columns,
            n_bits,
            is_signed,
            codes: self.model.constant_bytes(constant),
            n_row_bytes: n_columns * n_bits / 8,
            group_size,
            scales: self.floats(&self.one_a_group(parts.scales, group_dims)?)?,
            zero_points,
        };
        let encoding = Encoding::Grid(grid.checked()?);
        Some(Tensor::new(shape, encoding))
    }

    /// The constant with this id, when it has one element for each group of these sizes.
    fn one_a_group(&self, id: u32, group_dims: &[usize]) -> Option<Constant<'_>> {
        let constant = self.model.layer(id)?.constant()?;
        let fits = sizes(&constant)?.split_last()? == (&1, group_dims);
        fits.then_some(constant)
    }

    fn floats(&self, constant: &Constant<'_>) -> Option<Floats<'_>> {
        let dtype = float_type(constant)?;
        Some(Floats { dtype, bytes: self.model.constant_bytes(constant) })
    }
}

impl CodeParts {
    fn constants(self) -> impl Iterator<Item = u32> {
        std::iter::once(self.scales).chain(self.zero_points)
    }
}

/// The codes that a product turns into floats, if it does.
fn code_entry(multiply: Layer<'_>) -> Option<Entry> {
    let [distance, scales] = two_sources(multiply)?;
    let (codes, zero_points) = match &*distance.kind() {
        "Subtract" => {
            let [codes, zero_points] = two_sources(distance)?;
            (codes, Some(constant_behind(zero_points)?.0))
        }
        _ => (distance, None),
    };
    let (constant, element_type) = constant_behind(codes)?;
    width(element_type)?;
    let scales = constant_behind(scales)?.0;
    let codes = Some(CodeParts { scales, zero_points, reshape: None });
    Some(Entry { constant, codes })
}

fn two_sources<'a>(layer: Layer<'a>) -> Option<[Layer<'a>; 2]> {
    let mut sources = layer.sources();
    let both = [sources.next()?, sources.next()?];
    sources.next().is_none().then_some(both)
}

/// The constant that is given, perhaps converted, and its type.
fn constant_behind(layer: Layer<'_>) -> Option<(u32, ElementType)> {
    let mut layer = layer;
    for _ in 0..N_CONVERSIONS_MAX {
        match &*layer.kind() {
            "Convert" => layer = layer.sources().next()?,
            _ => return layer.constant().map(|constant| (layer.id(), constant.element_type)),
        }
    }
    None
}

fn float_type(constant: &Constant<'_>) -> Option<DType> {
    match constant.element_type {
        ElementType::F32 => Some(DType::F32),
        ElementType::F16 => Some(DType::F16),
        ElementType::Bf16 => Some(DType::BF16),
        _ => None,
    }
}

/// Bits of a code, and whether it is in two's complement.
fn width(element_type: ElementType) -> Option<(usize, bool)> {
    match element_type {
        ElementType::U4 => Some((4, false)),
        ElementType::I4 => Some((4, true)),
        ElementType::U8 => Some((8, false)),
        ElementType::I8 => Some((8, true)),
        _ => None,
    }
}

fn sizes(constant: &Constant<'_>) -> Option<Vec<usize>> {
    constant.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect()
}

fn product(sizes: &[usize]) -> Option<usize> {
    sizes.iter().try_fold(1_usize, |product, &size| product.checked_mul(size))
}
