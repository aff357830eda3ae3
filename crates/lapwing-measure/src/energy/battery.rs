//! A battery while it is being discharged.
//!
//! Gauges are slow: many tell a new value only every ten or thirty seconds. So a reading needs a
//! long time without pauses.
//!
//! Source: the kernel's Documentation/ABI/testing/sysfs-class-power (units: micro-).

use std::time::Duration;

use crate::reading::{Reading, Reason, SystemFiles};

const FOLDER: &str = "sys/class/power_supply";

/// Shortest time of which a gauge can tell something.
pub(super) const MEASURED_MIN: Duration = Duration::from_secs(60);

/// Smallest part of the time from the first window to the last that windows must fill.
const FILLED_MIN: f64 = 0.95;

/// One battery, the only one that is being discharged.
#[derive(Debug)]
pub(super) struct Battery {
    name: String,
    gauge: Gauge,
}

/// What a battery tells.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Gauge {
    /// The energy that is left.
    Energy,
    /// The charge that is left, and the voltage.
    Charge,
    /// Neither, only the power that is drawn at the moment.
    Power,
}

impl Battery {
    pub(super) fn find(files: &SystemFiles) -> Reading<Battery> {
        let discharging = discharging(files)?;
        let [name] = &discharging[..] else {
            return Err(Reason::new(format!("{} are discharging at once", discharging.join(", "))));
        };
        let mut refusals = Vec::new();
        for gauge in [Gauge::Energy, Gauge::Charge, Gauge::Power] {
            let battery = Battery { name: name.clone(), gauge };
            match battery.left(files) {
                Ok(_) => return Ok(battery),
                Err(reason) => refusals.push(reason.to_string()),
            }
        }
        Err(Reason::new(refusals.join(", ")))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What the gauge shows: joules that are left, or for [`Gauge::Power`] watts.
    pub(super) fn left(&self, files: &SystemFiles) -> Reading<f64> {
        const JOULES_PER_WATT_HOUR: f64 = 3600.0;
        let folder = format!("{FOLDER}/{}", self.name);
        let status = files.text(&format!("{folder}/status"))?;
        if status != "Discharging" {
            return Err(not_discharging(&self.name, &status));
        }
        let read = |file: &str| {
            files.number::<i64>(&format!("{folder}/{file}")).map(|micro| micro as f64 / 1e6)
        };
        match self.gauge {
            Gauge::Energy => Ok(read("energy_now")? * JOULES_PER_WATT_HOUR),
            Gauge::Charge => Ok(read("charge_now")? * read("voltage_now")? * JOULES_PER_WATT_HOUR),
            // Some drivers show what flows out as negative.
            Gauge::Power => Ok(read("power_now")?.abs()),
        }
    }

    /// What was drawn between two values of [`left`](Self::left), `measured` apart.
    pub(super) fn spent_j(&self, begun: f64, ended: f64, measured: Duration) -> f64 {
        match self.gauge {
            Gauge::Energy | Gauge::Charge => begun - ended,
            // The trapezoidal rule.
            Gauge::Power => f64::midpoint(begun, ended) * measured.as_secs_f64(),
        }
    }
}

/// Whether a gauge can tell apart windows that add up to `measured` within `span`, and the pauses.
///
/// # Errors
///
/// When there was too much pause.
pub(super) fn check_pauses(measured: Duration, span: Duration) -> Reading<()> {
    let (measured_s, span_s) = (measured.as_secs_f64(), span.as_secs_f64());
    if FILLED_MIN * span_s <= measured_s {
        return Ok(());
    }
    Err(Reason::new(format!(
        "a battery's gauge is too slow to leave out pauses: {measured_s:.1} s of {span_s:.1} s were \
         measured"
    )))
}

/// The names of the batteries of the machine (not of a mouse) that are being discharged.
fn discharging(files: &SystemFiles) -> Reading<Vec<String>> {
    let mut idle = Vec::new();
    let mut discharging = Vec::new();
    for name in files.names(FOLDER).unwrap_or_default() {
        let text = |file: &str| files.text(&format!("{FOLDER}/{name}/{file}"));
        let is_of_machine = text("scope").as_deref() != Ok("Device");
        if text("type").as_deref() != Ok("Battery") || !is_of_machine {
            continue;
        }
        match text("status") {
            Ok(status) if status == "Discharging" => discharging.push(name),
            Ok(status) => idle.push(not_discharging(&name, &status)),
            Err(reason) => idle.push(reason),
        }
    }
    match (discharging.is_empty(), idle.first()) {
        (false, _) => Ok(discharging),
        (true, Some(reason)) => Err(reason.clone()),
        (true, None) => Err(Reason::new("no battery")),
    }
}

fn not_discharging(name: &str, status: &str) -> Reason {
    Reason::new(format!("the battery {name} is not discharging but \"{status}\""))
}
