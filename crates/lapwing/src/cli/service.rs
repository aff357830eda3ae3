//! Arguments of `lapwing service`.

use clap::{Args, Subcommand, ValueEnum};

/// Arguments of `lapwing service`.
#[derive(Debug, Clone, Args)]
pub struct ServiceArgs {
    #[command(subcommand)]
    pub command: ServiceCommand,
}

/// What to do with the service.
#[derive(Debug, Clone, Subcommand)]
pub enum ServiceCommand {
    /// Write units for this user's systemd and start them: the daemon then begins with the first
    /// request after each login
    Install(InstallArgs),
    /// End the service and remove what `install` wrote
    Uninstall(UninstallArgs),
    /// Show how the service is
    Status,
    /// Show what the service has said
    Logs(LogsArgs),
}

/// Arguments of `lapwing service install`.
#[derive(Debug, Clone, Args)]
pub struct InstallArgs {
    /// Print what would be written, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// What manages services; for others than systemd it is only printed
    #[arg(long = "for", value_enum, value_name = "MANAGER", default_value_t = ManagerName::Systemd)]
    pub manager: ManagerName,
    /// Do without what needs user namespaces; chosen by itself where systemd cannot make them
    #[arg(long)]
    pub no_namespaces: bool,
    /// Memory from which on the system slows the service down, such as 8G or 50%
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory_high: Option<String>,
    /// Memory from which on the system ends the largest of its processes
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory_max: Option<String>,
    /// Write over units that were changed, or that somebody else wrote
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `lapwing service uninstall`.
#[derive(Debug, Clone, Args)]
pub struct UninstallArgs {
    /// Remove units that were changed, too
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `lapwing service logs`.
#[derive(Debug, Clone, Args)]
pub struct LogsArgs {
    /// Go on with what comes
    #[arg(short, long)]
    pub follow: bool,
    /// How many of the last lines
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub lines: usize,
}

/// What manages services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ManagerName {
    /// Linux
    Systemd,
    /// macOS; not tried
    Launchd,
    /// The task scheduler of Windows; not tried
    Windows,
}

/// A size as systemd reads it.
fn size(text: &str) -> Result<String, String> {
    let number = text.strip_suffix(['K', 'M', 'G', 'T', '%']).unwrap_or(text);
    let is_size = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    match is_size && number.bytes().any(|byte| byte != b'0') {
        true => Ok(text.to_owned()),
        false => Err("expected a size such as 8G, 6000M or 50%".to_owned()),
    }
}
