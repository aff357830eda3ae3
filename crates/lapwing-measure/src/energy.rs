//! What computing costs in electricity, from a sensor or not at all.
//!
//! Two kinds of sensors: the counters of the processor (RAPL, which Linux shows under
//! `/sys/class/powercap` for Intel and AMD alike) and, where those cannot be read, a discharging
//! battery. Nothing is estimated: what no sensor tells is null with the reason.

mod battery;
mod rapl;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::reading::{Reading, Reason, SystemFiles, known};
use crate::record::{Energy, EnergySource};

use battery::Battery;
use rapl::Rapl;

/// Adds up what the sensors count between pairs of [`begin`](EnergyMeter::begin) and
/// [`end`](EnergyMeter::end).
///
/// Both take some reads of small files, tens of microseconds. RAPL counts about once in a
/// millisecond, so that windows of less than a hundred are blurred at their ends. A window must be shorter than the counter's range:
/// minutes at full power, on the worst processors.
#[derive(Debug)]
pub struct EnergyMeter {
    files: SystemFiles,
    sensor: Sensor,
    /// Of the window that is open.
    opened: Option<(Instant, Reading<Vec<f64>>)>,
    total: Reading<Total>,
}

#[derive(Debug)]
enum Sensor {
    Rapl(Rapl),
    Battery(Battery),
}

/// What the closed windows add up to.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Total {
    energy_j: f64,
    /// Inside of windows.
    measured: Duration,
    /// Begin of the first and end of the last.
    span: Option<(Instant, Instant)>,
}

const NOTHING: Total = Total { energy_j: 0.0, measured: Duration::ZERO, span: None };

impl EnergyMeter {
    /// Find the sensors: the processor's counters, else a battery that is being discharged.
    ///
    /// # Errors
    ///
    /// The reason why neither can be read; it holds for the record's field `energy`.
    pub fn open(files: &SystemFiles) -> Reading<EnergyMeter> {
        let sensor = Rapl::find(files).map(Sensor::Rapl).or_else(|no_rapl| {
            let battery = Battery::find(files).map(Sensor::Battery);
            battery.map_err(|no_battery| Reason::new(format!("{no_rapl}; {no_battery}")))
        })?;
        Ok(EnergyMeter { files: files.clone(), sensor, opened: None, total: Ok(NOTHING) })
    }

    /// Which kind of sensor is read.
    #[must_use]
    pub fn source(&self) -> EnergySource {
        match self.sensor {
            Sensor::Rapl(_) => EnergySource::Rapl,
            Sensor::Battery(_) => EnergySource::Battery,
        }
    }

    /// The shortest time, of all windows together, about which the sensor tells something.
    #[must_use]
    pub fn measured_min(&self) -> Duration {
        match self.sensor {
            Sensor::Rapl(_) => rapl::MEASURED_MIN,
            Sensor::Battery(_) => battery::MEASURED_MIN,
        }
    }

    /// Open a window; one that is still open is forgotten.
    pub fn begin(&mut self) {
        let counters = self.counters();
        self.begin_at(Instant::now(), counters);
    }

    /// Close the window that is open; nothing happens when none is.
    pub fn end(&mut self) {
        let now = Instant::now();
        let counters = self.counters();
        self.end_at(now, counters);
    }

    /// Watch the idle machine while `wait` waits, and forget the windows before.
    ///
    /// Let it wait for [`measured_min`](Self::measured_min) or longer.
    ///
    /// # Errors
    ///
    /// The reason why the sensors tell nothing about that time.
    pub fn idle_power_w(&mut self, wait: &mut dyn FnMut()) -> Reading<f64> {
        (self.opened, self.total) = (None, Ok(NOTHING));
        self.begin();
        wait();
        self.end();
        let total = self.told();
        (self.opened, self.total) = (None, Ok(NOTHING));
        let total = total?;
        Ok(total.energy_j / total.measured.as_secs_f64())
    }

