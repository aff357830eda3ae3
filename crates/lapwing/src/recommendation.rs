//! Which device was measured to be best for a model: written by `bench --recommend` into the
//! settings file, taken by `--device auto`.

use std::path::{Path, PathBuf};

use lapwing_files::{Lock, LockError, new_file};
use lapwing_host::recommendation::Recommendation;
use toml_edit::{DocumentMut, InlineTable, Item, Table, Value};

use crate::interrupt;

/// The table of the settings file that holds them.
pub const KEY: &str = "recommendations";

/// What becomes of an earlier recommendation for the same files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// The new one takes its place.
    Replace,
    /// It stays: the new one was compared with nothing.
    Keep,
}

/// Why the settings file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum WriteRecommendationError {
    /// It cannot be read.
    #[error("cannot read the settings file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another process is changing it, or it cannot be locked.
    #[error("cannot lock the settings file {}", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// Who or why.
        source: LockError,
    },
    /// It is not TOML.
    #[error("the settings file {} is wrong", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml_edit::TomlError>,
    },
    /// It has something else in the place of the table.
    #[error("key `{KEY}` of {} is no table", path.display())]
    NotATable {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("cannot write the settings file {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Whether both are for the same files.
fn are_of_the_same_files(one: &Recommendation, other: &Recommendation) -> bool {
    let files = |of: &Recommendation| (of.model_sha256.clone(), of.model_bytes);
    files(one) == files(other)
}

/// Put a recommendation into the settings file, and leave everything else of it as it is. Gives the
/// earlier one when that stays.
///
/// # Errors
///
/// When the file cannot be read or written; it is as it was then.
pub fn write(
    path: &Path,
    name: &str,
    recommendation: &Recommendation,
    existing: Existing,
) -> Result<Option<Recommendation>, WriteRecommendationError> {
    let failed = |source| WriteRecommendationError::Write { path: path.to_owned(), source };
    path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(failed)?;
    // A link to the file is kept: the file itself is replaced.
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    // What is read here is what is replaced below.
    let _lock = Lock::acquire(&lock_path(&real), &mut |_| {}, &interrupt::requested)
        .map_err(|source| WriteRecommendationError::Lock { path: path.to_owned(), source })?;
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(source) => {
            return Err(WriteRecommendationError::Read { path: path.to_owned(), source });
        }
    };
    let mut document: DocumentMut = text.parse().map_err(|source| {
        WriteRecommendationError::Parse { path: path.to_owned(), source: Box::new(source) }
    })?;
    let earlier =
        earlier(&text, name).filter(|earlier| are_of_the_same_files(earlier, recommendation));
    if let (Existing::Keep, Some(earlier)) = (existing, earlier) {
        return Ok(Some(earlier));
    }
    let all = document.entry(KEY).or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    let all = all
        .as_table_like_mut()
        .ok_or_else(|| WriteRecommendationError::NotATable { path: path.to_owned() })?;
    all.insert(name, item(recommendation));
    new_file::write(&real, document.to_string().as_bytes())
        .map_err(|error| failed(error.source))?;
    Ok(None)
}

/// The recommendation for a name that the text of a settings file has, if that can be read.
fn earlier(text: &str, name: &str) -> Option<Recommendation> {
    let table: toml::Table = text.parse().ok()?;
    table.get(KEY)?.get(name)?.clone().try_into().ok()
}

fn lock_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.lock"))
}

fn item(recommendation: &Recommendation) -> Item {
    let Recommendation {
        device,
        backend,
        metric,
        figure,
        unit,
        verdict,
        record_id,
        model_sha256,
        model_bytes,
    } = recommendation;
    let mut table = InlineTable::new();
    let n_bytes = i64::try_from(*model_bytes).unwrap_or(i64::MAX);
    let values: [(&str, Value); 9] = [
        ("device", device.into()),
        ("backend", backend.into()),
        ("metric", metric.into()),
        ("figure", (*figure).into()),
        ("unit", unit.into()),
        ("verdict", verdict.into()),
        ("record_id", record_id.into()),
        ("model_sha256", model_sha256.into()),
        ("model_bytes", n_bytes.into()),
    ];
    table.extend(values);
    Item::Table(table.into_table())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recommendation(device: &str) -> Recommendation {
        Recommendation {
            device: device.into(),
            backend: "openvino".into(),
            metric: "throughput".into(),
            figure: 81.5,
            unit: "tokens/s".into(),
            verdict: "the only device".into(),
            record_id: "0123456789abcdef".into(),
            model_sha256: "ab".into(),
            model_bytes: 7,
        }
    }

    #[test]
    fn everything_else_of_the_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sub/lapwing.toml");
        let own = "# mine\nthreads   = 2 # two\n\n[recommendations.\"other model\"]\n";
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::fs::write(&path, own).unwrap();
        let put = |device: &str, existing| {
            write(&path, "a.b", &recommendation(device), existing).unwrap()
        };
        assert_eq!(put("cpu", Existing::Keep), None, "there is none to keep");
        assert_eq!(put("gpu.1", Existing::Replace), None);
        assert_eq!(put("npu", Existing::Keep), Some(recommendation("gpu.1")));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(own), "{text}");
        assert!(!text.contains("cpu"), "the older one is replaced: {text}");
        let table: toml::Table = text.parse().unwrap();
        let found = table[KEY]["a.b"].clone();
        assert_eq!(found.try_into::<Recommendation>().unwrap(), recommendation("gpu.1"));
        let of_others = Recommendation { model_sha256: "cd".into(), ..recommendation("npu") };
        assert_eq!(write(&path, "a.b", &of_others, Existing::Keep).unwrap(), None);
        assert!(std::fs::read_to_string(&path).unwrap().contains("\"npu\""));
    }

    #[test]
    fn a_file_that_is_wrong_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lapwing.toml");
        for text in ["threads = ", "recommendations = 1\n"] {
            std::fs::write(&path, text).unwrap();
            write(&path, "m", &recommendation("cpu"), Existing::Replace).unwrap_err();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        std::fs::remove_file(&path).unwrap();
        write(&path, "m", &recommendation("cpu"), Existing::Keep).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("[recommendations.m]"));
    }
}
