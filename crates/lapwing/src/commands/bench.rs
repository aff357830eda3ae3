//! `lapwing bench`: what models cost on devices, measured and kept as records.

mod assemble;
mod corrections;
mod destination;
mod fingerprint;
mod message;
mod plan;
mod recommend;
mod rounds;
mod runner;
mod series;
mod start_cache;
mod table;
mod unfinished;
mod worker;

use std::cell::Cell;
use std::collections::BTreeSet;

use anyhow::Context as _;
use lapwing_measure::measuring::StopRule;
use lapwing_measure::record::Record;
use lapwing_measure::record_file::AppendError;
use serde_json::json;
use sysinfo::System;

use crate::cli::{BenchArgs, ProtocolArgs};
use crate::hint::note;
use crate::interrupt::{self, Interrupted};
use crate::printer::{PrintError, Printer};
use crate::settings::Settings;

use assemble::Header;
use destination::Destination;
use plan::Plan;
use rounds::{Failure, Rounds, Sink};
use series::Repeating;
use table::Table;
use unfinished::Unfinished;

pub(crate) use destination::host;
pub use recommend::NoRecommendationError;
pub use runner::RunnerError;
pub use unfinished::UnfinishedError;
pub use worker::serve;

/// Repetitions end when the interval of the median is this wide, as a share of it: 2 % to each
/// side.
const RELATIVE_WIDTH: f64 = 0.04;

/// What the user can do about an error under some settings, if that is known.
pub type Advise = fn(&anyhow::Error, Option<&Settings>) -> Option<String>;

/// Some configurations have no figures.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The only one.
    #[error("cannot measure {label}: {message}")]
    Failed {
        /// The configuration.
        label: String,
        /// Why.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Some of several.
    #[error("{n_failed} of {n_configurations} configurations could not be measured")]
    SomeFailed {
        /// Those that could not.
        n_failed: usize,
        /// All.
        n_configurations: usize,
    },
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
    let host = destination::host();
    let destination = match &args.out {
        Some(path) => Destination::File(path.clone()),
        None => Destination::Daily { profiles: settings.home.profiles(), host: host.clone() },
    };
    destination.check().context("cannot keep records")?;
    let plan = Plan::make(args, settings, printer)?;
    let load = System::load_average().map_or(0.0, |load| load.one);
    if let Some(warning) = busy(load, System::physical_core_count().ok()) {
        printer.warning(warning);
    }
    if args.recommend.is_some() {
        recommend::check_names(&plan)?;
    }
    let repeating = repeating(&args.protocol);
    let plan_sha256 = plan.sha256(&protocol_key(&args.protocol));
    let unfinished = Unfinished::begin(
        &destination.runs_folder(),
        &plan_sha256,
        &host,
        args.resume.as_deref(),
        args.fresh,
    )
    .context("cannot begin the run")?;
    start_cache::remove_leftovers(settings.home.cache());
    let mut collector = Collector::new(destination, printer, args.json);
    let n_measurements = plan.configurations.len() * plan.tests.len();
    if unfinished.is_resumed {
        let found = collector.destination.records_of(&unfinished.run_id, unfinished.started_at);
        let found = found.context("cannot go on with the run")?;
        printer.note(note::goes_on(&unfinished.run_id, found.len(), n_measurements));
        collector.take_earlier(found)?;
    }
    let header = Header { run_id: unfinished.run_id.clone(), host };
    let steps = printer.steps("measuring");
    let drawn = Cell::new(None);
    let rounds = Rounds {
        plan: &plan,
        header: &header,
        repeating,
        settings,
        advise,
        steps: &steps,
        drawn,
        told: std::cell::RefCell::default(),
    };
    let outcome = rounds.measure(&mut collector);
    drop(steps);
    collector.records.sort_by_key(|record| record.protocol.order_idx);
    collector.print_table()?;
    if outcome.is_err() && interrupt::requested() {
        printer.note(note::broken_off(collector.records.len(), n_measurements));
    }
    outcome?;
    // With failures the same command measures only what is missing.
    if collector.failures.is_empty() {
        unfinished.finish();
    }
    if let Some(metric) = args.recommend {
        let file = settings.home.recommendations_file();
        recommend::recommend(&plan, &collector.records, metric, &file, printer)?;
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
fn protocol_key(args: &ProtocolArgs) -> serde_json::Value {
    let repetitions = args.repetitions.map(usize::from);
    json!([repetitions, args.time.as_secs_f64(), args.warmup, args.seed])
}

/// Keeps, prints and remembers what is complete.
struct Collector<'a> {
    destination: Destination,
    printer: &'a Printer,
    json: bool,
    records: Vec<Record>,
    failures: Vec<Failure>,
    done: BTreeSet<usize>,
}

impl<'a> Collector<'a> {
    fn new(destination: Destination, printer: &'a Printer, json: bool) -> Self {
        let (records, failures, done) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self { destination, printer, json, records, failures, done }
    }

    /// The records of an earlier call of the same run.
    fn take_earlier(&mut self, records: Vec<Record>) -> Result<(), PrintError> {
        for record in records {
            self.done.insert(record.protocol.order_idx);
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
}

impl Sink for Collector<'_> {
    fn is_done(&self, order_idx: usize) -> bool {
        self.done.contains(&order_idx)
    }

    fn record(&mut self, record: Record) -> anyhow::Result<()> {
        if let Err(error) = self.destination.append(&record) {
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

    fn failure(&mut self, failure: Failure) {
        let (label, Failure { test, message, hint, .. }) = (failure.label(), &failure);
        let advice = hint.as_ref().map_or_else(String::new, |hint| format!(" (hint: {hint})"));
        self.printer.warning(format!("no {test} of {label}: {message}{advice}"));
        self.failures.push(failure);
    }
}

fn as_line(record: &Record) -> String {
    serde_json::to_string(record).expect("a record has only string keys")
}
