//! Metadata of a GGUF below the name of its architecture.

use lapwing_formats::gguf::{Gguf, Value};
use lapwing_model::{Biased, Biases, Experts, Family, Layers, SpecialTokens, Windows};

use super::super::keys::shown;
use super::super::layout::{BIASED, any_bias};
use super::super::{OpenCheckpointError, gguf_text, unsupported};
use super::name_in_file;

/// Metadata below the architecture's prefix.
pub(super) struct Metadata<'a> {
    pub(super) gguf: &'a Gguf,
    pub(super) family: &'static Family,
    pub(super) architecture: &'static str,
}

impl<'a> Metadata<'a> {
    /// The window that layers share, and those of them that have none.
    pub(super) fn windows(
        &self,
        n_layers: usize,
        n_positions_max: usize,
    ) -> Result<(Option<usize>, Layers), OpenCheckpointError> {
        const KEY: &str = "attention.sliding_window";
        const PATTERN_KEY: &str = "attention.sliding_window_pattern";
        let full = match self.family.windows {
            Windows::Pattern(n) => match self.get(PATTERN_KEY) {
                Some(pattern) if pattern.as_array().is_some() => {
                    self.full_layers(PATTERN_KEY, &pattern, n_layers)?
                }
                _ => Layers::LastOfEvery(self.optional_size(PATTERN_KEY)?.unwrap_or(n)),
            },
            Windows::All(_) if self.architecture != "llama" => Layers::NONE,
            // llama.cpp reads the window of architectures that have one, and these have none: a key
            // that some converters leave in changes nothing there.
            _ => {
                return Ok((None, Layers::NONE));
            }
        };
        let default = || self.default("sliding_window").filter(|_| !self.family.has_window_rope);
        let window = match self.optional_size(KEY)? {
            Some(0) => None,
            window => window.or(default().map(|window| window as usize)),
        };
        let matters = |window: &usize| *window < n_positions_max || self.family.has_window_rope;
        match window.filter(matters) {
            None => Ok((None, Layers::NONE)),
            window => Ok((window, full)),
        }
    }

    /// The layers without a window, of a truth for each layer.
    pub(super) fn full_layers(
        &self,
        key: &str,
        pattern: &Value<'_>,
        n_layers: usize,
    ) -> Result<Layers, OpenCheckpointError> {
        let truths: Option<Vec<bool>> = pattern
            .as_array()
            .filter(|array| array.len() == n_layers)
            .and_then(|array| array.iter().map(|value| value.as_bool()).collect());
        let Some(truths) = truths else {
            let expected = format!("a number, or a truth for each of {n_layers} layers");
            return Err(self.wrong(key, &expected, Some(*pattern)));
        };
        let full = truths.iter().enumerate().filter(|(_, is_windowed)| !**is_windowed);
        Ok(Layers::Listed(full.map(|(layer_idx, _)| layer_idx..layer_idx + 1).collect()))
    }

    /// The experts of a family that has any.
    pub(super) fn experts(&self) -> Result<Option<Experts>, OpenCheckpointError> {
        let Some(of_family) = self.family.experts else {
            self.expect_absent_or("expert_count", 0)?;
            return Ok(None);
        };
        Ok(Some(Experts {
            n_experts: self.size("expert_count")?,
            n_used: self.size("expert_used_count")?,
            // What llama.cpp does for the architectures whose files do not say.
            normalises_shares: of_family.normalises_shares.unwrap_or(true),
            has_bias: of_family.is_biased,
        }))
    }

    /// What is stored decides.
    pub(super) fn biases(&self) -> Biases {
        let has = |name: &str| self.gguf.tensor(&name_in_file(self.family, name)).is_some();
        let [qkv, output, feed_forward] = BIASED.map(|modules| any_bias(modules, &has).is_some());
        Biases { qkv: self.family.biased == Biased::Qkv || qkv, output, feed_forward }
    }

    pub(super) fn attention_scale(
        &self,
        [hidden_size, n_heads, head_size]: [usize; 3],
        n_layers: usize,
    ) -> Result<f32, OpenCheckpointError> {
        let of_length = |length: usize| (length as f32).sqrt().recip();
        // Not told in the file: the largest Gemma's alone is another, and its number of layers is
        // what llama.cpp knows it by.
        let is_by_width = self.family.n_layers_scaled_by_width == Some(n_layers);
        match self.number("attention.scale")?.filter(|scale| *scale != 0.0) {
            Some(scale) => Ok(scale),
            None if is_by_width => Ok(of_length(hidden_size / n_heads.max(1))),
            None => Ok(of_length(head_size)),
        }
    }

    /// A factor; llama.cpp takes 0 for an absent key.
    pub(super) fn factor(&self, key: &str) -> Result<f32, OpenCheckpointError> {
        Ok(self.number(key)?.filter(|factor| *factor != 0.0).unwrap_or(1.0))
    }

    /// A limit; 0 means none, an absent key what the family takes for it.
    pub(super) fn cap(&self, key: &str) -> Result<Option<f32>, OpenCheckpointError> {
        let stated = self.number(key)?.or(self.default(key).map(|cap| cap as f32));
        Ok(stated.filter(|cap| *cap != 0.0))
    }

    /// What the family takes for a key of `config.json`.
    pub(super) fn default(&self, key: &str) -> Option<f64> {
        self.family.defaults.iter().find(|(name, _)| *name == key).map(|(_, number)| *number)
    }

    pub(super) fn get(&self, key: &str) -> Option<Value<'a>> {
        self.gguf.get(&format!("{}.{key}", self.architecture))
    }

    pub(super) fn wrong(
        &self,
        key: &str,
        expected: &str,
        found: Option<Value<'_>>,
    ) -> OpenCheckpointError {
        let found = found.map_or("none".to_owned(), |value| shown(&value));
        unsupported(self.gguf.path(), format!("{}.{key}", self.architecture), expected, found)
    }

    pub(super) fn size(&self, key: &str) -> Result<usize, OpenCheckpointError> {
        self.optional_size(key)?.ok_or_else(|| self.wrong(key, "a number", None))
    }

    pub(super) fn optional_size(&self, key: &str) -> Result<Option<usize>, OpenCheckpointError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        // A value that differs from layer to layer is a list.
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        match size.filter(|&size| size <= u32::MAX as usize) {
            Some(size) => Ok(Some(size)),
            None => Err(self.wrong(key, "one number", Some(value))),
        }
    }

    pub(super) fn expect_absent_or(
        &self,
        key: &str,
        expected: usize,
    ) -> Result<(), OpenCheckpointError> {
        match self.optional_size(key)? {
            Some(found) if found != expected => {
                Err(self.wrong(key, &expected.to_string(), self.get(key)))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f32>, OpenCheckpointError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_f64() {
            Some(number) => Ok(Some(number as f32)),
            None => Err(self.wrong(key, "a number", Some(value))),
        }
    }

    pub(super) fn required_number(&self, key: &str) -> Result<f32, OpenCheckpointError> {
        self.number(key)?.ok_or_else(|| self.wrong(key, "a number", None))
    }

    pub(super) fn token_id(&self, key: &str) -> Result<Option<u32>, OpenCheckpointError> {
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
    pub(super) fn tokens(&self) -> Result<SpecialTokens, OpenCheckpointError> {
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
}
