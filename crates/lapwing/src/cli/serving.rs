//! Arguments of `lapwing serve`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use lapwing_daemon::PowerRule;

use super::choice::count;
use super::runtime::RuntimeArgs;

/// Where the daemon listens when nobody says: beside Ollama's port.
pub const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 11435);

/// How long a model is kept when nobody says.
pub const KEEP_ALIVE: KeptFor = KeptFor(Some(Duration::from_secs(300)));

/// Answers of a model at a time when nobody says.
pub const N_PARALLEL: usize = 4;

/// Requests that may wait when nobody says.
pub const N_QUEUED: usize = 64;

/// Arguments of `lapwing serve`.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub serving: ServingArgs,
    /// A folder that stands for / where the system tells of its power: for tests
    #[arg(long, value_name = "FOLDER", hide = true)]
    pub system_files: Option<PathBuf>,
    #[command(flatten)]
    pub runtime: RuntimeArgs,
}

/// What the daemon does. In the settings file these stand in the table `serve`, in the environment
/// behind `LAPWING_SERVE_`.
///
/// To add one: the field, a line in [`ServingArgs::or`] and one in [`crate::env::ALL`].
#[derive(Debug, Clone, Default, Args)]
pub struct ServingArgs {
    /// Where to listen; several times for several places. What other computers reach needs a key
    /// [env: LAPWING_SERVE_LISTEN]
    #[arg(long, value_name = "ADDRESS:PORT", value_delimiter = ',')]
    pub listen: Vec<SocketAddr>,
    /// The socket in the file system, for this user alone; without it one below the data folder, which
    /// `run`, `chat`, `ps` and `stop` ask [env: LAPWING_SERVE_SOCKET]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Listen on no port, only on the socket [env: LAPWING_SERVE_NO_PORT]
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "BOOL")]
    #[arg(default_missing_value = "true", hide_possible_values = true)]
    pub no_port: Option<bool>,
    /// A file with the key that clients must show; only its owner may read it
    /// [env: LAPWING_SERVE_KEY_FILE]
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// A further name that this machine is called by [env: LAPWING_SERVE_HOST]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub host: Vec<String>,
    /// A web page or app that may ask, such as app://obsidian.md; none may otherwise
    /// [env: LAPWING_SERVE_ORIGIN]
    #[arg(long, value_name = "ORIGIN", value_delimiter = ',')]
    pub origin: Vec<String>,
    /// Another name for a model, for clients that insist on theirs [env: LAPWING_SERVE_ALIAS]
    #[arg(long, value_name = "NAME=MODEL", value_parser = alias, value_delimiter = ',')]
    pub alias: Vec<(String, String)>,
    /// The model of requests that name none [env: LAPWING_SERVE_DEFAULT_MODEL]
    #[arg(long, value_name = "MODEL")]
    pub default_model: Option<String>,
    /// Take the default model for every name that nothing has [env: LAPWING_SERVE_ANY_NAME]
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "BOOL")]
    #[arg(default_missing_value = "true", hide_possible_values = true)]
    pub any_name: Option<bool>,
    /// Let clients pull models of the catalogue [env: LAPWING_SERVE_ALLOW_PULL]
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "BOOL")]
    #[arg(default_missing_value = "true", hide_possible_values = true)]
    pub allow_pull: Option<bool>,
    /// How long a model stays loaded after its last request: 5m, 1h30m, or forever; 5m if left out
    /// [env: LAPWING_SERVE_KEEP_ALIVE]
    #[arg(long, value_name = "TIME", value_parser = keep_alive)]
    pub keep_alive: Option<KeptFor>,
    /// Megabytes that loaded models may take together; half of the memory if left out
    /// [env: LAPWING_SERVE_MEMORY_MB]
    #[arg(long, value_name = "MB")]
    pub memory_mb: Option<u64>,
    /// Answers that a model makes at a time; 4 if left out [env: LAPWING_SERVE_PARALLEL]
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    pub parallel: Option<NonZeroUsize>,
    /// Requests that may wait; more are told to come again; 64 if left out
    /// [env: LAPWING_SERVE_QUEUE]
    #[arg(long, value_name = "N")]
    pub queue: Option<usize>,
    /// How to work on mains, battery, low-battery or when hot: 60%, or
    /// battery=60%,background=wait,threads=4,cores=efficiency,device=efficient; repeatable
    /// [env: LAPWING_SERVE_POWER, one]
    #[arg(long, value_name = "[SITUATION=]WISHES")]
    pub power: Vec<PowerRule>,
    /// Push metrics to this OpenTelemetry collector every minute, and nothing of prompts or answers;
    /// needs a build with `--features otlp` [env: LAPWING_SERVE_OTLP]
    #[arg(long, value_name = "URL", value_parser = collector)]
    pub otlp: Option<String>,
}

impl ServingArgs {
    /// These, with what they leave open taken from `below`. A list is taken as a whole; of two aliases
    /// of one name the last counts.
    #[must_use]
    pub fn or(self, below: Self) -> Self {
        Self {
            listen: whole(self.listen, below.listen),
            socket: self.socket.or(below.socket),
            no_port: self.no_port.or(below.no_port),
            key_file: self.key_file.or(below.key_file),
            host: whole(self.host, below.host),
            origin: whole(self.origin, below.origin),
            alias: [below.alias, self.alias].concat(),
            default_model: self.default_model.or(below.default_model),
            any_name: self.any_name.or(below.any_name),
            allow_pull: self.allow_pull.or(below.allow_pull),
            keep_alive: self.keep_alive.or(below.keep_alive),
            memory_mb: self.memory_mb.or(below.memory_mb),
            parallel: self.parallel.or(below.parallel),
            queue: self.queue.or(below.queue),
            power: whole(self.power, below.power),
            otlp: self.otlp.or(below.otlp),
        }
    }
}

fn whole<T>(above: Vec<T>, below: Vec<T>) -> Vec<T> {
    if above.is_empty() { below } else { above }
}

/// Arguments of `lapwing ps`.
#[derive(Debug, Clone, Args)]
pub struct PsArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `lapwing stop`.
#[derive(Debug, Clone, Args)]
pub struct StopArgs {
    /// Models that are loaded; `lapwing ps` lists them
    #[arg(value_name = "MODEL", required_unless_present = "all")]
    pub models: Vec<String>,
    /// Every model that is loaded
    #[arg(long, conflicts_with = "models")]
    pub all: bool,
}

/// How long a model is kept; `None` for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptFor(pub Option<Duration>);

/// An address without a query: a path goes behind it.
fn collector(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let is_address =
        |rest: &&str| !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['?', '#', ' ']);
    match rest.filter(is_address) {
        Some(_) => Ok(text.to_owned()),
        None => Err("expected an address such as http://localhost:4318".to_owned()),
    }
}

fn alias(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, model)) if !name.is_empty() && !model.is_empty() => {
            Ok((name.to_owned(), model.to_owned()))
        }
        _ => Err("expected NAME=MODEL".to_owned()),
    }
}

fn keep_alive(text: &str) -> Result<KeptFor, String> {
    if text == "forever" {
        return Ok(KeptFor(None));
    }
    match lapwing_daemon::parse_seconds(text) {
        Some(seconds) => match Duration::try_from_secs_f64(seconds) {
            Ok(duration) => Ok(KeptFor(Some(duration))),
            Err(_) => Ok(KeptFor(None)),
        },
        None => Err("expected a time such as 5m, 1h30m or 300, or forever".to_owned()),
    }
}
