//! Rotary embedding in `config.json`: `rope_theta` and `rope_scaling` in old files,
//! `rope_parameters` in new ones.

use lapwing_model::RopeScaling;
use serde_json::{Map, Value};

use super::super::{OpenCheckpointError, keys, unsupported};
use super::config_json::{ConfigJson, excerpt, whole};

const THETA_DEFAULT: f32 = 10_000.0;

/// What a configuration says of rotary embedding.
#[derive(Debug, PartialEq)]
pub(super) struct Rope {
    pub(super) theta: f32,
    pub(super) scaling: Option<RopeScaling>,
}

impl Rope {
    /// Read all keys that speak of it. Where both forms are there, they must say the same: the
    /// versions of transformers differ in which goes first.
    pub(super) fn read(
        config: &ConfigJson<'_>,
        has_window: bool,
        has_full_layers: bool,
    ) -> Result<Rope, OpenCheckpointError> {
        let kinds = Kinds { any_full: !has_window || has_full_layers, any_sliding: has_window };
        let old = Parameters::find(config, "rope_scaling", kinds)?;
        let new = Parameters::find(config, "rope_parameters", kinds)?;
        let read = |parameters: &Option<Parameters<'_>>| {
            parameters.as_ref().map(Parameters::scaling).transpose()
        };
        let (old_scaling, new_scaling) = (read(&old)?, read(&new)?);
        if let (Some(old), Some(new)) = (&old_scaling, &new_scaling)
            && old != new
        {
            let found = format!("another one in rope_scaling: {old:?} and {new:?}");
            return Err(unsupported(config.path, "rope_parameters", "one scaling", found));
        }
        let mut thetas = Vec::new();
        for parameters in [&new, &old].into_iter().flatten() {
            thetas.extend(parameters.number("rope_theta")?);
        }
        thetas.extend(config.number("rope_theta")?);
        if thetas.iter().any(|theta| *theta != thetas[0]) {
            let found = format!("{thetas:?} in rope_parameters and beside them");
            return Err(unsupported(config.path, "rope_theta", "one number", found));
        }
        Ok(Rope {
            theta: thetas.first().copied().unwrap_or(THETA_DEFAULT),
            scaling: new_scaling.or(old_scaling).flatten(),
        })
    }
}

/// Which kinds of layers a model has.
#[derive(Clone, Copy)]
struct Kinds {
    any_full: bool,
    any_sliding: bool,
}

/// One object of parameters.
struct Parameters<'a> {
    config: &'a ConfigJson<'a>,
    /// What stands before a key in messages.
    prefix: String,
    keys: &'a Map<String, Value>,
}

impl<'a> Parameters<'a> {
    /// The parameters under `name`; of parameters by kind of layer those of the model's one kind.
    fn find(
        config: &'a ConfigJson<'a>,
        name: &str,
        kinds: Kinds,
    ) -> Result<Option<Parameters<'a>>, OpenCheckpointError> {
        let Some(value) = config.get(name) else { return Ok(None) };
        let Some(keys) = value.as_object() else {
            return Err(unsupported(config.path, name, "an object", excerpt(value)));
        };
        let prefix = format!("{name}.");
        if !keys.values().any(Value::is_object) {
            return Ok(Some(Parameters { config, prefix, keys }));
        }
        let of_kind = match kinds {
            Kinds { any_full: true, any_sliding: false } => "full_attention",
            Kinds { any_full: false, any_sliding: true } => "sliding_attention",
            _ if keys.get("full_attention") == keys.get("sliding_attention") => "full_attention",
            _ => {
                let expected = "the same for layers with and without a window";
                return Err(unsupported(config.path, name, expected, excerpt(value)));
            }
        };
        let is_kind = |key: &str| key == "full_attention" || key == "sliding_attention";
        match keys.get(of_kind).and_then(Value::as_object) {
            Some(found) if keys.keys().all(|key| is_kind(key)) => {
                let prefix = format!("{prefix}{of_kind}.");
                Ok(Some(Parameters { config, prefix, keys: found }))
            }
            _ => {
                let expected = format!("parameters of {of_kind} layers");
                Err(unsupported(config.path, name, expected, excerpt(value)))
            }
        }
    }

    fn scaling(&self) -> Result<Option<RopeScaling>, OpenCheckpointError> {
        let text = |key: &str| match self.keys.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(other) => Err(self.wrong(key, "a text", excerpt(other))),
        };
        // The older name of the same; some files have both.
        let (rope_type, old_type) = (text("rope_type")?, text("type")?);
        let rope_type = rope_type.or(old_type);
        let of_type = match rope_type {
            None | Some("default") => keys::ROPE_DEFAULT,
            Some("linear") => keys::ROPE_LINEAR,
            Some("llama3") => keys::ROPE_LLAMA3,
            Some(other) => {
                let (path, expected) = (self.config.path, "default, linear or llama3");
                return Err(unsupported(path, "rope_type", expected, other));
            }
        };
        let stated = self.keys.iter().filter(|(_, value)| !value.is_null());
        if let (None, Some(factor)) = (rope_type, stated.clone().find(|(key, _)| *key == "factor"))
        {
            let found = format!("none, and a factor of {}", excerpt(factor.1));
            return Err(self.wrong("rope_type", "default, linear or llama3", found));
        }
        for (key, value) in stated {
            let (name, tables) = ((self.prefix.as_str(), key.as_str()), [keys::ROPE, of_type]);
            keys::require_known(self.config.path, &tables, name, &value.to_string())?;
        }
        let needed = |key: &str| {
            self.number(key)?.ok_or_else(|| self.wrong(key, "a number", "none".to_owned()))
        };
        match rope_type {
            Some("linear") => Ok(Some(RopeScaling::Linear { factor: needed("factor")? })),
            Some("llama3") => Ok(Some(RopeScaling::Llama3 {
                factor: needed("factor")?,
                low_frequency_factor: needed("low_freq_factor")?,
                high_frequency_factor: needed("high_freq_factor")?,
                n_positions_original: {
                    let key = "original_max_position_embeddings";
                    let number = self.keys.get(key).and_then(whole);
                    number.ok_or_else(|| self.wrong(key, "a whole number", "none".to_owned()))?
                },
            })),
            _ => Ok(None),
        }
    }

    fn number(&self, key: &str) -> Result<Option<f32>, OpenCheckpointError> {
        match self.keys.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(Some(number as f32)),
                None => Err(self.wrong(key, "a number", excerpt(value))),
            },
        }
    }

    fn wrong(&self, key: &str, expected: &str, found: String) -> OpenCheckpointError {
        unsupported(self.config.path, format!("{}{key}", self.prefix), expected, found)
    }
}
