//! onnxruntime-genai folders: everything is in `genai_config.json`.
//!
//! Source: onnxruntime-genai, `src/config.h`; folders of its model builder 0.18.

use std::path::{Component, Path};

use crate::json::{Manifest, require_file};
use crate::{
    Architecture, FolderKind, GenerationDefaults, ModelFolder, OpenFolderError, SpecialTokens,
    TextFiles,
};

pub(crate) fn read(root: &Path, genai_config: &Path) -> Result<ModelFolder, OpenFolderError> {
    let manifest = Manifest::read(genai_config)?;
    let decoder = ["model", "decoder"];
    if manifest.get(&decoder).is_none() {
        return Err(manifest.absent(&decoder));
    }
    let filename = manifest.text(&["model", "decoder", "filename"]).unwrap_or("model.onnx");
    let inside = Path::new(filename).components().all(|part| matches!(part, Component::Normal(_)));
    if !inside {
        let what = format!("`model.decoder.filename` leaves the folder: {filename}");
        return Err(OpenFolderError::Manifest { file: genai_config.to_owned(), what });
    }
    let graph = root.join(filename);
    require_file(&graph, genai_config)?;
    Ok(ModelFolder {
        root: root.to_owned(),
        kind: FolderKind::OnnxGenai,
        graph,
        embeddings: Vec::new(),
        unused_parts: Vec::new(),
        variant: None,
        variants: Vec::new(),
        architecture: architecture(&manifest)?,
        tokens: SpecialTokens {
            bos: manifest.token_ids(&["model", "bos_token_id"])?.first().copied(),
            eos: manifest.token_ids(&["model", "eos_token_id"])?,
            pad: manifest.token_ids(&["model", "pad_token_id"])?.first().copied(),
        },
        generation: generation(&manifest)?,
        text: TextFiles::find(root),
    })
}

fn architecture(manifest: &Manifest<'_>) -> Result<Architecture, OpenFolderError> {
    let n_heads = manifest.needed_size(&["model", "decoder", "num_attention_heads"])?;
    let hidden_size = manifest.needed_size(&["model", "decoder", "hidden_size"])?;
    let n_kv_heads = manifest.size(&["model", "decoder", "num_key_value_heads"])?;
    let head_size = manifest.size(&["model", "decoder", "head_size"])?;
    Ok(Architecture {
        model_type: manifest.text(&["model", "type"]).unwrap_or("unknown").to_owned(),
        n_vocab: manifest.needed_size(&["model", "vocab_size"])?,
        n_layers: manifest.needed_size(&["model", "decoder", "num_hidden_layers"])?,
        n_heads,
        n_kv_heads: n_kv_heads.unwrap_or(n_heads),
        head_size: head_size.unwrap_or(hidden_size / n_heads),
        hidden_size,
        n_positions_max: manifest.needed_size(&["model", "context_length"])?,
        sliding_window: manifest.size(&["model", "decoder", "sliding_window", "window_size"])?,
        conv_cache_size: manifest.size(&["model", "decoder", "conv_cache_size"])?,
        family: (),
    })
}

fn generation(manifest: &Manifest<'_>) -> Result<GenerationDefaults, OpenFolderError> {
    Ok(GenerationDefaults {
        do_sample: manifest.truth(&["search", "do_sample"]),
        temperature: manifest.number(&["search", "temperature"])?,
        top_k: manifest.size(&["search", "top_k"])?,
        top_p: manifest.number(&["search", "top_p"])?,
        min_p: manifest.number(&["search", "min_p"])?,
        repeat_penalty: manifest.number(&["search", "repetition_penalty"])?,
    })
}
