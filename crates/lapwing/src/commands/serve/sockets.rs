//! Sockets that whoever started this process has made: socket activation of systemd.

use lapwing_daemon::Given;

/// Those that were handed over, if any; processes that this one starts do not get them.
///
/// # Errors
///
/// When one is of a kind that nobody can ask on.
#[cfg(unix)]
pub(super) fn given() -> anyhow::Result<Vec<Given>> {
    let mut handed = listenfd::ListenFd::from_env();
    let mut given = Vec::new();
    for idx in 0..handed.len() {
        if let Ok(Some(listener)) = handed.take_tcp_listener(idx) {
            given.push(Given::Tcp(listener));
        } else if let Ok(Some(listener)) = handed.take_unix_listener(idx) {
            given.push(Given::Unix(listener));
        } else {
            anyhow::bail!("cannot serve: socket {idx} of those handed over takes no connections");
        }
    }
    Ok(given)
}

/// There are none here.
#[cfg(not(unix))]
pub(super) fn given() -> anyhow::Result<Vec<Given>> {
    Ok(Vec::new())
}
