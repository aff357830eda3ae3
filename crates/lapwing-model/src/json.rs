//! Reading manifests: bounded size, errors that name the file and the key.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::{OpenFolderError, TokenId};

/// Manifests are kilobytes; a file beyond this is not one.
const MANIFEST_BYTES_MAX: u64 = 16 << 20;

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

impl<'a> Manifest<'a> {
    pub(crate) fn read(file: &'a Path) -> Result<Manifest<'a>, OpenFolderError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| OpenFolderError::Read {
            file: file.to_owned(),
            source,
        };
        let mut bytes = Vec::new();
        let handle = File::open(file).map_err(|error| failed(error.into()))?;
        let read = handle.take(MANIFEST_BYTES_MAX + 1).read_to_end(&mut bytes);
        read.map_err(|error| failed(error.into()))?;
        if MANIFEST_BYTES_MAX < bytes.len() as u64 {
            return Err(failed(format!("larger than {MANIFEST_BYTES_MAX} bytes").into()));
        }
        let value = serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))?;
        Ok(Manifest { file, value })
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
