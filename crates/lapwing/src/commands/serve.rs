//! `lapwing serve`: the daemon.

use std::path::Path;

use anyhow::Context as _;
use lapwing_daemon::{Address, Key, Names, Options};
use lapwing_files::regular::{self, N_TEXT_BYTES_MAX};
use lapwing_serving::message::Opening;
use sysinfo::System;
use tokio::sync::watch;

use crate::cli::{ServeArgs, WorkerKind};
use crate::exit::UsageError;
use crate::printer::Printer;
use crate::settings::Settings;

/// Bytes of a request: a conversation of a million tokens has some.
const N_BODY_BYTES_MAX: usize = 32 << 20;
/// Bytes of kept sequences, for each model.
const N_KEPT_BYTES_MAX: u64 = 1 << 30;
/// What running requests get when the daemon is told to end.
const GRACE: std::time::Duration = std::time::Duration::from_secs(10);

/// Serve until a signal ends it.
///
/// # Errors
///
/// When the key cannot be read or an address not be taken.
pub fn run(settings: &Settings, printer: &Printer, args: &ServeArgs) -> anyhow::Result<()> {
    let options = options(settings, args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot serve")?.block_on(serve(options, printer))
}

async fn serve(options: Options, printer: &Printer) -> anyhow::Result<()> {
    let listeners = lapwing_daemon::bind(&options).await.context("cannot serve")?;
    for listener in &listeners {
        printer.note(format!("listening on {}", listener.shown()));
    }
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        ended().await;
        stop.send_replace(true);
    });
    lapwing_daemon::serve(options, listeners, stopped).await;
    Ok(())
}

/// Waits for a signal that asks for the end.
async fn ended() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hang_up)) = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
            signal(SignalKind::hangup()),
        ) else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
        }
    }
    #[cfg(not(unix))]
    let _ = tokio::signal::ctrl_c().await;
}

fn options(settings: &Settings, args: &ServeArgs) -> anyhow::Result<Options> {
    let ports = args.listen.iter().filter(|_| !args.no_port).copied().map(Address::Tcp);
    let sockets = args.socket.iter().cloned().map(Address::Unix);
    Ok(Options {
        addresses: ports.chain(sockets).collect(),
        key: args.key_file.as_deref().map(key).transpose()?,
        hosts: args.host.clone(),
        origins: args.origin.clone(),
        names: Names {
            aliases: args.alias.iter().cloned().collect(),
            default: args.default_model.clone(),
            any: args.any_name,
        },
        worker: settings.worker(WorkerKind::Serve),
        models: settings.home.models(),
        keep_alive: args.keep_alive.0,
        n_memory_bytes_max: args
            .memory_mb
            .map_or_else(|| half_of_memory(settings), |n| n.saturating_mul(1_000_000)),
        n_waiting_max: args.queue,
        n_body_bytes_max: N_BODY_BYTES_MAX,
        opening: Opening {
            model: String::new(),
            variant: settings.variant.clone(),
            backend: settings.backend,
            options: settings.options.clone(),
            correction: settings.correction.clone(),
            n_sequences_max: args.parallel.max(1),
            n_kept_bytes_max: N_KEPT_BYTES_MAX,
        },
        grace: GRACE,
    })
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
