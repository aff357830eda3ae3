//! Hugging Face folders: `config.json` of either age, safetensors in one file or many.

use std::path::Path;

use lapwing_formats::safetensors::SafeTensors;
use lapwing_model::{Architecture, Llama, RopeScaling, SpecialTokens};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::config::Config;
use super::small_file::read_json;
use super::{Checkpoint, OpenCheckpointError, hugging_face_text, place_tensors, unsupported};
use crate::source::{Files, Source};

pub(super) const CONFIG_FILE: &str = "config.json";
const GENERATION_FILE: &str = "generation_config.json";
const MODEL_TYPES: &[&str] = &["llama", "mistral", "qwen2", "qwen3"];
const ROPE_THETA_DEFAULT: f32 = 10_000.0;
/// The length of context that transformers assumes for a llama without one.
const N_POSITIONS_DEFAULT: usize = 2048;

/// Open the folder at `path`.
pub(super) fn open(path: &Path) -> Result<Checkpoint, OpenCheckpointError> {
    let config_path = path.join(CONFIG_FILE);
    // First of all: other families lack fields that this one needs.
    let Family { model_type } = read_json(&config_path)?;
    refuse_other_families(&model_type, &config_path)?;
    let raw: RawConfig = read_json(&config_path)?;
    let generation_path = path.join(GENERATION_FILE);
    let generation_config: Option<Value> =
        generation_path.is_file().then(|| read_json(&generation_path)).transpose()?;
    let weights = SafeTensors::open(path)?;
    let has = |name: &str| weights.tensor(name).is_some();
    let mut config = raw.resolve(&config_path, generation_config.as_ref())?;
    config.architecture.family.attention_bias |= has("model.layers.0.self_attn.q_proj.bias");
    config.check(&config_path)?;
    let text = hugging_face_text::read(path, config.architecture.n_vocab)?;
    let is_needless = |name: &str| {
        // Old checkpoints store the frequencies; a tied head may be stored twice.
        name.ends_with(".rotary_emb.inv_freq")
            || config.architecture.family.tied_head && name == Llama::HEAD
    };
    let source = Source(Files::SafeTensors(weights));
    let places =
        place_tensors(path, &config.architecture, &source, str::to_owned, |_| None, is_needless)?;
    Ok(Checkpoint::new(path, config, text, generation_config, source, places))
}

/// What every `config.json` says.
#[derive(Deserialize)]
struct Family {
    model_type: String,
}

fn refuse_other_families(model_type: &str, path: &Path) -> Result<(), OpenCheckpointError> {
    if MODEL_TYPES.contains(&model_type) {
        return Ok(());
    }
    Err(unsupported(path, "model_type", MODEL_TYPES.join(", "), model_type))
}

/// `config.json` as transformers writes it, now and in earlier years.
#[derive(Deserialize)]
struct RawConfig {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    hidden_act: Option<String>,
    max_position_embeddings: Option<usize>,
    rms_norm_eps: f32,
    rope_theta: Option<f32>,
    rope_scaling: Option<RawRope>,
    rope_parameters: Option<RawRope>,
    sliding_window: Option<usize>,
    use_sliding_window: Option<bool>,
    max_window_layers: Option<usize>,
    #[serde(default)]
    tie_word_embeddings: bool,
    partial_rotary_factor: Option<f32>,
    quantization_config: Option<IgnoredAny>,
    bos_token_id: Option<Value>,
    eos_token_id: Option<Value>,
    pad_token_id: Option<Value>,
    unk_token_id: Option<Value>,
}

/// Rope parameters: `rope_scaling` in old files, `rope_parameters` in new ones.
#[derive(Deserialize)]
struct RawRope {
    rope_type: Option<String>,
    /// The older name of the same; some files have both.
    #[serde(rename = "type")]
    old_rope_type: Option<String>,
    rope_theta: Option<f32>,
    factor: Option<f32>,
    low_freq_factor: Option<f32>,
    high_freq_factor: Option<f32>,
    original_max_position_embeddings: Option<usize>,
}

