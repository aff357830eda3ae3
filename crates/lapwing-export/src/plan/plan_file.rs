//! `PLAN.json`: precisions by tensor name.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use lapwing_files::regular::{self, N_TEXT_BYTES_MAX};
use serde::Deserialize;

use super::{ExportOptions, Precision};

/// Why a plan file could not be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ReadPlanError {
    /// The file could not be read, or is no JSON of the right form.
    #[error("cannot read the plan {}", path.display())]
    Read { path: PathBuf, source: Box<dyn Error + Send + Sync> },
    /// A precision that does not exist, or a group of no columns.
    #[error("{}: precision of {name}: expected {expected}, found {found}", path.display())]
    Precision { path: PathBuf, name: String, expected: &'static str, found: String },
}

/// The file as it is written. An unknown key is an error: a misspelt one would change nothing.
#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an object with the precision of all weights as `default`"
)]
struct PlanFile {
    default: String,
    group_size: Option<usize>,
    #[serde(default = "yes")]
    symmetric: bool,
    head: Option<PlanEntry>,
    #[serde(default)]
    tensors: BTreeMap<String, PlanEntry>,
}

/// A precision: its name, or its name with a grid of its own.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a precision, or an object with `precision` and its grid")]
enum PlanEntry {
    Name(String),
    Grid(PlanGrid),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanGrid {
    precision: String,
    group_size: Option<usize>,
    symmetric: Option<bool>,
}

impl ExportOptions {
    /// Read a plan:
    /// `{"default":"int4","group_size":32,"symmetric":true,"head":"int8","tensors":{"*.v_proj.*":
    /// {"precision":"int8","group_size":128}}}`. The plan's group size is that of `int4`; `int8`
    /// has a scale a row unless its own entry says otherwise.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is of another form, or names an unknown precision.
    pub fn from_plan(path: &Path) -> Result<ExportOptions, ReadPlanError> {
        let failed = |source| ReadPlanError::Read { path: path.to_owned(), source };
        let bytes = regular::read(path, N_TEXT_BYTES_MAX).map_err(|error| failed(error.into()))?;
        let plan: PlanFile =
            serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))?;
        let weights = plan.precision(path, "default", &plan.default, None, plan.symmetric)?;
        let mut options = ExportOptions::new(weights);
        if let Some(head) = &plan.head {
            options.head = plan.entry(path, "head", head)?;
        }
        for (pattern, entry) in &plan.tensors {
            options.per_tensor.insert(pattern.clone(), plan.entry(path, pattern, entry)?);
        }
        Ok(options)
    }
}

impl PlanFile {
    fn entry(&self, path: &Path, key: &str, entry: &PlanEntry) -> Result<Precision, ReadPlanError> {
        match entry {
            PlanEntry::Name(name) => self.precision(path, key, name, None, self.symmetric),
            PlanEntry::Grid(PlanGrid { precision, group_size, symmetric }) => {
                let symmetric = symmetric.unwrap_or(self.symmetric);
                self.precision(path, key, precision, *group_size, symmetric)
            }
        }
    }

    fn precision(
        &self,
        path: &Path,
        key: &str,
        name: &str,
        group_size: Option<usize>,
        symmetric: bool,
    ) -> Result<Precision, ReadPlanError> {
        let group_size = group_size.or(self.group_size.filter(|_| name == "int4"));
        let failed = |expected, found: String| {
            let (path, name) = (path.to_owned(), key.to_owned());
            ReadPlanError::Precision { path, name, expected, found }
        };
        if group_size == Some(0) {
            return Err(failed("a group of at least one column", "0".to_owned()));
        }
        Precision::named(name, group_size, symmetric)
            .ok_or_else(|| failed("f32, f16, int8 or int4", format!("{name:?}")))
    }
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ExportOptions, ReadPlanError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("PLAN.json");
        std::fs::write(&path, text).unwrap();
        ExportOptions::from_plan(&path)
    }

    #[test]
    fn a_plan_is_read() {
        let options = read(
            r#"{"default":"int4","group_size":64,"symmetric":false,"head":"f16","tensors":{
            "a":"int8","b":"int4","c":{"precision":"int4","group_size":16,"symmetric":true}}}"#,
        )
        .unwrap();
        assert_eq!(options.weights, Precision::Int4 { group_size: 64, symmetric: false });
        assert_eq!(options.head, Precision::F16);
        let check = |name: &str, expected: Precision| {
            assert_eq!(options.precision(name, 2), expected, "{name}");
        };
        check("a", Precision::Int8 { group_size: None, symmetric: false });
        check("b", Precision::Int4 { group_size: 64, symmetric: false });
        check("c", Precision::Int4 { group_size: 16, symmetric: true });
        check("d", options.weights);
    }

    #[test]
    fn defaults_are_those_of_the_options() {
        for name in ["f32", "f16", "int8", "int4"] {
            let expected = ExportOptions::new(Precision::named(name, None, true).unwrap());
            assert_eq!(read(&format!(r#"{{"default":"{name}"}}"#)).unwrap(), expected);
        }
    }

    #[test]
    fn wrong_plans_are_refused() {
        let check = |text: &str, expected: &str| {
            let error = read(text).expect_err(expected);
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let message = format!("{error}: {}", cause.unwrap_or_default());
            assert!(message.contains(expected), "{message:?} does not say {expected:?}");
        };
        check("{}", "missing field `default`");
        check(r#"{"default":"int3"}"#, r#"expected f32, f16, int8 or int4, found "int3""#);
        check(r#"{"default":"f32","tensor":{}}"#, "unknown field `tensor`");
        check(r#"{"default":"int4","group_size":0}"#, "at least one column");
        check(
            r#"{"default":"f32","tensors":{"a":3}}"#,
            "expected a precision, or an object with `precision`",
        );
    }
}
