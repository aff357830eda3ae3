//! A worker: a child of this program that answers typed requests.
//!
//! What a worker runs may abort, hang or take all memory; whoever asks lives on and can say what
//! happened. A request is a line on the worker's stdin. What the worker says to it is lines on its
//! stdout, marked, because libraries print there too. See [`line`].
//!
//! A worker ends when its stdin does, so that it does not outlive this process. It is in a process
//! group of its own: Ctrl-C is for this process, which then ends the worker; else it would look
//! like a crash. This module knows neither settings nor a terminal; a closure tells it to stop.
//!
//! To add a use: a type of requests, a type of what is said to them, and a way to start this program
//! in which it calls [`serve`].

pub mod crowd;
mod line;
mod loss;
mod process;
mod serve;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use line::Line;
use process::Process;

pub use loss::Loss;
pub use serve::{Asker, ServeError, serve};

/// How often somebody who waits for an answer looks at time, memory and the wish to stop: at first,
/// while a worker takes its memory, and later.
const POLL: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(200)];
/// What comes after that is later.
const AT_FIRST: Duration = Duration::from_secs(5);
/// What the end of the output may take after the end of the process: a grandchild may hold it.
const DRAIN: Duration = Duration::from_millis(500);
/// Lines that are kept of what a worker prints.
const N_LINES_KEPT: usize = 20;
/// So much of a line is kept.
const KEPT_CHARS_MAX: usize = 300;

