//! The files that decide what a model computes, and what they hash to.
//!
//! A hash names a model in records and correction profiles: an export that was made again with
//! other weights is another model, a folder that was moved is the same.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use lapwing_files::FileError;
use lapwing_files::checksum::{self, HashError};
use lapwing_formats::onnx::{ExternalError, OnnxModel, OpenOnnxError};
use lapwing_formats::{MapError, Watch};
use lapwing_model::{FolderKind, ModelFolder};
use serde_json::{Value, json};

/// The graph and its weights, in the order of their hash.
#[derive(Debug, Clone)]
pub struct ModelFiles(Vec<ModelFile>);

#[derive(Debug, Clone)]
struct ModelFile {
    /// In the folder of the graph.
    name: String,
    path: PathBuf,
    n_bytes: u64,
    modified: SystemTime,
}

/// Why the files of a model cannot be told or read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ModelFilesError {
    /// One cannot be read.
    #[error(transparent)]
    Read(#[from] FileError),
    /// One cannot be read to its end, or whoever asked wants no more.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// One cannot be opened.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The graph does not say where its weights are.
    #[error("cannot read {}", path.display())]
    Graph { path: PathBuf, source: Box<OpenOnnxError> },
    /// A tensor of the graph does not say where it is.
    #[error("cannot tell the files of {}", path.display())]
    Tensor { path: PathBuf, source: ExternalError },
}

impl ModelFiles {
    /// The graph first, then the files of its weights by name, then in the same way the graphs that
    /// feed it.
    ///
    /// # Errors
    ///
    /// When one is not there or the graph is malformed.
    pub fn of(folder: &ModelFolder) -> Result<ModelFiles, ModelFilesError> {
        let mut paths = Vec::new();
        for graph in std::iter::once(&folder.graph).chain(&folder.embeddings) {
            paths.push(graph.clone());
            match folder.kind {
                FolderKind::OpenVinoIr => paths.push(graph.with_extension("bin")),
                FolderKind::OnnxGenai | FolderKind::TransformersJs => {
                    let names = external_names(graph)?;
                    paths.extend(names.iter().map(|name| graph.with_file_name(name)));
                }
            }
        }
        let root = folder.graph.parent().map(PathBuf::from).unwrap_or_default();
        let file = |path: PathBuf| -> Result<ModelFile, FileError> {
            let metadata = std::fs::metadata(&path).map_err(FileError::cannot("read", &path))?;
            let name = path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().into_owned();
            let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
            Ok(ModelFile { name, n_bytes: metadata.len(), modified, path })
        };
        Ok(ModelFiles(paths.into_iter().map(file).collect::<Result<_, _>>()?))
    }

    /// Watch all of them from now on, so that [`lapwing_formats::require_unchanged`] tells of a change.
    pub(crate) fn watch(&self) -> Result<Vec<Watch>, ModelFilesError> {
        self.0.iter().map(|file| Ok(Watch::open(&file.path)?)).collect()
    }

    /// SHA-256 of all of them: of one line for each, with its name, its length and its own SHA-256.
    ///
    /// # Errors
    ///
    /// When one cannot be read, or with [`HashError::Interrupted`] once `is_stopped` says so.
    pub fn sha256(&self, is_stopped: &dyn Fn() -> bool) -> Result<String, ModelFilesError> {
        let mut lines = String::new();
        for ModelFile { name, path, n_bytes, .. } in &self.0 {
            let sha256 = checksum::sha256_file(path, &mut |_| {}, is_stopped)?;
            lines.push_str(&format!("{name} {n_bytes} {sha256}\n"));
        }
        Ok(checksum::sha256_bytes(lines.as_bytes()))
    }

    /// What changes when a file is replaced, without reading any: names, lengths and times.
    pub fn stamp(&self) -> Value {
        let files = self.0.iter().map(|file| {
            let since = file.modified.duration_since(UNIX_EPOCH).unwrap_or_default();
            json!([file.name, file.n_bytes, since.as_nanos().to_string()])
        });
        files.collect()
    }

    /// Length of all of them.
    pub fn n_bytes(&self) -> u64 {
        self.0.iter().map(|file| file.n_bytes).sum()
    }
}

/// Files that the tensors of an ONNX graph lie in, by name.
fn external_names(graph: &Path) -> Result<BTreeSet<String>, ModelFilesError> {
    let path = || graph.to_owned();
    let model = OnnxModel::open(graph)
        .map_err(|source| ModelFilesError::Graph { path: path(), source: Box::new(source) })?;
    model.tensor_files().map_err(|source| ModelFilesError::Tensor { path: path(), source })
}

