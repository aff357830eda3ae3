//! Files and folders of named tensors.

mod ir;
mod onnx;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use lapwing_formats::MapError;
use lapwing_formats::gguf::{DType, DequantizeError, Gguf, OpenGgufError, dequantize};
use lapwing_formats::ir::OpenIrError;
use lapwing_formats::mx::N_BLOCK_ELEMENTS;
use lapwing_formats::onnx::{OnnxModel, OpenOnnxError};
use lapwing_formats::safetensors::{self, Dtype, OpenSafeTensorsError, SafeTensors};
use lapwing_model::{FolderKind, ModelFolder, OpenFolderError};

use crate::tensor::{Encoding, Mx, Tensor};
use ir::IrWeights;
use onnx::OnnxWeights;

/// An open source of weights, whose tensors borrow from its memory maps.
///
/// Names are those of the file. Of a graph, floats and the codes that Lapwing understands are
/// tensors; what a graph computes with beside weights (integers, truths) is none.
#[derive(Debug)]
pub struct Source(pub(crate) Files);

/// The files of a source.
#[derive(Debug)]
pub(crate) enum Files {
    Gguf(Gguf),
    SafeTensors(SafeTensors),
    /// The constants of an OpenVINO IR.
    Ir(IrWeights),
    /// The initializers of an ONNX graph.
    Onnx(Box<OnnxWeights>),
}

