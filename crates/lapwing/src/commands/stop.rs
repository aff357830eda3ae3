//! `lapwing stop`: unload models of the daemon.

use anyhow::Context as _;

use crate::cli::StopArgs;
use crate::daemon;
use crate::printer::Printer;
use crate::settings::Settings;

/// Unload the models that are named, or all. Answers that they were making end with an error.
///
/// # Errors
///
/// When no daemon runs, or it has no such model.
pub fn run(settings: &Settings, printer: &Printer, args: &StopArgs) -> anyhow::Result<()> {
    let client = daemon::demand(settings)?;
    let names = match args.all {
        true => {
            let models = client.models()?.into_iter().filter(|model| model.loaded.is_some());
            models.map(|model| model.listing.name).collect()
        }
        false => args.models.clone(),
    };
    if names.is_empty() {
        printer.note("no model is loaded");
    }
    for name in names {
        let was_loaded = client.unload(&name).with_context(|| format!("cannot unload {name}"))?;
        printer.note(match was_loaded {
            true => format!("unloaded {name}"),
            false => format!("{name} was not loaded"),
        });
    }
    Ok(())
}
