//! Units of systemd: a socket that is there from the login on, and the service that its first
//! connection starts.

use std::path::Path;

use lapwing_daemon::Address;

use super::{Plan, ServiceError, told};

/// The names of the units.
pub const SOCKET: &str = "lapwing.socket";
pub const SERVICE: &str = "lapwing.service";

/// The first version that waits for a reload by itself (`Type=notify-reload`).
const RELOADS_SINCE: u32 = 253;

/// Folders that a service with temporary files of its own does not see.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// What works without namespaces: filters of calls, and what a process can give up by itself.
///
/// Code is made while a model is compiled, so memory must become executable
/// (`MemoryDenyWriteExecute` stays off), and GPUs and NPUs stay to be seen (`PrivateDevices`, too).
/// `seccomp` is what the processes that hold models shut themselves in with. The ports are opened by
/// the manager: the service itself needs no other sockets than those in the file system.
const FILTERS: &str = "\
NoNewPrivileges=yes
UMask=0077
LimitCORE=0
KeyringMode=private
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service seccomp
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
";

/// What needs namespaces, which a user's manager has only together with users of its own.
///
/// `ProtectProc` is not among them: it would hide processes that cannot be traced, and those that hold
/// models are such, but their memory is measured.
pub const NAMESPACES: &[&str] = &[
    "PrivateUsers=yes",
    "CapabilityBoundingSet=",
    "PrivateMounts=yes",
    "PrivateNetwork=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHome=read-only",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectSystem=strict",
];

/// The unit of the socket.
///
/// # Errors
///
/// When a path cannot be written into it.
pub fn socket(plan: &Plan) -> Result<String, ServiceError> {
    let mut listens = String::new();
    for address in &plan.addresses {
        let address = match address {
            Address::Tcp(address) => address.to_string(),
            Address::Unix(path) => plain(path)?,
        };
        listens += &format!("ListenStream={address}\n");
    }
    Ok(format!(
        "[Unit]
Description=Where programs find the language models of this user

[Socket]
{listens}SocketMode=0600
DirectoryMode=0700
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
"
    ))
}

/// The unit of the service, for this version of systemd, with namespaces or without.
///
/// # Errors
///
/// When a path cannot be written into it.
pub fn service(plan: &Plan, version: u32, has_namespaces: bool) -> Result<String, ServiceError> {
    let words = plan.command_line();
    let words: Result<Vec<String>, ServiceError> =
        words.iter().map(|word| Ok(quoted(told(word)?).replace('$', "$$"))).collect();
    let start = words?.join(" ");
    let kind = match RELOADS_SINCE <= version {
        true => "Type=notify-reload\n".to_owned(),
        false => "Type=notify\nExecReload=/bin/kill -HUP $MAINPID\n".to_owned(),
    };
    let mut environment = String::new();
    for (name, value) in &plan.variables {
        let pair = format!("{name}={}", told(value)?);
        environment += &format!("Environment={}\n", quoted(&pair));
    }
    let mut memory = String::new();
    for (key, size) in [("MemoryHigh", &plan.memory_high), ("MemoryMax", &plan.memory_max)] {
        if let Some(size) = size {
            memory += &format!("{key}={}\n", told(size.as_ref())?);
        }
    }
    let namespaces = if has_namespaces { namespaces(plan)? } else { String::new() };
    Ok(format!(
        "[Unit]
Description=Language models for the programs of this user
Requires={SOCKET}
After={SOCKET}
StartLimitIntervalSec=60
StartLimitBurst=5

[Service]
{kind}NotifyAccess=main
ExecStart={start}
{environment}Restart=on-failure
RestartSec=1
RestartPreventExitStatus=2
TimeoutStopSec=20
WatchdogSec=30
OOMPolicy=continue
{memory}
{FILTERS}{namespaces}
[Install]
Also={SOCKET}
"
    ))
}

fn namespaces(plan: &Plan) -> Result<String, ServiceError> {
    let mut text = String::from("\n");
    for line in NAMESPACES {
        text += &format!("{line}\n");
    }
    let paths = || [&plan.program].into_iter().chain(&plan.settings_file).chain(&plan.written);
    let is_temporary = |path: &Path| TEMPORARY.iter().any(|folder| path.starts_with(folder));
    if !paths().any(|path| is_temporary(path)) {
        text += "PrivateTmp=yes\n";
    }
    for folder in &plan.written {
        text += &format!("ReadWritePaths={}\n", quoted(told(folder.as_os_str())?));
    }
    Ok(text)
}

/// A value that is a path as a whole.
fn plain(path: &Path) -> Result<String, ServiceError> {
    Ok(told(path.as_os_str())?.replace('%', "%%"))
}

/// A word among others.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(folder: &str) -> Plan {
        Plan {
            program: format!("{folder}/lapwing").into(),
            settings_file: Some(format!("{folder}/lapwing.toml").into()),
            variables: vec![("LAPWING_HOME", folder.into())],
            addresses: vec![Address::Unix(format!("{folder}/socket").into())],
            written: vec![folder.into()],
            memory_high: None,
            memory_max: None,
        }
    }

    #[test]
    fn paths_mean_what_they_are() {
        let plan = plan("/home/a b/100%/$x\\\"");
        let unit = service(&plan, 257, true).unwrap();
        let quoted = r#"/home/a b/100%%/$x\\\""#;
        let start = quoted.replace('$', "$$");
        for line in [
            format!(
                "ExecStart=\"{start}/lapwing\" \"--config\" \"{start}/lapwing.toml\" \"serve\""
            ),
            format!("Environment=\"LAPWING_HOME={quoted}\""),
            format!("ReadWritePaths=\"{quoted}\""),
        ] {
            assert!(unit.lines().any(|found| found == line), "{line} in\n{unit}");
        }
        let listen = "ListenStream=/home/a b/100%%/$x\\\"/socket";
        let unit = socket(&plan).unwrap();
        assert!(unit.lines().any(|found| found == listen), "{unit}");
    }

    #[test]
    fn a_path_cannot_add_a_line() {
        let plan = plan("/home/a\nExecStart=/bin/evil");
        assert!(matches!(service(&plan, 257, false), Err(ServiceError::Characters { .. })));
        assert!(matches!(socket(&plan), Err(ServiceError::Characters { .. })));
    }

    #[test]
    fn a_reload_is_told_as_the_version_knows_it() {
        let plan = plan("/x");
        assert!(service(&plan, 253, false).unwrap().contains("Type=notify-reload\n"));
        assert!(
            service(&plan, 252, false).unwrap().contains("ExecReload=/bin/kill -HUP $MAINPID\n")
        );
    }

    #[test]
    fn temporary_folders_are_kept_where_something_of_ours_is_in_them() {
        let has = |folder: &str| service(&plan(folder), 257, true).unwrap().contains("PrivateTmp");
        assert!(has("/home/a") && has("/tmpfs") && !has("/tmp/a") && !has("/var/tmp/a"));
    }
}
