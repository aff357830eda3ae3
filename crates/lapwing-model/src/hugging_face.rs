//! Folders with a Hugging Face `config.json`: optimum-intel's, transformers.js's and optimum's.

use std::fs;
use std::path::{Path, PathBuf};

use lapwing_files::regular::is_there;
use serde_json::Value;

use crate::json::Manifest;
use crate::{
    Architecture, FolderKind, GenerationDefaults, ModelFolder, N_POSITIONS_UNTOLD, OpenFolderError,
    SpecialTokens, TextFiles, named_token,
};

/// Variants of a transformers.js model from the most to the least wanted on a laptop: 4 bits, then
/// 8, then the rest.
/// Source: transformers.js, `src/utils/dtypes.js`.
pub const VARIANT_PREFERENCE: [&str; 9] =
    ["q4", "q4f16", "bnb4", "quantized", "int8", "uint8", "fp16", "fp32", "q2"];

/// The stems of ONNX files with a graph that gives logits, the wanted first: one graph for a prompt and
/// what comes behind it, and one into which two such were merged. The latter is also what models have
/// that see or hear; then [`ONNX_EMBEDDING`] is before it.
pub const ONNX_STEMS: [&str; 2] = ["model", "decoder_model_merged"];

/// The stem of the graph that makes out of token ids what such a model takes.
pub const ONNX_EMBEDDING: &str = "embed_tokens";

/// Beginnings of the names of graphs for what is not text.
const OTHER_PARTS: [(&str, &str); 2] = [("vision_encoder", "vision"), ("audio_encoder", "audio")];

/// The graphs of a transformers.js folder.
pub(crate) struct OnnxGraphs {
    /// Where they are: `onnx/` or the folder itself.
    folder: PathBuf,
    /// One of [`ONNX_STEMS`].
    stem: &'static str,
    /// The suffixes of the files, sorted; the file without one is `fp32`.
    variants: Vec<String>,
}

impl OnnxGraphs {
    /// None where there is no such file.
    pub(crate) fn find(root: &Path) -> Option<OnnxGraphs> {
        let folders = [root.join("onnx"), root.to_owned()];
        let places = ONNX_STEMS
            .into_iter()
            .flat_map(|stem| folders.iter().map(move |folder| (folder.clone(), stem)));
        places.into_iter().find_map(|(folder, stem)| {
            let variants = variants_in(&folder, stem);
            (!variants.is_empty()).then_some(OnnxGraphs { folder, stem, variants })
        })
    }

    fn file(&self, stem: &str, variant: &str) -> PathBuf {
        let plain = self.folder.join(format!("{stem}.onnx"));
        match variant {
            FULL_PRECISION if is_there(&plain) => plain,
            suffix => self.folder.join(format!("{stem}_{suffix}.onnx")),
        }
    }

    /// The graph before the one of `variant`, where there is one: of the same variant if it can be.
    fn embedding(&self, variant: &str) -> Option<PathBuf> {
        let found = variants_in(&self.folder, ONNX_EMBEDDING);
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        Some(self.file(ONNX_EMBEDDING, onnx_embedding(&found, variant)?))
    }
}

/// Which of the variants of [`ONNX_EMBEDDING`] goes before a graph of `variant`.
pub fn onnx_embedding<'a>(found: &[&'a str], variant: &str) -> Option<&'a str> {
    let wanted = std::iter::once(variant).chain(VARIANT_PREFERENCE);
    let named = |name: &str| found.iter().find(|other| **other == name).copied();
    wanted.into_iter().find_map(named).or(found.first().copied())
}

/// What the ONNX file without a suffix is called.
const FULL_PRECISION: &str = "fp32";

pub(crate) fn read_transformers_js(
    root: &Path,
    graphs: OnnxGraphs,
    asked: Option<&str>,
) -> Result<ModelFolder, OpenFolderError> {
    let variants = &graphs.variants;
    let preferred =
        || VARIANT_PREFERENCE.iter().find(|name| variants.iter().any(|v| v == *name)).copied();
    let chosen = asked.or_else(preferred).or(variants.first().map(String::as_str));
    let chosen = chosen.filter(|name| variants.iter().any(|variant| variant == name));
    let Some(variant) = chosen.map(str::to_owned) else {
        let (folder, asked) = (root.to_owned(), asked.unwrap_or_default().to_owned());
        return Err(match variants.len() {
            1 => OpenFolderError::OneGraph { folder, asked },
            _ => OpenFolderError::NoVariant { folder, asked, available: graphs.variants },
        });
    };
    let folder = read(root, FolderKind::TransformersJs, graphs.file(graphs.stem, &variant))?;
    let embedding = graphs.embedding(&variant).filter(|_| graphs.stem != ONNX_STEMS[0]);
    let unused_parts = match embedding {
        Some(_) => other_parts(&graphs.folder),
        None => Vec::new(),
    };
    Ok(ModelFolder {
        embeddings: embedding.into_iter().collect(),
        unused_parts,
        variant: Some(variant),
        variants: graphs.variants,
        ..folder
    })
}

