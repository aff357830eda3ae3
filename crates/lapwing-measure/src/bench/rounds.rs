//! The order of things: configurations take turns, repetition by repetition, test after test.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::record::{Record, Test, TestKind};

use super::assemble::{self, Header};
use super::plan::{Plan, Planned};
use super::series::{Occupied, Repeating, Series, SeriesError};
use super::station::{StationError, Stations};

/// How long nobody runs before another configuration does: the threads of a library wait for more
/// work in a loop for some milliseconds, at the cost of whoever runs next.
const BETWEEN_TURNS: Duration = Duration::from_millis(100);

/// What is measured, where and how.
pub struct Rounds<'a> {
    /// What.
    pub plan: &'a Plan,
    /// What the records share.
    pub header: &'a Header,
    /// How often.
    pub repeating: Repeating,
    /// Where.
    pub stations: &'a dyn Stations,
    /// Places in the order that are there from an earlier call.
    pub done: &'a BTreeSet<usize>,
    /// Whether everything is to stop.
    pub stop: &'a dyn Fn() -> bool,
}

/// What is told while it is measured.
#[derive(Debug)]
pub enum Notice<'a> {
    /// What comes next.
    Step {
        /// Of this configuration.
        planned: &'a Planned,
        /// In this test.
        test: &'a Test,
        /// The place of both in the order.
        order_idx: usize,
        /// What it is.
        stage: Stage,
    },
    /// What a process has to say to people; it may say so again.
    Said(&'a str),
    /// A measurement is complete.
    Record(Box<Record>),
    /// A configuration cannot be measured to its end; its other tests are left out.
    Failure {
        /// The configuration.
        planned: &'a Planned,
        /// The test that it failed in.
        test: &'a Test,
        /// Why.
        error: SeriesError,
    },
}

/// What comes next in a test of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Opening the model and warming up.
    Opening,
    /// A repetition, counted from 1.
    Repetition(usize),
}

/// Why not everything was measured.
#[derive(Debug)]
pub enum BrokenOff<E> {
    /// [`Rounds::stop`] said so.
    Stopped,
    /// Whoever was told of something cannot go on.
    Told(E),
}

/// A configuration while it is measured.
struct Contestant<'a> {
    planned: &'a Planned,
    configuration_idx: usize,
    occupied: Option<Occupied<'a>>,
    has_failed: bool,
}

type Tell<'t, E> = &'t mut dyn FnMut(Notice<'_>) -> Result<(), E>;

impl<'a> Rounds<'a> {
    /// Measure everything that is not done yet, and tell of it at once.
    ///
    /// # Errors
    ///
    /// When `tell` fails, such as for a record that cannot be kept, or when stopped.
    pub fn measure<E>(&self, tell: Tell<'_, E>) -> Result<(), BrokenOff<E>> {
        let mut contestants: Vec<Contestant<'a>> = Vec::new();
        for (configuration_idx, planned) in self.plan.configurations.iter().enumerate() {
            let occupied = None;
            contestants.push(Contestant {
                planned,
                configuration_idx,
                occupied,
                has_failed: false,
            });
        }
        for test_idx in 0..self.plan.tests.len() {
            self.test(&mut contestants, test_idx, tell)?;
            // What one test left in memory must not count as the next one's.
            contestants.iter_mut().for_each(|contestant| contestant.occupied = None);
        }
        Ok(())
    }

    /// One test of all configurations, in rounds.
    fn test<E>(
        &self,
        contestants: &mut [Contestant<'a>],
        test_idx: usize,
        tell: Tell<'_, E>,
    ) -> Result<(), BrokenOff<E>> {
        let test = &self.plan.tests[test_idx];
        let mut running = Vec::new();
        for contestant in contestants.iter_mut() {
            let order_idx = self.plan.order_idx(contestant.configuration_idx, test_idx);
            if contestant.has_failed || self.done.contains(&order_idx) {
                continue;
            }
            let mut series = Series::new(contestant.planned, test, order_idx);
            told(tell, step(&series, Stage::Opening))?;
            let prepared = self.prepare(contestant, &mut series);
            for said in contestant.occupied.iter().flat_map(|o| &o.opened.notices) {
                told(tell, Notice::Said(said))?;
            }
            match prepared {
                Ok(()) => running.push((contestant, series)),
                Err(error) => self.failed(contestant, test, error, tell)?,
            }
        }
        running.iter_mut().for_each(|(_, series)| series.begin());
        while !running.is_empty() {
            let mut still_running = Vec::new();
            let takes_turns = 1 < running.len();
            for (contestant, mut series) in running {
                told(tell, step(&series, Stage::Repetition(series.n_repetitions() + 1)))?;
                if takes_turns {
                    std::thread::sleep(BETWEEN_TURNS);
                }
                match self.once(contestant, &mut series) {
                    Err(error) => self.failed(contestant, test, error, tell)?,
                    Ok(None) => still_running.push((contestant, series)),
                    Ok(Some(record)) => told(tell, Notice::Record(record))?,
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
    ) -> Result<(), SeriesError> {
        if (self.stop)() {
            return Err(StationError::Stopped.into());
        }
        let configuration_idx = contestant.configuration_idx;
        if series.test.kind == TestKind::Start {
            for run_idx in 0..self.repeating.n_warmups {
                series.start(self.stations, configuration_idx, run_idx, &self.repeating)?;
            }
            return Ok(());
        }
        let occupied =
            contestant.occupied.insert(Occupied::open(self.stations, configuration_idx)?);
        Ok(series.warm(occupied, &self.repeating)?)
    }

    /// One repetition; the record when it was the last.
    fn once(
        &self,
        contestant: &mut Contestant<'a>,
        series: &mut Series<'a>,
    ) -> Result<Option<Box<Record>>, SeriesError> {
        match &mut contestant.occupied {
            Some(occupied) => series.repeat(occupied, &self.repeating)?,
            None => {
                let run_idx = self.repeating.n_warmups + series.n_repetitions();
                let configuration_idx = contestant.configuration_idx;
                series.start(self.stations, configuration_idx, run_idx, &self.repeating)?;
            }
        }
        let Some(stopped_because) = series.stop(&self.repeating) else { return Ok(None) };
        if let Some(occupied) = &mut contestant.occupied {
            series.end(occupied)?;
        }
        let record = assemble::record(self.header, series, &self.repeating, stopped_because)?;
        Ok(Some(record.into()))
    }

    /// Leave the configuration out from now on, unless everything is to stop.
    fn failed<E>(
        &self,
        contestant: &mut Contestant<'_>,
        test: &Test,
        error: SeriesError,
        tell: Tell<'_, E>,
    ) -> Result<(), BrokenOff<E>> {
        if (self.stop)() || matches!(error, SeriesError::Station(StationError::Stopped)) {
            return Err(BrokenOff::Stopped);
        }
        contestant.has_failed = true;
        contestant.occupied = None;
        told(tell, Notice::Failure { planned: contestant.planned, test, error })
    }
}

fn step<'a>(series: &Series<'a>, stage: Stage) -> Notice<'a> {
    let Series { planned, test, order_idx, .. } = *series;
    Notice::Step { planned, test, order_idx, stage }
}

fn told<E>(tell: Tell<'_, E>, notice: Notice<'_>) -> Result<(), BrokenOff<E>> {
    tell(notice).map_err(BrokenOff::Told)
}
