//! Asks a process that measures.

use std::time::{Duration, Instant};

use lapwing_host::worker::{LastWords, Limits, Loss, Worker, WorkerError};
use lapwing_measure::measuring::{Nulls, Work};
use lapwing_measure::memory::Footprint;
use lapwing_measure::reading::Reading;
use lapwing_measure::record::Energy;

use super::message::{Answer, LooksAt, Opened, Opening, Ran, Request};
use crate::cli::WorkerKind;
use crate::interrupt::{self, Interrupted};
use crate::settings::Settings;

/// What an answer may take at most, beside what its tokens take: some drivers compile for minutes.
const ANSWER_LIMIT: Duration = Duration::from_secs(20 * 60);
/// Slower than any model that is worth measuring.
const TOKEN_LIMIT: Duration = Duration::from_secs(2);

/// Why a process did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// It is gone, or runs and says nothing.
    #[error("the process that measured was lost: it was to {asked}, and {loss}")]
    Lost {
        /// What it was to do.
        asked: String,
        /// What happened.
        loss: Loss,
        /// The last that it printed.
        #[source]
        printed: Option<LastWords>,
    },
    /// It could not do it.
    #[error("{message}")]
    Failed {
        /// Why.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// There is no such process, or it is of another version.
    #[error("cannot measure in a process of its own")]
    Worker(#[from] WorkerError),
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

/// A process that measures; ended when dropped.
pub(super) struct Runner {
    worker: Worker<'static, Request, Answer>,
}

impl Runner {
    /// Start one without a model.
    pub(super) fn start(settings: &Settings) -> Result<Runner, RunnerError> {
        let command = settings.worker(WorkerKind::Bench).command()?;
        Ok(Runner { worker: Worker::start(command, &interrupt::requested)? })
    }

    /// When the process started.
    pub(super) fn started(&self) -> Instant {
        self.worker.started()
    }

    pub(super) fn open(&mut self, opening: &Opening) -> Result<Opened, RunnerError> {
        match self.ask(&Request::Open(opening.clone().into()))? {
            Answer::Opened(opened) => Ok(*opened),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) fn memory(&mut self) -> Result<Footprint, RunnerError> {
        match self.ask(&Request::Memory)? {
            Answer::Memory(footprint) => Ok(footprint),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) fn watch_energy(&mut self) -> Result<(), RunnerError> {
        match self.ask(&Request::WatchEnergy)? {
            Answer::Watching {} => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) fn energy(
        &mut self,
        n_tokens: u64,
    ) -> Result<(Reading<Energy>, Nulls), RunnerError> {
        match self.ask(&Request::Energy { n_tokens })? {
            Answer::Energy { reading, nulls } => Ok((reading, nulls)),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) fn run(&mut self, work: Work, looks_at: LooksAt) -> Result<Ran, RunnerError> {
        match self.ask(&Request::Run { work, looks_at })? {
            Answer::Ran(ran) => Ok(*ran),
            other => Err(unexpected(&other)),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Answer, RunnerError> {
        let limits = Limits { time: limit(request), n_bytes: None };
        match self.worker.ask(request, limits, &mut |_| {}) {
            Ok(Answer::Failed { is_interrupted: true, .. }) => Err(Interrupted.into()),
            Ok(Answer::Failed { message, hint, .. }) => Err(RunnerError::Failed { message, hint }),
            Ok(answer) => Ok(answer),
            Err(WorkerError::Lost(loss)) => {
                let printed = LastWords::of(self.worker.last_lines());
                Err(RunnerError::Lost { asked: describe(request), loss, printed })
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn unexpected(answer: &Answer) -> RunnerError {
    let found = format!("{answer:?}").chars().take(80).collect();
    WorkerError::Version { found }.into()
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
        Request::Open(opening) => {
            let setup = &opening.setup;
            format!("open {} on {}", setup.path.display(), setup.options.device)
        }
        Request::Memory => "tell its memory".to_owned(),
        Request::WatchEnergy => "look for a sensor of energy".to_owned(),
        Request::Energy { .. } => "tell the energy it used".to_owned(),
        Request::Run { work, .. } => {
            format!("read {} tokens and generate {}", work.n_prompt_tokens, work.n_steps)
        }
    }
}
