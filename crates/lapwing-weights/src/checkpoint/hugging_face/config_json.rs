//! `config.json` as transformers writes it, now and in earlier years.

use std::ops::Range;
use std::path::Path;

use lapwing_model::{Architecture, SpecialTokens, Transformer};
use serde_json::Value;

use super::super::config::Config;
use super::super::{OpenCheckpointError, keys, unsupported};
use super::MODEL_TYPES;
use super::json_keys::{JsonKeys, excerpt};
use super::rope::Rope;

/// What a layer is called that looks back over everything.
const FULL: &str = "full_attention";
/// What a layer is called that has a window.
const SLIDING: &str = "sliding_attention";

/// The window of a mistral or a qwen whose configuration lacks the key, as in transformers.
const SLIDING_WINDOW_DEFAULT: usize = 4096;
/// The first layer with a window in a qwen whose configuration lacks the key, as in transformers.
const MAX_WINDOW_LAYERS_DEFAULT: usize = 28;

/// One `config.json` whose every key is known.
pub(super) struct ConfigJson<'a> {
    path: &'a Path,
    keys: JsonKeys<'a>,
}

impl<'a> ConfigJson<'a> {
    /// Refuse other families first of all, since they lack keys that this one needs, and then every
    /// key that is not known.
    pub(super) fn new(path: &'a Path, json: &'a Value) -> Result<Self, OpenCheckpointError> {
        let Some(map) = json.as_object() else {
            return Err(unsupported(path, "contents", "an object", excerpt(json)));
        };
        let keys = JsonKeys { path, prefix: String::new(), map };
        let model_type = keys.needed("model_type", Value::as_str, "a text")?;
        if !MODEL_TYPES.contains(&model_type) {
            return Err(unsupported(path, "model_type", MODEL_TYPES.join(", "), model_type));
        }
        for key in ["quantization_config", "quantization"] {
            if keys.get(key).is_some() {
                let expected = "f32, f16 or bf16 weights";
                return Err(unsupported(path, key, expected, "quantised weights"));
            }
        }
        // What begins so are transformers' own notes.
        keys.require_known(&[keys::CONFIG], |key| key.starts_with('_'))?;
        Ok(ConfigJson { path, keys })
    }

    /// What the model is made of; `has` tells whether there is a tensor of a name, and
    /// `generation` is `generation_config.json`, whose ids go first.
    pub(super) fn resolve(
        &self,
        generation: Option<&Value>,
        has: &dyn Fn(&str) -> bool,
    ) -> Result<Config, OpenCheckpointError> {
        let model_type = self.model_type();
        let (n_heads, hidden_size) =
            (self.keys.needed_size("num_attention_heads")?, self.keys.needed_size("hidden_size")?);
        let n_layers = self.keys.needed_size("num_hidden_layers")?;
        let n_positions_max = self.keys.size("max_position_embeddings")?;
        let n_positions_max = n_positions_max.unwrap_or(self.n_positions_default());
        let (sliding_window, full_layers) = self.windows(n_layers, n_positions_max)?;
        let rope = Rope::read(&self.keys, sliding_window.is_some(), !full_layers.is_empty())?;
        let family = Transformer {
            intermediate_size: self.keys.needed_size("intermediate_size")?,
            rms_epsilon: self.keys.needed_number("rms_norm_eps")?,
            rope_theta: rope.theta,
            rope_scaling: rope.scaling,
            attention_bias: self.attention_bias(has)?,
            qk_norm: model_type == "qwen3",
            tied_head: self.keys.truth("tie_word_embeddings")?.unwrap_or(false),
            full_layers,
        };
        let ids = |key: &str| {
            let ids = generation.and_then(|json| json.get(key)).filter(|json| !json.is_null());
            token_ids(self.path, key, ids.or(self.keys.get(key)))
        };
        let first = |key: &str| ids(key).map(|ids| ids.first().copied());
        let tokens = SpecialTokens {
            bos: first("bos_token_id")?,
            eos: ids("eos_token_id")?,
            pad: first("pad_token_id")?,
        };
        let architecture = Architecture {
            n_vocab: self.keys.needed_size("vocab_size")?,
            n_layers,
            n_heads,
            n_kv_heads: self.keys.size("num_key_value_heads")?.unwrap_or(n_heads),
            head_size: match self.keys.size("head_dim")? {
                Some(head_size) => head_size,
                None => hidden_size.checked_div(n_heads).unwrap_or(0),
            },
            hidden_size,
            n_positions_max,
            sliding_window,
            conv_cache_size: None,
            family,
            model_type: model_type.to_owned(),
        };
        Ok(Config { architecture, tokens, unk: first("unk_token_id")? })
    }

