//! Finding out what a folder is.

use std::fs;
use std::path::{Path, PathBuf};

use lapwing_files::regular::is_there;

use crate::hugging_face::OnnxGraphs;
use crate::{
    Architecture, GenerationDefaults, SpecialTokens, TextFiles, genai, hugging_face, openvino,
};

/// A model folder whose manifests were read.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    /// Where the folder is.
    pub root: PathBuf,
    /// Which of the three conventions it follows.
    pub kind: FolderKind,
    /// The graph: an OpenVINO XML or an ONNX file.
    pub graph: PathBuf,
    /// The graphs that make out of token ids what `graph` takes in their place, in exports of models
    /// that also see or hear. None: it takes token ids.
    pub embeddings: Vec<PathBuf>,
    /// What the folder also holds and nobody here runs: `vision`, `audio`.
    pub unused_parts: Vec<&'static str>,
    /// Which of several graphs this is, in a transformers.js folder: `q4`, `quantized`, `fp32`, ….
    pub variant: Option<String>,
    /// The other variants that lie beside it.
    pub variants: Vec<String>,
    /// The model's shape.
    pub architecture: Architecture,
    /// Its special tokens.
    pub tokens: SpecialTokens,
    /// Its authors' sampling defaults.
    pub generation: GenerationDefaults,
    /// Its tokenizer and chat template.
    pub text: TextFiles,
}

/// The three conventions of exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderKind {
    /// optimum-intel: `openvino_model.xml`, `openvino_model.bin`, `config.json`. Models that also see
    /// or hear have `openvino_language_model.xml` behind `openvino_text_embeddings_model.xml`.
    OpenVinoIr,
    /// onnxruntime-genai: `genai_config.json` names the graph.
    OnnxGenai,
    /// transformers.js and onnx-community: `onnx/model{suffix}.onnx`, `config.json`. Optimum has the
    /// graphs beside `config.json`. Models that also see or hear have
    /// `onnx/decoder_model_merged{suffix}.onnx` behind `onnx/embed_tokens{suffix}.onnx`.
    TransformersJs,
}

/// Why a folder is no model, or one that cannot be read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum OpenFolderError {
    /// There is nothing at the path, or it cannot be entered.
    #[error("cannot open the model folder {}", folder.display())]
    NoFolder { folder: PathBuf, source: std::io::Error },
    /// The path is a file.
    #[error("{} is a file, expected a model folder", path.display())]
    NotAFolder { path: PathBuf },
    /// None of the three manifests is there.
    #[error(
        "{} is no model folder: expected genai_config.json, openvino_model.xml, or \
         onnx/model*.onnx or model*.onnx with config.json, found {found}", folder.display()
    )]
    NoManifest { folder: PathBuf, found: String },
    /// A file that the manifest names is missing.
    #[error("{} is missing: {} names it", file.display(), named_by.display())]
    Missing { file: PathBuf, named_by: PathBuf },
    /// A manifest cannot be read.
    #[error("cannot read {}", file.display())]
    Read { file: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    /// A manifest lacks a value or holds an impossible one.
    #[error("{}: {what}", file.display())]
    Manifest { file: PathBuf, what: String },
    /// The variant asked for is not there.
    #[error("no variant `{asked}` in {}: it has {}", folder.display(), available.join(", "))]
    NoVariant { folder: PathBuf, asked: String, available: Vec<String> },
    /// A variant was asked for, and there is nothing to choose from.
    #[error("no variant `{asked}` in {}: it has one graph only", folder.display())]
    OneGraph { folder: PathBuf, asked: String },
}

impl FolderKind {
    /// The kind's name in records and JSON output.
    pub fn name(self) -> &'static str {
        match self {
            FolderKind::OpenVinoIr => "openvino-ir",
            FolderKind::OnnxGenai => "onnx-genai",
            FolderKind::TransformersJs => "onnx-transformersjs",
        }
    }
}

impl ModelFolder {
    /// Read the folder at `root`. `variant` picks one graph of a transformers.js folder; by
    /// default the first of [`VARIANT_PREFERENCE`](crate::VARIANT_PREFERENCE), else any.
    ///
    /// # Errors
    ///
    /// When the folder is no model, has no such variant, a file it needs is missing, or a manifest
    /// is malformed.
    pub fn open(root: &Path, variant: Option<&str>) -> Result<ModelFolder, OpenFolderError> {
        let metadata = fs::metadata(root)
            .map_err(|source| OpenFolderError::NoFolder { folder: root.to_owned(), source })?;
        if !metadata.is_dir() {
            return Err(OpenFolderError::NotAFolder { path: root.to_owned() });
        }
        let genai_config = root.join("genai_config.json");
        if is_there(&genai_config) {
            refuse_variant(root, variant)?;
            return genai::read(root, &genai_config);
        }
        if let Some(ir) = openvino::graph(root) {
            refuse_variant(root, variant)?;
            return openvino::read(root, ir);
        }
        if let Some(graphs) = OnnxGraphs::find(root)
            && is_there(&root.join("config.json"))
        {
            return hugging_face::read_transformers_js(root, graphs, variant);
        }
        Err(OpenFolderError::NoManifest { folder: root.to_owned(), found: some_files(root) })
    }
}

impl TextFiles {
    pub(crate) fn find(root: &Path) -> TextFiles {
        let existing = |name: &str| Some(root.join(name)).filter(|path| is_there(path));
        TextFiles {
            tokenizer: existing("tokenizer.json"),
            tokenizer_config: existing("tokenizer_config.json"),
            chat_template: existing("chat_template.jinja"),
        }
    }
}

fn refuse_variant(root: &Path, variant: Option<&str>) -> Result<(), OpenFolderError> {
    match variant {
        None => Ok(()),
        Some(asked) => {
            Err(OpenFolderError::OneGraph { folder: root.to_owned(), asked: asked.to_owned() })
        }
    }
}

fn some_files(root: &Path) -> String {
    const N_NAMES: usize = 8;
    let Ok(entries) = fs::read_dir(root) else { return "a folder that cannot be listed".into() };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .take(1000)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    match names.len() {
        0 => "an empty folder".to_owned(),
        n if n <= N_NAMES => names.join(", "),
        n => format!("{} and {} more", names[..N_NAMES].join(", "), n - N_NAMES),
    }
}

#[cfg(test)]
mod tests;
