//! `lapwing pull`.

use std::cell::RefCell;
use std::io::IsTerminal as _;

use anyhow::Context;
use lapwing_files::disk;
use lapwing_store::{
    Caller, Notice, PullRequest, Variant,
    natives::{self, Native},
};
use serde_json::{Value, json};

use crate::cli::PullArgs;
use crate::exit::UsageError;
use crate::interrupt;
use crate::printer::{Printer, Progress, human_bytes, told_size};
use crate::settings::Settings;

/// Enough of a commit to tell it from others.
const N_COMMIT_DIGITS: usize = 12;

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
    let bars = RefCell::new(Vec::new());
    let caller =
        Caller { tell: &|notice| tell(notice, printer, &bars), is_stopped: &interrupt::requested };
    let mut outcomes = Vec::new();
    for name in &args.names {
        let outcome = match Native::from_name(name) {
            Some(runtime) => pull_runtime(runtime, settings, printer, args, caller),
            None => pull_model(name, settings, printer, args, caller),
        };
        outcomes.push(outcome.with_context(|| format!("cannot pull {name}"))?);
    }
    if args.json {
        printer.json(&outcomes)?;
    }
    Ok(())
}

/// Words for what happens, and a bar for each piece of work: the last one is that which moves.
fn tell<'a>(notice: Notice, printer: &'a Printer, bars: &RefCell<Vec<Progress<'a>>>) {
    let mut bars = bars.borrow_mut();
    match notice {
        Notice::Waiting { holder, work } => {
            printer.note(format!("waiting for {holder}, which is {work}"));
        }
        // Into a file it would say nothing that the outcome does not.
        Notice::Silent { host } if std::io::stderr().is_terminal() => {
            printer.note(format!("waiting for {host}"));
        }
        Notice::Silent { .. } => {}
        Notice::Repository { repo, commit, n_files, n_bytes } => printer.note(format!(
            "{repo} at {}: {n_files} files, {}",
            commit.get(..N_COMMIT_DIGITS).unwrap_or(&commit),
            human_bytes(n_bytes)
        )),
        Notice::Cached { folder, n_files, n_bytes } => printer.note(format!(
            "{n_files} of them, {}, are in {} and not downloaded",
            human_bytes(n_bytes),
            folder.display()
        )),
        Notice::NotTaken { path, problem } => {
            printer.note(format!("{path} is downloaded all the same: {problem}"));
        }
        Notice::NoHash { endpoint, path } => {
            printer.warning(format!("{endpoint} gives no sha256 for {path}"));
        }
        Notice::Begun { work, n_bytes } => {
            bars.push(printer.progress(&work.to_string(), n_bytes));
        }
        Notice::Advanced { n_done } => {
            bars.last_mut().into_iter().for_each(|bar| bar.set(n_done));
        }
        Notice::Resumed { n_done } => {
            bars.last_mut().into_iter().for_each(|bar| bar.resume_at(n_done));
        }
        Notice::Ended => drop(bars.pop()),
    }
}

fn pull_runtime(
    runtime: Native,
    settings: &Settings,
    printer: &Printer,
    args: &PullArgs,
    caller: Caller<'_>,
) -> anyhow::Result<Value> {
    let pulled = natives::pull(runtime, args.force, &settings.host.store, caller)?;
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
    caller: Caller<'_>,
) -> anyhow::Result<Value> {
    let request = PullRequest {
        name: name.to_owned(),
        store_name: args.r#as.clone(),
        variant: args.variant.as_deref().map(Variant::asked).or_else(|| settings.variant.clone()),
        link: args.link,
        force: args.force,
    };
    let pulled = lapwing_store::pull(&request, &settings.host.store, caller)?;
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