impl RawConfig {
    fn resolve(
        self,
        path: &Path,
        generation: Option<&Value>,
    ) -> Result<Config, OpenCheckpointError> {
        self.refuse_unsupported(path)?;
        let n_positions_max = self.max_position_embeddings.unwrap_or(N_POSITIONS_DEFAULT);
        let rope = self.rope_parameters.as_ref().or(self.rope_scaling.as_ref());
        let stated_theta = rope.and_then(|rope| rope.rope_theta).or(self.rope_theta);
        let derived_head_size = self.hidden_size.checked_div(self.num_attention_heads).unwrap_or(0);
        let id = |key: &str, fallback: &Option<Value>| {
            let ids = generation.and_then(|json| json.get(key)).filter(|json| !json.is_null());
            token_ids(path, key, ids.or(fallback.as_ref()))
        };
        let first = |ids: Vec<u32>| ids.first().copied();
        let family = Llama {
            intermediate_size: self.intermediate_size,
            rms_epsilon: self.rms_norm_eps,
            rope_theta: stated_theta.unwrap_or(ROPE_THETA_DEFAULT),
            rope_scaling: rope.map(|rope| rope.resolve(path)).transpose()?.flatten(),
            attention_bias: self.model_type == "qwen2",
            qk_norm: self.model_type == "qwen3",
            tied_head: self.tie_word_embeddings,
        };
        let sliding_window = self.window(path)?.filter(|&window| window < n_positions_max);
        let tokens = SpecialTokens {
            bos: first(id("bos_token_id", &self.bos_token_id)?),
            pad: first(id("pad_token_id", &self.pad_token_id)?),
            eos: id("eos_token_id", &self.eos_token_id)?,
        };
        let unk = first(id("unk_token_id", &self.unk_token_id)?);
        let architecture = Architecture {
            n_vocab: self.vocab_size,
            n_layers: self.num_hidden_layers,
            n_heads: self.num_attention_heads,
            n_kv_heads: self.num_key_value_heads.unwrap_or(self.num_attention_heads),
            head_size: self.head_dim.unwrap_or(derived_head_size),
            hidden_size: self.hidden_size,
            n_positions_max,
            sliding_window,
            conv_cache_size: None,
            family,
            model_type: self.model_type,
        };
        Ok(Config { architecture, tokens, unk })
    }

    fn refuse_unsupported(&self, path: &Path) -> Result<(), OpenCheckpointError> {
        let refuse = |what: &str, expected: &str, found: String| {
            Err(unsupported(path, what, expected, found))
        };
        refuse_other_families(&self.model_type, path)?;
        if let Some(other) = self.hidden_act.as_ref().filter(|name| *name != "silu") {
            return refuse("hidden_act", "silu", other.clone());
        }
        if let Some(factor) = self.partial_rotary_factor.filter(|&factor| factor != 1.0) {
            return refuse("partial_rotary_factor", "1", factor.to_string());
        }
        if self.quantization_config.is_some() {
            let found = "quantised weights".to_owned();
            return refuse("quantization_config", "f32, f16 or bf16 weights", found);
        }
        Ok(())
    }

    /// The window that all layers share; none when no layer has one.
    fn window(&self, path: &Path) -> Result<Option<usize>, OpenCheckpointError> {
        let is_qwen = self.model_type.starts_with("qwen");
        if self.model_type == "llama" || is_qwen && self.use_sliding_window != Some(true) {
            return Ok(None);
        }
        let n_full_layers = if is_qwen { self.max_window_layers.unwrap_or(0) } else { 0 };
        match self.sliding_window {
            Some(_) if self.num_hidden_layers <= n_full_layers => Ok(None),
            Some(_) if n_full_layers > 0 => {
                let found = format!("{n_full_layers} of {} without one", self.num_hidden_layers);
                Err(unsupported(path, "max_window_layers", "one window for all layers", found))
            }
            window => Ok(window),
        }
    }
}

