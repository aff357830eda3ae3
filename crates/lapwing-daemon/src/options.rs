//! What a daemon is told from above.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use lapwing_host::worker::WorkerCommand;
use lapwing_measure::reading::SystemFiles;
use lapwing_measure::record::Program;
use lapwing_serving::message::Opening;

use crate::power::Policy;

/// Everything that is settled before the daemon listens.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which program it is, for records.
    pub program: Program,
    /// Where it listens.
    pub addresses: Vec<Address>,
    /// The key that clients must show; none on this machine alone.
    pub key: Option<Key>,
    /// Further names that `Host` may have.
    pub hosts: Vec<String>,
    /// Pages that may ask: `app://obsidian.md`, `http://localhost:3000`.
    pub origins: Vec<String>,
    /// How models are called and what is loaded for it.
    pub names: Names,
    /// What starts a worker that serves a model.
    pub worker: WorkerCommand,
    /// What starts a worker that pulls models; `None` where clients may not ask for that.
    pub puller: Option<WorkerCommand>,
    /// The folder of models, whose time of change tells when to look again.
    pub models: PathBuf,
    /// How long a model stays loaded after its last request; `None` for ever.
    pub keep_alive: Option<Duration>,
    /// Bytes that loaded models may take together.
    pub n_memory_bytes_max: u64,
    /// Requests that may wait.
    pub n_waiting_max: usize,
    /// Bytes of a request.
    pub n_body_bytes_max: usize,
    /// How models are opened; the name is not looked at.
    pub opening: Opening,
    /// How it works on mains, on battery and when it is hot.
    pub power: Policy,
    /// Where the system tells of its power.
    pub system: SystemFiles,
    /// Records of measurements, which tell what is efficient.
    pub profiles: PathBuf,
    /// Where metrics are pushed to; nothing goes anywhere else. See [`crate::PUSHES_METRICS`].
    pub otlp: Option<String>,
    /// What running requests get when the daemon is told to end.
    pub grace: Duration,
}

/// The options that are in force. They may change while the daemon runs: whoever needs several that
/// belong together asks once.
#[derive(Debug)]
pub(crate) struct InForce(RwLock<Arc<Options>>);

impl InForce {
    pub(crate) fn new(options: Options) -> InForce {
        InForce(RwLock::new(Arc::new(options)))
    }

    pub(crate) fn now(&self) -> Arc<Options> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn replace(&self, options: Options) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(options);
    }
}

/// Where a daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A port of this machine, or of one of its networks.
    Tcp(SocketAddr),
    /// A socket in the file system, for the same user.
    Unix(PathBuf),
}

/// What clients call models.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Other names of models.
    pub aliases: BTreeMap<String, String>,
    /// The model of a request that names none.
    pub default: Option<String>,
    /// Whether a name that nothing has means the default.
    pub any: bool,
}

/// A key, of which only a digest is kept.
#[derive(Clone)]
pub struct Key {
    digest: [u8; 32],
}

impl Key {
    /// The key with these bytes.
    pub fn new(key: &[u8]) -> Key {
        Key { digest: digest(key) }
    }

    /// Whether `shown` is the key; takes as long for any that is not.
    pub(crate) fn is(&self, shown: &[u8]) -> bool {
        use subtle::ConstantTimeEq as _;
        self.digest.ct_eq(&digest(shown)).into()
    }
}

fn digest(key: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(key).into()
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Key(..)")
    }
}
