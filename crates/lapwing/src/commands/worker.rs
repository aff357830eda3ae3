//! `lapwing worker`: this program as a child of itself. See [`lapwing_host::worker`].

use std::io;

use anyhow::Context as _;
use lapwing_host::attempt;
use lapwing_serving::Base;

use crate::cli::{WorkerArgs, WorkerKind};
use crate::commands::bench::{self, Advise};
use crate::interrupt;
use crate::settings::Settings;

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
    }
    Ok(())
}
