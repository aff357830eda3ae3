//! The side of a trial that watches.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::{Failure, How, MARK, Passed, Report, Stage, TrialError, ended};
use crate::interrupt;
use crate::trial_limits::TrialLimits;

/// How often time and memory are looked at.
const POLL: Duration = Duration::from_millis(50);
/// Lines that are kept of what a child prints.
const N_LINES_KEPT: usize = 20;
/// A longer line is split.
const LINE_BYTES_MAX: u64 = 1 << 16;
/// So much of a line is kept.
const KEPT_CHARS_MAX: usize = 300;
/// Lines that wait to be looked at; a child that prints more waits.
const N_LINES_WAITING: usize = 1000;
/// What a process may take to end when it was killed.
const DEATH: Duration = Duration::from_secs(5);
/// What the end of the output may take after the end of the process: a grandchild may hold it.
const GRACE: Duration = Duration::from_millis(500);

/// A line of a child, or the end of one of its outputs.
enum Line {
    Report(Report),
    Other(String),
}

/// Run `command` until it ends or breaks a limit.
pub(super) fn watch(
    mut command: Command,
    limits: TrialLimits,
) -> Result<Result<Passed, Failure>, TrialError> {
    // The child ends when its stdin does: it does not outlive this process.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Killed(command.spawn().map_err(TrialError::Start)?);
    let (sender, lines) = mpsc::sync_channel(N_LINES_WAITING);
    if let Some(output) = child.0.stdout.take() {
        listen(output, sender.clone());
    }
    if let Some(output) = child.0.stderr.take() {
        listen(output, sender);
    }
    let mut seen = Seen { stage: Stage::Start, end: None, last_lines: VecDeque::new() };
    let how = supervise(&mut child.0, &lines, &mut seen, limits)?;
    Ok(match (how, seen.end.take()) {
        (None, Some(Report::Passed(passed))) => Ok(passed),
        (None, Some(Report::Refused { message })) => Err(seen.failure(How::Refused { message })),
        (None, _) => {
            let status = "it said nothing of its outcome".to_owned();
            Err(seen.failure(How::Ended { status, signal: None }))
        }
        // A library may come to harm while it is unloaded; what it did before that counts.
        (Some(How::Ended { .. }), Some(Report::Passed(passed))) => Ok(passed),
        (Some(How::Ended { .. }), Some(Report::Refused { message })) => {
            Err(seen.failure(How::Refused { message }))
        }
        (Some(how), _) => Err(seen.failure(how)),
    })
}

/// Wait for the end of the child. `None`: it ended with success.
fn supervise(
    child: &mut Child,
    lines: &Receiver<Line>,
    seen: &mut Seen,
    limits: TrialLimits,
) -> Result<Option<How>, TrialError> {
    let started = Instant::now();
    let mut memory = Memory::of(child.id());
    loop {
        interrupt::check()?;
        match lines.recv_timeout(POLL) {
            Ok(line) => {
                seen.take(line);
                continue_quickly(lines, seen);
            }
            // Both outputs are closed: the child has ended, or works on without them.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(POLL),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(status) = child.try_wait().map_err(TrialError::Start)? {
            // The child may have been ended by what is to end this process.
            interrupt::check()?;
            drain(lines, seen);
            return Ok((!status.success()).then(|| ended(status)));
        }
        if limits.time < started.elapsed() {
            return Ok(Some(How::TimedOut { limit_s: limits.time.as_secs() }));
        }
        if memory.as_mut().and_then(Memory::resident).is_some_and(|n| limits.n_bytes < n) {
            return Ok(Some(How::TooMuchMemory { limit_bytes: limits.n_bytes }));
        }
    }
}

/// Take what is there already, but not so much that the limits wait.
fn continue_quickly(lines: &Receiver<Line>, seen: &mut Seen) {
    lines.try_iter().take(N_LINES_WAITING).for_each(|line| seen.take(line));
}

/// Take what the child printed before it ended.
fn drain(lines: &Receiver<Line>, seen: &mut Seen) {
    let deadline = Instant::now() + GRACE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) if !left.is_zero() => seen.take(line),
            _ => return,
        }
    }
}

/// What a child has said.
struct Seen {
    stage: Stage,
    end: Option<Report>,
    last_lines: VecDeque<String>,
}

impl Seen {
    fn take(&mut self, line: Line) {
        match line {
            Line::Report(Report::Stage(stage)) => self.stage = stage,
            Line::Report(end) => self.end = Some(end),
            Line::Other(text) => {
                if self.last_lines.len() == N_LINES_KEPT {
                    self.last_lines.pop_front();
                }
                self.last_lines.push_back(text.chars().take(KEPT_CHARS_MAX).collect());
            }
        }
    }

    fn failure(self, how: How) -> Failure {
        Failure { stage: self.stage, how, last_lines: self.last_lines.into() }
    }
}

/// A child that does not outlive its owner.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let deadline = Instant::now() + DEATH;
        while Instant::now() < deadline {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        // It hangs in a driver, where no signal reaches it.
        tracing::warn!(pid = self.0.id(), "a process that was killed does not end");
    }
}

/// Resident bytes of another process.
struct Memory {
    system: System,
    pid: Pid,
}

impl Memory {
    /// `None` where the system does not tell.
    fn of(pid: u32) -> Option<Memory> {
        Some(Memory { system: System::new().ok()?, pid: Pid::from_u32(pid) })
    }

