//! What the store is told from above: where things are kept, and how their sources are reached.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Everything that is settled before models and runtimes are looked for or fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOptions {
    /// One folder per model.
    pub models: PathBuf,
    /// The user's own additions to the catalogue, which need not exist.
    pub catalog_file: PathBuf,
    /// One folder per native runtime and version.
    pub natives: PathBuf,
    /// Where the user says that installed runtimes are.
    pub pointers: Pointers,
    /// How to call pip, if the user says.
    pub pip: Option<PipChoice>,
    /// How the Hugging Face hub is asked.
    pub hub: HubOptions,
}

impl StoreOptions {
    /// A store below `folder`, as the program keeps it below one folder: without proxies, a token
    /// or runtimes that are installed elsewhere.
    pub fn below(folder: &Path) -> Self {
        Self {
            models: folder.join("models"),
            catalog_file: folder.join("catalog.toml"),
            natives: folder.join("natives"),
            pointers: Pointers::default(),
            pip: None,
            hub: HubOptions {
                endpoint: None,
                token: None,
                token_files: Vec::new(),
                proxies: Proxies::default(),
                patience: PATIENCE,
                cache: None,
                is_offline: false,
            },
        }
    }
}

/// How a hub is asked.
#[derive(Clone, PartialEq, Eq)]
pub struct HubOptions {
    /// Its address, if not the usual one.
    pub endpoint: Option<String>,
    /// The token that opens repositories to us.
    pub token: Option<Token>,
    /// Files that may hold it otherwise: the first that does counts.
    pub token_files: Vec<PathBuf>,
    /// What stands between us and it.
    pub proxies: Proxies,
    /// How long a connection may bring nothing, or next to nothing; usually [`PATIENCE`].
    pub patience: Duration,
    /// Where Hugging Face's own tools keep what they download; it need not exist.
    pub cache: Option<PathBuf>,
    /// Whether it is not asked at all: there is what the cache has.
    pub is_offline: bool,
}

impl fmt::Debug for HubOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Everything else may hold a password.
        let Self { token_files, patience, cache, is_offline, .. } = self;
        let mut options = formatter.debug_struct("HubOptions");
        options.field("token_files", token_files).field("patience", patience);
        options.field("cache", cache).field("is_offline", is_offline);
        options.finish_non_exhaustive()
    }
}

/// Long enough for a hub that is busy, short enough to be waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// As it was given.
    pub text: String,
    /// Who gave it.
    pub origin: Origin,
}

/// Addresses of proxies, such as `http://name:password@proxy:3128`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For addresses with `http`; the proxy makes a tunnel to these too.
    pub http: Option<String>,
    /// For addresses with `https`.
    pub https: Option<String>,
    /// Hosts, domains and IP addresses that are asked directly, with `,` between them; `*` is all.
    pub no_proxy: Option<String>,
}

/// Where the user says that installed runtimes are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pointers {
    /// ONNX Runtime: the library or its folder.
    pub onnxruntime: Option<Pointer>,
    /// OpenVINO: the folder of the installation, or the C library.
    pub openvino: Option<Pointer>,
}

/// A path and who named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// The path as given.
    pub path: PathBuf,
    /// Who gave it.
    pub origin: Origin,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// An environment variable.
    Environment(&'static str),
    /// A key of the settings file.
    File {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(formatter, "environment variable {name}"),
            Self::File { path, key } => write!(formatter, "key `{key}` of {}", path.display()),
        }
    }
}

/// How to call pip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PipChoice {
    /// A Python interpreter, called with `-m pip`.
    Python(OsString),
    /// A whole command.
    Command(Vec<String>),
}

/// A choice among the files of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// Such as `q4`.
    pub name: String,
    /// Whether it was said for every model, in the environment or the settings file: a model with
    /// nothing to choose from is then taken as it is.
    pub is_default: bool,
}

impl Variant {
    /// A variant that was asked for by a flag.
    pub fn asked(name: &str) -> Self {
        Self { name: name.to_owned(), is_default: false }
    }
}
