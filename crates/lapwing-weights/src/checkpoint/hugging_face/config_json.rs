//! `config.json` as transformers writes it, now and in earlier years.

use std::ops::Range;
use std::path::Path;

use lapwing_model::{
    Architecture, AttentionScale, Biased, Biases, Experts, FAMILIES, Family, Layers, SpecialTokens,
    Transformer, Windows,
};
use serde_json::Value;

use super::super::config::Config;
use super::super::layout::{BIASED, any_bias};
use super::super::{OpenCheckpointError, keys, unsupported};
use super::json_keys::{JsonKeys, excerpt};
use super::quantization::require_floats;
use super::rope::{Facts, Ropes};

/// What a layer is called that looks back over everything.
const FULL: &str = "full_attention";
/// What a layer is called that has a window.
const SLIDING: &str = "sliding_attention";

/// The first layer with a window in a qwen whose configuration lacks the key, as in transformers.
const MAX_WINDOW_LAYERS_DEFAULT: usize = 28;
/// The window of a qwen whose configuration lacks the key, as in transformers.
const SWITCHED_WINDOW_DEFAULT: usize = 4096;
/// Of layers without rotary embedding, where the configuration lacks the key, as in transformers.
const NO_ROPE_INTERVAL_DEFAULT: usize = 4;

/// One `config.json` whose every key is known.
pub(super) struct ConfigJson<'a> {
    path: &'a Path,
    keys: JsonKeys<'a>,
    /// What stands around `keys` where they are the text part of a model with vision.
    around: Option<JsonKeys<'a>>,
    pub(super) family: &'static Family,
}

/// The one model with vision whose text part is exported.
const WITH_VISION: &str = "gemma3";

impl<'a> ConfigJson<'a> {
    /// Refuse other families first of all, since they lack keys that this one needs, and then every
    /// key that is not known.
    pub(super) fn new(path: &'a Path, json: &'a Value) -> Result<Self, OpenCheckpointError> {
        let Some(map) = json.as_object() else {
            return Err(unsupported(path, "contents", "an object", excerpt(json)));
        };
        let mut keys = JsonKeys { path, prefix: String::new(), map };
        let mut around = None;
        require_floats(&keys)?;
        // What begins so are transformers' own notes.
        let is_note = |key: &str| key.starts_with('_');
        if keys.needed("model_type", Value::as_str, "a text")? == WITH_VISION {
            keys.require_known(&[keys::AROUND_TEXT, keys::CONFIG], is_note)?;
            let map = keys.needed("text_config", Value::as_object, "an object")?;
            let prefix = "text_config.".to_owned();
            around = Some(std::mem::replace(&mut keys, JsonKeys { path, prefix, map }));
        }
        let model_type = keys.needed("model_type", Value::as_str, "a text")?;
        let Some(family) = Family::of_model_type(model_type) else {
            let known: Vec<&str> = FAMILIES.iter().map(|family| family.model_type).collect();
            return Err(keys.wrong("model_type", known.join(", "), model_type));
        };
        let tables = [keys::of_family(model_type), keys::CONFIG];
        keys.require_known(&tables, is_note)?;
        Ok(ConfigJson { path, keys, around, family })
    }

    /// Whether it is the text part of a model with vision.
    pub(super) fn is_text_part(&self) -> bool {
        self.around.is_some()
    }

