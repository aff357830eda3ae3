//! The order of things: configurations take turns, repetition by repetition, test after test.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use lapwing_measure::record::{Record, Test, TestKind};

use super::Advise;
use super::assemble::{self, Header};
use super::plan::{Plan, Planned};
use super::runner::RunnerError;
use super::series::{Repeating, Series, Station};
use crate::interrupt::{self, Interrupted};
use crate::printer::{Printer, Steps};
use crate::settings::Settings;

/// How long nobody runs before another configuration does: the threads of a library wait for more
/// work in a loop for some milliseconds, at the cost of whoever runs next.
const BETWEEN_TURNS: Duration = Duration::from_millis(100);

/// How often a repetition is shown at most: drawing takes its time, too.
const DRAWN_EVERY: Duration = Duration::from_millis(100);

/// What is measured, where and how.
pub(super) struct Rounds<'a> {
    pub(super) plan: &'a Plan,
    pub(super) header: &'a Header,
    pub(super) repeating: Repeating,
    pub(super) settings: &'a Settings,
    pub(super) advise: Advise,
    pub(super) steps: &'a Steps,
    /// When a repetition was last shown.
    pub(super) drawn: Cell<Option<Instant>>,
    /// What was told already.
    pub(super) told: RefCell<BTreeSet<String>>,
}

/// Hears of everything that is complete, at once.
pub(super) trait Sink {
    /// Whether this measurement is there from an earlier call.
    fn is_done(&self, order_idx: usize) -> bool;

    /// One more record.
    ///
    /// # Errors
    ///
    /// When it cannot be kept; nothing more is measured then.
    fn record(&mut self, record: Record) -> anyhow::Result<()>;

    /// A configuration that could not be measured; its other tests are left out.
    fn failure(&mut self, failure: Failure);
}

/// Why a configuration was not measured to its end.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) model: String,
    /// The rest of its label.
    pub(super) configuration: String,
    pub(super) test: String,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Failure {
    /// The configuration, as [`Planned::label`] calls it.
    pub(super) fn label(&self) -> String {
        format!("{} {}", self.model, self.configuration)
    }
}

/// A configuration while it is measured.
struct Contestant<'a> {
    planned: &'a Planned,
    configuration_idx: usize,
    station: Option<Station>,
    has_failed: bool,
}

impl<'a> Rounds<'a> {
    /// Measure everything that `sink` does not have yet.
    ///
    /// # Errors
    ///
    /// When a record cannot be kept, or after Ctrl-C.
    pub(super) fn measure(&self, sink: &mut dyn Sink) -> anyhow::Result<()> {
        let mut contestants: Vec<Contestant<'a>> = Vec::new();
        for (configuration_idx, planned) in self.plan.configurations.iter().enumerate() {
            let station = None;
            contestants.push(Contestant { planned, configuration_idx, station, has_failed: false });
        }
        for test_idx in 0..self.plan.tests.len() {
            self.test(&mut contestants, test_idx, sink)?;
            // What one test left in memory must not count as the next one's.
            contestants.iter_mut().for_each(|contestant| contestant.station = None);
        }
        Ok(())
    }

