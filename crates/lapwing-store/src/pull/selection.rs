//! Which files of a repository make up the model.
//!
//! By names only: an OpenVINO folder, one build of onnxruntime-genai among several, one precision
//! of a transformers.js repository, one GGUF file, or a safetensors checkpoint.

mod gguf;

use std::collections::HashSet;

use lapwing_model::{
    ONNX_EMBEDDING, ONNX_STEMS, TOOL_TEMPLATE_FILE, VARIANT_PREFERENCE, onnx_embedding,
};

use crate::model_kind::ModelKind;
use crate::options::Variant;

/// What the ONNX file without a suffix is called.
const FULL_PRECISION: &str = "fp32";
/// Endings of the small files that belong to every model.
const SIDE_FILES: [&str; 4] = [".json", ".jinja", ".txt", ".model"];
/// What the text of a model that also sees or hears needs.
const OPENVINO_WITH_EMBEDDINGS: [&str; 4] = [
    "openvino_language_model.bin",
    "openvino_text_embeddings_model.xml",
    "openvino_text_embeddings_model.bin",
    "config.json",
];
/// Beginnings of graphs that a text model may consist of instead, which nothing here runs.
const OTHER_STEMS: [&str; 2] = ["decoder_", "embed_tokens"];
/// The beginning of the graph of an encoder whose text a decoder is to go on from: another kind of
/// model than this program runs.
const ENCODER_STEM: &str = "encoder_model";

/// A file of the repository and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selected<'a> {
    /// Path in the repository.
    pub(super) remote: &'a str,
    /// Path in the model's folder.
    pub(super) local: &'a str,
}

/// The files of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selection<'a> {
    pub(super) files: Vec<Selected<'a>>,
    /// Which of several: as it was asked for, else as the repository calls it.
    pub(super) variant: Option<String>,
}

/// Why no files could be chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum SelectError {
    /// Nothing that looks like a model.
    #[error("no model in {repo}: expected openvino_model.xml, .onnx, .gguf or .safetensors")]
    NoModel { repo: String },
    /// The variant that was asked for is not there.
    #[error("no variant \"{variant}\" in {repo}; it has {found}")]
    NoVariant { repo: String, variant: String, found: String },
    /// A file name that would leave the folder.
    #[error("the repository {repo} has a file with an unsafe name: \"{path}\"")]
    UnsafeName { repo: String, path: String },
    /// A file that the catalogue names is not there.
    #[error("no {path} in {repo}")]
    NoFile { repo: String, path: String },
    /// Several models have what was asked for, or would be taken by default.
    #[error("several models in {repo} are {variant}: {found}")]
    Several { repo: String, variant: String, found: String },
    /// A model that no command could open once it was here.
    #[error("the model in {repo} cannot be used: {problem}")]
    Unusable { repo: String, problem: String },
}

/// Choose among `paths`, all files of `repo`.
///
/// # Errors
///
/// When there is no model, not the variant asked for, or a name would leave the folder.
pub(super) fn select<'a>(
    repo: &str,
    paths: &[&'a str],
    kind: Option<ModelKind>,
    variant: Option<&Variant>,
    files: &'a [String],
) -> Result<Selection<'a>, SelectError> {
    let repo_name = || repo.to_owned();
    if !files.is_empty() {
        let missing = files.iter().find(|file| !paths.contains(&file.as_str()));
        if let Some(path) = missing {
            return Err(SelectError::NoFile { repo: repo_name(), path: path.clone() });
        }
        let files = checked(repo, files.iter().map(|path| whole(path)).collect())?;
        return Ok(Selection { files, variant: variant.and_then(insisted) });
    }
    let kind = kind.unwrap_or_else(|| ModelKind::of_files(paths.iter().copied()));
    let genai = genai_folders(paths);
    let (selected, chosen) = match kind {
        ModelKind::OpenVino => (openvino(paths), None),
        ModelKind::Onnx if !genai.is_empty() => genai_build(repo, paths, &genai, variant)?,
        ModelKind::Onnx => onnx(repo, paths, variant)?,
        ModelKind::Gguf => gguf::select(repo, paths, variant)?,
        ModelKind::Safetensors => (at_root(paths, &[".safetensors"]), None),
        ModelKind::Unknown => (Vec::new(), None),
    };
    if ModelKind::of_files(selected.iter().map(|file| file.local)) == ModelKind::Unknown {
        return Err(SelectError::NoModel { repo: repo_name() });
    }
    let variant = variant.and_then(insisted).or_else(|| chosen.map(str::to_owned));
    let files = checked(repo, selected)?;
    require_companions(repo, kind, &files)?;
    Ok(Selection { files, variant })
}

