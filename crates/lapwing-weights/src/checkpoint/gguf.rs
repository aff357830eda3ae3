//! GGUF files: metadata keys into a [`Config`], `blk.3.attn_q.weight` into Hugging Face names.
//!
//! Source: the GGUF specification and the converter's tensor naming (gguf-py/gguf/constants.py).

use std::path::Path;

use lapwing_formats::gguf::{DType, Gguf, Value, dequantize};
use lapwing_model::{Architecture, RopeScaling, SpecialTokens, Transformer};

use super::config::Config;
use super::keys::{require_known_metadata, shown};
use super::{Checkpoint, OpenCheckpointError, gguf_text, place_tensors, unsupported};
use crate::source::{Files, Source};

const ARCHITECTURES: &[&str] = &["llama", "qwen2", "qwen3"];
const ROPE_THETA_DEFAULT: f32 = 10_000.0;
/// Divisors of the rotary frequencies, one a frequency.
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// Open the GGUF file at `path`.
pub(super) fn open(path: &Path) -> Result<Checkpoint, OpenCheckpointError> {
    let gguf = Gguf::open(path)?;
    let config = read_config(&gguf)?;
    let text = gguf_text::read(&gguf, &config)?;
    let interleaved = {
        let Architecture { model_type, head_size, .. } = &config.architecture;
        (model_type == "llama").then_some(*head_size)
    };
    let is_needless = |name: &str| name == ROPE_FACTORS;
    let source = Source(Files::Gguf(gguf));
    let places = place_tensors(
        path,
        &config.architecture,
        &source,
        name_in_file,
        |name| interleaved.filter(|_| name.contains(".q_proj.") || name.contains(".k_proj.")),
        is_needless,
    )?;
    Ok(Checkpoint::new(path, config, text, None, source, places))
}

/// The GGUF name of a Hugging Face tensor.
pub(super) fn name_in_file(name: &str) -> String {
    let Some((layer_idx, rest)) =
        name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'))
    else {
        let renamed = match name {
            "model.embed_tokens.weight" => "token_embd.weight",
            "model.norm.weight" => "output_norm.weight",
            "lm_head.weight" => "output.weight",
            other => other,
        };
        return renamed.to_owned();
    };
    let (module, parameter) = rest.rsplit_once('.').unwrap_or((rest, ""));
    let module = match module {
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" => "ffn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        other => other,
    };
    format!("blk.{layer_idx}.{module}.{parameter}")
}

fn read_config(gguf: &Gguf) -> Result<Config, OpenCheckpointError> {
    let keys = Keys::new(gguf)?;
    require_known_metadata(gguf, keys.architecture)?;
    let n_heads = keys.size("attention.head_count")?;
    let hidden_size = keys.size("embedding_length")?;
    let head_size = match keys.optional_size("attention.key_length")? {
        Some(head_size) => head_size,
        None if n_heads > 0 => hidden_size / n_heads,
        None => 0,
    };
    keys.expect_absent_or("attention.value_length", head_size)?;
    keys.expect_absent_or("rope.dimension_count", head_size)?;
    keys.expect_absent_or("expert_count", 0)?;
    let n_vocab = gguf.tensor("token_embd.weight").and_then(|t| t.shape.first().copied());
    let n_positions_max = keys.size("context_length")?;
    let rope_theta = keys.number("rope.freq_base")?.unwrap_or(ROPE_THETA_DEFAULT);
    let family = Transformer {
        intermediate_size: keys.size("feed_forward_length")?,
        rms_epsilon: keys.required_number("attention.layer_norm_rms_epsilon")?,
        rope_theta,
        rope_scaling: keys.rope_scaling(rope_theta, head_size)?,
        attention_bias: keys.architecture == "qwen2" || gguf.tensor("blk.0.attn_q.bias").is_some(),
        qk_norm: keys.architecture == "qwen3",
        tied_head: gguf.tensor("output.weight").is_none(),
        full_layers: Vec::new(),
    };
    let architecture = Architecture {
        model_type: keys.architecture.to_owned(),
        n_vocab: n_vocab.unwrap_or(0),
        n_layers: keys.size("block_count")?,
        n_heads,
        n_kv_heads: keys.optional_size("attention.head_count_kv")?.unwrap_or(n_heads),
        head_size,
        hidden_size,
        n_positions_max,
        // llama.cpp reads the window of architectures that have one, and these have none: a key that
        // some converters leave in changes nothing there.
        sliding_window: None,
        conv_cache_size: None,
        family,
    };
    let mut config =
        Config { architecture, tokens: keys.tokens()?, unk: keys.token_id("unknown_token_id")? };
    config.drop_needless_ids(gguf.path());
    config.check(gguf.path())?;
    Ok(config)
}

/// Metadata below the architecture's prefix.
struct Keys<'a> {
    gguf: &'a Gguf,
    architecture: &'a str,
}

