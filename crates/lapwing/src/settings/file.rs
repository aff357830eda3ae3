//! The settings file, `lapwing.toml`, as it is written.

use std::io;
use std::path::{Path, PathBuf};

use lapwing_files::regular::{self, N_TEXT_BYTES_MAX};
use serde::Deserialize;
use toml::Table;

use super::layers::full_key;

/// What `lapwing.toml` says; every key is optional.
#[derive(Debug, Default, Clone)]
pub struct SettingsFile {
    /// What it says of options, see [`crate::cli::RuntimeArgs`].
    pub options: Table,
    /// What it says of the daemon, see [`crate::cli::ServingArgs`].
    pub serving: Table,
    /// All else.
    pub own: OwnKeys,
    /// As it is written.
    pub text: String,
    /// The first key that does not exist.
    pub unknown: Option<UnknownKey>,
}

/// The keys that are no options.
#[derive(Debug, Default, Clone, Deserialize)]
pub struct OwnKeys {
    /// An installed ONNX Runtime: the library or its folder.
    pub onnxruntime: Option<PathBuf>,
    /// The folder of an installed OpenVINO.
    pub openvino: Option<PathBuf>,
    /// How to call pip: `"pip3"` or `["python3", "-m", "pip"]`.
    pub pip: Option<Words>,
    /// Address of the Hugging Face hub or a mirror.
    pub hub: Option<String>,
    /// What the daemon does.
    serve: Option<Table>,
}

const OWN_KEYS: [&str; 5] = ["onnxruntime", "openvino", "pip", "hub", SERVING];

/// The table of what the daemon does.
pub const SERVING: &str = "serve";

/// Where `bench --recommend` wrote before: they have a file of their own.
const FORMER_KEY: &str = "recommendations";

/// A command: one word, or a list of words.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "expected a command: a text, or a list of texts")]
pub enum Words {
    /// Just the program.
    One(String),
    /// The program and its arguments.
    Many(Vec<String>),
}

impl Words {
    /// The words, program first.
    pub fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(word) => vec![word],
            Self::Many(words) => words,
        }
    }
}

impl SettingsFile {
    /// Read `path`, where options have `known` names, and those of the daemon `known_of_daemon`. A
    /// missing file is an empty one, unless the user named it.
    pub fn read(
        path: &Path,
        named_by_user: bool,
        known: &[String],
        known_of_daemon: &[String],
    ) -> Result<Self, ReadSettingsError> {
        let text = match regular::read_text(path, N_TEXT_BYTES_MAX) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !named_by_user => {
                return Ok(Self::default());
            }
            Err(source) => {
                return Err(ReadSettingsError::Read { path: path.to_path_buf(), source });
            }
        };
        let wrong = |source: toml::de::Error| ReadSettingsError::Parse {
            path: path.to_path_buf(),
            source: Box::new(source),
        };
        let mut options: Table = toml::from_str(&text).map_err(wrong)?;
        if options.contains_key(FORMER_KEY) {
            return Err(ReadSettingsError::FormerKey { path: path.to_path_buf() });
        }
        let mut own: OwnKeys = toml::from_str(&text).map_err(wrong)?;
        options.retain(|key, _| !OWN_KEYS.contains(&key));
        let serving = own.serve.take().unwrap_or_default();
        let own_keys = OWN_KEYS.map(str::to_owned);
        let unknown = unknown(path, None, &options, &[known, &own_keys].concat())
            .or_else(|| unknown(path, Some(SERVING), &serving, known_of_daemon));
        Ok(Self { options, serving, own, text, unknown })
    }
}

/// The first key of a table that is not known.
fn unknown(
    path: &Path,
    section: Option<&str>,
    table: &Table,
    known: &[String],
) -> Option<UnknownKey> {
    let key = table.keys().find(|key| !known.contains(key))?;
    Some(UnknownKey {
        path: path.to_path_buf(),
        key: full_key(section, key),
        known: known.iter().map(|known| full_key(section, known)).collect(),
    })
}

/// A key of the settings file that does not exist.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "the settings file {} is wrong: unknown field `{key}`, expected {}", path.display(),
    known.join(", ")
)]
pub struct UnknownKey {
    pub path: PathBuf,
    pub key: String,
    /// All that do.
    pub known: Vec<String>,
}

/// Why the settings file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReadSettingsError {
    /// It cannot be read.
    #[error("cannot read the settings file {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// It has what `bench --recommend` wrote before.
    #[error("the settings file {} is wrong: `{FORMER_KEY}` is no longer read from it", path.display())]
    FormerKey { path: PathBuf },
    /// It has a key that does not exist.
    #[error(transparent)]
    UnknownKey(#[from] UnknownKey),
    /// It is not TOML, or has a type that does not fit.
    #[error("the settings file {} is wrong", path.display())]
    Parse { path: PathBuf, source: Box<toml::de::Error> },
}
