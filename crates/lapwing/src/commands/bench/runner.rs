//! Asks a worker, in a process of its own or in this one.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use lapwing_measure::measuring::{Nulls, Work};
use lapwing_measure::memory::Footprint;
use lapwing_measure::reading::Reading;
use lapwing_measure::record::Energy;

use super::message::{Answer, LooksAt, Opened, Ran, Request, Setup, parse_answer, request_line};
use super::worker::Worker;
use crate::interrupt::{self, Interrupted};
use crate::settings::Settings;

/// How often somebody who waits for an answer looks whether Ctrl-C was pressed.
const POLL: Duration = Duration::from_millis(50);
/// What a process gets to end by itself.
const GRACE: Duration = Duration::from_secs(5);
/// What an answer may take at most, beside what its tokens take: some drivers compile for minutes.
const ANSWER_LIMIT: Duration = Duration::from_secs(20 * 60);
/// Slower than any model that is worth measuring.
const TOKEN_LIMIT: Duration = Duration::from_secs(2);
/// A longer line is no answer.
const LINE_BYTES_MAX: u64 = 1 << 30;

/// Why a worker did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The process was not to be had.
    #[error("cannot start a process to measure in")]
    Start(#[source] std::io::Error),
    /// The process is gone.
    #[error("the process that measured ended: {status}")]
    Died {
        /// As the system says it: an exit code or a signal.
        status: String,
    },
    /// It answered something else than was asked.
    #[error("the process that measured is not of this version: {found}")]
    Answer {
        /// What it said.
        found: String,
    },
    /// It runs, and says nothing.
    #[error(
        "the process that measured has not answered for {} s: it was to {asked}",
        limit.as_secs()
    )]
    Silent {
        /// What it was to do.
        asked: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The worker could not do it.
    #[error("{message}")]
    Failed {
        /// Why.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Ctrl-C.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl RunnerError {
    /// What to do about it, if the worker knows.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Failed { hint, .. } => hint.clone(),
            _ => None,
        }
    }
}

/// A worker to ask.
pub(super) enum Runner<'a> {
    /// One in a process of its own.
    Process(Box<Process>),
    /// One in this process.
    Here(Box<Worker<'a>>),
}