    fn model_type(&self) -> &'a str {
        self.keys.get("model_type").and_then(Value::as_str).unwrap_or_default()
    }

    /// The length of context that transformers assumes.
    fn n_positions_default(&self) -> usize {
        match self.model_type() {
            "mistral" => 131_072,
            "qwen2" | "qwen3" => 32_768,
            _ => 2048,
        }
    }

    /// Whether q, k and v have a bias: what the configuration says and what is stored must agree.
    fn attention_bias(&self, has: &dyn Fn(&str) -> bool) -> Result<bool, OpenCheckpointError> {
        const BIAS: &str = "model.layers.0.self_attn.q_proj.bias";
        match (self.model_type(), self.keys.truth("attention_bias")?) {
            ("qwen2", _) => Ok(true),
            (_, Some(false)) if has(BIAS) => {
                let found = format!("false, and a tensor {BIAS}");
                Err(unsupported(self.path, "attention_bias", "true, or no bias", found))
            }
            (_, stated) => Ok(stated.unwrap_or(false) || has(BIAS)),
        }
    }

    /// The window that layers share, and those of them that have none; no window at all where it is
    /// as long as the context.
    fn windows(
        &self,
        n_layers: usize,
        n_positions_max: usize,
    ) -> Result<(Option<usize>, Vec<Range<usize>>), OpenCheckpointError> {
        let is_qwen = self.model_type().starts_with("qwen");
        let is_on = self.keys.truth("use_sliding_window")?;
        let window = match (self.model_type(), self.keys.size("sliding_window")?) {
            ("llama", Some(window)) if window < n_positions_max && is_on != Some(false) => {
                let found = window.to_string();
                return Err(unsupported(self.path, "sliding_window", "none in a llama", found));
            }
            ("llama", _) => None,
            (_, Some(window)) if is_on == Some(false) && !is_qwen && window < n_positions_max => {
                let expected = format!("true in a mistral with a sliding_window of {window}");
                return Err(unsupported(self.path, "use_sliding_window", expected, "false"));
            }
            _ if is_qwen && is_on != Some(true) => None,
            (_, None) if !self.keys.map.contains_key("sliding_window") => {
                Some(SLIDING_WINDOW_DEFAULT)
            }
            (_, window) => window,
        };
        let n_full = match is_qwen {
            true => self.keys.size("max_window_layers")?.unwrap_or(MAX_WINDOW_LAYERS_DEFAULT),
            false => 0,
        };
        let full = match self.keys.get("layer_types") {
            Some(types) => self.full_layers(types, n_layers, window.is_some(), is_qwen)?,
            None if window.is_some() => std::iter::once(0..n_full.min(n_layers)).collect(),
            None => Vec::new(),
        };
        let n_full = full.iter().map(Range::len).sum::<usize>();
        match window.filter(|&window| window < n_positions_max && n_full < n_layers) {
            None => Ok((None, Vec::new())),
            window => Ok((window, full.into_iter().filter(|layers| !layers.is_empty()).collect())),
        }
    }

    /// The layers without a window; only qwens have both kinds.
    fn full_layers(
        &self,
        types: &Value,
        n_layers: usize,
        has_window: bool,
        is_qwen: bool,
    ) -> Result<Vec<Range<usize>>, OpenCheckpointError> {
        let refuse =
            |expected: String| Err(unsupported(self.path, "layer_types", expected, excerpt(types)));
        let listed = types.as_array().map_or(&[][..], Vec::as_slice);
        if listed.len() != n_layers || listed.iter().any(|name| name != FULL && name != SLIDING) {
            return refuse(format!("{FULL} or {SLIDING} for each of {n_layers} layers"));
        }
        let is_full = |layer_idx: &usize| listed[*layer_idx] == FULL;
        let full = (0..n_layers).filter(is_full).map(|layer_idx| layer_idx..layer_idx + 1);
        let full: Vec<Range<usize>> = full.collect();
        match has_window {
            false if full.len() < n_layers => {
                refuse(format!("{FULL} in a {} without a window", self.model_type()))
            }
            true if !is_qwen && !full.is_empty() => {
                refuse(format!("{SLIDING} in a {} with a window", self.model_type()))
            }
            _ => Ok(full),
        }
    }
}

/// One id or a list of them; null and negative ids mean none.
fn token_ids(
    path: &Path,
    key: &str,
    json: Option<&Value>,
) -> Result<Vec<u32>, OpenCheckpointError> {
    let ids: &[Value] = match json {
        None | Some(Value::Null) => &[],
        Some(Value::Array(ids)) => ids,
        Some(id) => std::slice::from_ref(id),
    };
    let stated = ids.iter().filter(|id| id.as_i64().is_none_or(|id| id >= 0));
    let read = stated.map(|id| {
        let small = id.as_u64().and_then(|id| u32::try_from(id).ok());
        small.ok_or_else(|| unsupported(path, key, "a token id or a list of them", id.to_string()))
    });
    read.collect()
}
