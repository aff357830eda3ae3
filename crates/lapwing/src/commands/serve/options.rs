//! What the daemon is told, out of the settings.

use std::path::Path;

use anyhow::Context as _;
use lapwing_daemon::{Address, Key, Names, Options, Policy};
use lapwing_files::regular::{self, N_TEXT_BYTES_MAX};
use lapwing_serving::message::Opening;
use sysinfo::System;

use crate::cli::{ADDRESS, KEEP_ALIVE, N_PARALLEL, N_QUEUED, ServingArgs};
use crate::commands::bench;
use crate::exit::UsageError;
use crate::settings::Settings;

use super::accepted::Workers;

/// Bytes of a request: a conversation of a million tokens has some.
const N_BODY_BYTES_MAX: usize = 32 << 20;
/// Bytes of kept sequences, for each model.
const N_KEPT_BYTES_MAX: u64 = 1 << 30;
/// What running requests get when the daemon is told to end.
const GRACE: std::time::Duration = std::time::Duration::from_secs(10);

/// What the daemon is told; `workers` are the processes that hold and pull models.
///
/// # Errors
///
/// When the key cannot be read, or options do not fit together.
pub(super) fn options(settings: &Settings, workers: Workers) -> anyhow::Result<Options> {
    let serving = &settings.serving;
    let any = serving.any_name.unwrap_or(false);
    if any && serving.default_model.is_none() {
        let problem = "any name is to mean the default model, and there is none".to_owned();
        let advice = Some("name one with --default-model, or leave out --any-name".to_owned());
        return Err(UsageError { problem, advice }.into());
    }
    if serving.otlp.is_some() && !lapwing_daemon::PUSHES_METRICS {
        let problem =
            "metrics are to be pushed, and this program was built without that".to_owned();
        let advice = Some("build it with `--features otlp`, or leave out --otlp".to_owned());
        return Err(UsageError { problem, advice }.into());
    }
    let n_memory_bytes = serving.memory_mb.map(|n| n.saturating_mul(1_000_000));
    Ok(Options {
        program: bench::program(),
        addresses: addresses(serving),
        key: serving.key_file.as_deref().map(key).transpose()?,
        hosts: serving.host.clone(),
        origins: serving.origin.clone(),
        names: Names {
            aliases: serving.alias.iter().cloned().collect(),
            default: serving.default_model.clone(),
            any,
        },
        worker: workers.serving,
        puller: serving.allow_pull.unwrap_or(false).then_some(workers.pulling),
        models: settings.home.models(),
        keep_alive: serving.keep_alive.unwrap_or(KEEP_ALIVE).0,
        n_memory_bytes_max: n_memory_bytes.unwrap_or_else(|| half_of_memory(settings)),
        n_waiting_max: serving.queue.unwrap_or(N_QUEUED),
        n_body_bytes_max: N_BODY_BYTES_MAX,
        opening: Opening {
            model: String::new(),
            embeds: false,
            variant: settings.variant.clone(),
            backend: settings.backend,
            options: settings.options.clone(),
            correction: settings.correction.clone(),
            n_sequences_max: serving.parallel.map_or(N_PARALLEL, usize::from),
            n_kept_bytes_max: N_KEPT_BYTES_MAX,
        },
        power: Policy::of(&serving.power),
        system: settings.system.clone(),
        profiles: settings.home.profiles(),
        otlp: serving.otlp.clone(),
        grace: GRACE,
    })
}

/// Where to listen, but for the socket that is taken if nobody says.
pub(crate) fn addresses(serving: &ServingArgs) -> Vec<Address> {
    let ports = match (serving.no_port.unwrap_or(false), serving.listen.as_slice()) {
        (true, _) => Vec::new(),
        (false, []) => vec![ADDRESS],
        (false, ports) => ports.to_vec(),
    };
    let sockets = serving.socket.iter().cloned().map(Address::Unix);
    ports.into_iter().map(Address::Tcp).chain(sockets).collect()
}

/// Half of what this machine has, or of what this process may take.
fn half_of_memory(settings: &Settings) -> u64 {
    let mut system = System::new().ok();
    system.as_mut().map(System::refresh_memory);
    let total = system.map(|system| system.total_memory()).filter(|&n| n != 0);
    let least = total.into_iter().chain(settings.host.allowance.memory_bytes).min();
    least.unwrap_or(u64::MAX) / 2
}

/// The key in a file that only its owner may read.
fn key(path: &Path) -> anyhow::Result<Key> {
    let shown = path.display();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let metadata = std::fs::metadata(path);
        let mode = metadata.with_context(|| format!("cannot read the key in {shown}"))?;
        if mode.permissions().mode() & 0o077 != 0 {
            let problem = format!("others may read the key in {shown}");
            return Err(UsageError { problem, advice: Some("chmod 600 it".into()) }.into());
        }
    }
    let text = regular::read_text(path, N_TEXT_BYTES_MAX);
    let text = text.with_context(|| format!("cannot read the key in {shown}"))?;
    match text.trim() {
        "" => {
            let problem = format!("there is no key in {shown}");
            Err(UsageError { problem, advice: None }.into())
        }
        key => Ok(Key::new(key.as_bytes())),
    }
}
