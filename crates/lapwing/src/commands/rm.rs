//! `lapwing rm`.

use std::collections::HashSet;

use anyhow::Context;
use lapwing_files::disk;
use lapwing_host::compile_cache;
use lapwing_store::{
    Store, StoreError,
    natives::{self, Native},
};

use crate::cli::RmArgs;
use crate::exit::UsageError;
use crate::printer::{Printer, human_bytes, told_size};
use crate::settings::Settings;

/// Something that is no name was to be removed, such as a path.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct NotAModelName(StoreError);

/// Remove each name in turn, and once, after a question unless `--yes`.
///
/// # Errors
///
/// When one is not there or nobody can be asked, and nothing is gone; when one cannot be removed, and
/// those before it are gone.
pub fn run(settings: &Settings, printer: &Printer, args: &RmArgs) -> anyhow::Result<()> {
    let mut seen = HashSet::new();
    let names = args.names.iter().filter(|name| seen.insert(*name));
    // Nobody is asked about what is not there.
    let models = names.map(|name| {
        let found = find(name, settings).with_context(|| format!("cannot remove {name}"))?;
        anyhow::Ok((name, found))
    });
    let models = models.collect::<anyhow::Result<Vec<_>>>()?;
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
    for (name, found) in models {
        if args.yes || printer.confirm(&format!("remove {}?", found.what)) {
            remove(name, &found, settings).with_context(|| format!("cannot remove {name}"))?;
            printer.note(format!("removed {}", found.what));
        }
    }
    Ok(())
}

/// What is to be removed.
struct Found {
    /// A runtime; a model otherwise.
    runtime: Option<Native>,
    /// What it is, with its size.
    what: String,
}

fn what(args: &RmArgs) -> String {
    let cache = args.cache.then_some("the compile cache");
    cache.into_iter().chain(args.names.iter().map(String::as_str)).collect::<Vec<_>>().join(", ")
}

fn remove_cache(settings: &Settings, printer: &Printer, yes: bool) -> anyhow::Result<()> {
    let folder = settings.host.compiled_models();
    let size = human_bytes(compile_cache::n_bytes(&folder));
    if yes || printer.confirm(&format!("remove the compile cache ({size})?")) {
        let store = Store::new(settings.home.models());
        let cleared = compile_cache::remove(&folder, &store)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
        printer.note(format!("removed the compile cache ({})", human_bytes(cleared.n_bytes)));
        cleared.require_all()?;
    }
    Ok(())
}

fn find(name: &str, settings: &Settings) -> anyhow::Result<Found> {
    if let Some(runtime) = Native::from_name(name) {
        let folder = runtime.folder(&settings.host.store);
        anyhow::ensure!(folder.exists(), "there is no {}", folder.display());
        let size = human_bytes(disk::n_bytes_below(&folder));
        return Ok(Found { runtime: Some(runtime), what: format!("{runtime} ({size})") });
    }
    let store = Store::new(settings.home.models());
    let staging = store.staging(name).map_err(NotAModelName)?;
    let what = match store.get(name)? {
        Some(model) => format!("{name} ({})", told_size(model.size_bytes, model.linked_bytes)),
        None if staging.exists() => {
            let size = human_bytes(disk::n_bytes_below(&staging));
            format!("the unfinished pull of {name} ({size})")
        }
        None => {
            let folder = store.root().to_path_buf();
            return Err(StoreError::NotFound { name: name.to_owned(), folder }.into());
        }
    };
    Ok(Found { runtime: None, what })
}

fn remove(name: &str, found: &Found, settings: &Settings) -> anyhow::Result<()> {
    match found.runtime {
        Some(runtime) => natives::remove(runtime, &settings.host.store)?,
        None => Store::new(settings.home.models()).remove(name)?,
    }
    Ok(())
}