    /// One test of all configurations, in rounds.
    fn test(
        &self,
        contestants: &mut [Contestant<'a>],
        test_idx: usize,
        sink: &mut dyn Sink,
    ) -> anyhow::Result<()> {
        let test = &self.plan.tests[test_idx];
        let mut running = Vec::new();
        for contestant in contestants.iter_mut() {
            let order_idx = self.plan.order_idx(contestant.configuration_idx, test_idx);
            if contestant.has_failed || sink.is_done(order_idx) {
                continue;
            }
            self.say(contestant, test, order_idx, "opening");
            let mut series = Series::new(contestant.planned, test, order_idx);
            match self.prepare(contestant, &mut series) {
                Ok(()) => running.push((contestant, series)),
                Err(error) => self.failed(contestant, test, error, sink)?,
            }
        }
        running.iter_mut().for_each(|(_, series)| series.begin());
        while !running.is_empty() {
            let mut still_running = Vec::new();
            let takes_turns = 1 < running.len();
            for (contestant, mut series) in running {
                if self.drawn.get().is_none_or(|drawn| DRAWN_EVERY <= drawn.elapsed()) {
                    let what = format!("repetition {}", series.n_repetitions() + 1);
                    self.say(contestant, test, series.order_idx, &what);
                    self.drawn.set(Some(Instant::now()));
                }
                if takes_turns {
                    std::thread::sleep(BETWEEN_TURNS);
                }
                match self.once(contestant, &mut series) {
                    Err(error) => self.failed(contestant, test, error, sink)?,
                    Ok(None) => still_running.push((contestant, series)),
                    Ok(Some(record)) => sink.record(*record)?,
                }
            }
            running = still_running;
            // Whoever runs after another on a machine that grows warm is the other one next time.
            running.reverse();
        }
        Ok(())
    }

    /// Everything before the first repetition that counts.
    fn prepare(
        &self,
        contestant: &mut Contestant<'a>,
        series: &mut Series<'a>,
    ) -> anyhow::Result<()> {
        interrupt::check()?;
        if series.test.kind == TestKind::Start {
            for run_idx in 0..self.repeating.n_warmups {
                series.start(self.settings, run_idx, &self.repeating)?;
            }
            return Ok(());
        }
        if contestant.station.is_none() {
            let station = Station::open(self.settings, &contestant.planned.opening)?;
            self.tell(&station);
            contestant.station = Some(station);
        }
        let station = contestant.station.as_mut().expect("it was opened above");
        Ok(series.warm(station, &self.repeating)?)
    }

    /// Say once what a process has to say to people, which it does not do itself.
    fn tell(&self, station: &Station) {
        for notice in &station.opened.notices {
            if self.told.borrow_mut().insert(notice.clone()) {
                Printer::new(self.settings.quiet).note(notice);
            }
        }
    }

    /// One repetition; the record when it was the last.
    fn once(
        &self,
        contestant: &mut Contestant<'a>,
        series: &mut Series<'a>,
    ) -> anyhow::Result<Option<Box<Record>>> {
        let mut station = match series.test.kind {
            TestKind::Start => None,
            TestKind::Prefill | TestKind::Decode => {
                Some(contestant.station.as_mut().expect("`prepare` opened it"))
            }
        };
        match &mut station {
            Some(station) => series.repeat(station, &self.repeating)?,
            None => {
                let run_idx = self.repeating.n_warmups + series.n_repetitions();
                series.start(self.settings, run_idx, &self.repeating)?;
            }
        }
        let Some(stopped_because) = series.stop(&self.repeating) else { return Ok(None) };
        if let Some(station) = station {
            series.end(station)?;
        }
        let record = assemble::record(self.header, series, &self.repeating, stopped_because)?;
        Ok(Some(record.into()))
    }

    /// Leave the configuration out from now on, unless the user wants everything to end.
    fn failed(
        &self,
        contestant: &mut Contestant<'_>,
        test: &Test,
        error: anyhow::Error,
        sink: &mut dyn Sink,
    ) -> anyhow::Result<()> {
        if interrupt::requested() || interrupt::is_cause_of(&error) {
            return Err(Interrupted.into());
        }
        contestant.has_failed = true;
        contestant.station = None;
        let of_worker = error.downcast_ref::<RunnerError>().and_then(RunnerError::hint);
        sink.failure(Failure {
            model: contestant.planned.model.name.clone(),
            configuration: contestant.planned.configuration(),
            test: test.name.clone(),
            message: format!("{error:#}"),
            hint: of_worker.or_else(|| (self.advise)(&error, None)),
        });
        Ok(())
    }

    fn say(&self, contestant: &Contestant<'_>, test: &Test, order_idx: usize, what: &str) {
        let n_measurements = self.plan.configurations.len() * self.plan.tests.len();
        let name = format!("{} · {} · {what}", test.name, contestant.planned.label());
        self.steps.set(order_idx, n_measurements, &name);
    }
}