fn other_parts(folder: &Path) -> Vec<&'static str> {
    let is_there = |&&(stem, _): &&(&str, &str)| !variants_in(folder, stem).is_empty();
    OTHER_PARTS.iter().filter(is_there).map(|&(_, part)| part).collect()
}

fn variants_in(folder: &Path, stem: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut variants: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| !entry.path().is_dir())
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            match name.strip_prefix(stem)?.strip_suffix(".onnx")? {
                "" => Some(FULL_PRECISION.to_owned()),
                suffix => suffix.strip_prefix('_').map(str::to_owned),
            }
        })
        .collect();
    variants.sort();
    variants.dedup();
    variants
}

/// A folder of `kind` whose graph is `graph`, by its `config.json`.
pub(crate) fn read(
    root: &Path,
    kind: FolderKind,
    graph: PathBuf,
) -> Result<ModelFolder, OpenFolderError> {
    let config_file = root.join("config.json");
    let config = Manifest::read(&config_file)?;
    let generation_file = root.join("generation_config.json");
    let generation = Manifest::read_if_there(&generation_file)?;
    Ok(ModelFolder {
        root: root.to_owned(),
        kind,
        graph,
        embeddings: Vec::new(),
        unused_parts: Vec::new(),
        variant: None,
        variants: Vec::new(),
        architecture: architecture(&config)?,
        tokens: special_tokens(root, &config, generation.as_ref())?,
        generation: match &generation {
            Some(manifest) => defaults(manifest)?,
            None => GenerationDefaults::default(),
        },
        text: TextFiles::find(root),
    })
}

fn architecture(config: &Manifest<'_>) -> Result<Architecture, OpenFolderError> {
    let config = Shape::of(config);
    let n_heads = config.size("num_attention_heads")?.unwrap_or(0);
    let hidden_size = config.needed_size("hidden_size")?;
    let head_size = config.size("head_dim")?;
    let n_positions_max = config.size("max_position_embeddings")?;
    let window_is_used = config.truth("use_sliding_window") != Some(false);
    let has_windows = config.get("layer_types").and_then(Value::as_array).is_none_or(|types| {
        // A model of other layers says so under the same key: those are no full attention either.
        types.iter().any(|layer_type| layer_type != "full_attention")
    });
    let sliding_window = config.size("sliding_window")?.filter(|_| window_is_used && has_windows);
    Ok(Architecture {
        model_type: config.manifest.text(&["model_type"]).unwrap_or("unknown").to_owned(),
        n_vocab: config.needed_size("vocab_size")?,
        n_layers: config.needed_size("num_hidden_layers")?,
        n_heads,
        n_kv_heads: config.n_kv_heads()?.unwrap_or(n_heads),
        head_size: head_size.or(hidden_size.checked_div(n_heads)).unwrap_or(0),
        hidden_size,
        n_positions_max: n_positions_max.unwrap_or(N_POSITIONS_UNTOLD),
        sliding_window,
        conv_cache_size: config.size("conv_L_cache")?,
        family: (),
    })
}

/// What older families call the sizes, or keep further inside, in the order of asking behind the
/// name that all others use.
///
/// Source: `configuration_*.py` of transformers, its `attribute_map`s, and configurations on the
/// hub that are older than these.
const OTHER_NAMES: [(&str, &[&[&str]]); 8] = [
    // GPT-2, GPT-J, GPTBigCode, Bloom; Bloom before transformers had it; MPT; DistilBERT.
    ("hidden_size", &[&["n_embd"], &["n_embed"], &["d_model"], &["dim"]]),
    // The same; MPT; GPT-Neo, ChatGLM.
    ("num_hidden_layers", &[&["n_layer"], &["n_layers"], &["num_layers"]]),
    ("num_attention_heads", &[&["n_head"], &["n_heads"], &["num_heads"]]),
    // Falcon; Falcon before transformers had it; MPT; ChatGLM.
    (
        "num_key_value_heads",
        &[
            &["num_kv_heads"],
            &["n_head_kv"],
            &["attn_config", "kv_n_heads"],
            &["multi_query_group_num"],
        ],
    ),
    // The first Qwen, ChatGLM.
    ("head_dim", &[&["kv_channels"]]),
    // GPT-2, GPT-J, GPTBigCode; MPT; Bloom, ChatGLM; the first GPT.
    ("max_position_embeddings", &[&["n_positions"], &["max_seq_len"], &["seq_length"], &["n_ctx"]]),
    // GPT-Neo.
    ("sliding_window", &[&["window_size"]]),
    ("vocab_size", &[&["padded_vocab_size"]]),
];