impl<'a> Keys<'a> {
    fn new(gguf: &'a Gguf) -> Result<Keys<'a>, OpenCheckpointError> {
        let architecture = gguf.get("general.architecture");
        match architecture.and_then(|value| value.as_str()) {
            Some(architecture) if ARCHITECTURES.contains(&architecture) => {
                Ok(Keys { gguf, architecture })
            }
            found => {
                let found = gguf_text::excerpt(found.unwrap_or("none"));
                let expected = ARCHITECTURES.join(", ");
                Err(unsupported(gguf.path(), "general.architecture", expected, found))
            }
        }
    }

    fn get(&self, key: &str) -> Option<Value<'a>> {
        self.gguf.get(&format!("{}.{key}", self.architecture))
    }

    fn wrong(&self, key: &str, expected: &str, found: Option<Value<'_>>) -> OpenCheckpointError {
        let found = found.map_or("none".to_owned(), |value| shown(&value));
        unsupported(self.gguf.path(), format!("{}.{key}", self.architecture), expected, found)
    }

    fn size(&self, key: &str) -> Result<usize, OpenCheckpointError> {
        self.optional_size(key)?.ok_or_else(|| self.wrong(key, "a number", None))
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>, OpenCheckpointError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        // A value that differs from layer to layer is a list.
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        match size.filter(|&size| size <= u32::MAX as usize) {
            Some(size) => Ok(Some(size)),
            None => Err(self.wrong(key, "one number", Some(value))),
        }
    }

    fn expect_absent_or(&self, key: &str, expected: usize) -> Result<(), OpenCheckpointError> {
        match self.optional_size(key)? {
            Some(found) if found != expected => {
                Err(self.wrong(key, &expected.to_string(), self.get(key)))
            }
            _ => Ok(()),
        }
    }

    fn number(&self, key: &str) -> Result<Option<f32>, OpenCheckpointError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_f64() {
            Some(number) => Ok(Some(number as f32)),
            None => Err(self.wrong(key, "a number", Some(value))),
        }
    }

    fn required_number(&self, key: &str) -> Result<f32, OpenCheckpointError> {
        self.number(key)?.ok_or_else(|| self.wrong(key, "a number", None))
    }

    fn token_id(&self, key: &str) -> Result<Option<u32>, OpenCheckpointError> {
        let key = format!("tokenizer.ggml.{key}");
        let Some(value) = self.gguf.get(&key) else { return Ok(None) };
        match value.as_u64().map(u32::try_from) {
            // The converter's way to say that there is none.
            Some(Ok(u32::MAX)) => Ok(None),
            Some(Ok(id)) => Ok(Some(id)),
            _ => Err(unsupported(self.gguf.path(), key, "a token id", shown(&value))),
        }
    }

    /// The special ids, with what they are where the file lacks a key.
    fn tokens(&self) -> Result<SpecialTokens, OpenCheckpointError> {
        let or_default = |key: &str| {
            let is_told = self.gguf.get(&format!("tokenizer.ggml.{key}")).is_some();
            let stated = self.token_id(key);
            if is_told { stated } else { Ok(gguf_text::default_id(self.gguf, key)) }
        };
        let eos = or_default("eos_token_id")?;
        let ends = [eos, self.token_id("eot_token_id")?, self.token_id("eom_token_id")?];
        Ok(SpecialTokens {
            bos: or_default("bos_token_id")?,
            eos: gguf_text::end_ids(self.gguf, ends),
            pad: self.token_id("padding_token_id")?,
        })
    }

    fn rope_scaling(
        &self,
        rope_theta: f32,
        head_size: usize,
    ) -> Result<Option<RopeScaling>, OpenCheckpointError> {
        if let Some(tensor) = self.gguf.tensor(ROPE_FACTORS) {
            let n_divisors: usize = tensor.shape.iter().product();
            if tensor.dtype != DType::F32 || n_divisors != head_size / 2 {
                let (path, expected) = (self.gguf.path(), [head_size / 2]);
                return Err(OpenCheckpointError::shape(
                    path,
                    ROPE_FACTORS,
                    &expected,
                    tensor.shape,
                ));
            }
            let mut divisors = vec![0.0; n_divisors];
            dequantize(tensor.dtype, tensor.bytes, &mut divisors).expect("type and length fit");
            let Some(factor) = self.linear_factor()? else {
                return Ok(Some(RopeScaling::from_divisors(divisors, rope_theta, head_size)));
            };
            divisors.iter_mut().for_each(|divisor| *divisor *= factor);
            return Ok(Some(RopeScaling::Divisors(divisors)));
        }
        Ok(self.linear_factor()?.map(|factor| RopeScaling::Linear { factor }))
    }

    /// The factor that divides every frequency; none where it is 1.
    ///
    /// As in llama.cpp: without a type the scaling is linear, the factor may stand under the key
    /// of early files, and a factor that is absent or 0 means none.
    fn linear_factor(&self) -> Result<Option<f32>, OpenCheckpointError> {
        let scaling_type = self.get("rope.scaling.type");
        match scaling_type.map(|value| value.as_str()) {
            Some(Some("none")) => return Ok(None),
            None | Some(Some("linear")) => {}
            Some(_) => {
                return Err(self.wrong("rope.scaling.type", "none or linear", scaling_type));
            }
        }
        let factor = match self.number("rope.scaling.factor")? {
            None => self.number("rope.scale_linear")?,
            factor => factor,
        };
        Ok(factor.filter(|&factor| factor != 0.0 && factor != 1.0))
    }
}