/// Refuse a model without the files that commands open it by.
fn require_companions(
    repo: &str,
    kind: ModelKind,
    files: &[Selected<'_>],
) -> Result<(), SelectError> {
    let is_there = |name: &str| files.iter().any(|file| file.local == name);
    let needed: &[&str] = match kind {
        ModelKind::OpenVino if is_there("openvino_language_model.xml") => &OPENVINO_WITH_EMBEDDINGS,
        ModelKind::OpenVino => &["openvino_model.xml", "openvino_model.bin", "config.json"],
        ModelKind::Onnx if is_there("genai_config.json") => &[],
        ModelKind::Onnx | ModelKind::Safetensors => &["config.json"],
        ModelKind::Gguf | ModelKind::Unknown => &[],
    };
    match needed.iter().find(|name| !is_there(name)) {
        Some(name) => {
            let problem = format!("{name} is missing");
            Err(SelectError::Unusable { repo: repo.to_owned(), problem })
        }
        None => Ok(()),
    }
}

fn insisted(variant: &Variant) -> Option<String> {
    (!variant.is_default).then(|| variant.name.clone())
}

/// Names for a message: the first few of them.
fn told(names: &[&str]) -> String {
    const N_NAMES_MAX: usize = 20;
    let shown = names[..names.len().min(N_NAMES_MAX)].join(", ");
    match names.len().checked_sub(N_NAMES_MAX) {
        None | Some(0) => shown,
        Some(n_more) => format!("{shown} and {n_more} more"),
    }
}

/// The files and, where there are several, which of them.
type Chosen<'a> = (Vec<Selected<'a>>, Option<&'a str>);

fn whole(path: &str) -> Selected<'_> {
    Selected { remote: path, local: path }
}

fn checked<'a>(repo: &str, selected: Vec<Selected<'a>>) -> Result<Vec<Selected<'a>>, SelectError> {
    let is_safe = |path: &str| {
        !path.contains(['\\', ':', '\0'])
            && path.split('/').all(|part| !part.is_empty() && !part.starts_with('.'))
    };
    match selected.iter().find(|file| !is_safe(file.local)) {
        Some(file) => {
            Err(SelectError::UnsafeName { repo: repo.to_owned(), path: file.local.to_owned() })
        }
        None => Ok(selected),
    }
}

fn is_side_file(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    SIDE_FILES.iter().any(|ending| name.ends_with(ending)) || upper.starts_with("LICENSE")
}

/// How sentence-transformers pool the rows of a model, in a folder such as `1_Pooling`.
fn is_of_pooling(path: &str) -> bool {
    let folder = path.strip_suffix("/config.json");
    folder.is_some_and(|folder| folder.ends_with("_Pooling") && !folder.contains('/'))
}

/// Files in the root folder with one of these endings, and the side files, of which one stands below.
fn at_root<'a>(paths: &[&'a str], endings: &[&str]) -> Vec<Selected<'a>> {
    let wanted = |path: &&&str| {
        let is_there = !path.contains('/') && !path.starts_with('.');
        **path == TOOL_TEMPLATE_FILE
            || is_of_pooling(path)
            || is_there
                && (is_side_file(path) || endings.iter().any(|ending| path.ends_with(ending)))
    };
    paths.iter().filter(wanted).map(|path| whole(path)).collect()
}

fn openvino<'a>(paths: &[&'a str]) -> Vec<Selected<'a>> {
    let mut selected = at_root(paths, &[".xml", ".bin"]);
    // PyTorch weights are .bin files too: only those beside a graph belong to it.
    let graphs: HashSet<&str> = paths.iter().filter_map(|path| path.strip_suffix(".xml")).collect();
    selected.retain(|file| match file.remote.strip_suffix(".bin") {
        Some(stem) => graphs.contains(stem),
        None => true,
    });
    selected
}

/// Folders with a build of onnxruntime-genai; the root folder is "".
fn genai_folders<'a>(paths: &[&'a str]) -> Vec<&'a str> {
    let folder = |path: &&'a str| match path.rsplit_once('/') {
        Some((folder, "genai_config.json")) => Some(folder),
        None if *path == "genai_config.json" => Some(""),
        _ => None,
    };
    paths.iter().filter_map(folder).collect()
}

fn genai_build<'a>(
    repo: &str,
    paths: &[&'a str],
    folders: &[&'a str],
    variant: Option<&Variant>,
) -> Result<Chosen<'a>, SelectError> {
    let variant = unless_alone(variant, folders.len());
    let matches = |folder: &&&str| match variant {
        Some(variant) => folder.contains(variant),
        None => true,
    };
    // CPU builds run everywhere, and of these INT4 is what laptops have room for.
    let rank = |folder: &&&str| (!folder.contains("cpu"), !folder.contains("int4"), folder.len());
    let folder =
        folders.iter().filter(matches).min_by_key(rank).ok_or_else(|| SelectError::NoVariant {
            repo: repo.to_owned(),
            variant: variant.unwrap_or_default().to_owned(),
            found: folders.join(", "),
        })?;
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let inside = paths.iter().filter_map(|path| {
        let local = path.strip_prefix(&prefix)?;
        let is_code = local.ends_with(".py") || local.ends_with(".md");
        let is_inside = !local.contains('/') && !local.starts_with('.');
        let wanted = local == TOOL_TEMPLATE_FILE || is_inside && !is_code;
        wanted.then_some(Selected { remote: path, local })
    });
    Ok((inside.collect(), Some(*folder).filter(|folder| !folder.is_empty())))
}