impl RawRope {
    fn resolve(&self, path: &Path) -> Result<Option<RopeScaling>, OpenCheckpointError> {
        let need = |value: Option<f32>, key: &str| {
            value.ok_or_else(|| unsupported(path, key, "a number", "none"))
        };
        match self.rope_type.as_deref().or(self.old_rope_type.as_deref()) {
            None | Some("default") => Ok(None),
            Some("linear") => {
                Ok(Some(RopeScaling::Linear { factor: need(self.factor, "rope factor")? }))
            }
            Some("llama3") => Ok(Some(RopeScaling::Llama3 {
                factor: need(self.factor, "rope factor")?,
                low_frequency_factor: need(self.low_freq_factor, "low_freq_factor")?,
                high_frequency_factor: need(self.high_freq_factor, "high_freq_factor")?,
                n_positions_original: self.original_max_position_embeddings.ok_or_else(|| {
                    let key = "original_max_position_embeddings";
                    unsupported(path, key, "a number", "none")
                })?,
            })),
            Some(other) => Err(unsupported(path, "rope_type", "default, linear or llama3", other)),
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

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"{"model_type":"llama","vocab_size":128256,"hidden_size":2048,
        "intermediate_size":8192,"num_hidden_layers":16,"num_attention_heads":32,
        "num_key_value_heads":8,"rms_norm_eps":1e-05,"max_position_embeddings":131072,
        "rope_theta":500000.0,"rope_scaling":{"factor":32.0,"high_freq_factor":4.0,
        "low_freq_factor":1.0,"original_max_position_embeddings":8192,"rope_type":"llama3"},
        "bos_token_id":128000,"eos_token_id":[128001,128008],"pad_token_id":-1,
        "hidden_act":"silu","tie_word_embeddings":true,"torch_dtype":"bfloat16"}"#;

    fn resolve(json: &Value, generation: Option<Value>) -> Result<Config, OpenCheckpointError> {
        let raw: RawConfig = serde_json::from_value(json.clone()).unwrap();
        raw.resolve(Path::new("config.json"), generation.as_ref())
    }

    fn old() -> Value {
        serde_json::from_str(OLD).unwrap()
    }

    #[test]
    fn old_and_new_forms_of_rope_mean_the_same() {
        let config = resolve(&old(), None).unwrap();
        let architecture = &config.architecture;
        let family = &architecture.family;
        assert_eq!((architecture.head_size, family.rope_theta), (64, 500_000.0));
        assert!(matches!(family.rope_scaling, Some(RopeScaling::Llama3 { factor: 32.0, .. })));
        assert_eq!((config.tokens.bos, config.tokens.pad), (Some(128_000), None));
        assert_eq!(config.tokens.eos, [128_001, 128_008]);

        let mut new = old();
        let mut rope = new.as_object_mut().unwrap().shift_remove("rope_scaling").unwrap();
        rope["rope_theta"] = new.as_object_mut().unwrap().shift_remove("rope_theta").unwrap();
        new["rope_parameters"] = rope;
        assert_eq!(resolve(&new, None).unwrap(), config);

        let mut linear = old();
        linear["rope_scaling"] = serde_json::json!({ "type": "linear", "factor": 2.0 });
        let scaling = resolve(&linear, None).unwrap().architecture.family.rope_scaling;
        assert_eq!(scaling, Some(RopeScaling::Linear { factor: 2.0 }));
    }

    #[test]
    fn both_names_of_the_rope_type_may_stand_side_by_side() {
        let mut both = old();
        let rope = r#"{"type":"default","rope_type":"linear","factor":2.0}"#;
        both["rope_scaling"] = serde_json::from_str(rope).unwrap();
        let scaling = resolve(&both, None).unwrap().architecture.family.rope_scaling;
        assert_eq!(scaling, Some(RopeScaling::Linear { factor: 2.0 }));
    }

    #[test]
    fn generation_ids_win_over_those_of_the_config() {
        let generation = serde_json::json!({ "eos_token_id": 7, "bos_token_id": null });
        let tokens = resolve(&old(), Some(generation)).unwrap().tokens;
        assert_eq!((tokens.eos.as_slice(), tokens.bos), (&[7][..], Some(128_000)));
    }

    #[test]
    fn another_family_is_named_before_the_fields_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join(CONFIG_FILE);
        std::fs::write(config, r#"{"model_type":"mamba","state_size":16}"#).unwrap();
        let message = open(folder.path()).map(drop).unwrap_err().to_string();
        let expected = "model_type: expected llama, mistral, qwen2, qwen3, found mamba";
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn windows_are_those_that_the_model_type_uses() {
        let check = |changes: Value, expected: Option<usize>| {
            let mut json = old();
            for (key, value) in changes.as_object().unwrap() {
                json[key] = value.clone();
            }
            let found = resolve(&json, None).unwrap().architecture.sliding_window;
            assert_eq!(found, expected, "{changes}");
        };
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        check(json(r#"{"model_type":"mistral","sliding_window":4096}"#), Some(4096));
        check(json(r#"{"model_type":"mistral","sliding_window":131072}"#), None);
        check(json(r#"{"model_type":"mistral","sliding_window":null}"#), None);
        check(json(r#"{"model_type":"qwen2","sliding_window":4096}"#), None);
        let all = r#"{"model_type":"qwen2","sliding_window":4096,"use_sliding_window":true,"#;
        check(json(&format!("{all}\"max_window_layers\":0}}")), Some(4096));
        check(json(&format!("{all}\"max_window_layers\":16}}")), None);
    }

    #[test]
    fn configs_that_cannot_be_exported_are_refused_with_the_cause() {
        let check = |key: &str, value: Value, expected: &str| {
            let mut json = old();
            json[key] = value;
            let message = resolve(&json, None).expect_err(expected).to_string();
            assert!(message.contains(expected), "{message:?} does not say {expected:?}");
        };
        check("model_type", "gemma3".into(), "expected llama, mistral, qwen2, qwen3");
        check("hidden_act", "gelu".into(), "hidden_act: expected silu, found gelu");
        check("partial_rotary_factor", 0.5.into(), "expected 1, found 0.5");
        check("quantization_config", serde_json::json!({}), "found quantised weights");
        check("eos_token_id", "</s>".into(), "eos_token_id: expected a token id");
        let yarn = serde_json::json!({ "rope_type": "yarn", "factor": 4.0 });
        check("rope_scaling", yarn, "rope_type: expected default, linear or llama3, found yarn");
    }
}
