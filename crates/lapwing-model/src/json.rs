//! Reading manifests: bounded size, errors that name the file and the key.

use std::borrow::Cow;
use std::path::Path;

use lapwing_files::regular::{self, N_TEXT_BYTES_MAX};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{OpenFolderError, TokenId};

/// One manifest with its path, for errors.
pub(crate) struct Manifest<'a> {
    pub(crate) file: &'a Path,
    value: Value,
}

/// One id or several: both are found in the field `eos_token_id`.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(TokenId),
    Many(Vec<TokenId>),
}

/// Parse JSON as Python writes it, which has `Infinity`, `-Infinity` and `NaN` beside JSON's numbers.
///
/// These become texts of the same letters: whoever asks for the key finds no number and says so, and
/// nobody is kept from the other keys.
///
/// # Errors
///
/// When it is no JSON but for these words.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    let Cow::Owned(quoted) = quote_python_numbers(bytes) else {
        return serde_json::from_slice(bytes);
    };
    serde_json::from_slice(&quoted)
}

/// The bytes with quotes around what is no number of JSON's, outside of texts.
fn quote_python_numbers(bytes: &[u8]) -> Cow<'_, [u8]> {
    const WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut quoted = Vec::new();
    let (mut n_copied, mut at, mut in_text) = (0, 0, false);
    while let Some(&byte) = bytes.get(at) {
        let word = WORDS.iter().find(|word| !in_text && bytes[at..].starts_with(word));
        if let Some(word) = word {
            quoted.extend_from_slice(&bytes[n_copied..at]);
            quoted.extend([b"\"", *word, b"\""].concat());
            at += word.len();
            n_copied = at;
            continue;
        }
        match byte {
            b'\\' if in_text => at += 1,
            b'"' => in_text = !in_text,
            _ => {}
        }
        at += 1;
    }
    if n_copied == 0 {
        return Cow::Borrowed(bytes);
    }
    quoted.extend_from_slice(&bytes[n_copied..]);
    Cow::Owned(quoted)
}

/// Demand that there is a file, which `named_by` names.
pub(crate) fn require_file(file: &Path, named_by: &Path) -> Result<(), OpenFolderError> {
    if !regular::is_there(file) {
        let (file, named_by) = (file.to_owned(), named_by.to_owned());
        return Err(OpenFolderError::Missing { file, named_by });
    }
    regular::require(file)
        .map_err(|error| OpenFolderError::Read { file: file.to_owned(), source: error.into() })
}

impl<'a> Manifest<'a> {
    pub(crate) fn read(file: &'a Path) -> Result<Manifest<'a>, OpenFolderError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| OpenFolderError::Read {
            file: file.to_owned(),
            source,
        };
        let bytes = regular::read(file, N_TEXT_BYTES_MAX).map_err(|error| failed(error.into()))?;
        let value = parse_json(&bytes).map_err(|error| failed(error.into()))?;
        Ok(Manifest { file, value })
    }