/// The name that was asked for; a default counts only where there is something to choose from.
fn unless_alone(variant: Option<&Variant>, n_found: usize) -> Option<&str> {
    let variant = variant.filter(|variant| !variant.is_default || n_found > 1)?;
    Some(&variant.name)
}

fn onnx<'a>(
    repo: &str,
    paths: &[&'a str],
    variant: Option<&Variant>,
) -> Result<Chosen<'a>, SelectError> {
    let places = ONNX_STEMS.into_iter().flat_map(|stem| ["onnx/", ""].map(|folder| (folder, stem)));
    let graphs = places.into_iter().find_map(|(folder, stem)| {
        let found = variants_of(paths, folder, stem);
        let is_of_decoder = stem != ONNX_STEMS[0];
        let has_encoder = !variants_of(paths, folder, ENCODER_STEM).is_empty();
        let is_half = found.is_empty() || is_of_decoder && has_encoder;
        (!is_half).then_some((folder, stem, found))
    });
    let Some((folder, stem, found)) = graphs else { return Err(no_graph(repo, paths)) };
    let chosen = pick(repo, &found, unless_alone(variant, found.len()), &VARIANT_PREFERENCE)?;
    let mut graphs = vec![graph_path(folder, stem, chosen)];
    if stem != ONNX_STEMS[0] {
        let before = variants_of(paths, folder, ONNX_EMBEDDING);
        let before = before.into_iter().map(named).collect::<Vec<_>>();
        let embedding = onnx_embedding(&before, named(chosen));
        graphs.extend(embedding.map(|variant| {
            let suffix = if variant == FULL_PRECISION { "" } else { variant };
            graph_path(folder, ONNX_EMBEDDING, suffix)
        }));
    }
    let mut selected = at_root(paths, &[]);
    // Data files are NAME.onnx_data, NAME.onnx_data_1 or NAME.onnx.data.
    let belongs = |path: &&&str| {
        let rest = graphs.iter().find_map(|graph| path.strip_prefix(graph.as_str()));
        rest.is_some_and(|rest| {
            rest.is_empty() || rest.starts_with("_data") || rest.starts_with(".data")
        })
    };
    selected.extend(paths.iter().filter(belongs).map(|path| whole(path)));
    Ok((selected, Some(named(chosen))))
}

fn graph_path(folder: &str, stem: &str, suffix: &str) -> String {
    match suffix {
        "" => format!("{folder}{stem}.onnx"),
        suffix => format!("{folder}{stem}_{suffix}.onnx"),
    }
}

/// What the variant of a suffix is called.
fn named(suffix: &str) -> &str {
    if suffix.is_empty() { FULL_PRECISION } else { suffix }
}

/// What is there instead of a graph from token ids to logits.
fn no_graph(repo: &str, paths: &[&str]) -> SelectError {
    let is_other = |path: &&&str| {
        let name = path.rsplit('/').next().unwrap_or(path);
        name.ends_with(".onnx") && OTHER_STEMS.iter().any(|stem| name.starts_with(stem))
    };
    match paths.iter().find(is_other) {
        Some(path) => SelectError::Unusable {
            repo: repo.to_owned(),
            problem: format!(
                "it is in several graphs, such as {path}: expected one from token ids to logits, \
                 {}*.onnx, or {}*.onnx without an encoder of text",
                ONNX_STEMS[0], ONNX_STEMS[1]
            ),
        },
        None => SelectError::NoModel { repo: repo.to_owned() },
    }
}

/// The suffixes of `folder/stem_SUFFIX.onnx`; the file without one is "".
fn variants_of<'a>(paths: &[&'a str], folder: &str, stem: &str) -> Vec<&'a str> {
    let suffix = |path: &&'a str| {
        let rest = path.strip_prefix(folder)?.strip_prefix(stem)?.strip_suffix(".onnx")?;
        match rest {
            "" => Some(rest),
            _ => rest.strip_prefix('_').filter(|rest| !rest.contains('/')),
        }
    };
    paths.iter().filter_map(suffix).collect()
}

/// The variant asked for, else the first of `order`, else any.
fn pick<'a>(
    repo: &str,
    found: &[&'a str],
    variant: Option<&str>,
    order: &[&str],
) -> Result<&'a str, SelectError> {
    let called = |name: &str| found.iter().find(|other| other.eq_ignore_ascii_case(name));
    let by_name =
        |name: &str| called(name).or_else(|| called("").filter(|_| name == FULL_PRECISION));
    let chosen = match variant {
        Some(variant) => by_name(variant),
        None => order.iter().find_map(|name| by_name(name)).or(found.first()),
    };
    chosen.copied().ok_or_else(|| {
        let shown = |name: &&str| if name.is_empty() { FULL_PRECISION } else { *name }.to_owned();
        SelectError::NoVariant {
            repo: repo.to_owned(),
            variant: variant.unwrap_or_default().to_owned(),
            found: found.iter().map(shown).collect::<Vec<_>>().join(", "),
        }
    })
}

#[cfg(test)]
mod tests;
