//! `lapwing rm`.

use anyhow::Context;

use crate::cli::RmArgs;
use crate::compile_cache;
use crate::hint::UsageError;
use crate::natives::{self, Runtime};
use crate::printer::{Printer, human_bytes};
use crate::settings::Settings;
use crate::store::{Store, StoreError};

/// Remove each name in turn, after a question unless `--yes`.
///
/// # Errors
///
/// When nobody can be asked, or one cannot be removed. Those before it are gone.
pub fn run(settings: &Settings, printer: &Printer, args: &RmArgs) -> anyhow::Result<()> {
    if !args.yes && !printer.can_ask() {
        return Err(UsageError {
            problem: format!("cannot ask whether to remove {}", what(args)),
            advice: Some("without a terminal, say so with --yes".into()),
        }
        .into());
    }
    if args.cache {
        remove_cache(settings, printer, args.yes)?;
    }
    for name in &args.names {
        remove(name, settings, printer, args.yes)
            .with_context(|| format!("cannot remove {name}"))?;
    }
    Ok(())
}

fn what(args: &RmArgs) -> String {
    let cache = args.cache.then_some("the compile cache");
    cache.into_iter().chain(args.names.iter().map(String::as_str)).collect::<Vec<_>>().join(", ")
}

fn remove_cache(settings: &Settings, printer: &Printer, yes: bool) -> anyhow::Result<()> {
    let folder = compile_cache::folder(&settings.home);
    let size = human_bytes(compile_cache::n_bytes(&folder));
    if yes || printer.confirm(&format!("remove the compile cache ({size})?")) {
        compile_cache::remove(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
        printer.note(format!("removed the compile cache ({size})"));
    }
    Ok(())
}

fn remove(name: &str, settings: &Settings, printer: &Printer, yes: bool) -> anyhow::Result<()> {
    if let Some(runtime) = Runtime::from_name(name) {
        if yes || printer.confirm(&format!("remove {runtime}?")) {
            natives::remove(runtime, settings)?;
            printer.note(format!("removed {runtime}"));
        }
        return Ok(());
    }
    let store = Store::new(settings.home.models());
    let what = match store.get(name)? {
        Some(model) => format!("{name} ({})", human_bytes(model.size_bytes)),
        None if store.staging(name)?.exists() => format!("the unfinished pull of {name}"),
        None => {
            let folder = store.root().to_path_buf();
            return Err(StoreError::NotFound { name: name.to_owned(), folder }.into());
        }
    };
    if yes || printer.confirm(&format!("remove {what}?")) {
        store.remove(name)?;
        printer.note(format!("removed {what}"));
    }
    Ok(())
}