/// Why a source of weights could not be opened.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum OpenSourceError {
    /// The folder is neither safetensors nor a model folder.
    #[error(transparent)]
    Folder(#[from] OpenFolderError),
    /// The GGUF file is damaged or unreadable.
    #[error(transparent)]
    Gguf(#[from] OpenGgufError),
    /// A safetensors file is damaged or unreadable.
    #[error(transparent)]
    SafeTensors(#[from] OpenSafeTensorsError),
    /// The IR is damaged or unreadable.
    #[error(transparent)]
    Ir(#[from] OpenIrError),
    /// The ONNX graph is damaged or unreadable.
    #[error(transparent)]
    Onnx(#[from] OpenOnnxError),
    /// A file that the graph names cannot be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// Nobody could tell two of its tensors apart.
    #[error("{} has two tensors of the name {name}", path.display())]
    NameTwice { path: PathBuf, name: String },
}

/// What elements are read.
pub(crate) const READ_TYPES: &str = "a float or a type of the Q4, Q5, Q6_K, Q8_0 and MXFP4 kinds";

/// Why a tensor cannot be read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ReadTensorError {
    /// There is none of this name.
    #[error("{} has no tensor {name}", path.display())]
    Missing { path: PathBuf, name: String },
    /// Its elements are of a type that is not understood.
    #[error("{}: type of {name}: expected {READ_TYPES}, found {found}", path.display())]
    Encoding { path: PathBuf, name: String, found: String },
    /// It is MXFP4, of which one half is missing or does not belong to the other.
    #[error("{}: {half}: expected {expected}, found {found}", path.display())]
    Half { path: PathBuf, half: String, expected: String, found: String },
}

impl Source {
    /// Open the GGUF, XML or ONNX file, or the folder of safetensors or of an exported model, at
    /// `path`.
    ///
    /// # Errors
    ///
    /// When it is none of these, or a file is missing or damaged.
    pub fn open(path: &Path) -> Result<Source, OpenSourceError> {
        if !path.is_dir() {
            let files = match path.extension().and_then(|extension| extension.to_str()) {
                Some("xml") => Files::Ir(IrWeights::open(path)?),
                Some("onnx") => Files::Onnx(Box::new(OnnxWeights::open(path)?)),
                _ => Files::Gguf(Gguf::open(path)?),
            };
            return Ok(Source(files));
        }
        if has_safetensors(path) {
            return Ok(Source(Files::SafeTensors(SafeTensors::open(path)?)));
        }
        let folder = ModelFolder::open(path, None)?;
        Ok(Source(match folder.kind {
            FolderKind::OpenVinoIr => Files::Ir(IrWeights::open(&folder.graph)?),
            FolderKind::OnnxGenai | FolderKind::TransformersJs => {
                Files::Onnx(Box::new(OnnxWeights::open(&folder.graph)?))
            }
        }))
    }

    /// Every name, in the order of the file, or sorted.
    pub fn names(&self) -> Vec<Cow<'_, str>> {
        match &self.0 {
            Files::Gguf(gguf) => gguf.tensors().map(|tensor| tensor.name.into()).collect(),
            Files::SafeTensors(files) => files.tensors().map(|tensor| tensor.name.into()).collect(),
            Files::Ir(ir) => ir.names().collect(),
            Files::Onnx(onnx) => onnx.names().map(Cow::from).collect(),
        }
    }

    /// The tensor of this name.
    ///
    /// # Errors
    ///
    /// When there is none, or its type is not understood.
    pub fn tensor(&self, name: &str) -> Result<Tensor<'_>, ReadTensorError> {
        let found = match &self.0 {
            Files::Gguf(gguf) => gguf.tensor(name).map(|tensor| {
                let refused = dequantize(tensor.dtype, &[], &mut []);
                let is_read = !matches!(refused, Err(DequantizeError::Type { .. }));
                let dtype = if is_read { Ok(tensor.dtype) } else { Err(tensor.dtype.to_string()) };
                dtype.map(|dtype| Tensor::of_blocks(tensor.shape.to_vec(), dtype, tensor.bytes))
            }),
            Files::SafeTensors(files) if is_half(files, name) => {
                let half = |(half, expected, found)| {
                    let path = self.path().to_owned();
                    ReadTensorError::Half { path, half, expected, found }
                };
                return mx(files, name).map_err(half);
            }
            Files::SafeTensors(files) => files.tensor(name).map(|tensor| {
                let dtype = match tensor.dtype {
                    Dtype::F32 => Ok(DType::F32),
                    Dtype::F16 => Ok(DType::F16),
                    Dtype::BF16 => Ok(DType::BF16),
                    other => Err(other.to_string()),
                };
                dtype.map(|dtype| Tensor::of_blocks(tensor.shape.to_vec(), dtype, tensor.bytes))
            }),
            Files::Ir(ir) => ir.tensor(name).map(Ok),
            Files::Onnx(onnx) => onnx.tensor(name).map(Ok),
        };
        let named = || (self.path().to_owned(), name.to_owned());
        match found {
            Some(Ok(tensor)) => Ok(tensor),
            Some(Err(found)) => {
                let (path, name) = named();
                Err(ReadTensorError::Encoding { path, name, found })
            }
            None => {
                let (path, name) = named();
                Err(ReadTensorError::Missing { path, name })
            }
        }
    }

    /// The graph, where this is one of ONNX.
    pub fn onnx(&self) -> Option<&OnnxModel> {
        match &self.0 {
            Files::Onnx(onnx) => Some(onnx.model()),
            _ => None,
        }
    }

    /// Every file that is read, in the order of their names.
    pub fn files(&self) -> Vec<&Path> {
        let mut files: Vec<&Path> = match &self.0 {
            Files::Gguf(gguf) => gguf.paths().collect(),
            Files::SafeTensors(shards) => shards.files().iter().map(|file| file.path()).collect(),
            Files::Ir(ir) => ir.files(),
            Files::Onnx(onnx) => onnx.files(),
        };
        files.sort();
        files
    }

    /// The file that messages name.
    fn path(&self) -> &Path {
        self.files().first().copied().unwrap_or(Path::new(""))
    }
}

/// What the names of codes of MXFP4 end in.
const BLOCKS: &str = "_blocks";

/// The exponents of the MXFP4 codes of this name, as transformers stores both: `x_blocks` as
/// `[…, n_blocks, 16]` beside `x_scales` as `[…, n_blocks]`.
pub(crate) fn mx_scales_name(blocks_name: &str) -> Option<String> {
    Some(format!("{}_scales", blocks_name.strip_suffix(BLOCKS)?))
}

/// Whether a tensor of this name would have the codes of MXFP4.
fn is_half(files: &SafeTensors, name: &str) -> bool {
    let has_scales = mx_scales_name(name).is_some_and(|scales| files.tensor(&scales).is_some());
    let is_bytes = || files.tensor(name).is_some_and(|codes| codes.dtype == Dtype::U8);
    has_scales || name.ends_with(BLOCKS) && is_bytes()
}

/// The tensor of MXFP4 whose codes have this name; else which half is wrong, what was expected and
/// what is there.
fn mx<'a>(files: &'a SafeTensors, name: &str) -> Result<Tensor<'a>, (String, String, String)> {
    const N_BLOCK_BYTES: usize = N_BLOCK_ELEMENTS / 2;
    let scales = mx_scales_name(name).unwrap_or_default();
    let (codes, exponents) = (files.tensor(name), files.tensor(&scales));
    let found = |tensor: Option<safetensors::Tensor<'_>>| match tensor {
        Some(tensor) => format!("{} {:?}", tensor.dtype, tensor.shape),
        None => "no such tensor".to_owned(),
    };
    let is_whole = |codes: &safetensors::Tensor<'_>| {
        codes.dtype == Dtype::U8 && codes.shape.last() == Some(&N_BLOCK_BYTES)
    };
    let parts = codes.filter(is_whole).and_then(|codes| {
        let (n_blocks, rows) = codes.shape.split_last()?.1.split_last()?;
        let shape = [rows, &[n_blocks.checked_mul(N_BLOCK_ELEMENTS)?]].concat();
        Some((codes, shape))
    });
    let Some((codes, shape)) = parts else {
        let expected = format!("{name} as U8 [experts, rows, blocks, {N_BLOCK_BYTES}]");
        return Err((format!("codes of MXFP4 beside {scales}"), expected, found(codes)));
    };
    let expected = &codes.shape[..codes.shape.len() - 1];
    match exponents.filter(|of| of.dtype == Dtype::U8 && of.shape == expected) {
        Some(exponents) => {
            let mx = Mx { codes: codes.bytes, exponents: exponents.bytes };
            Ok(Tensor::new(shape, Encoding::Mx(mx)))
        }
        None => {
            let expected = format!("{scales} as U8 {expected:?}");
            Err((format!("exponents of MXFP4 beside {name}"), expected, found(exponents)))
        }
    }
}

/// Whether any file of `folder` is safetensors, or an index of them.
pub(crate) fn has_safetensors(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).any(|name| {
        let name = name.to_string_lossy();
        name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json")
    })
}
