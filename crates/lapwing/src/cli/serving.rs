//! Arguments of `lapwing serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use lapwing_daemon::PowerRule;

use super::runtime::RuntimeArgs;

/// Where the daemon listens when nobody says: beside Ollama's port.
pub const ADDRESS: &str = "127.0.0.1:11435";

/// Arguments of `lapwing serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Where to listen; several times for several places. What other computers reach needs a key
    #[arg(long, value_name = "ADDRESS:PORT", default_value = ADDRESS)]
    pub listen: Vec<SocketAddr>,
    /// The socket in the file system, for this user alone; without it one below the data folder, which
    /// `run`, `chat`, `ps` and `stop` ask
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Listen on no port, only on the socket
    #[arg(long)]
    pub no_port: bool,
    /// A file with the key that clients must show; only its owner may read it
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// A further name that this machine is called by
    #[arg(long, value_name = "NAME")]
    pub host: Vec<String>,
    /// A web page or app that may ask, such as app://obsidian.md; none may otherwise
    #[arg(long, value_name = "ORIGIN")]
    pub origin: Vec<String>,
    /// Another name for a model, for clients that insist on theirs
    #[arg(long, value_name = "NAME=MODEL", value_parser = alias)]
    pub alias: Vec<(String, String)>,
    /// The model of requests that name none
    #[arg(long, value_name = "MODEL")]
    pub default_model: Option<String>,
    /// Take the default model for every name that nothing has
    #[arg(long, requires = "default_model")]
    pub any_name: bool,
    /// How long a model stays loaded after its last request: 5m, 1h30m, or forever
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = keep_alive)]
    pub keep_alive: KeptFor,
    /// Megabytes that loaded models may take together; half of the memory if left out
    #[arg(long, value_name = "MB")]
    pub memory_mb: Option<u64>,
    /// Answers that a model makes at a time
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub parallel: usize,
    /// Requests that may wait; more are told to come again
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub queue: usize,
    /// How to work on mains, battery, low-battery or when hot: 60%, or
    /// battery=60%,background=wait,threads=4,cores=efficiency,device=efficient; repeatable
    #[arg(long, value_name = "[SITUATION=]WISHES")]
    pub power: Vec<PowerRule>,
    /// A folder that stands for / where the system tells of its power: for tests
    #[arg(long, value_name = "FOLDER", hide = true)]
    pub system_files: Option<PathBuf>,
    #[command(flatten)]
    pub runtime: RuntimeArgs,
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