    /// What the model is made of; `has` tells whether there is a tensor of a name, and
    /// `generation` is `generation_config.json`, whose ids go first.
    pub(super) fn resolve(
        &self,
        generation: Option<&Value>,
        has: &dyn Fn(&str) -> bool,
    ) -> Result<Config, OpenCheckpointError> {
        let (n_heads, hidden_size) = (self.size("num_attention_heads")?, self.size("hidden_size")?);
        let n_layers = self.size("num_hidden_layers")?;
        let n_positions_max = self.keys.size("max_position_embeddings")?;
        let n_positions_max = n_positions_max.unwrap_or(self.family.n_positions_default);
        let head_size = match self.optional_size("head_dim")? {
            Some(head_size) => head_size,
            None => hidden_size.checked_div(n_heads).unwrap_or(0),
        };
        let unrotated_layers = self.unrotated_layers(n_layers)?;
        let (sliding_window, full_layers) = self.windows(n_layers, n_positions_max)?;
        let facts = Facts {
            family: self.family,
            head_size,
            n_positions_max,
            has_window: sliding_window.is_some(),
            has_full_layers: full_layers.has_any_of(n_layers),
        };
        let ropes = Ropes::read(&self.keys, facts)?;
        let family = Transformer {
            intermediate_size: match self.family.experts {
                Some(experts) => self.size(experts.width_key)?,
                None => self.size("intermediate_size")?,
            },
            experts: self.experts()?,
            rms_epsilon: match (self.keys.number("rms_norm_eps")?, self.default("rms_norm_eps")) {
                (None, Some(epsilon)) => epsilon as f32,
                _ => self.keys.needed_number("rms_norm_eps")?,
            },
            norms_behind: self.family.norms_behind,
            qk_norm: self.family.qk_norm,
            has_sinks: self.family.has_sinks,
            activation: self.family.activation,
            biases: self.biases(has)?,
            embedding_factor: match self.family.scales_embedding {
                true => (hidden_size as f32).sqrt(),
                false => self.factor("embedding_multiplier")?,
            },
            residual_factor: self.factor("residual_multiplier")?,
            attention_scale: self.attention_scale(head_size)?,
            attention_cap: self.cap("attn_logit_softcapping")?,
            logit_divisor: self.factor("logits_scaling")?,
            logit_cap: self.cap("final_logit_softcapping")?,
            tied_head: self.is_tied()?,
            rope: ropes.general,
            window_rope: ropes.window.filter(|_| sliding_window.is_some()),
            full_layers,
            unrotated_layers,
        };
        let ids = |key: &str| {
            let ids = generation.and_then(|json| json.get(key)).filter(|json| !json.is_null());
            let around = || self.around.as_ref().and_then(|around| around.get(key));
            token_ids(self.path, key, ids.or(self.keys.get(key)).or_else(around))
        };
        let first = |key: &str| ids(key).map(|ids| ids.first().copied());
        let tokens = SpecialTokens {
            bos: first("bos_token_id")?,
            eos: ids("eos_token_id")?,
            pad: first("pad_token_id")?,
        };
        let architecture = Architecture {
            n_vocab: self.size("vocab_size")?,
            n_layers,
            n_heads,
            n_kv_heads: self.optional_size("num_key_value_heads")?.unwrap_or(n_heads),
            head_size,
            hidden_size,
            n_positions_max,
            sliding_window,
            conv_cache_size: None,
            family,
            model_type: self.family.model_type.to_owned(),
        };
        Ok(Config { architecture, tokens, unk: first("unk_token_id")? })
    }

    fn is_tied(&self) -> Result<bool, OpenCheckpointError> {
        const KEY: &str = "tie_word_embeddings";
        let around = match &self.around {
            Some(around) => around.truth(KEY)?,
            None => None,
        };
        Ok(self.keys.truth(KEY)?.or(around).unwrap_or(self.family.is_tied))
    }

    /// The experts of a family that has any.
    fn experts(&self) -> Result<Option<Experts>, OpenCheckpointError> {
        let Some(of_family) = self.family.experts else { return Ok(None) };
        Ok(Some(Experts {
            n_experts: self.agreed_size(of_family.n_experts_keys)?,
            n_used: self.agreed_size(of_family.n_used_keys)?,
            normalises_shares: match of_family.normalises_shares {
                Some(normalises) => normalises,
                None => self.keys.truth("norm_topk_prob")?.unwrap_or(false),
            },
            has_bias: of_family.is_biased,
        }))
    }

    /// The size that stands under several keys, or under one of them, or is that of the first where
    /// the configuration does not say.
    fn agreed_size(&self, keys: &[&str]) -> Result<usize, OpenCheckpointError> {
        let stated: Vec<&str> =
            keys.iter().filter(|key| self.keys.get(key).is_some()).copied().collect();
        let size = self.size(stated.first().unwrap_or(&keys[0]))?;
        for other in stated.iter().skip(1) {
            if self.size(other)? != size {
                let found = self.size(other)?.to_string();
                return Err(self.keys.wrong(other, format!("{size}, as {}", stated[0]), found));
            }
        }
        Ok(size)
    }