/// What a model is called: the name of its folder, which is its name in the store too, and the
/// variant where there are several.
pub fn folder_name(path: &Path, folder: &ModelFolder) -> String {
    let absolute = std::path::absolute(path).ok();
    let name = absolute.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy());
    let name = name.map_or("model".to_owned(), |name| name.into_owned());
    // Two variants of one folder are two models.
    match &folder.variant {
        Some(variant) => format!("{name}.{variant}"),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(contents: &[(&str, &str)], folder: &Path) -> ModelFiles {
        let files = contents.iter().map(|(name, text)| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            let n_bytes = text.len() as u64;
            ModelFile { name: (*name).into(), path, n_bytes, modified: UNIX_EPOCH }
        });
        ModelFiles(files.collect())
    }

    #[test]
    fn the_hash_tells_names_and_borders_apart() {
        let folder = tempfile::tempdir().unwrap();
        let hash =
            |contents: &[(&str, &str)]| files(contents, folder.path()).sha256(&|| false).unwrap();
        let first = hash(&[("a.xml", "graph"), ("a.bin", "weights")]);
        assert_eq!(first, hash(&[("a.xml", "graph"), ("a.bin", "weights")]));
        for other in [
            [("a.xml", "graph"), ("a.bin", "weightz")],
            [("a.xml", "graph"), ("b.bin", "weights")],
            [("a.xml", "graphw"), ("a.bin", "eights")],
        ] {
            assert_ne!(first, hash(&other), "{other:?}");
        }
    }

    #[test]
    fn the_files_of_constants_are_the_models_too() {
        use lapwing_formats::onnx::proto::{
            AttributeProto, NodeProto, StringStringEntryProto, TensorProto,
        };

        let folder = tempfile::tempdir().unwrap();
        let graph = folder.path().join("model.onnx");
        let fixture: &[u8] = include_bytes!("../../lapwing-formats/tests/data/inline.onnx");
        let mut model = OnnxModel::decode(&graph, fixture.into()).unwrap();
        let entry = StringStringEntryProto {
            key: Some("location".to_owned()),
            value: Some("constants.data".to_owned()),
        };
        let tensor = TensorProto {
            dims: vec![4],
            data_type: Some(1),
            external_data: vec![entry],
            data_location: Some(TensorProto::EXTERNAL),
            ..TensorProto::default()
        };
        let mut value = AttributeProto::int("value", 0);
        value.t = Some(Box::new(tensor));
        let node = NodeProto::new("", "Constant", &[], &["of_a_file"]).with(value);
        model.graph_mut().node.push(node.encoded());
        std::fs::write(&graph, model.encode()).unwrap();
        assert!(matches!(external_names(&graph), Err(ModelFilesError::Graph { .. })));
        std::fs::write(folder.path().join("constants.data"), [0; 16]).unwrap();
        assert_eq!(external_names(&graph).unwrap(), ["constants.data".to_owned()].into());
    }

    #[test]
    fn what_is_watched_is_missed_when_it_changes_and_told_when_it_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let found =
            files(&[("a.xml", "graph"), ("a.bin", ""), ("b.bin", "weights")], folder.path());
        for name in ["a.bin", "b.bin"] {
            let watches = found.watch().unwrap();
            lapwing_formats::require_unchanged(folder.path()).unwrap();
            std::fs::write(folder.path().join(name), "longer than it was").unwrap();
            let changed = lapwing_formats::require_unchanged(folder.path()).unwrap_err();
            assert_eq!(changed.path, folder.path().join(name));
            drop(watches);
            lapwing_formats::require_unchanged(folder.path()).unwrap();
        }
        std::fs::remove_file(folder.path().join("b.bin")).unwrap();
        let error = found.watch().unwrap_err();
        assert!(error.to_string().contains("b.bin"), "{error}");
    }

    #[test]
    fn graphs_that_feed_another_belong_to_the_model() {
        let folder = tempfile::tempdir().unwrap();
        let graphs = ["language", "text_embeddings", "text_embeddings_per_layer"];
        for name in graphs.map(|name| format!("openvino_{name}_model")) {
            for ending in ["xml", "bin"] {
                std::fs::write(folder.path().join(format!("{name}.{ending}")), &name).unwrap();
            }
        }
        let config = r#"{"vocab_size": 9, "num_hidden_layers": 1, "hidden_size": 4}"#;
        std::fs::write(folder.path().join("config.json"), config).unwrap();
        let hash = || {
            let model = ModelFolder::open(folder.path(), None).unwrap();
            ModelFiles::of(&model).unwrap().sha256(&|| false).unwrap()
        };
        let before = hash();
        for name in ["text_embeddings_model.bin", "text_embeddings_per_layer_model.xml"] {
            let file = folder.path().join(format!("openvino_{name}"));
            let text = std::fs::read(&file).unwrap();
            std::fs::write(&file, "other").unwrap();
            assert_ne!(hash(), before, "{name}");
            std::fs::write(&file, text).unwrap();
        }
        assert_eq!(hash(), before);
    }

    #[test]
    fn the_stamp_changes_with_the_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut found = files(&[("a.xml", "graph")], folder.path());
        let before = found.stamp();
        found.0[0].modified += std::time::Duration::from_nanos(1);
        assert_ne!(before, found.stamp());
        assert_eq!(found.n_bytes(), 5);
    }
}
