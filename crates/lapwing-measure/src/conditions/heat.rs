//! How hot the processor is, and whether it slowed itself down for it.

use std::collections::BTreeMap;

use super::{core_folder, each_core};
use crate::reading::{Reading, Reason, SystemFiles};

/// Drivers of sensors in the processor.
const HWMON_NAMES: [&str; 4] = ["coretemp", "k10temp", "zenpower", "cpu_thermal"];

/// How the kinds of thermal zones of the processor begin; others are of the board or the battery.
const ZONE_KINDS: [&str; 3] = ["x86_pkg_temp", "cpu", "soc"];

/// The hottest sensor of the processor, in degrees Celsius.
pub(super) fn temperature_c(files: &SystemFiles) -> Reading<f64> {
    let sensors = hwmon_inputs(files);
    let sensors = if sensors.is_empty() { zone_inputs(files) } else { sensors };
    if sensors.is_empty() {
        return Err(Reason::new(
            "no sensor of the processor under /sys/class/hwmon or /sys/class/thermal",
        ));
    }
    let readings = sensors.iter().map(|path| files.number::<i32>(path));
    // One core's sensor may fail, for instance where the core is switched off.
    let hottest = readings.reduce(|best, next| match (best, next) {
        (Ok(best), Ok(next)) => Ok(best.max(next)),
        (Ok(found), Err(_)) | (_, Ok(found)) => Ok(found),
        (Err(reason), Err(_)) => Err(reason),
    });
    let millidegrees = hottest.expect("there is a sensor")?;
    Ok(f64::from(millidegrees) / 1e3)
}

/// How often each core and each package slowed itself down since the start.
pub(super) fn n_throttle_events(
    files: &SystemFiles,
    cores: &Reading<Vec<usize>>,
) -> Reading<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for core_idx in each_core(cores)? {
        let folder = core_folder(*core_idx);
        let number = |file: &str| files.number::<u64>(&format!("{folder}/{file}"));
        let events = number("thermal_throttle/core_throttle_count")?;
        // Every logical core shows the counts of its core and of its package.
        let package = number("topology/physical_package_id").unwrap_or_default();
        let core = number("topology/core_id").unwrap_or(*core_idx as u64);
        counts.insert(format!("package {package} core {core}"), events);
        if let Ok(events) = number("thermal_throttle/package_throttle_count") {
            counts.insert(format!("package {package}"), events);
        }
    }
    Ok(counts)
}

/// How many events came between two readings.
pub(super) fn n_between(
    before: &Reading<BTreeMap<String, u64>>,
    after: &Reading<BTreeMap<String, u64>>,
) -> Reading<u64> {
    let (before, after) = (before.clone()?, after.clone()?);
    let more = before.iter().map(|(place, &n_before)| {
        let n_more = after.get(place).and_then(|n_after| n_after.checked_sub(n_before));
        n_more.ok_or_else(|| {
            Reason::new(format!("the count of throttle events of {place} began anew"))
        })
    });
    more.sum()
}

fn hwmon_inputs(files: &SystemFiles) -> Vec<String> {
    const FOLDER: &str = "sys/class/hwmon";
    let mut inputs = Vec::new();
    for monitor in files.names(FOLDER).unwrap_or_default() {
        let folder = format!("{FOLDER}/{monitor}");
        let name = files.text(&format!("{folder}/name")).unwrap_or_default();
        if HWMON_NAMES.contains(&name.as_str()) {
            let names = files.names(&folder).unwrap_or_default().into_iter();
            let names = names.filter(|name| name.starts_with("temp") && name.ends_with("_input"));
            inputs.extend(names.map(|name| format!("{folder}/{name}")));
        }
    }
    inputs
}

fn zone_inputs(files: &SystemFiles) -> Vec<String> {
    const FOLDER: &str = "sys/class/thermal";
    let mut zones = files.names(FOLDER).unwrap_or_default();
    zones.retain(|zone| {
        let kind = files.text(&format!("{FOLDER}/{zone}/type")).unwrap_or_default();
        zone.starts_with("thermal_zone") && ZONE_KINDS.iter().any(|own| kind.starts_with(own))
    });
    zones.into_iter().map(|zone| format!("{FOLDER}/{zone}/temp")).collect()
}