/// The part of a configuration that tells sizes.
struct Shape<'a> {
    manifest: &'a Manifest<'a>,
    /// Models that also see or hear keep the language part in `text_config`.
    is_nested: bool,
}

impl<'a> Shape<'a> {
    fn of(manifest: &'a Manifest<'a>) -> Shape<'a> {
        Shape { manifest, is_nested: manifest.get(&["text_config"]).is_some() }
    }

    fn path(&self, keys: &[&'static str]) -> Vec<&'static str> {
        let outer = self.is_nested.then_some("text_config");
        outer.into_iter().chain(keys.iter().copied()).collect()
    }

    /// The keys of `name`, or of the first other name for the same that the configuration has.
    fn known_as(&self, name: &'static str) -> Vec<&'static str> {
        let others = OTHER_NAMES.iter().find(|(known, _)| *known == name);
        let others = others.into_iter().flat_map(|(_, others)| *others).copied();
        let first = self.path(&[name]);
        let mut paths = std::iter::once(first.clone()).chain(others.map(|keys| self.path(keys)));
        paths.find(|keys| self.manifest.get(keys).is_some()).unwrap_or(first)
    }

    fn get(&self, name: &'static str) -> Option<&Value> {
        self.manifest.get(&self.known_as(name))
    }

    fn size(&self, name: &'static str) -> Result<Option<usize>, OpenFolderError> {
        self.manifest.size(&self.known_as(name))
    }

    fn needed_size(&self, name: &'static str) -> Result<usize, OpenFolderError> {
        self.manifest.needed_size(&self.known_as(name))
    }

    fn truth(&self, name: &'static str) -> Option<bool> {
        self.get(name)?.as_bool()
    }

    /// Where all queries share one head of keys and values, GPTBigCode and Falcon say just that. The
    /// later Falcons still say it, and do not mean it.
    fn n_kv_heads(&self) -> Result<Option<usize>, OpenFolderError> {
        let is_shared = self.truth("multi_query") == Some(true)
            && self.truth("new_decoder_architecture") != Some(true);
        match is_shared {
            true => Ok(Some(1)),
            false => self.size("num_key_value_heads"),
        }
    }
}

/// `generation_config.json` wins over `config.json`, as it does in transformers; where neither names
/// an end, the tokenizer does.
fn special_tokens(
    root: &Path,
    config: &Manifest<'_>,
    generation: Option<&Manifest<'_>>,
) -> Result<SpecialTokens, OpenFolderError> {
    let ids = |name: &'static str| -> Result<Vec<crate::TokenId>, OpenFolderError> {
        for manifest in generation.into_iter().chain([config]) {
            for keys in [vec![name], vec!["text_config", name]] {
                let found = manifest.token_ids(&keys)?;
                if !found.is_empty() {
                    return Ok(found);
                }
            }
        }
        Ok(Vec::new())
    };
    let mut eos = ids("eos_token_id")?;
    if eos.is_empty() {
        eos.extend(named_token(root, "eos_token")?);
    }
    Ok(SpecialTokens {
        bos: ids("bos_token_id")?.first().copied(),
        eos,
        pad: ids("pad_token_id")?.first().copied(),
    })
}

fn defaults(manifest: &Manifest<'_>) -> Result<GenerationDefaults, OpenFolderError> {
    Ok(GenerationDefaults {
        do_sample: manifest.truth(&["do_sample"]),
        temperature: manifest.number(&["temperature"])?,
        top_k: manifest.size(&["top_k"])?,
        top_p: manifest.number(&["top_p"])?,
        min_p: manifest.number(&["min_p"])?,
        repeat_penalty: manifest.number(&["repetition_penalty"])?,
    })
}
