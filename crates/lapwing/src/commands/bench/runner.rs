//! Asks a worker, in a process of its own or in this one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use lapwing_measure::measuring::{Nulls, Work};
use lapwing_measure::memory::Footprint;
use lapwing_measure::reading::Reading;
use lapwing_measure::record::Energy;

use super::message::{Answer, LooksAt, Opened, Ran, Request, Setup};
use super::worker::Worker;
use crate::interrupt::{self, Interrupted};
use crate::settings::Settings;

/// How often somebody who waits for an answer looks whether Ctrl-C was pressed.
const POLL: Duration = Duration::from_millis(50);
/// What a process gets to end by itself.
const GRACE: Duration = Duration::from_secs(5);

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
    answers: Receiver<String>,
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
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().map_err(RunnerError::Start)?;
        let requests = child.stdin.take();
        let answers = child.stdout.take().map(listen);
        let answers = answers.unwrap_or_else(|| mpsc::channel().1);
        Ok(Process { child, requests, answers, started })
    }

    fn ask(&mut self, request: &Request) -> Result<Answer, RunnerError> {
        let line = serde_json::to_string(request).expect("requests have only string keys");
        let written = self.requests.as_mut().map(|pipe| writeln!(pipe, "{line}"));
        if !matches!(written, Some(Ok(()))) {
            return Err(self.died());
        }
        loop {
            match self.answers.recv_timeout(POLL) {
                Ok(line) => {
                    return serde_json::from_str(&line)
                        .map_err(|error| RunnerError::Answer { found: error.to_string() });
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

/// The lines of `pipe` that are objects, as they come; libraries may print others.
fn listen(pipe: std::process::ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { return };
            if !line.starts_with('{') {
                tracing::debug!(line, "a library printed");
            } else if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
