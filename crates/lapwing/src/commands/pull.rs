//! `lapwing pull`.

use anyhow::Context;
use serde_json::{Value, json};

use crate::cli::PullArgs;
use crate::disk;
use crate::hint::UsageError;
use crate::interrupt;
use crate::natives::{self, Native};
use crate::printer::{Printer, human_bytes};
use crate::pull::{self, PullRequest};
use crate::settings::Settings;
use crate::store::told_size;

/// Pull each name in turn; stop at the first that fails.
///
/// # Errors
///
/// When one cannot be pulled. Those before it are in the store.
pub fn run(settings: &Settings, printer: &Printer, args: &PullArgs) -> anyhow::Result<()> {
    if args.r#as.is_some() && args.names.len() > 1 {
        return Err(UsageError {
            problem: "one name was given for several models".into(),
            advice: Some("pull them one by one".into()),
        }
        .into());
    }
    interrupt::install();
    let mut outcomes = Vec::new();
    for name in &args.names {
        let outcome = match Native::from_name(name) {
            Some(runtime) => pull_runtime(runtime, settings, printer, args),
            None => pull_model(name, settings, printer, args),
        };
        outcomes.push(outcome.with_context(|| format!("cannot pull {name}"))?);
    }
    if args.json {
        printer.json(&outcomes)?;
    }
    Ok(())
}

fn pull_runtime(
    runtime: Native,
    settings: &Settings,
    printer: &Printer,
    args: &PullArgs,
) -> anyhow::Result<Value> {
    let pulled = natives::pull(runtime, args.force, settings, printer)?;
    let (path, size_bytes) = (pulled.folder.display(), disk::n_bytes_below(&pulled.folder));
    let size = human_bytes(size_bytes);
    printer.note(match pulled.was_there {
        true => format!("{runtime} is already in {path} ({size})"),
        false => format!("{runtime} is in {path} ({size})"),
    });
    Ok(json!({
        "name": runtime.name(),
        "version": runtime.version(),
        "path": pulled.folder,
        "size_bytes": size_bytes,
        "was_there": pulled.was_there,
    }))
}

fn pull_model(
    name: &str,
    settings: &Settings,
    printer: &Printer,
    args: &PullArgs,
) -> anyhow::Result<Value> {
    let request = PullRequest {
        name: name.to_owned(),
        store_name: args.r#as.clone(),
        variant: args.variant.clone(),
        link: args.link,
        force: args.force,
    };
    let pulled = pull::pull(&request, settings, printer)?;
    let size = told_size(pulled.size_bytes, pulled.linked_bytes);
    let path = pulled.path.display();
    printer.note(match pulled.was_there {
        true => format!("{} is already in {path} ({size})", pulled.name),
        false => format!("{} is in {path} ({size})", pulled.name),
    });
    Ok(json!({
        "name": pulled.name,
        "path": pulled.path,
        "size_bytes": pulled.size_bytes,
        "linked_bytes": pulled.linked_bytes,
        "was_there": pulled.was_there,
    }))
}
