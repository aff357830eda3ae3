//! `config.json` as transformers writes it, now and in earlier years.

use std::path::Path;

use serde_json::{Map, Value};

use super::super::{OpenCheckpointError, keys, unsupported};
use super::MODEL_TYPES;

/// The keys of one `config.json`, by which everything is read; absent and null are the same unless
/// said otherwise.
pub(super) struct ConfigJson<'a> {
    pub(super) path: &'a Path,
    pub(super) keys: &'a Map<String, Value>,
}

impl<'a> ConfigJson<'a> {
    /// Refuse other families first of all, since they lack keys that this one needs, and then every
    /// key that is not known.
    pub(super) fn new(path: &'a Path, json: &'a Value) -> Result<Self, OpenCheckpointError> {
        let Some(keys) = json.as_object() else {
            return Err(unsupported(path, "contents", "an object", excerpt(json)));
        };
        let config = ConfigJson { path, keys };
        let model_type = config.needed("model_type", Value::as_str, "a text")?;
        if !MODEL_TYPES.contains(&model_type) {
            return Err(unsupported(path, "model_type", MODEL_TYPES.join(", "), model_type));
        }
        for key in ["quantization_config", "quantization"] {
            if config.get(key).is_some() {
                let expected = "f32, f16 or bf16 weights";
                return Err(unsupported(path, key, expected, "quantised weights"));
            }
        }
        let stated = keys.iter().filter(|(key, value)| !value.is_null() && !key.starts_with('_'));
        for (key, value) in stated {
            keys::require_known(path, &[keys::CONFIG], ("", key), &value.to_string())?;
        }
        Ok(config)
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn optional<T>(
        &self,
        key: &str,
        read: impl Fn(&'a Value) -> Option<T>,
        expected: &str,
    ) -> Result<Option<T>, OpenCheckpointError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match read(value) {
            Some(read) => Ok(Some(read)),
            None => Err(unsupported(self.path, key, expected, excerpt(value))),
        }
    }

    pub(super) fn needed<T>(
        &self,
        key: &str,
        read: impl Fn(&'a Value) -> Option<T>,
        expected: &str,
    ) -> Result<T, OpenCheckpointError> {
        let found = self.optional(key, read, expected)?;
        found.ok_or_else(|| unsupported(self.path, key, expected, "none"))
    }

    pub(super) fn size(&self, key: &str) -> Result<Option<usize>, OpenCheckpointError> {
        self.optional(key, whole, "a whole number")
    }

    pub(super) fn needed_size(&self, key: &str) -> Result<usize, OpenCheckpointError> {
        self.needed(key, whole, "a whole number")
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f32>, OpenCheckpointError> {
        Ok(self.optional(key, Value::as_f64, "a number")?.map(|number| number as f32))
    }

    pub(super) fn truth(&self, key: &str) -> Result<Option<bool>, OpenCheckpointError> {
        self.optional(key, Value::as_bool, "true or false")
    }
}

/// A whole number; some tools write them as floats.
pub(super) fn whole(value: &Value) -> Option<usize> {
    let float = || {
        let number = value.as_f64()?;
        (number.fract() == 0.0 && (0.0..1e15).contains(&number)).then_some(number as u64)
    };
    usize::try_from(value.as_u64().or_else(float)?).ok()
}

/// A value for a message.
pub(super) fn excerpt(value: &Value) -> String {
    keys::excerpt(&value.to_string())
}
