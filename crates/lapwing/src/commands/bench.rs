//! `lapwing bench`: what models cost on devices, measured and kept as records.

mod asked;
mod message;
mod recommend;
mod runner;
mod table;
mod worker;

use std::collections::BTreeSet;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::Context as _;
use lapwing_measure::bench::{
    BrokenOff, Destination, Header, Judge, Notice, Planned, Repeating, Rounds, SeriesError, Stage,
    Unfinished, host, remove_leftovers,
};
use lapwing_measure::measuring::StopRule;
use lapwing_measure::record::{Program, Record, Test};
use lapwing_measure::record_file::AppendError;
use serde_json::{Value, json};
use sysinfo::System;

use crate::cli::{BenchArgs, ProtocolArgs};
use crate::interrupt::{self, Interrupted};
use crate::printer::{PrintError, Printer, Steps};
use crate::settings::Settings;

use asked::Asked;
use runner::Runners;
use table::Table;

pub use runner::RunnerError;
pub use worker::serve;

/// How often a repetition is shown at most: drawing takes its time, too.
const DRAWN_EVERY: Duration = Duration::from_millis(100);
/// The commit that the program was built from.
const GIT_REVISION: Option<&str> = option_env!("LAPWING_GIT_REVISION");

/// Repetitions end when the interval of the median is this wide, as a share of it: 2 % to each
/// side.
const RELATIVE_WIDTH: f64 = 0.04;

/// What the user can do about an error under some settings, if that is known.
pub type Advise = fn(&anyhow::Error, Option<&Settings>) -> Option<String>;

/// Some configurations have no figures.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The only one; with what to do about it.
    #[error("cannot measure {label}: {message}")]
    Failed { label: String, message: String, hint: Option<String> },
    /// Some of several.
    #[error("{n_failed} of {n_configurations} configurations could not be measured")]
    SomeFailed { n_failed: usize, n_configurations: usize },
}

/// Measure, print and keep.
///
/// # Errors
///
/// When something that was asked for is not there, records cannot be kept, a configuration could
/// not be measured, or after Ctrl-C. What is complete is kept in any case.
pub fn run(
    settings: &Settings,
    printer: &Printer,
    args: &BenchArgs,
    advise: Advise,
) -> anyhow::Result<()> {
    interrupt::install();
    let host = host();
    let destination = match &args.out {
        Some(path) => Destination::File(path.clone()),
        None => Destination::Daily { profiles: settings.home.profiles(), host: host.clone() },
    };
    destination.check().context("cannot keep records")?;
    let asked = Asked::make(args, settings, printer)?;
    let load = System::load_average().map_or(0.0, |load| load.one);
    if let Some(warning) = busy(load, System::physical_core_count().ok()) {
        printer.warning(warning);
    }
    let plan = &asked.plan;
    let recommendations = settings.home.recommendations_file();
    if args.recommend.is_some() {
        recommend::check(plan, &recommendations)?;
    }
    let more = (build(), &asked.openings, protocol_key(&args.protocol));
    let unfinished = Unfinished::begin(
        &destination.runs_folder(),
        &plan.sha256(&more),
        &host,
        args.resume.as_deref(),
        args.fresh,
    )
    .context("cannot begin the run")?;
    remove_leftovers(settings.home.cache());
    let mut collector = Collector::new(destination, printer, advise, args.json);
    let n_measurements = plan.n_measurements();
    if unfinished.is_resumed {
        collector.go_on(&unfinished, n_measurements)?;
    }
    let done = collector.records.iter().map(|record| record.protocol.order_idx).collect();
    let rounds = Rounds {
        plan,
        header: &Header { run_id: unfinished.run_id.clone(), host, program: program() },
        repeating: repeating(&args.protocol),
        stations: &Runners { settings, asked: &asked },
        done: &done,
        stop: &interrupt::requested,
    };
    let steps = printer.steps("measuring");
    let mut shown = Shown { steps: &steps, n_measurements, drawn: None };
    let outcome = rounds.measure(&mut |notice| collector.hear(notice, &mut shown));
    drop(steps);
    collector.records.sort_by_key(|record| record.protocol.order_idx);
    collector.print_table()?;
    if outcome.is_err() && interrupt::requested() {
        let n_done = collector.records.len();
        printer.note(format!(
            "{n_done} of {n_measurements} measurements are kept; the same command goes on with the \
             rest"
        ));
    }
    outcome.map_err(|end| match end {
        BrokenOff::Stopped => Interrupted.into(),
        BrokenOff::Told(error) => error,
    })?;
    // With failures the same command measures only what is missing.
    if collector.failures.is_empty() {
        unfinished.finish();
    }
    if let Some(merit) = args.recommend {
        let judge = Judge { plan, records: &collector.records, merit };
        recommend::recommend(&judge, &recommendations, printer)?;
    }
    collector.failures(plan.configurations.len())
}

