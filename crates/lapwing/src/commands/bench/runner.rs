//! The stations of a measurement: processes of this program.

use std::path::Path;
use std::time::{Duration, Instant};

use lapwing_host::keeps_compiled;
use lapwing_host::worker::{LastWords, Limits, Loss, Worker, WorkerError};
use lapwing_measure::bench::{LooksAt, Opened, Ran, Station, StationError, Stations};
use lapwing_measure::measuring::{Nulls, Work};
use lapwing_measure::memory::Footprint;
use lapwing_measure::reading::Reading;
use lapwing_measure::record::Energy;

use super::asked::Asked;
use super::message::{Answer, Request};
use crate::cli::WorkerKind;
use crate::interrupt;
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
        asked: String,
        loss: Loss,
        #[source]
        printed: Option<LastWords>,
    },
    /// It could not do it.
    #[error("{message}")]
    Failed { message: String, hint: Option<String> },
    /// There is no such process, or it is of another version.
    #[error("cannot measure in a process of its own")]
    Worker(#[from] WorkerError),
}

impl From<RunnerError> for StationError {
    fn from(error: RunnerError) -> Self {
        match error {
            RunnerError::Worker(WorkerError::Stopped) => Self::Stopped,
            error => Self::Failed(error.into()),
        }
    }
}

/// Starts runners.
pub(super) struct Runners<'a> {
    pub(super) settings: &'a Settings,
    pub(super) asked: &'a Asked,
}

impl Stations for Runners<'_> {
    fn start(&self) -> Result<Box<dyn Station + '_>, StationError> {
        let start = || -> Result<Runner<'_>, RunnerError> {
            let command = self.settings.worker(WorkerKind::Bench).command()?;
            let worker = Worker::start(command, &interrupt::requested)?;
            Ok(Runner { worker, asked: self.asked })
        };
        Ok(Box::new(start()?))
    }

    fn caches(&self) -> &Path {
        self.settings.home.cache()
    }
}

/// A process that measures; ended when dropped.
struct Runner<'a> {
    worker: Worker<'static, Request, Answer>,
    asked: &'a Asked,
}

impl Station for Runner<'_> {
    fn started(&self) -> Instant {
        self.worker.started()
    }

    fn open(
        &mut self,
        configuration_idx: usize,
        cache: Option<&Path>,
    ) -> Result<Opened, StationError> {
        let mut opening = self.asked.openings[configuration_idx].clone();
        if let Some(cache) = cache.filter(|_| keeps_compiled(opening.setup.runtime)) {
            opening.setup.options.cache_folder = Some(cache.to_owned());
        }
        let configuration = &self.asked.plan.configurations[configuration_idx].configuration;
        let configuration = Box::new(configuration.clone());
        match self.ask(&Request::Open(opening.into(), configuration))? {
            Answer::Opened(opened) => Ok(*opened),
            other => Err(unexpected(&other)),
        }
    }

    fn footprint(&mut self) -> Result<Footprint, StationError> {
        match self.ask(&Request::Memory)? {
            Answer::Memory(footprint) => Ok(footprint),
            other => Err(unexpected(&other)),
        }
    }

    fn watch_energy(&mut self) -> Result<(), StationError> {
        match self.ask(&Request::WatchEnergy)? {
            Answer::Watching {} => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    fn energy(&mut self, n_tokens: u64) -> Result<(Reading<Energy>, Nulls), StationError> {
        match self.ask(&Request::Energy(n_tokens))? {
            Answer::Energy(reading, nulls) => Ok((reading, nulls)),
            other => Err(unexpected(&other)),
        }
    }

    fn run(&mut self, work: &Work, looks_at: LooksAt) -> Result<Ran, StationError> {
        match self.ask(&Request::Run(*work, looks_at))? {
            Answer::Ran(ran) => Ok(*ran),
            other => Err(unexpected(&other)),
        }
    }
}

impl Runner<'_> {
    fn ask(&mut self, request: &Request) -> Result<Answer, StationError> {
        let limits = Limits { time: limit(request), n_bytes: None };
        match self.worker.ask(request, limits, &mut |_| {}) {
            Ok(Answer::Failed { is_interrupted: true, .. }) => Err(StationError::Stopped),
            Ok(Answer::Failed { message, hint, .. }) => {
                Err(RunnerError::Failed { message, hint }.into())
            }
            Ok(answer) => Ok(answer),
            Err(WorkerError::Lost(loss)) => {
                let printed = LastWords::of(self.worker.last_lines());
                Err(RunnerError::Lost { asked: describe(request), loss, printed }.into())
            }
            Err(error) => Err(RunnerError::from(error).into()),
        }
    }
}

fn unexpected(answer: &Answer) -> StationError {
    let found = format!("{answer:?}").chars().take(80).collect();
    RunnerError::from(WorkerError::Version { found }).into()
}

/// How long somebody waits for an answer.
fn limit(request: &Request) -> Duration {
    let n_tokens = match request {
        Request::Run(work, _) => work.n_prompt_tokens.saturating_add(work.n_steps),
        _ => 0,
    };
    let n_tokens = u32::try_from(n_tokens).unwrap_or(u32::MAX);
    ANSWER_LIMIT.saturating_add(TOKEN_LIMIT.saturating_mul(n_tokens))
}

/// What a request asks for, for people.
fn describe(request: &Request) -> String {
    match request {
        Request::Open(opening, _) => {
            let setup = &opening.setup;
            format!("open {} on {}", setup.path.display(), setup.options.device)
        }
        Request::Memory => "tell its memory".to_owned(),
        Request::WatchEnergy => "look for a sensor of energy".to_owned(),
        Request::Energy(_) => "tell the energy it used".to_owned(),
        Request::Run(work, _) => {
            format!("read {} tokens and generate {}", work.n_prompt_tokens, work.n_steps)
        }
    }
}
