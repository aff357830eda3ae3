//! Keys of a JSON object, read with errors that name file and key.

use std::path::Path;

use serde_json::{Map, Value};

use super::super::{OpenCheckpointError, keys, unsupported};

/// An object of a configuration; absent and null are the same.
pub(super) struct JsonKeys<'a> {
    pub(super) path: &'a Path,
    /// What stands before a key in messages.
    pub(super) prefix: String,
    pub(super) map: &'a Map<String, Value>,
}

impl<'a> JsonKeys<'a> {
    /// Refuse what is in none of `tables`, but for what is harmless by its name.
    pub(super) fn require_known(
        &self,
        tables: &[&keys::Keys],
        is_harmless: impl Fn(&str) -> bool,
    ) -> Result<(), OpenCheckpointError> {
        let stated = self.map.iter().filter(|(key, value)| !value.is_null() && !is_harmless(key));
        for (key, value) in stated {
            keys::require_known(self.path, tables, (&self.prefix, key), &value.to_string())?;
        }
        Ok(())
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// What `read` makes of a value; `expected` says what it takes.
    pub(super) fn optional<T>(
        &self,
        key: &str,
        read: impl Fn(&'a Value) -> Option<T>,
        expected: &str,
    ) -> Result<Option<T>, OpenCheckpointError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match read(value) {
            Some(read) => Ok(Some(read)),
            // Texts are told from numbers by their quotes; those of NaN and Infinity are not the file's.
            None if value.as_str().is_some_and(|text| !is_no_number(text)) => {
                Err(self.wrong(key, expected, format!("\"{}\"", excerpt(value))))
            }
            None => Err(self.wrong(key, expected, excerpt(value))),
        }
    }

    pub(super) fn needed<T>(
        &self,
        key: &str,
        read: impl Fn(&'a Value) -> Option<T>,
        expected: &str,
    ) -> Result<T, OpenCheckpointError> {
        let found = self.optional(key, read, expected)?;
        found.ok_or_else(|| self.wrong(key, expected, "none"))
    }

    pub(super) fn size(&self, key: &str) -> Result<Option<usize>, OpenCheckpointError> {
        self.optional(key, whole, "a whole number from 0 on")
    }

    pub(super) fn needed_size(&self, key: &str) -> Result<usize, OpenCheckpointError> {
        self.needed(key, whole, "a whole number from 0 on")
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f32>, OpenCheckpointError> {
        self.optional(key, float, "a number")
    }

    pub(super) fn needed_number(&self, key: &str) -> Result<f32, OpenCheckpointError> {
        self.needed(key, float, "a number")
    }

    pub(super) fn needed_numbers(&self, key: &str) -> Result<Vec<f32>, OpenCheckpointError> {
        let floats =
            |value: &Value| value.as_array()?.iter().map(float).collect::<Option<Vec<f32>>>();
        self.needed(key, floats, "a list of numbers")
    }

    pub(super) fn truth(&self, key: &str) -> Result<Option<bool>, OpenCheckpointError> {
        self.optional(key, Value::as_bool, "true or false")
    }

    pub(super) fn wrong(
        &self,
        key: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> OpenCheckpointError {
        unsupported(self.path, format!("{}{key}", self.prefix), expected, found)
    }
}

/// A value for a message.
pub(super) fn excerpt(value: &Value) -> String {
    keys::excerpt(&value.to_string())
}

/// Whether Python writes a number that JSON has not so.
fn is_no_number(text: &str) -> bool {
    ["NaN", "Infinity", "-Infinity"].contains(&text)
}

fn float(value: &Value) -> Option<f32> {
    value.as_f64().map(|number| number as f32)
}

/// A whole number; some tools write them as floats.
fn whole(value: &Value) -> Option<usize> {
    let float = || {
        let number = value.as_f64()?;
        (number.fract() == 0.0 && (0.0..1e15).contains(&number)).then_some(number as u64)
    };
    usize::try_from(value.as_u64().or_else(float)?).ok()
}
