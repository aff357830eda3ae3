//! One process under limits: its outcome, and the most memory that it and its children held.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// More than any library reserves; a larger allocation fails.
const ADDRESS_SPACE_KB: u64 = 8 << 20;
/// A command on a file of a few kilobytes that takes as much hangs.
const CPU_SECONDS: u64 = 20;
const WALL_TIME_MAX: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(4);

/// How a process ended.
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) timed_out: bool,
    pub(super) stdout: String,
    pub(super) stderr: String,
    /// Of the process and those it started, each at its own peak.
    pub(super) peak_bytes: u64,
}

/// Run the command to its end, or to a limit.
pub(super) fn run(command: Command) -> Ended {
    let (mut stdout, mut stderr) = (file(), file());
    let mut limited = limited(&command);
    limited.stdin(Stdio::null());
    limited.stdout(stdout.try_clone().expect("a handle"));
    limited.stderr(stderr.try_clone().expect("a handle"));
    let mut child = limited.spawn().expect("the shell");
    let started = Instant::now();
    let (mut peak_bytes, mut timed_out) = (0, false);
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is ours") {
            break status;
        }
        peak_bytes = peak_bytes.max(peak_of(child.id()));
        if WALL_TIME_MAX < started.elapsed() && !timed_out {
            timed_out = true;
            child.kill().expect("it is ours");
        }
        std::thread::sleep(POLL);
    };
    Ended {
        code: status.code(),
        signal: status.signal(),
        timed_out,
        stdout: text(&mut stdout),
        stderr: text(&mut stderr),
        peak_bytes,
    }
}

fn file() -> File {
    tempfile::tempfile().expect("a temporary file")
}

fn text(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("a temporary file");
    String::from_utf8(bytes).unwrap_or_else(|error| format!("not UTF-8: {error}"))
}

/// The same command behind a shell that sets limits and gives way to it.
fn limited(command: &Command) -> Command {
    let script = format!(
        "ulimit -v {ADDRESS_SPACE_KB}; ulimit -S -t {CPU_SECONDS}; ulimit -c 0; exec \"$@\""
    );
    let mut shell = Command::new("bash");
    shell.args(["-c", &script, "bash"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// The sum of the peaks of a process and of all below it.
fn peak_of(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let own = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let own_kb: u64 = own
        .and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok())
        .unwrap_or_default();
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let children = tasks.flat_map(|task| {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        let ids: Vec<u32> = children.split_whitespace().filter_map(|id| id.parse().ok()).collect();
        ids
    });
    own_kb * 1024 + children.map(peak_of).sum::<u64>()
}
