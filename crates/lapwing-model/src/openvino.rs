//! Folders of optimum-intel: a graph, or that of a language model with those that feed it.

use std::fs;
use std::path::{Path, PathBuf};

use lapwing_files::regular::is_there;

use crate::json::require_file;
use crate::{FolderKind, ModelFolder, OpenFolderError, hugging_face};

/// Token ids to what the language model takes in their place.
const EMBEDDINGS: &str = "openvino_text_embeddings_model.xml";

/// The same for every one of its layers, as Gemma 4 has it.
const EMBEDDINGS_PER_LAYER: &str = "openvino_text_embeddings_per_layer_model.xml";

/// Words in the names of graphs for what is not text.
const OTHER_PARTS: [&str; 2] = ["vision", "audio"];

/// The graph that gives logits; none where there is no such file.
pub(crate) fn graph(root: &Path) -> Option<PathBuf> {
    let graphs = ["openvino_model.xml", "openvino_language_model.xml"].map(|name| root.join(name));
    graphs.into_iter().find(|graph| is_there(graph))
}

/// `ir` is what [`graph`] found.
pub(crate) fn read(root: &Path, ir: PathBuf) -> Result<ModelFolder, OpenFolderError> {
    let require = |file: &Path| require_file(file, &ir);
    require(&ir.with_extension("bin"))?;
    require(&root.join("config.json"))?;
    let mut embeddings = Vec::new();
    if ir.ends_with("openvino_language_model.xml") {
        embeddings.push(root.join(EMBEDDINGS));
        embeddings.extend(Some(root.join(EMBEDDINGS_PER_LAYER)).filter(|graph| is_there(graph)));
    }
    for graph in &embeddings {
        require(graph)?;
        require(&graph.with_extension("bin"))?;
    }
    let unused_parts = if embeddings.is_empty() { Vec::new() } else { other_parts(root) };
    let folder = hugging_face::read(root, FolderKind::OpenVinoIr, ir)?;
    Ok(ModelFolder { embeddings, unused_parts, ..folder })
}

/// The parts that other graphs in the folder are of.
fn other_parts(root: &Path) -> Vec<&'static str> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("openvino_") && name.ends_with(".xml"))
        .collect();
    let is_there = |part: &&str| names.iter().any(|name| name.contains(part));
    OTHER_PARTS.into_iter().filter(is_there).collect()
}