    fn resident(&mut self) -> Option<u64> {
        let kind = ProcessRefreshKind::nothing().with_memory();
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&[self.pid]), false, kind);
        self.system.process(self.pid).map(sysinfo::Process::memory)
    }
}

fn listen(output: impl Read + Send + 'static, sender: SyncSender<Line>) {
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            match (&mut output).take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let text = String::from_utf8_lossy(&bytes);
            let text = text.trim();
            if !text.is_empty() && sender.send(parse(text)).is_err() {
                return;
            }
        }
    });
}

fn parse(text: &str) -> Line {
    let report = text.split_once(MARK).and_then(|(_, json)| serde_json::from_str(json).ok());
    report.map_or_else(|| Line::Other(text.to_owned()), Line::Report)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    const LIMITS: TrialLimits = TrialLimits { time: Duration::from_secs(60), n_bytes: 1 << 40 };

    /// Watch a shell script in the place of a child.
    fn script(script: &str, limits: TrialLimits) -> Result<Passed, Failure> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        watch(command, limits).expect("there is a shell")
    }

    fn passed() -> Passed {
        let device_used = "NPU".to_owned();
        Passed { device_used, open_ms: 1.5, first_inference_ms: 2.0, difference: None }
    }

    fn say(report: &Report) -> String {
        let json = serde_json::to_string(report).expect("plain data");
        format!("echo 'noise {MARK}{json}'; ")
    }

    #[test]
    fn what_a_child_says_is_found_in_whatever_libraries_print() {
        let lines = [
            say(&Report::Stage(Stage::Library)),
            format!("echo {MARK}; echo '{MARK}{{}}'; printf '\\377\\n' >&2; "),
            say(&Report::Passed(passed())),
        ];
        assert_eq!(script(&lines.concat(), LIMITS), Ok(passed()));
        // Also when the library falls over its own feet at the end.
        assert_eq!(script(&format!("{}kill -SEGV $$", lines.concat()), LIMITS), Ok(passed()));
        // A compiler's log can be long.
        let message = "no such operation ".repeat(1000);
        let refused = say(&Report::Refused { message: message.clone() });
        let failure = script(&format!("{refused}exit 1"), LIMITS).expect_err("it was refused");
        assert_eq!(failure.how, How::Refused { message });
        assert!(!failure.is_harm());
    }

    #[test]
    fn a_crash_is_told_with_its_stage_and_the_last_lines() {
        let check = |end: &str, expected: &str| {
            let mut lines = say(&Report::Stage(Stage::Compile));
            lines.push_str("for i in $(seq 30); do echo line $i >&2; done; ");
            let failure = script(&format!("{lines}{end}"), LIMITS).expect_err("it crashed");
            assert!(failure.is_harm());
            assert_eq!(failure.to_string(), expected);
            assert_eq!(failure.last_lines.len(), N_LINES_KEPT);
            assert_eq!(failure.last_lines.last().map(String::as_str), Some("line 30"));
        };
        check("kill -ABRT $$", "the process ended while compiling: aborted (signal 6)");
        check("exit 3", "the process ended while compiling: exit code 3");
        check("exit 0", "the process ended while compiling: it said nothing of its outcome");
        let killed = "killed, perhaps by the system for want of memory (signal 9)";
        check("kill -KILL $$", &format!("the process ended while compiling: {killed}"));
    }

    #[test]
    fn what_says_nothing_about_a_device_is_not_remembered() {
        let check = |how: How, expected: bool| {
            let failure = Failure { stage: Stage::Compile, how: how.clone(), last_lines: vec![] };
            assert_eq!(failure.holds(LIMITS), expected, "{how:?}");
        };
        let by = |signal| How::Ended { status: String::new(), signal };
        check(by(Some(6)), true);
        check(by(None), true);
        for signal in [1, 2, 9, 15] {
            check(by(Some(signal)), false);
        }
        check(How::TimedOut { limit_s: 60 }, true);
        check(How::TimedOut { limit_s: 59 }, false);
        check(How::TooMuchMemory { limit_bytes: LIMITS.n_bytes }, true);
        check(How::TooMuchMemory { limit_bytes: LIMITS.n_bytes - 1 }, false);
        check(How::Refused { message: String::new() }, true);
    }

    #[test]
    fn a_flood_of_lines_neither_fills_the_memory_nor_hides_the_outcome() {
        let lines = format!("yes flood | head -n 300000 >&2; {}", say(&Report::Passed(passed())));
        assert_eq!(script(&lines, LIMITS), Ok(passed()));
    }

    #[test]
    fn a_child_that_hangs_or_eats_memory_is_stopped() {
        let started = Instant::now();
        let limits = TrialLimits { time: Duration::from_millis(300), ..LIMITS };
        let failure = script("exec 1>&- 2>&-; sleep 60", limits).expect_err("it hangs");
        assert_eq!(failure.how, How::TimedOut { limit_s: 0 });
        // Any process takes more than a byte.
        let limits = TrialLimits { n_bytes: 1, ..LIMITS };
        let failure = script("sleep 60", limits).expect_err("it takes too much");
        assert_eq!(failure.how, How::TooMuchMemory { limit_bytes: 1 });
        assert!(started.elapsed() < Duration::from_secs(30), "nobody waits for its end");
    }
}
