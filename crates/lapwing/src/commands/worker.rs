//! `lapwing worker`: this program as a child of itself. See [`lapwing_host::worker`].

use std::io;

use anyhow::Context as _;
use lapwing_host::attempt;
use lapwing_serving::Base;
use lapwing_serving::pulling::serve_pulls;
use lapwing_store::PullError;

use crate::cli::{WorkerArgs, WorkerKind};
use crate::commands::bench::{self, Advise};
use crate::interrupt;
use crate::settings::Settings;

/// What keeps a service of systemd from pulling.
const NO_NETWORK: &str =
    "the service sees no network: `lapwing pull` on a terminal gets models for it";

/// Answer requests on stdin until there are no more.
///
/// # Errors
///
/// When a request cannot be understood or an answer not be written. What a request runs into is an
/// answer.
pub fn run(settings: &Settings, args: &WorkerArgs, advise: Advise) -> anyhow::Result<()> {
    interrupt::install();
    // This process is expendable already, and whoever asks says what people should hear.
    let mut settings = Settings { quiet: true, ..settings.clone() };
    settings.host.trials.worker = None;
    let (input, output) = (io::stdin(), &mut io::stdout());
    match args.kind {
        WorkerKind::Trial => attempt::serve(input, output, &settings.host)?,
        WorkerKind::Bench => bench::serve(input, output, &settings, advise)?,
        WorkerKind::Serve => {
            let base = Base {
                host: &settings.host,
                // What a daemon's clients read knows nothing of flags.
                advise: &|_| None,
            };
            lapwing_serving::serve(input, output, &base).context("cannot serve")?;
        }
        WorkerKind::Pull => {
            let is_service = settings.manager.is_some();
            let advise = |error: &PullError| {
                let is_remote = matches!(error, PullError::Hub(_) | PullError::PyPi(_));
                (is_service && is_remote).then(|| NO_NETWORK.to_owned())
            };
            let options = &settings.host.store;
            serve_pulls(input, output, options, &interrupt::requested, &advise)?;
        }
    }
    Ok(())
}
