//! `lapwing cache`: compiled models that are kept for a faster start.

use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context as _;
use lapwing_host::compile_cache::{self, CacheReport, Cleared, KeptModel};
use lapwing_measure::record::timestamp;
use lapwing_store::{Store, resolve_model};
use serde::Serialize;
use serde_json::json;

use crate::cli::{CacheArgs, CacheClearArgs, CacheCommand, CacheListArgs, CacheWarmArgs};
use crate::interrupt;
use crate::opening;
use crate::printer::{Printer, human_bytes};
use crate::settings::Settings;

/// Digits of an entry's name in the table: enough to find it.
const N_KEY_DIGITS: usize = 8;

/// A model that is compiled at every start.
#[derive(Debug, thiserror::Error)]
#[error("{model} is not kept: {why}")]
pub struct NotWarm {
    pub model: String,
    pub why: String,
}

/// What came of warming one model; the keys are those of the JSON.
#[derive(Debug, Serialize)]
struct Warmed {
    model: String,
    backend: &'static str,
    device_used: String,
    /// None where the backend keeps nothing.
    compile_cache: Option<CacheReport>,
    load_ms: f64,
    compile_ms: f64,
}

/// List, clear or fill the cache.
pub fn run(settings: &Settings, printer: &Printer, args: &CacheArgs) -> anyhow::Result<()> {
    match &args.command {
        CacheCommand::List(args) => list(settings, printer, args),
        CacheCommand::Clear(args) => clear(settings, printer, args),
        CacheCommand::Warm(args) => warm(settings, printer, args),
    }
}

fn list(settings: &Settings, printer: &Printer, args: &CacheListArgs) -> anyhow::Result<()> {
    let folder = settings.host.compiled_models();
    let kept = compile_cache::list(&folder, &Store::new(settings.home.models()));
    if args.json {
        return Ok(printer.json(&kept)?);
    }
    if kept.is_empty() {
        printer.note("nothing is kept; `lapwing cache warm MODEL` compiles one ahead");
        return Ok(());
    }
    let header = [
        "MODEL",
        "DEVICE",
        "OPENVINO",
        "SIZE",
        "COMPILED IN",
        "CREATED",
        "LAST USED",
        "STATE",
        "KEY",
    ];
    let rows: Vec<_> = kept.iter().map(row).collect();
    printer.table(&header, &rows)?;
    let sum = kept.iter().map(|kept| kept.size_bytes).sum();
    let most = human_bytes(compile_cache::N_BYTES_MAX);
    printer.note(format!("{} of at most {most}", human_bytes(sum)));
    Ok(())
}

fn row(kept: &KeptModel) -> Vec<String> {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let time = |unix_s: u64| timestamp(UNIX_EPOCH + Duration::from_secs(unix_s));
    vec![
        or_dash(&kept.model),
        or_dash(&kept.device),
        or_dash(&kept.library_version),
        human_bytes(kept.size_bytes),
        or_dash(&kept.compile_ms.map(|ms| format!("{:.1} s", ms / 1e3))),
        or_dash(&kept.created_unix_s.map(time)),
        time(kept.last_used_unix_s),
        match &kept.why {
            Some(why) => format!("{}: {why}", kept.state),
            None => kept.state.to_owned(),
        },
        kept.key.chars().take(N_KEY_DIGITS).collect(),
    ]
}

fn clear(settings: &Settings, printer: &Printer, args: &CacheClearArgs) -> anyhow::Result<()> {
    let folder = settings.host.compiled_models();
    let store = Store::new(settings.home.models());
    let cleared = match &args.model {
        None => compile_cache::remove(&folder, &store)
            .with_context(|| format!("cannot clear {}", folder.display()))?,
        Some(name) => {
            let found = resolve_model(name, &settings.host.store);
            let path = found.as_deref().ok();
            let kept = compile_cache::list(&folder, &store);
            // A model that is gone may have left something behind.
            let is_kept = kept.iter().any(|kept| kept.is_of(name, path));
            let path = match found {
                Err(error) if !is_kept => return Err(error.into()),
                found => found.ok(),
            };
            compile_cache::clear(&folder, &store, &|kept| kept.is_of(name, path.as_deref()))
        }
    };
    tell_cleared(printer, &cleared, args)
}

fn tell_cleared(printer: &Printer, cleared: &Cleared, args: &CacheClearArgs) -> anyhow::Result<()> {
    let Cleared { n_removed, n_bytes, refused, .. } = cleared;
    if args.json {
        let refused: Vec<_> = refused.iter().map(ToString::to_string).collect();
        printer.json(&json!({
            "n_removed": n_removed, "removed_bytes": n_bytes, "refused": refused,
        }))?;
    } else {
        let models = if *n_removed == 1 { "model" } else { "models" };
        printer.note(format!("removed {n_removed} compiled {models} ({})", human_bytes(*n_bytes)));
    }
    Ok(cleared.require_all()?)
}

fn warm(settings: &Settings, printer: &Printer, args: &CacheWarmArgs) -> anyhow::Result<()> {
    interrupt::install();
    let mut warmed = Vec::new();
    for model in &args.models {
        interrupt::check()?;
        let one = warm_one(settings, model)?;
        if !args.json {
            printer.line(one.told())?;
        }
        warmed.push(one);
    }
    if args.json {
        printer.json(&warmed)?;
    }
    match warmed.into_iter().find_map(|one| one.problem()) {
        Some(problem) => Err(problem.into()),
        None => Ok(()),
    }
}

fn warm_one(settings: &Settings, model: &str) -> anyhow::Result<Warmed> {
    // What came of it is told as the result.
    let engine = opening::open(model, settings)?;
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    Ok(Warmed {
        model: model.to_owned(),
        backend: engine.backend,
        device_used: engine.model.device_used().id.clone(),
        compile_cache: engine.model.cache_use().map(CacheReport::of),
        load_ms: ms(engine.load),
        compile_ms: ms(engine.stages.compile),
    })
}

impl Warmed {
    fn told(&self) -> String {
        let Warmed { model, device_used, .. } = self;
        let outcome = match &self.compile_cache {
            None => format!("{} keeps nothing", self.backend),
            Some(CacheReport { outcome, why, size_bytes }) => match (why, *size_bytes) {
                (Some(why), 0) => format!("{outcome}: {why}"),
                (Some(why), n_bytes) => format!("{outcome}, {} ({why})", human_bytes(n_bytes)),
                (None, n_bytes) => format!("{outcome}, {}", human_bytes(n_bytes)),
            },
        };
        format!("{model} on {device_used}: {outcome}; opened in {:.2} s", self.load_ms / 1e3)
    }

    /// Why the next start is no faster.
    fn problem(self) -> Option<NotWarm> {
        let why = match self.compile_cache {
            None => Some(format!("{} compiles at every start", self.backend)),
            Some(report) if report.size_bytes == 0 => report.why,
            Some(_) => None,
        };
        why.map(|why| NotWarm { model: self.model, why })
    }
}