/// Others seem to use the machine: `load` tasks were runnable over the last minute.
pub(super) fn busy(load: f64, n_cores: Option<usize>) -> Option<String> {
    // A measurement that has just ended is up to one task for each core.
    const BUSY: f64 = 1.25;
    let n_cores = n_cores?;
    (BUSY * n_cores as f64 <= load).then(|| {
        format!(
            "the machine is busy, with a load of {load:.1} on {n_cores} cores: figures are those of \
             a busy machine"
        )
    })
}

fn repeating(args: &ProtocolArgs) -> Repeating {
    Repeating {
        rule: StopRule {
            n_repetitions: args.repetitions.map(usize::from),
            time_budget: args.time,
            relative_width: RELATIVE_WIDTH,
        },
        n_warmups: args.warmup.get(),
        seed: args.seed,
    }
}

/// What makes two calls measure in the same way.
fn protocol_key(args: &ProtocolArgs) -> Value {
    let repetitions = args.repetitions.map(usize::from);
    json!([repetitions, args.time.as_secs_f64(), args.warmup, args.seed])
}

/// Who measures, for the records.
pub(crate) fn program() -> Program {
    Program {
        name: "lapwing".into(),
        version: Some(env!("CARGO_PKG_VERSION").into()),
        git_revision: GIT_REVISION.map(str::to_owned),
    }
}

/// Another one for each build of the program. A checkout may hold more than its revision tells, so
/// that the file itself counts.
fn build() -> Value {
    let metadata = std::env::current_exe().and_then(std::fs::metadata).ok();
    let modified = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
    let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "git_revision": GIT_REVISION,
        "n_bytes": metadata.map(|metadata| metadata.len()),
        "modified_ns": since.map(|since| since.as_nanos().to_string()),
    })
}

/// Why a configuration was not measured to its end.
#[derive(Debug, Clone)]
struct Failure {
    model: String,
    /// The rest of its label.
    configuration: String,
    test: String,
    message: String,
    hint: Option<String>,
}

impl Failure {
    fn label(&self) -> String {
        format!("{} {}", self.model, self.configuration)
    }
}

/// What is shown of the steps.
struct Shown<'a> {
    steps: &'a Steps,
    n_measurements: usize,
    /// When a repetition was last shown.
    drawn: Option<Instant>,
}

impl Shown<'_> {
    fn step(&mut self, planned: &Planned, test: &Test, order_idx: usize, stage: Stage) {
        let what = match stage {
            Stage::Opening => "opening".to_owned(),
            Stage::Repetition(n) => {
                if self.drawn.is_some_and(|drawn| drawn.elapsed() < DRAWN_EVERY) {
                    return;
                }
                self.drawn = Some(Instant::now());
                format!("repetition {n}")
            }
        };
        let name = format!("{} · {} · {what}", test.name, planned.label());
        self.steps.set(order_idx, self.n_measurements, &name);
    }
}

/// Keeps, prints and remembers what is complete.
struct Collector<'a> {
    destination: Destination,
    printer: &'a Printer,
    advise: Advise,
    json: bool,
    records: Vec<Record>,
    failures: Vec<Failure>,
    /// What processes had to say already.
    said: BTreeSet<String>,
}

