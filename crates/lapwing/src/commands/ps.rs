//! `lapwing ps`: the models that the daemon holds.

use lapwing_daemon::{LoadedModel, ModelState};

use crate::cli::PsArgs;
use crate::daemon;
use crate::printer::{Printer, human_bytes};
use crate::settings::Settings;

/// List them.
///
/// # Errors
///
/// When no daemon runs.
pub fn run(settings: &Settings, printer: &Printer, args: &PsArgs) -> anyhow::Result<()> {
    let models = daemon::demand(settings)?.models()?;
    let models: Vec<ModelState> =
        models.into_iter().filter(|model| model.loaded.is_some()).collect();
    if args.json {
        return Ok(printer.json(&models)?);
    }
    if models.is_empty() {
        printer.note("no model is loaded; a request loads one");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = models
        .iter()
        .filter_map(|model| Some((model, model.loaded.as_ref()?)))
        .map(|(model, loaded)| {
            vec![
                model.listing.name.clone(),
                loaded.device.clone(),
                human_bytes(loaded.resident_bytes),
                loaded.n_positions_max.to_string(),
                answers(loaded),
                until(loaded),
            ]
        })
        .collect();
    Ok(printer.table(&["NAME", "DEVICE", "MEMORY", "CONTEXT", "ANSWERS", "UNTIL"], &rows)?)
}

/// How many are made and how many wait.
fn answers(loaded: &LoadedModel) -> String {
    match &loaded.state {
        Some(state) if state.n_waiting != 0 => {
            format!("{} and {} waiting", state.n_running, state.n_waiting)
        }
        Some(state) => state.n_running.to_string(),
        None => "reading a prompt".to_owned(),
    }
}

/// When it is unloaded.
fn until(loaded: &LoadedModel) -> String {
    match loaded.expires_in_s {
        _ if loaded.is_busy => "in use".to_owned(),
        None => "kept".to_owned(),
        Some(seconds) if seconds < 60.0 => format!("in {seconds:.0} s"),
        Some(seconds) => format!("in {:.0} min", seconds / 60.0),
    }
}
