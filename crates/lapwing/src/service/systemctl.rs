//! The systemd of this user, asked by its own programs.

use std::process::{Command, ExitStatus, Output, Stdio};

use super::ServiceError;
use super::systemd::NAMESPACES;

const SYSTEMCTL: &str = "systemctl";
const SYSTEMD_RUN: &str = "systemd-run";
const JOURNALCTL: &str = "journalctl";

/// The systemd of this user.
#[derive(Debug, Clone, Copy)]
pub struct Systemctl {
    /// Its version.
    pub version: u32,
}

impl Systemctl {
    /// The one that runs.
    ///
    /// # Errors
    ///
    /// When there is none, or it does not hear this process.
    pub fn find() -> Result<Systemctl, ServiceError> {
        let said = done(&[SYSTEMCTL, "--user", "show", "--property=Version", "--value"])?;
        // `252.39-1~deb12u2`, or `252 (…)`.
        let digits: String = said.trim().chars().take_while(char::is_ascii_digit).collect();
        Ok(Systemctl { version: digits.parse().unwrap_or(0) })
    }

    /// Let it do something; what it says.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub fn run(&self, arguments: &[&str]) -> Result<String, ServiceError> {
        done(&[&[SYSTEMCTL, "--user"], arguments].concat())
    }

    /// Whether it can start something behind namespaces: it is tried.
    ///
    /// # Errors
    ///
    /// When there is no `systemd-run`.
    pub fn has_namespaces(&self) -> Result<bool, ServiceError> {
        let mut words = vec![SYSTEMD_RUN, "--user", "--quiet", "--wait", "--collect"];
        for property in NAMESPACES.iter().copied().chain(["PrivateTmp=yes"]) {
            words.extend(["-p", property]);
        }
        Ok(output(&[&words[..], &["true"]].concat())?.status.success())
    }

    /// Show how units are; whether they exist.
    ///
    /// # Errors
    ///
    /// When it cannot be asked.
    pub fn show(&self, units: &[&str]) -> Result<ExitStatus, ServiceError> {
        shown(&[&[SYSTEMCTL, "--user", "--no-pager", "status"], units].concat())
    }
}

/// Show what a unit has said.
///
/// # Errors
///
/// When there is no journal.
pub fn logs(unit: &str, n_lines: usize, follow: bool) -> Result<ExitStatus, ServiceError> {
    let n_lines = n_lines.to_string();
    let mut words = vec![JOURNALCTL, "--user", "--no-pager", "--user-unit", unit, "-n", &n_lines];
    words.extend(follow.then_some("--follow"));
    shown(&words)
}

/// Run words whose output is for the user.
fn shown(words: &[&str]) -> Result<ExitStatus, ServiceError> {
    let missing = |source| ServiceError::NoSystemd { program: words[0].to_owned(), source };
    Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).status().map_err(missing)
}

fn done(words: &[&str]) -> Result<String, ServiceError> {
    let output = output(words)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ServiceError::Refused { command: words.join(" "), said })
}

fn output(words: &[&str]) -> Result<Output, ServiceError> {
    let missing = |source| ServiceError::NoSystemd { program: words[0].to_owned(), source };
    Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output().map_err(missing)
}
