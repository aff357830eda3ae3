//! Folders with a Hugging Face `config.json`: optimum-intel's, transformers.js's and optimum's.

use std::fs;
use std::path::{Path, PathBuf};

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

pub(crate) fn read_openvino(root: &Path, ir: PathBuf) -> Result<ModelFolder, OpenFolderError> {
    let bin = ir.with_extension("bin");
    if !bin.is_file() {
        return Err(OpenFolderError::Missing { file: bin, named_by: ir });
    }
    let config = root.join("config.json");
    if !config.is_file() {
        return Err(OpenFolderError::Missing { file: config, named_by: ir });
    }
    read(root, FolderKind::OpenVinoIr, ir)
}

/// `graphs` is the folder of the graphs, with what [`onnx_variants`] found there.
pub(crate) fn read_transformers_js(
    root: &Path,
    (graphs, variants): (PathBuf, Vec<String>),
    asked: Option<&str>,
) -> Result<ModelFolder, OpenFolderError> {
    let preferred =
        || VARIANT_PREFERENCE.iter().find(|name| variants.iter().any(|v| v == *name)).copied();
    let chosen = asked.or_else(preferred).or(variants.first().map(String::as_str));
    let chosen = chosen.filter(|name| variants.iter().any(|variant| variant == name));
    let Some(variant) = chosen.map(str::to_owned) else {
        let (folder, asked) = (root.to_owned(), asked.unwrap_or_default().to_owned());
        return Err(match variants.len() {
            1 => OpenFolderError::OneGraph { folder, asked },
            _ => OpenFolderError::NoVariant { folder, asked, available: variants },
        });
    };
    let plain = graphs.join("model.onnx");
    let graph = match variant.as_str() {
        "fp32" if plain.is_file() => plain,
        suffix => graphs.join(format!("model_{suffix}.onnx")),
    };
    let mut folder = read(root, FolderKind::TransformersJs, graph)?;
    folder.variant = Some(variant);
    folder.variants = variants;
    Ok(folder)
}

/// The folder of `model{suffix}.onnx`, which is `onnx/` or `root` itself, with the suffixes, sorted;
/// the file without one is `fp32`. None where there is no such file.
pub(crate) fn onnx_variants(root: &Path) -> Option<(PathBuf, Vec<String>)> {
    [root.join("onnx"), root.to_owned()].into_iter().find_map(|folder| {
        let variants = variants_in(&folder);
        (!variants.is_empty()).then_some((folder, variants))
    })
}

fn variants_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut variants: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_file())
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            match name.strip_prefix("model")?.strip_suffix(".onnx")? {
                "" => Some("fp32".to_owned()),
                suffix => suffix.strip_prefix('_').map(str::to_owned),
            }
        })
        .collect();
    variants.sort();
    variants.dedup();
    variants
}

fn read(root: &Path, kind: FolderKind, graph: PathBuf) -> Result<ModelFolder, OpenFolderError> {
    let config_file = root.join("config.json");
    let config = Manifest::read(&config_file)?;
    let generation_file = root.join("generation_config.json");
    let generation = match generation_file.is_file() {
        true => Some(Manifest::read(&generation_file)?),
        false => None,
    };
    Ok(ModelFolder {
        root: root.to_owned(),
        kind,
        graph,
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
    // Models that also see or hear keep the language part in `text_config`.
    let nested = config.get(&["text_config"]).is_some();
    let key = |name: &'static str| if nested { vec!["text_config", name] } else { vec![name] };
    let n_heads = config.size(&key("num_attention_heads"))?.unwrap_or(0);
    let hidden_size = config.needed_size(&key("hidden_size"))?;
    let n_kv_heads = config.size(&key("num_key_value_heads"))?;
    let head_size = config.size(&key("head_dim"))?;
    let n_positions_max = config.size(&key("max_position_embeddings"))?;
    let window_is_used = config.truth(&key("use_sliding_window")) != Some(false);
    let has_windows =
        config.get(&key("layer_types")).and_then(Value::as_array).is_none_or(|types| {
            // A model of other layers says so under the same key: those are no full attention either.
            types.iter().any(|layer_type| layer_type != "full_attention")
        });
    let sliding_window =
        config.size(&key("sliding_window"))?.filter(|_| window_is_used && has_windows);
    Ok(Architecture {
        model_type: config.text(&["model_type"]).unwrap_or("unknown").to_owned(),
        n_vocab: config.needed_size(&key("vocab_size"))?,
        n_layers: config.needed_size(&key("num_hidden_layers"))?,
        n_heads,
        n_kv_heads: n_kv_heads.unwrap_or(n_heads),
        head_size: head_size.or(hidden_size.checked_div(n_heads)).unwrap_or(0),
        hidden_size,
        n_positions_max: n_positions_max.unwrap_or(N_POSITIONS_UNTOLD),
        sliding_window,
        conv_cache_size: config.size(&key("conv_L_cache"))?,
        family: (),
    })
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
        eos.extend(named_token(root, "eos_token"));
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
