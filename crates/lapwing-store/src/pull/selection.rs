//! Which files of a repository make up the model.
//!
//! By names only: an OpenVINO folder, one build of onnxruntime-genai among several, one precision
//! of a transformers.js repository, one GGUF file, or a safetensors checkpoint.

use lapwing_model::VARIANT_PREFERENCE;

use crate::model_kind::ModelKind;
use crate::options::Variant;

/// What [`VARIANT_PREFERENCE`] is for ONNX files, for GGUF files.
const GGUF_VARIANTS: [&str; 6] = ["q4_0", "q4_k_m", "q4_1", "q8_0", "f16", ""];
/// What the ONNX file without a suffix is called.
const FULL_PRECISION: &str = "fp32";
/// Endings of the small files that belong to every model.
const SIDE_FILES: [&str; 4] = [".json", ".jinja", ".txt", ".model"];
/// Stems of the graphs that a text model of transformers.js consists of, one of these lines.
const ONNX_STEMS: [&[&str]; 2] = [&["model"], &["decoder_model_merged", "embed_tokens"]];

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
        ModelKind::Gguf => gguf(repo, paths, variant)?,
        ModelKind::Safetensors => (at_root(paths, &[".safetensors"]), None),
        ModelKind::Unknown => (Vec::new(), None),
    };
    if ModelKind::of_files(selected.iter().map(|file| file.local)) == ModelKind::Unknown {
        return Err(SelectError::NoModel { repo: repo_name() });
    }
    let variant = variant.and_then(insisted).or_else(|| chosen.map(str::to_owned));
    Ok(Selection { files: checked(repo, selected)?, variant })
}

fn insisted(variant: &Variant) -> Option<String> {
    (!variant.is_default).then(|| variant.name.clone())
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

/// Files in the root folder with one of these endings, and the side files.
fn at_root<'a>(paths: &[&'a str], endings: &[&str]) -> Vec<Selected<'a>> {
    let wanted = |path: &&&str| {
        !path.contains('/')
            && !path.starts_with('.')
            && (is_side_file(path) || endings.iter().any(|ending| path.ends_with(ending)))
    };
    paths.iter().filter(wanted).map(|path| whole(path)).collect()
}

fn openvino<'a>(paths: &[&'a str]) -> Vec<Selected<'a>> {
    let mut selected = at_root(paths, &[".xml", ".bin"]);
    // PyTorch weights are .bin files too: only those beside a graph belong to it.
    selected.retain(|file| match file.remote.strip_suffix(".bin") {
        Some(stem) => paths.iter().any(|path| path.strip_suffix(".xml") == Some(stem)),
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
        let wanted = !local.contains('/') && !local.starts_with('.') && !is_code;
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
    let graphs = ["onnx/", ""].iter().find_map(|folder| {
        ONNX_STEMS.iter().find_map(|stems| {
            let found = variants_of(paths, folder, stems[0]);
            (!found.is_empty()).then_some((*folder, *stems, found))
        })
    });
    let Some((folder, stems, found)) = graphs else {
        return Err(SelectError::NoModel { repo: repo.to_owned() });
    };
    let chosen = pick(repo, &found, unless_alone(variant, found.len()), &VARIANT_PREFERENCE)?;
    let mut selected = at_root(paths, &[]);
    for path in paths {
        let Some(file) = path.strip_prefix(folder) else { continue };
        let belongs = stems.iter().any(|stem| {
            let graph = match chosen {
                "" => format!("{stem}.onnx"),
                suffix => format!("{stem}_{suffix}.onnx"),
            };
            // Data files are NAME.onnx_data, NAME.onnx_data_1 or NAME.onnx.data.
            file.strip_prefix(&graph).is_some_and(|rest| {
                rest.is_empty() || rest.starts_with("_data") || rest.starts_with(".data")
            })
        });
        if belongs {
            selected.push(whole(path));
        }
    }
    Ok((selected, Some(if chosen.is_empty() { FULL_PRECISION } else { chosen })))
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

fn gguf<'a>(
    repo: &str,
    paths: &[&'a str],
    variant: Option<&Variant>,
) -> Result<Chosen<'a>, SelectError> {
    let is_model =
        |path: &&&str| !path.contains('/') && path.ends_with(".gguf") && !path.contains("mmproj");
    let files: Vec<&str> = paths.iter().filter(is_model).copied().collect();
    let precision = |path: &&'a str| {
        let stem = path.strip_suffix(".gguf").unwrap_or(path);
        stem.rsplit(['.', '-']).next().unwrap_or(stem)
    };
    let found: Vec<&str> = files.iter().map(precision).collect();
    let variant = unless_alone(variant, files.len());
    let chosen = match files.len() {
        0 => return Err(SelectError::NoModel { repo: repo.to_owned() }),
        1 if variant.is_none() => found[0],
        _ => pick(repo, &found, variant, &GGUF_VARIANTS)?,
    };
    let mut selected: Vec<_> =
        at_root(paths, &[]).into_iter().filter(|file| !file.remote.ends_with(".json")).collect();
    selected.extend(files.iter().filter(|path| precision(path) == chosen).map(|path| whole(path)));
    Ok((selected, Some(chosen).filter(|chosen| !chosen.is_empty())))
}

#[cfg(test)]
mod tests;