    /// The same, or none where there is nothing of this name.
    pub(crate) fn read_if_there(file: &'a Path) -> Result<Option<Manifest<'a>>, OpenFolderError> {
        regular::is_there(file).then(|| Manifest::read(file)).transpose()
    }

    /// All of it.
    pub(crate) fn into_value(self) -> Value {
        self.value
    }

    /// The value at a path of keys, unless it is absent or null.
    pub(crate) fn get(&self, keys: &[&str]) -> Option<&Value> {
        let found = keys.iter().try_fold(&self.value, |value, key| value.get(key))?;
        (!found.is_null()).then_some(found)
    }

    pub(crate) fn size(&self, keys: &[&str]) -> Result<Option<usize>, OpenFolderError> {
        let Some(value) = self.get(keys) else { return Ok(None) };
        // Numbers such as 1e6 are written as floats by some tools.
        let whole = value.as_u64().or_else(|| {
            let number = value.as_f64()?;
            (number.fract() == 0.0 && (0.0..1e15).contains(&number)).then_some(number as u64)
        });
        match whole.and_then(|number| usize::try_from(number).ok()) {
            Some(size) if size < (1 << 40) => Ok(Some(size)),
            _ => Err(self.wrong(keys, "a whole number", value)),
        }
    }

    pub(crate) fn needed_size(&self, keys: &[&str]) -> Result<usize, OpenFolderError> {
        match self.size(keys)? {
            Some(0) => Err(self.wrong(keys, "a number above 0", &Value::from(0))),
            Some(size) => Ok(size),
            None => Err(self.absent(keys)),
        }
    }

    pub(crate) fn number(&self, keys: &[&str]) -> Result<Option<f32>, OpenFolderError> {
        let Some(value) = self.get(keys) else { return Ok(None) };
        match value.as_f64() {
            Some(number) => Ok(Some(number as f32)),
            None => Err(self.wrong(keys, "a number", value)),
        }
    }

    pub(crate) fn text(&self, keys: &[&str]) -> Option<&str> {
        self.get(keys)?.as_str()
    }

    pub(crate) fn truth(&self, keys: &[&str]) -> Option<bool> {
        self.get(keys)?.as_bool()
    }

    /// One id or a list of ids; negative numbers, which some tools write for "none", are none.
    pub(crate) fn token_ids(&self, keys: &[&str]) -> Result<Vec<TokenId>, OpenFolderError> {
        let Some(value) = self.get(keys) else { return Ok(Vec::new()) };
        if value.as_i64().is_some_and(|id| id < 0) {
            return Ok(Vec::new());
        }
        match OneOrMany::deserialize(value) {
            Ok(OneOrMany::One(id)) => Ok(vec![id]),
            Ok(OneOrMany::Many(ids)) => Ok(ids),
            Err(_) => Err(self.wrong(keys, "a token id or a list of them", value)),
        }
    }

    pub(crate) fn absent(&self, keys: &[&str]) -> OpenFolderError {
        let what = format!("expected `{}`, found nothing", keys.join("."));
        OpenFolderError::Manifest { file: self.file.to_owned(), what }
    }

    pub(crate) fn wrong(&self, keys: &[&str], expected: &str, found: &Value) -> OpenFolderError {
        let mut found = found.to_string();
        if 80 < found.len() {
            found = found.chars().take(77).chain("...".chars()).collect();
        }
        let what = format!("expected {expected} in `{}`, found {found}", keys.join("."));
        OpenFolderError::Manifest { file: self.file.to_owned(), what }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_that_only_python_writes_are_texts_and_harm_no_other_key() {
        let check = |text: &str, expected: Value| {
            assert_eq!(parse_json::<Value>(text.as_bytes()).unwrap(), expected, "{text}");
        };
        check(
            r#"{"time_step_limit": [0.0, Infinity], "a": -Infinity, "b":NaN,"n":1}"#,
            json!({ "time_step_limit": [0.0, "Infinity"], "a": "-Infinity", "b": "NaN", "n": 1 }),
        );
        check(r#"{"NaN": "is NaN, \" and Infinity"}"#, json!({ "NaN": "is NaN, \" and Infinity" }));
        check(r#"["a\\", NaN, "\\\"", Infinity]"#, json!(["a\\", "NaN", "\\\"", "Infinity"]));
        for text in ["{\"a\": nan}", "Infinit", "[NaN", "{\"a\": +Infinity}", "{\"a\": 1NaN}"] {
            assert!(parse_json::<Value>(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_that_is_asked_for_and_is_no_number_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        std::fs::write(&file, r#"{"hidden_size": NaN, "other": Infinity}"#).unwrap();
        let error = Manifest::read(&file).unwrap().needed_size(&["hidden_size"]).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("a whole number in `hidden_size`, found \"NaN\""), "{message}");
    }
}