/// What one request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the request to its answer.
    pub time: Duration,
    /// Resident bytes of the worker; `None` where nobody watches them.
    pub n_bytes: Option<u64>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum WorkerError {
    /// The process was not to be had.
    #[error("cannot start another process of this program")]
    Start(#[source] io::Error),
    /// Whoever asks shall stop.
    #[error("interrupted")]
    Stopped,
    /// It said something else than an answer.
    #[error("another process of this program is not of this version: {found}")]
    Version { found: String },
    /// It is gone.
    #[error("another process of this program was lost")]
    Lost(#[source] Loss),
}

/// The last lines that a worker printed, oldest first.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the last it printed: {}", .0.join(" | "))]
pub struct LastWords(pub Vec<String>);

impl LastWords {
    /// These lines, if there are any.
    pub fn of(lines: Vec<String>) -> Option<LastWords> {
        (!lines.is_empty()).then_some(LastWords(lines))
    }
}

/// How a worker is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerCommand {
    /// The program; `None` for the one that this process runs.
    pub program: Option<PathBuf>,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

impl WorkerCommand {
    /// The command to start.
    ///
    /// # Errors
    ///
    /// When the system does not tell which program this is.
    pub fn command(&self) -> Result<Command, WorkerError> {
        let this = std::env::current_exe;
        let program = self.program.clone().map_or_else(this, Ok).map_err(WorkerError::Start)?;
        let mut command = Command::new(program);
        command.args(&self.arguments);
        Ok(command)
    }
}

/// A worker to ask; it ends when this is dropped, and at once after an error.
pub struct Worker<'a, Request, Answer> {
    process: Process,
    lines: Receiver<Line>,
    /// Of the last request.
    number: u64,
    last_lines: VecDeque<String>,
    is_stopped: &'a dyn Fn() -> bool,
    talk: PhantomData<fn(&Request) -> Answer>,
}

impl<'a, Request: Serialize, Answer: DeserializeOwned> Worker<'a, Request, Answer> {
    /// Start a worker; `is_stopped` is asked again and again while it is waited for.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub fn start(command: Command, is_stopped: &'a dyn Fn() -> bool) -> Result<Self, WorkerError> {
        let (process, lines) = Process::start(command).map_err(WorkerError::Start)?;
        let last_lines = VecDeque::new();
        Ok(Self { process, lines, number: 0, last_lines, is_stopped, talk: PhantomData })
    }

    /// When the process was started.
    pub fn started(&self) -> Instant {
        self.process.started
    }

    /// The last lines that it printed, oldest first.
    pub fn last_lines(&self) -> Vec<String> {
        self.last_lines.iter().cloned().collect()
    }

    /// Ask, and wait for the answer; `meanwhile` hears what the worker says before that.
    ///
    /// # Errors
    ///
    /// When the worker is lost or breaks a limit, or `is_stopped` says so. It is of no use then.
    pub fn ask(
        &mut self,
        request: &Request,
        limits: Limits,
        meanwhile: &mut dyn FnMut(Answer),
    ) -> Result<Answer, WorkerError> {
        let outcome = self.wait_for(request, limits, meanwhile);
        if outcome.is_err() {
            self.process.kill();
        }
        outcome
    }

    fn wait_for(
        &mut self,
        request: &Request,
        limits: Limits,
        meanwhile: &mut dyn FnMut(Answer),
    ) -> Result<Answer, WorkerError> {
        self.check_stop()?;
        self.number += 1;
        let asked_at = Instant::now();
        let mut looked_at = asked_at;
        self.process.send(&line::request(self.number, request));
        loop {
            let poll = POLL[usize::from(AT_FIRST <= asked_at.elapsed())];
            match self.lines.recv_timeout(poll) {
                Ok(line) => {
                    if let Some(answer) = self.hear(line, meanwhile)? {
                        return Ok(answer);
                    }
                }
                // Both outputs are closed: the worker has ended, or works on without them.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(poll),
                Err(RecvTimeoutError::Timeout) => {}
            }
            // However much it prints.
            if poll <= looked_at.elapsed() {
                looked_at = Instant::now();
                self.check_stop()?;
                if let Some(loss) = self.process.loss().map_err(WorkerError::Start)? {
                    return self.last_answer(loss, meanwhile);
                }
                if limits.time < asked_at.elapsed() {
                    let limit_s = limits.time.as_secs();
                    return Err(WorkerError::Lost(Loss::TimedOut { limit_s }));
                }
                if let Some(limit_bytes) = limits.n_bytes
                    && self.process.resident_bytes().is_some_and(|n| limit_bytes < n)
                {
                    return Err(WorkerError::Lost(Loss::TooMuchMemory { limit_bytes }));
                }
            }
        }
    }

    /// The answer that came before the end: a library may come to harm while it is unloaded, and
    /// what it did before that counts.
    fn last_answer(
        &mut self,
        loss: Loss,
        meanwhile: &mut dyn FnMut(Answer),
    ) -> Result<Answer, WorkerError> {
        // The worker may have been ended by what is to end this process.
        self.check_stop()?;
        let deadline = Instant::now() + DRAIN;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if !left.is_zero() => {
                    if let Some(answer) = self.hear(line, meanwhile)? {
                        return Ok(answer);
                    }
                }
                _ => return Err(WorkerError::Lost(loss)),
            }
        }
    }

    /// Take in one line; the answer if it is that.
    fn hear(
        &mut self,
        line: Line,
        meanwhile: &mut dyn FnMut(Answer),
    ) -> Result<Option<Answer>, WorkerError> {
        match line {
            Line::Said { number, is_last, json } if number == self.number => {
                let said = serde_json::from_str(&json)
                    .map_err(|error| WorkerError::Version { found: error.to_string() })?;
                if is_last {
                    return Ok(Some(said));
                }
                meanwhile(said);
            }
            // To an earlier request.
            Line::Said { .. } => {}
            Line::Other(text) if text.is_empty() => {}
            Line::Other(text) => {
                tracing::info!(line = text, "another process printed");
                if self.last_lines.len() == N_LINES_KEPT {
                    self.last_lines.pop_front();
                }
                self.last_lines.push_back(text.chars().take(KEPT_CHARS_MAX).collect());
            }
        }
        Ok(None)
    }

    fn check_stop(&self) -> Result<(), WorkerError> {
        if (self.is_stopped)() { Err(WorkerError::Stopped) } else { Ok(()) }
    }
}

impl<Request, Answer> Drop for Worker<'_, Request, Answer> {
    fn drop(&mut self) {
        if (self.is_stopped)() {
            self.process.kill();
        }
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests;