    /// What the family takes for a key that is absent.
    fn default(&self, key: &str) -> Option<f64> {
        self.family.defaults.iter().find(|(name, _)| *name == key).map(|(_, number)| *number)
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>, OpenCheckpointError> {
        Ok(self.keys.size(key)?.or(self.default(key).map(|size| size as usize)))
    }

    fn size(&self, key: &str) -> Result<usize, OpenCheckpointError> {
        match self.optional_size(key)? {
            Some(size) => Ok(size),
            None => self.keys.needed_size(key),
        }
    }

    fn factor(&self, key: &str) -> Result<f32, OpenCheckpointError> {
        Ok(self.keys.number(key)?.unwrap_or(1.0))
    }

    /// A limit; a null means none, an absent key what the family takes for it.
    fn cap(&self, key: &str) -> Result<Option<f32>, OpenCheckpointError> {
        match self.keys.map.contains_key(key) {
            true => self.keys.number(key),
            false => Ok(self.default(key).map(|cap| cap as f32)),
        }
    }

    fn attention_scale(&self, head_size: usize) -> Result<f32, OpenCheckpointError> {
        let of_length = |length: f32| length.sqrt().recip();
        match self.family.attention_scale {
            AttentionScale::HeadSize => Ok(of_length(head_size as f32)),
            AttentionScale::Scalar(default) => {
                Ok(of_length(self.keys.number("query_pre_attn_scalar")?.unwrap_or(default)))
            }
            AttentionScale::Multiplier => self.factor("attention_multiplier"),
        }
    }

    /// What the configuration says of biases and what is stored must agree.
    fn biases(&self, has: &dyn Fn(&str) -> bool) -> Result<Biases, OpenCheckpointError> {
        let is_stored = |key: &str, modules: &[&str], may_lack: bool| {
            let stored = any_bias(modules, has);
            match (self.keys.truth(key)?, stored) {
                (Some(false), Some(name)) => {
                    let found = format!("false, and a tensor {name}");
                    Err(unsupported(self.path, key, "true, or no bias", found))
                }
                (stated, stored) => Ok(stored.is_some() || stated == Some(true) && !may_lack),
            }
        };
        let [qkv, output, feed_forward] = BIASED;
        Ok(Biases {
            qkv: match self.family.biased {
                Biased::Qkv => true,
                Biased::AsStored => is_stored("attention_bias", qkv, false)?,
            },
            // Files of derived models have the other three alone.
            output: is_stored("attention_bias", output, true)?,
            feed_forward: is_stored("mlp_bias", feed_forward, false)?,
        })
    }

    /// The layers without rotary embedding.
    fn unrotated_layers(&self, n_layers: usize) -> Result<Layers, OpenCheckpointError> {
        const KEY: &str = "no_rope_layers";
        if self.family.windows != Windows::Unrotated {
            return Ok(Layers::NONE);
        }
        let Some(list) = self.keys.get(KEY) else {
            let interval = self.keys.size("no_rope_layer_interval")?;
            return Ok(Layers::LastOfEvery(interval.unwrap_or(NO_ROPE_INTERVAL_DEFAULT)));
        };
        let listed = list.as_array().map_or(&[][..], Vec::as_slice);
        let is_flag = |flag: &Value| matches!(flag.as_u64(), Some(0 | 1));
        if listed.len() < n_layers || !listed.iter().all(is_flag) {
            let expected = format!("0 or 1 for each of {n_layers} layers");
            return Err(self.keys.wrong(KEY, expected, excerpt(list)));
        }
        // A 1 says that there is rotary embedding.
        Ok(listed_layers((0..n_layers).filter(|&layer_idx| listed[layer_idx] == 0)))
    }

    /// The window that layers share, and those of them that have none; no window at all where it is
    /// as long as the context and changes nothing else.
    fn windows(
        &self,
        n_layers: usize,
        n_positions_max: usize,
    ) -> Result<(Option<usize>, Layers), OpenCheckpointError> {
        let is_switched = self.family.windows == Windows::Switched;
        let window = self.stated_window(n_positions_max)?;
        let is_mixed = !matches!(self.family.windows, Windows::Never | Windows::All(_));
        let full = match (self.keys.get("layer_types"), self.family.windows) {
            (Some(types), _) => self.full_layers(types, n_layers, window.is_some(), is_mixed)?,
            (None, _) if window.is_none() => Layers::NONE,
            (None, Windows::Pattern(n)) => {
                let n = self.keys.size("sliding_window_pattern")?.unwrap_or(n);
                Layers::LastOfEvery(n)
            }
            (None, Windows::Unrotated) => {
                let expected = "the kind of each layer, where use_sliding_window is on";
                return Err(self.keys.wrong("layer_types", expected, "none"));
            }
            (None, _) => {
                let n_full = match is_switched {
                    true => self.keys.size("max_window_layers")?,
                    false => Some(0),
                };
                let n_full = n_full.unwrap_or(MAX_WINDOW_LAYERS_DEFAULT).min(n_layers);
                Layers::Listed(std::iter::once(0..n_full).filter(|full| !full.is_empty()).collect())
            }
        };
        let is_full_throughout = match &full {
            Layers::Listed(ranges) => ranges.iter().map(Range::len).sum::<usize>() >= n_layers,
            Layers::LastOfEvery(n) => *n == 1,
        };
        let matters = |window: &usize| *window < n_positions_max || self.family.has_window_rope;
        match window.filter(|window| matters(window) && !is_full_throughout) {
            None => Ok((None, Layers::NONE)),
            window => Ok((window, full)),
        }
    }

    /// The length of windows, where the configuration says that there are any.
    fn stated_window(&self, n_positions_max: usize) -> Result<Option<usize>, OpenCheckpointError> {
        let is_on = self.keys.truth("use_sliding_window")?;
        let stated = self.keys.size("sliding_window")?;
        let is_absent = !self.keys.map.contains_key("sliding_window");
        let model_type = self.family.model_type;
        match (self.family.windows, stated) {
            (Windows::Never, Some(window)) if window < n_positions_max && is_on != Some(false) => {
                let expected = format!("none in a {model_type}");
                Err(unsupported(self.path, "sliding_window", expected, window.to_string()))
            }
            (Windows::Never, _) => Ok(None),
            (Windows::All(_), Some(window)) if is_on == Some(false) && window < n_positions_max => {
                let expected = format!("true in a {model_type} with a sliding_window of {window}");
                Err(unsupported(self.path, "use_sliding_window", expected, "false"))
            }
            (Windows::All(default), None) if is_absent => Ok(default),
            (Windows::Switched | Windows::Unrotated, _) if is_on != Some(true) => Ok(None),
            (Windows::Switched, None) if is_absent => Ok(Some(SWITCHED_WINDOW_DEFAULT)),
            (Windows::Pattern(_), None) => match self.default("sliding_window") {
                Some(window) if is_absent => Ok(Some(window as usize)),
                _ => Err(self.keys.wrong("sliding_window", "a whole number", "none")),
            },
            (_, stated) => Ok(stated),
        }
    }

    /// The layers without a window; families without both kinds say one kind throughout.
    fn full_layers(
        &self,
        types: &Value,
        n_layers: usize,
        has_window: bool,
        is_mixed: bool,
    ) -> Result<Layers, OpenCheckpointError> {
        let refuse =
            |expected: String| Err(unsupported(self.path, "layer_types", expected, excerpt(types)));
        let listed = types.as_array().map_or(&[][..], Vec::as_slice);
        if listed.len() != n_layers || listed.iter().any(|name| name != FULL && name != SLIDING) {
            return refuse(format!("{FULL} or {SLIDING} for each of {n_layers} layers"));
        }
        let full = listed_layers((0..n_layers).filter(|&layer_idx| listed[layer_idx] == FULL));
        let n_full = listed.iter().filter(|name| *name == FULL).count();
        match has_window {
            false if n_full < n_layers => {
                refuse(format!("{FULL} in a {} without a window", self.family.model_type))
            }
            true if !is_mixed && n_full > 0 => {
                refuse(format!("{SLIDING} in a {} with a window", self.family.model_type))
            }
            _ => Ok(full),
        }
    }
}

fn listed_layers(layers: impl Iterator<Item = usize>) -> Layers {
    Layers::Listed(layers.map(|layer_idx| layer_idx..layer_idx + 1).collect())
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