    /// The record's entry for all windows since the last [`idle_power_w`](Self::idle_power_w), in
    /// which `n_tokens` were read or produced; reasons for its nulls go to `nulls`.
    ///
    /// # Errors
    ///
    /// The reason why there is no such entry.
    pub fn energy(
        &self,
        idle_power_w: Reading<f64>,
        n_tokens: u64,
        nulls: &mut BTreeMap<String, String>,
    ) -> Reading<Energy> {
        let total = self.told()?;
        let measured_s = total.measured.as_secs_f64();
        let net = match &idle_power_w {
            Err(reason) => Err(Reason::new(format!("the idle power is unknown: {reason}"))),
            Ok(idle) if total.energy_j < idle * measured_s => {
                Err(Reason::new("the sensor counted less than when the machine was idle"))
            }
            Ok(idle) => Ok(total.energy_j - idle * measured_s),
        };
        let per_token = match (&net, n_tokens) {
            (Ok(_), 0) => Err(Reason::new("no tokens were read or produced")),
            (Ok(energy_j), n) => Ok(energy_j / n as f64),
            (Err(reason), _) => Err(reason.clone()),
        };
        Ok(Energy {
            source: self.source(),
            sensors: match &self.sensor {
                Sensor::Rapl(rapl) => rapl.names(),
                Sensor::Battery(battery) => vec![battery.name().to_owned()],
            },
            measured_s,
            total_energy_j: total.energy_j,
            idle_power_w: known(idle_power_w, "energy.idle_power_w", nulls),
            energy_j: known(net, "energy.energy_j", nulls),
            n_tokens,
            joules_per_token: known(per_token, "energy.joules_per_token", nulls),
        })
    }

    fn counters(&self) -> Reading<Vec<f64>> {
        match &self.sensor {
            Sensor::Rapl(rapl) => rapl.counters_j(&self.files),
            Sensor::Battery(battery) => Ok(vec![battery.left(&self.files)?]),
        }
    }

    fn begin_at(&mut self, now: Instant, counters: Reading<Vec<f64>>) {
        self.opened = Some((now, counters));
    }

    fn end_at(&mut self, now: Instant, ended: Reading<Vec<f64>>) {
        let Some((begun_at, begun)) = self.opened.take() else { return };
        let Ok(total) = self.total else { return };
        let measured = now.saturating_duration_since(begun_at);
        let spent = begun.and_then(|begun| {
            let ended = ended?;
            match &self.sensor {
                Sensor::Rapl(rapl) => rapl.spent_j(&begun, &ended),
                Sensor::Battery(battery) => Ok(battery.spent_j(begun[0], ended[0], measured)),
            }
        });
        self.total = spent.map(|spent_j| Total {
            energy_j: total.energy_j + spent_j,
            measured: total.measured + measured,
            span: Some((total.span.map_or(begun_at, |(first, _)| first), now)),
        });
    }

    /// The total, if it can be trusted.
    fn told(&self) -> Reading<Total> {
        let total = self.total.clone()?;
        let Some((first, last)) = total.span else {
            return Err(Reason::new("nothing ran while the sensors were read"));
        };
        if total.measured < self.measured_min() {
            let (measured, least) = (total.measured.as_secs_f64(), self.measured_min());
            return Err(Reason::new(format!(
                "the sensor is too slow for {measured:.3} s, it takes {least:?}"
            )));
        }
        if let Sensor::Battery(_) = self.sensor {
            battery::check_pauses(total.measured, last.saturating_duration_since(first))?;
        }
        if total.energy_j <= 0.0 {
            let seconds = total.measured.as_secs_f64();
            return Err(Reason::new(format!("the sensor did not move in {seconds:.3} s")));
        }
        Ok(total)
    }
}

/// Counts what the processors take, for what runs too long for windows. Idle power is in it.
#[derive(Debug)]
pub struct EnergyCounter {
    files: SystemFiles,
    rapl: Rapl,
    last_j: Vec<f64>,
}

impl EnergyCounter {
    /// Begin to count.
    ///
    /// # Errors
    ///
    /// The reason why the processor's counters cannot be read.
    pub fn open(files: &SystemFiles) -> Reading<EnergyCounter> {
        let rapl = Rapl::find(files)?;
        let last_j = rapl.counters_j(files)?;
        Ok(EnergyCounter { files: files.clone(), rapl, last_j })
    }

    /// What is read, by its names.
    #[must_use]
    pub fn sensors(&self) -> Vec<String> {
        self.rapl.names()
    }

    /// Joules since it was asked last. The counters move about once in a millisecond, and start again
    /// from zero after some minutes at full power: who asks seldom counts too little.
    ///
    /// # Errors
    ///
    /// The reason why that is not known.
    pub fn spent_j(&mut self) -> Reading<f64> {
        let now_j = self.rapl.counters_j(&self.files)?;
        let begun_j = std::mem::replace(&mut self.last_j, now_j);
        self.rapl.spent_j(&begun_j, &self.last_j)
    }
}

#[cfg(test)]
mod tests;