impl Runner<'_> {
    /// When the process started; `None` when it has none of its own.
    pub(super) fn started(&self) -> Option<Instant> {
        match self {
            Self::Process(process) => Some(process.started),
            Self::Here(_) => None,
        }
    }

    pub(super) fn open(&mut self, setup: &Setup) -> Result<Opened, RunnerError> {
        match self.ask(Request::Open(setup.clone().into()))? {
            Answer::Opened(opened) => Ok(*opened),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) fn memory(&mut self) -> Result<Footprint, RunnerError> {
        match self.ask(Request::Memory)? {
            Answer::Memory(footprint) => Ok(footprint),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) fn watch_energy(&mut self) -> Result<(), RunnerError> {
        match self.ask(Request::WatchEnergy)? {
            Answer::Watching {} => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) fn energy(
        &mut self,
        n_tokens: u64,
    ) -> Result<(Reading<Energy>, Nulls), RunnerError> {
        match self.ask(Request::Energy { n_tokens })? {
            Answer::Energy { reading, nulls } => Ok((reading, nulls)),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) fn run(&mut self, work: Work, looks_at: LooksAt) -> Result<Ran, RunnerError> {
        match self.ask(Request::Run { work, looks_at })? {
            Answer::Ran(ran) => Ok(*ran),
            other => Err(unexpected(&other)),
        }
    }

    fn ask(&mut self, request: Request) -> Result<Answer, RunnerError> {
        interrupt::check()?;
        let answer = match self {
            Self::Process(process) => process.ask(&request)?,
            Self::Here(worker) => worker.answer(request),
        };
        match answer {
            Answer::Failed { is_interrupted: true, .. } => Err(Interrupted.into()),
            Answer::Failed { message, hint, .. } => Err(RunnerError::Failed { message, hint }),
            answer => Ok(answer),
        }
    }
}

fn unexpected(answer: &Answer) -> RunnerError {
    RunnerError::Answer { found: format!("{answer:?}").chars().take(80).collect() }
}

/// A process with a worker in it; ended when dropped.
pub(super) struct Process {
    child: Child,
    /// `None` when it was told to end.
    requests: Option<ChildStdin>,
    answers: Receiver<(u64, String)>,
    /// Of the last request.
    number: u64,
    started: Instant,
}

impl Process {
    /// Start this program once more, as a worker.
    pub(super) fn start(settings: &Settings) -> Result<Process, RunnerError> {
        let program = std::env::current_exe().map_err(RunnerError::Start)?;
        let mut command = Command::new(program);
        command.arg("bench-child");
        if let Some(file) = &settings.file {
            command.arg("--config").arg(file);
        }
        command.args((0..settings.verbosity).map(|_| "-v"));
        if settings.quiet {
            command.arg("--quiet");
        }
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Result<Process, RunnerError> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().map_err(RunnerError::Start)?;
        let requests = child.stdin.take();
        let answers = child.stdout.take().map(listen);
        let answers = answers.unwrap_or_else(|| mpsc::channel().1);
        Ok(Process { child, requests, answers, number: 0, started })
    }

    fn ask(&mut self, request: &Request) -> Result<Answer, RunnerError> {
        self.ask_within(request, limit(request))
    }

    fn ask_within(&mut self, request: &Request, limit: Duration) -> Result<Answer, RunnerError> {
        let asked_at = Instant::now();
        self.number += 1;
        let line = request_line(self.number, request);
        let written = self.requests.as_mut().map(|pipe| writeln!(pipe, "{line}"));
        if !matches!(written, Some(Ok(()))) {
            return Err(self.died());
        }
        loop {
            match self.answers.recv_timeout(POLL) {
                Ok((number, json)) if number == self.number => {
                    return serde_json::from_str(&json)
                        .map_err(|error| RunnerError::Answer { found: error.to_string() });
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) if limit <= asked_at.elapsed() => {
                    return Err(RunnerError::Silent { asked: describe(request), limit });
                }
                Err(RecvTimeoutError::Timeout) => interrupt::check()?,
                Err(RecvTimeoutError::Disconnected) => return Err(self.died()),
            }
        }
    }

    /// The process closed its pipes.
    fn died(&mut self) -> RunnerError {
        // Ctrl-C on a terminal reaches it, too, and sooner.
        if interrupt::requested() {
            return Interrupted.into();
        }
        self.requests = None;
        let status = match self.wait(GRACE) {
            Some(status) => status.to_string(),
            None => "it stopped answering".to_owned(),
        };
        RunnerError::Died { status }
    }

    fn wait(&mut self, at_most: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + at_most;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                _ => return None,
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Without requests it ends by itself, and what it measured with is freed in order.
        self.requests = None;
        if interrupt::requested() || self.wait(GRACE).is_none() {
            // It may be gone already.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// How long somebody waits for an answer.
fn limit(request: &Request) -> Duration {
    let n_tokens = match request {
        Request::Run { work, .. } => work.n_prompt_tokens.saturating_add(work.n_steps),
        _ => 0,
    };
    let n_tokens = u32::try_from(n_tokens).unwrap_or(u32::MAX);
    ANSWER_LIMIT.saturating_add(TOKEN_LIMIT.saturating_mul(n_tokens))
}

/// What a request asks for, for people.
fn describe(request: &Request) -> String {
    match request {
        Request::Open(setup) => format!("open {} on {}", setup.model, setup.device),
        Request::Memory => "tell its memory".to_owned(),
        Request::WatchEnergy => "look for a sensor of energy".to_owned(),
        Request::Energy { .. } => "tell the energy it used".to_owned(),
        Request::Run { work, .. } => {
            format!("read {} tokens and generate {}", work.n_prompt_tokens, work.n_steps)
        }
    }
}

/// The answers in `pipe`, as they come; libraries may print anything else.
fn listen(pipe: impl Read + Send + 'static) -> Receiver<(u64, String)> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut pipe).take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            match parse_answer(&line) {
                Some((number, json)) => {
                    if sender.send((number, json.to_owned())).is_err() {
                        return;
                    }
                }
                None if line.trim_ascii().is_empty() => {}
                None => {
                    tracing::debug!(line = %String::from_utf8_lossy(&line), "a library printed");
                }
            }
        }
    });
    receiver
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// A worker that is a shell script.
    fn process(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::spawn(command).expect("there is a shell")
    }

    #[test]
    fn an_answer_is_found_in_whatever_libraries_print() {
        let marked = "lapwing-bench-answer";
        let check = |printed: &str| {
            let script = format!("read request; printf '{printed}'; read request");
            let found = process(&script).ask_within(&Request::Memory, Duration::from_secs(60));
            match found {
                Ok(Answer::Failed { message, .. }) => assert_eq!(message, "right", "{printed}"),
                other => panic!("{printed}: {other:?}"),
            }
        };
        let answer = |number: u32, message: &str| {
            let failed = format!(
                r#"{{"failed":{{"message":"{message}","hint":null,"is_interrupted":false}}}}"#
            );
            format!("\\n{marked} {number} {failed}\\n")
        };
        let right = answer(1, "right");
        check(&right);
        check(&format!("no end of line{right}"));
        check(&format!("\\377\\376 no UTF-8\\n\\377{right}"));
        check(&format!("{{\"watching\":{{}}}}\\n{right}"));
        check(&format!("{marked}\\n{marked} x {{}}\\n{right}"));
        check(&format!("{}{right}", answer(0, "of an earlier request")));
    }

    #[test]
    fn a_worker_that_says_nothing_is_not_waited_for_for_ever() {
        let request = Request::Energy { n_tokens: 1 };
        let mut silent = process("printf noise; read request; read request");
        let found = silent.ask_within(&request, Duration::from_millis(200));
        match found {
            Err(RunnerError::Silent { asked, .. }) => assert!(asked.contains("energy"), "{asked}"),
            other => panic!("{other:?}"),
        }
        let mut gone = process("read request; printf 'lapwing-bench-'; exit 3");
        let found = gone.ask_within(&request, Duration::from_secs(60));
        match found {
            Err(RunnerError::Died { status }) => assert!(status.contains('3'), "{status}"),
            other => panic!("{other:?}"),
        }
    }
}