impl<'a> Collector<'a> {
    fn new(destination: Destination, printer: &'a Printer, advise: Advise, json: bool) -> Self {
        let (records, failures, said) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self { destination, printer, advise, json, records, failures, said }
    }

    /// Keep and print what is told.
    fn hear(&mut self, notice: Notice<'_>, shown: &mut Shown<'_>) -> anyhow::Result<()> {
        match notice {
            Notice::Step { planned, test, order_idx, stage } => {
                shown.step(planned, test, order_idx, stage);
            }
            // Said once, whichever process says it.
            Notice::Said(text) => {
                if self.said.insert(text.to_owned()) {
                    self.printer.note(text);
                }
            }
            Notice::Record(record) => self.record(*record)?,
            Notice::Failure { planned, test, error } => self.failure(planned, test, error),
        }
        Ok(())
    }

    /// Take the records of an earlier call of the same run.
    fn go_on(&mut self, unfinished: &Unfinished, n_measurements: usize) -> anyhow::Result<()> {
        let Unfinished { run_id, started_at, .. } = unfinished;
        let records = self.destination.records_of(run_id, *started_at);
        let records = records.context("cannot go on with the run")?;
        self.printer.note(format!(
            "going on with run {run_id}: {} of {n_measurements} measurements are there (--fresh \
             starts anew)",
            records.len()
        ));
        for record in records {
            self.print(&record)?;
            self.records.push(record);
        }
        Ok(())
    }

    fn print(&self, record: &Record) -> Result<(), PrintError> {
        match self.json {
            true => self.printer.line(as_line(record)),
            false => {
                self.printer.note(table::line(record));
                Ok(())
            }
        }
    }

    fn print_table(&self) -> Result<(), PrintError> {
        if self.json || (self.records.is_empty() && self.failures.is_empty()) {
            return Ok(());
        }
        let rows = self.records.iter().map(table::row);
        let rows = rows.chain(self.failures.iter().map(table::failed_row)).collect();
        let Table { only_model, header, rows } = Table::of(rows);
        if let Some(model) = only_model {
            self.printer.line(model)?;
        }
        self.printer.table(&header, &rows)
    }

    /// An error when something has no figures.
    fn failures(&self, n_configurations: usize) -> anyhow::Result<()> {
        match self.failures.as_slice() {
            [] => Ok(()),
            [failure] if n_configurations == 1 => {
                let Failure { message, hint, .. } = failure.clone();
                Err(BenchError::Failed { label: failure.label(), message, hint }.into())
            }
            some => Err(BenchError::SomeFailed { n_failed: some.len(), n_configurations }.into()),
        }
    }

    fn record(&mut self, record: Record) -> anyhow::Result<()> {
        if let Err(error) = self.destination.append(&record, &interrupt::requested) {
            // What took minutes is not lost, whatever the disk does.
            self.printer.line(as_line(&record))?;
            const CANNOT_KEEP: &str = "cannot keep the record above";
            return Err(match error {
                AppendError::Busy { .. } if interrupt::requested() => {
                    anyhow::Error::new(Interrupted).context(format!("{CANNOT_KEEP}: {error}"))
                }
                error => anyhow::Error::new(error).context(CANNOT_KEEP),
            });
        }
        self.print(&record)?;
        self.records.push(record);
        Ok(())
    }

    fn failure(&mut self, planned: &Planned, test: &Test, error: SeriesError) {
        let error = anyhow::Error::from(error);
        let failure = Failure {
            model: planned.configuration.model.clone(),
            configuration: planned.label_of_rest(),
            test: test.name.clone(),
            message: format!("{error:#}"),
            hint: (self.advise)(&error, None),
        };
        let (label, Failure { test, message, hint, .. }) = (failure.label(), &failure);
        let advice = hint.as_ref().map_or_else(String::new, |hint| format!(" (hint: {hint})"));
        self.printer.warning(format!("no {test} of {label}: {message}{advice}"));
        self.failures.push(failure);
    }
}

fn as_line(record: &Record) -> String {
    serde_json::to_string(record).expect("a record has only string keys")
}
