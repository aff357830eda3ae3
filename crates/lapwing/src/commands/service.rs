//! `lapwing service`: the daemon as a service of this user.

use std::net::TcpListener;
use std::path::PathBuf;

use anyhow::Context as _;
use lapwing_daemon::Address;

use crate::cli::{InstallArgs, LogsArgs, ManagerName, ServiceArgs, ServiceCommand};
use crate::commands::serve::wanted;
use crate::exit::UsageError;
use crate::home::user_units;
use crate::printer::Printer;
use crate::service::marked::{self, Found};
use crate::service::systemctl::{self, Systemctl};
use crate::service::systemd::{self, SERVICE, SOCKET};
use crate::service::{Plan, ServiceError, launchd, windows};
use crate::settings::Settings;

/// The version that units are printed for where no systemd runs.
const VERSION_SHOWN: u32 = 257;
/// What `systemctl status` ends with where a unit does not run, which is none of our failures.
const NOT_RUNNING: i32 = 3;

/// Install, remove or show it.
///
/// # Errors
///
/// When there is no systemd, it refuses, or a unit was changed by somebody else.
pub fn run(settings: &Settings, printer: &Printer, args: &ServiceArgs) -> anyhow::Result<()> {
    match &args.command {
        ServiceCommand::Install(args) => {
            install(settings, printer, args).context("cannot install the service")
        }
        ServiceCommand::Uninstall(args) => {
            uninstall(printer, args.force).context("cannot remove the service")
        }
        ServiceCommand::Status => status().context("cannot show the service"),
        ServiceCommand::Logs(args) => logs(args).context("cannot show what the service said"),
    }
}

/// The units by their paths.
struct Units([(PathBuf, String); 2]);

impl Units {
    fn of(plan: &Plan, version: u32, has_namespaces: bool) -> anyhow::Result<Units> {
        let [socket, service] = paths()?;
        Ok(Units([
            (socket, systemd::socket(plan)?),
            (service, systemd::service(plan, version, has_namespaces)?),
        ]))
    }
}

fn paths() -> anyhow::Result<[PathBuf; 2]> {
    let folder = user_units()?;
    Ok([SOCKET, SERVICE].map(|name| folder.join(name)))
}

fn install(settings: &Settings, printer: &Printer, args: &InstallArgs) -> anyhow::Result<()> {
    let plan = plan(settings, args)?;
    match (args.manager, args.dry_run) {
        (ManagerName::Systemd, true) => return show(&plan, printer, args),
        (ManagerName::Systemd, false) => {}
        (ManagerName::Launchd, true) => return Ok(printer.write(launchd::agent(&plan)?)?),
        (ManagerName::Windows, true) => return Ok(printer.write(windows::task(&plan)?)?),
        (_, false) => {
            let problem = "only systemd is told of services".to_owned();
            let advice = "--dry-run prints what another manager can be given by hand".to_owned();
            return Err(UsageError { problem, advice: Some(advice) }.into());
        }
    }
    let systemctl = Systemctl::find()?;
    let has_namespaces = !args.no_namespaces && systemctl.has_namespaces()?;
    let Units(units) = Units::of(&plan, systemctl.version, has_namespaces)?;
    if !args.force {
        units.iter().try_for_each(|(path, _)| marked::check_untouched(path))?;
    }
    // What was installed before holds the addresses.
    let was_there = units.iter().any(|(path, _)| path.exists());
    if was_there {
        systemctl.run(&["stop", SOCKET, SERVICE])?;
    }
    let written = write(&plan, &units, printer);
    if written.is_err() && was_there {
        // What was there goes on.
        let _ = systemctl.run(&["start", SOCKET]);
    }
    written?;
    systemctl.run(&["daemon-reload"])?;
    systemctl.run(&["enable", "--now", SOCKET])?;
    if !has_namespaces && !args.no_namespaces {
        printer.note(
            "systemd can make no user namespaces here: the service sees all files of this user",
        );
    }
    for address in &plan.addresses {
        let address = match address {
            Address::Tcp(address) => format!("http://{address}"),
            Address::Unix(path) => path.display().to_string(),
        };
        printer.note(format!("systemd listens on {address}; the first request starts the daemon"));
    }
    Ok(())
}

