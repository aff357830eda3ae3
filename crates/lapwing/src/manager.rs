//! The service manager that started this process, if one did, in the protocol of systemd: datagrams of
//! `KEY=VALUE` lines to the socket that it names (`sd_notify(3)`).

use std::io;
use std::time::Duration;

use crate::settings::ManagerVariables;

/// A service manager that hears how this process is. What it does not hear is no harm: it is told, and
/// things go on.
#[derive(Debug)]
pub struct Manager {
    #[cfg(unix)]
    socket: std::os::unix::net::UnixDatagram,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that these variables name.
    ///
    /// # Errors
    ///
    /// When its socket is of a kind that is not known, or nobody is there.
    #[cfg(unix)]
    pub fn find(variables: &ManagerVariables) -> io::Result<Manager> {
        let socket = std::os::unix::net::UnixDatagram::unbound()?;
        socket.connect_addr(&address(&variables.socket)?)?;
        Ok(Manager { socket, watchdog: variables.watchdog })
    }

    /// There is none here.
    ///
    /// # Errors
    ///
    /// Always.
    #[cfg(not(unix))]
    pub fn find(_: &ManagerVariables) -> io::Result<Manager> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// How often it is to hear that this process lives: twice in the time that it bears.
    pub fn alive_every(&self) -> Option<Duration> {
        self.watchdog.map(|longest| longest / 2)
    }

    /// This process lives.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// Everything is done to hear clients, or to do as new settings say.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// Settings are read anew, until [`Manager::ready`].
    pub fn reloading(&self) {
        #[cfg(unix)]
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_usec()));
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// How things stand, in a line for people.
    pub fn status(&self, status: &str) {
        // A line end would begin another word.
        self.tell(&format!("STATUS={}", status.replace(char::is_control, " ")));
    }

    fn tell(&self, state: &str) {
        #[cfg(unix)]
        if let Err(error) = self.socket.send(state.as_bytes()) {
            tracing::warn!(%error, "the service manager does not hear");
        }
    }
}

/// A path, or a name in the abstract namespace behind an `@`.
#[cfg(unix)]
fn address(socket: &std::ffi::OsStr) -> io::Result<std::os::unix::net::SocketAddr> {
    use std::os::unix::ffi::OsStrExt as _;
    match socket.as_bytes().split_first() {
        Some((b'/', _)) => std::os::unix::net::SocketAddr::from_pathname(socket),
        #[cfg(target_os = "linux")]
        Some((b'@', name)) => {
            <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)
        }
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "expected a path or @NAME")),
    }
}

/// Microseconds of the clock that systemd compares reloads by.
#[cfg(unix)]
fn monotonic_usec() -> i128 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    now.map_or(0, |now| i128::from(now.tv_sec()) * 1_000_000 + i128::from(now.tv_nsec()) / 1000)
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 200];
        let n_bytes = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..n_bytes].to_vec()).unwrap()
    }

    #[test]
    fn a_manager_hears_at_a_path_and_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("lapwing-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        let sockets = [
            (path.clone().into_os_string(), UnixDatagram::bind(&path).unwrap()),
            (format!("@{name}").into(), UnixDatagram::bind_addr(&abstract_name).unwrap()),
        ];
        for (socket, there) in sockets {
            let watchdog = Some(Duration::from_secs(3));
            let manager = Manager::find(&ManagerVariables { socket, watchdog }).unwrap();
            manager.ready();
            assert_eq!(heard(&there), "READY=1");
            manager.status("a\u{e9}\nSTOPPING=1");
            assert_eq!(heard(&there), "STATUS=a\u{e9} STOPPING=1");
            manager.reloading();
            let reloading = heard(&there);
            let usec = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(0 < usec.parse::<u64>().unwrap());
            assert_eq!(manager.alive_every(), Some(Duration::from_millis(1500)));
        }
        let nowhere = ManagerVariables { socket: "vsock:2:3".into(), watchdog: None };
        assert_eq!(Manager::find(&nowhere).unwrap_err().kind(), io::ErrorKind::Unsupported);
    }
}
