//! `lapwing serve`: the daemon.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use lapwing_daemon::{Address, Daemon, Key, Names, Options, Policy};
use lapwing_files::regular::{self, N_TEXT_BYTES_MAX};
use lapwing_measure::reading::SystemFiles;
use lapwing_serving::message::Opening;
use sysinfo::System;
use tokio::sync::watch;

use crate::cli::{ADDRESS, KEEP_ALIVE, N_PARALLEL, N_QUEUED, ServeArgs, ServingArgs, WorkerKind};
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
    let root = args.system_files.as_ref();
    let system = root.map_or_else(SystemFiles::of_this_system, SystemFiles::at);
    let options = options(settings, system)?;
    let socket = settings.serving.socket.is_none().then(|| settings.home.socket());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot serve")?.block_on(serve(options, socket, printer))
}

/// Serve on what the options name, and on `socket` if that is to be had.
async fn serve(options: Options, socket: Option<PathBuf>, printer: &Printer) -> anyhow::Result<()> {
    let end = end().context("cannot hear of signals")?;
    let mut listeners = lapwing_daemon::bind(&options).await.context("cannot serve")?;
    if let Some(socket) = socket {
        match lapwing_daemon::bind_socket(&socket).await {
            Ok(listener) => listeners.push(listener),
            Err(error) if listeners.is_empty() => return Err(error).context("cannot serve"),
            Err(error) => {
                let error = lapwing_host::with_causes(&error);
                printer.warning(format!(
                    "{error}; `run`, `chat`, `ps` and `stop` do not ask this daemon"
                ));
            }
        }
    }
    for listener in &listeners {
        printer.note(format!("listening on {}", listener.shown()));
    }
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        end.await;
        stop.send_replace(true);
    });
    Daemon::new(options).serve(listeners, stopped).await;
    Ok(())
}

/// What asks for the end. From now on no signal ends the process at once.
#[cfg(unix)]
fn end() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::SignalKind;
    let terminate = comes(SignalKind::terminate())?;
    let interrupt = comes(SignalKind::interrupt())?;
    let hang_up = comes(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            () = terminate => {}
            () = interrupt => {}
            () = hang_up => {}
        }
    })
}

/// Waits for a signal; for ever where it was to be ignored.
#[cfg(unix)]
fn comes(kind: tokio::signal::unix::SignalKind) -> std::io::Result<impl Future<Output = ()>> {
    let is_ignored = lapwing_host::guard::is_ignored(kind.as_raw_value());
    let signals = (!is_ignored).then(|| tokio::signal::unix::signal(kind)).transpose()?;
    Ok(async move {
        match signals {
            Some(mut signals) => drop(signals.recv().await),
            None => std::future::pending().await,
        }
    })
}

/// What asks for the end.
#[cfg(not(unix))]
fn end() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async { drop(tokio::signal::ctrl_c().await) })
}

fn options(settings: &Settings, system: SystemFiles) -> anyhow::Result<Options> {
    let serving = &settings.serving;
    let any = serving.any_name.unwrap_or(false);
    if any && serving.default_model.is_none() {
        let problem = "any name is to mean the default model, and there is none".to_owned();
        let advice = Some("name one with --default-model, or leave out --any-name".to_owned());
        return Err(UsageError { problem, advice }.into());
    }
    let sockets = serving.socket.iter().cloned().map(Address::Unix);
    let n_memory_bytes = serving.memory_mb.map(|n| n.saturating_mul(1_000_000));
    Ok(Options {
        addresses: ports(serving).into_iter().map(Address::Tcp).chain(sockets).collect(),
        key: serving.key_file.as_deref().map(key).transpose()?,
        hosts: serving.host.clone(),
        origins: serving.origin.clone(),
        names: Names {
            aliases: serving.alias.iter().cloned().collect(),
            default: serving.default_model.clone(),
            any,
        },
        worker: settings.worker(WorkerKind::Serve),
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
        system,
        profiles: settings.home.profiles(),
        grace: GRACE,
    })
}

/// The ports to listen on.
fn ports(serving: &ServingArgs) -> Vec<SocketAddr> {
    match (serving.no_port.unwrap_or(false), serving.listen.as_slice()) {
        (true, _) => Vec::new(),
        (false, []) => vec![ADDRESS],
        (false, ports) => ports.to_vec(),
    }
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