/// Write the units, if nobody else holds their addresses.
fn write(plan: &Plan, units: &[(PathBuf, String)], printer: &Printer) -> anyhow::Result<()> {
    plan.addresses.iter().try_for_each(check_free)?;
    for folder in &plan.written {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    for (path, text) in units {
        marked::write(path, text)?;
        printer.note(format!("wrote {}", path.display()));
    }
    Ok(())
}

/// Print the units.
fn show(plan: &Plan, printer: &Printer, args: &InstallArgs) -> anyhow::Result<()> {
    let systemctl = Systemctl::find().ok();
    let has_namespaces = match systemctl {
        _ if args.no_namespaces => false,
        Some(systemctl) => systemctl.has_namespaces()?,
        None => true,
    };
    let version = systemctl.map_or(VERSION_SHOWN, |systemctl| systemctl.version);
    let Units(units) = Units::of(plan, version, has_namespaces)?;
    for (path, text) in units {
        printer.write(format!("# {}\n{}\n", path.display(), marked::marked(&text)))?;
    }
    Ok(())
}

fn plan(settings: &Settings, args: &InstallArgs) -> anyhow::Result<Plan> {
    let program =
        std::env::current_exe().context("the system does not tell which program this is")?;
    let usual = settings.home.settings_file();
    let settings_file = settings.file.clone().filter(|file| *file != usual);
    let settings_file = settings_file.map(std::path::absolute).transpose();
    Ok(Plan {
        program,
        settings_file: settings_file.context("cannot find the settings file")?,
        variables: settings.kept.clone(),
        addresses: wanted(settings),
        written: vec![settings.home.data().to_owned(), settings.home.cache().to_owned()],
        memory_high: args.memory_high.clone(),
        memory_max: args.memory_max.clone(),
    })
}

/// Say it now if somebody listens there: systemd only says that it could not.
fn check_free(address: &Address) -> anyhow::Result<()> {
    match address {
        Address::Tcp(address) => {
            TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        }
        #[cfg(unix)]
        Address::Unix(path) => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                anyhow::bail!("cannot listen on {}: a daemon answers there", path.display());
            }
        }
        #[cfg(not(unix))]
        Address::Unix(_) => {}
    }
    Ok(())
}

fn uninstall(printer: &Printer, force: bool) -> anyhow::Result<()> {
    let paths = paths()?;
    demand_installed(&paths)?;
    if !force {
        paths.iter().try_for_each(|path| marked::check_untouched(path))?;
    }
    let systemctl = Systemctl::find()?;
    systemctl.run(&["disable", "--now", SOCKET, SERVICE])?;
    for path in &paths {
        if marked::look(path)? != Found::Nothing {
            marked::remove(path)?;
            printer.note(format!("removed {}", path.display()));
        }
    }
    systemctl.run(&["daemon-reload"])?;
    Ok(())
}

fn demand_installed(paths: &[PathBuf; 2]) -> anyhow::Result<()> {
    if paths.iter().any(|path| path.exists()) {
        return Ok(());
    }
    Err(ServiceError::NotInstalled { path: paths[1].clone() }.into())
}

fn status() -> anyhow::Result<()> {
    demand_installed(&paths()?)?;
    let status = Systemctl::find()?.show(&[SOCKET, SERVICE])?;
    match status.success() || status.code() == Some(NOT_RUNNING) {
        true => Ok(()),
        false => anyhow::bail!("systemctl ended with {status}"),
    }
}

fn logs(args: &LogsArgs) -> anyhow::Result<()> {
    let status = systemctl::logs(SERVICE, args.lines, args.follow)?;
    match status.success() {
        true => Ok(()),
        false => anyhow::bail!("journalctl ended with {status}"),
    }
}
