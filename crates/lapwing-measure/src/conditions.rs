//! The state of the machine around a measurement.
//!
//! A [`Snapshot`] is what changes; one is taken just before the repetitions, one just after.
//! [`conditions`] makes the record's entry of both and of what stays.

mod driver;
mod frequency;
mod heat;
mod machine;
mod power;

use std::collections::BTreeMap;

use lapwing_logits::Level;
use serde::{Deserialize, Serialize};

use crate::reading::{Reading, Reason, SystemFiles, known};
use crate::record::{Conditions, PowerSource};

pub use machine::memory_available_bytes;

/// The state of the machine at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The clock of each logical core that the process may run on, by its number, in megahertz.
    pub core_frequency_mhz: Reading<BTreeMap<usize, f64>>,
    /// The hottest sensor of the processor, in degrees Celsius.
    pub temperature_c: Reading<f64>,
    /// How often each core and each package slowed itself down for heat since the start.
    pub n_throttle_events: Reading<BTreeMap<String, u64>>,
    /// Where the electricity comes from.
    pub power_source: Reading<PowerSource>,
    /// The charge of the battery in percent; the mean of several.
    pub battery_percent: Reading<f64>,
    /// Runnable tasks, averaged by the kernel over one minute.
    pub load_average: Reading<f64>,
    /// What a program can still get of the memory, in bytes.
    pub memory_available_bytes: Reading<u64>,
}

impl Snapshot {
    /// Look at the machine: some dozen small files, so not while something is timed.
    #[must_use]
    pub fn take(files: &SystemFiles) -> Snapshot {
        let cores = machine::cores_used(files);
        Snapshot {
            core_frequency_mhz: frequency::now_mhz(files, &cores),
            temperature_c: heat::temperature_c(files),
            n_throttle_events: heat::n_throttle_events(files, &cores),
            power_source: power::source(files),
            battery_percent: power::battery_percent(files),
            load_average: machine::load_average(files),
            memory_available_bytes: machine::memory_available_bytes(files),
        }
    }

    /// The mean clock of the cores, in megahertz.
    fn frequency_mhz(&self) -> Reading<f64> {
        let cores = self.core_frequency_mhz.clone()?;
        Ok(cores.values().sum::<f64>() / cores.len().max(1) as f64)
    }
}

/// Where the electricity comes from and how warm the processor is at one moment: some small files, to
/// be read now and then by what runs for long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PowerState {
    /// Where the electricity comes from.
    pub source: Reading<PowerSource>,
    /// The charge of the battery in percent; the mean of several.
    pub battery_percent: Reading<f64>,
    /// The hottest sensor of the processor, in degrees Celsius.
    pub temperature_c: Reading<f64>,
}

impl PowerState {
    /// Look.
    #[must_use]
    pub fn read(files: &SystemFiles) -> PowerState {
        PowerState {
            source: power::source(files),
            battery_percent: power::battery_percent(files),
            temperature_c: heat::temperature_c(files),
        }
    }
}

/// The record's entry for a measurement between two snapshots; reasons for its nulls go to
/// `nulls`.
///
/// What computed is not known here: `library_versions` has names and versions of the libraries.
/// Elsewhere than on Linux most of it is null.
#[must_use]
pub fn conditions(
    files: &SystemFiles,
    (before, after): (&Snapshot, &Snapshot),
    library_versions: BTreeMap<String, String>,
    nulls: &mut BTreeMap<String, String>,
) -> Conditions {
    let cores_used = machine::cores_used(files);
    let allowance = files.allowance();
    let mut nulls = Nulls(nulls);
    Conditions {
        cpu_model: nulls.known("cpu_model", machine::cpu_model(files)),
        architecture: Some(std::env::consts::ARCH.to_owned()),
        isa_level: Some(Level::detect().name().to_owned()),
        n_cores_physical: nulls.known("n_cores_physical", machine::n_cores_physical(files)),
        n_cores_logical: nulls.known("n_cores_logical", machine::n_cores_logical(files)),
        frequency_max_mhz: nulls.known("frequency_max_mhz", frequency::max_mhz(files, &cores_used)),
        governor: nulls.known("governor", frequency::governor(files, &cores_used)),
        cores_used: nulls.known("cores_used", cores_used),
        frequency_before_mhz: nulls.known("frequency_before_mhz", before.frequency_mhz()),
        frequency_after_mhz: nulls.known("frequency_after_mhz", after.frequency_mhz()),
        temperature_before_c: nulls.known("temperature_before_c", before.temperature_c.clone()),
        temperature_after_c: nulls.known("temperature_after_c", after.temperature_c.clone()),
        n_throttle_events: nulls.known(
            "n_throttle_events",
            heat::n_between(&before.n_throttle_events, &after.n_throttle_events),
        ),
        power_source: nulls.known("power_source", power::source_between(before, after)),
        battery_percent: nulls.known("battery_percent", before.battery_percent.clone()),
        load_average_before: nulls.known("load_average_before", before.load_average.clone()),
        load_average_after: nulls.known("load_average_after", after.load_average.clone()),
        memory_total_bytes: nulls.known("memory_total_bytes", machine::memory_total_bytes(files)),
        memory_available_bytes: nulls
            .known("memory_available_bytes", before.memory_available_bytes.clone()),
        cpu_quota: allowance.n_cpus,
        memory_limit_bytes: allowance.memory_bytes,
        os: nulls.known("os", machine::os(files)),
        kernel: nulls.known("kernel", machine::kernel(files)),
        hypervisor: nulls.known("hypervisor", machine::hypervisor(files)),
        library_versions: Some(library_versions),
        driver_versions: nulls.known("driver_versions", driver::versions(files)),
    }
}

/// Reasons for nulls within `conditions`.
struct Nulls<'a>(&'a mut BTreeMap<String, String>);

impl Nulls<'_> {
    fn known<T>(&mut self, field: &str, reading: Reading<T>) -> Option<T> {
        known(reading, &format!("conditions.{field}"), self.0)
    }
}

/// The numbers in a list as the kernel writes it: `0-3,8`.
fn core_list(text: &str) -> Option<Vec<usize>> {
    /// More than any machine has: a longer list is a mistake, not a machine.
    const CORE_IDX_MAX: usize = 1 << 16;
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last < first || CORE_IDX_MAX < last || CORE_IDX_MAX < cores.len() {
            return None;
        }
        cores.extend(first..=last);
    }
    Some(cores)
}

/// The folder of a logical core.
fn core_folder(core_idx: usize) -> String {
    format!("sys/devices/system/cpu/cpu{core_idx}")
}

/// The cores to ask, or the reason why they are not known.
fn each_core(cores: &Reading<Vec<usize>>) -> Reading<&[usize]> {
    match cores {
        Ok(cores) if cores.is_empty() => Err(Reason::new("the process may run on no core")),
        Ok(cores) => Ok(cores),
        Err(reason) => Err(reason.clone()),
    }
}

#[cfg(test)]
mod tests;
