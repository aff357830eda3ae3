//! Mains or battery.

use super::Snapshot;
use crate::reading::{Reading, Reason, SystemFiles};
use crate::record::PowerSource;

const FOLDER: &str = "sys/class/power_supply";

/// Where the electricity comes from: a battery that is being discharged counts before a plug.
pub(super) fn source(files: &SystemFiles) -> Reading<PowerSource> {
    let supplies = supplies(files)?;
    let text = |name: &str, file: &str| files.text(&format!("{FOLDER}/{name}/{file}")).ok();
    let mut is_plugged = false;
    for supply in &supplies {
        if supply.is_battery {
            match text(&supply.name, "status").as_deref() {
                Some("Discharging") => return Ok(PowerSource::Battery),
                Some("Charging" | "Full" | "Not charging") => is_plugged = true,
                _ => {}
            }
        } else if text(&supply.name, "online").is_some_and(|online| online != "0") {
            is_plugged = true;
        }
    }
    if is_plugged {
        return Ok(PowerSource::Mains);
    }
    let names: Vec<&str> = supplies.iter().map(|supply| supply.name.as_str()).collect();
    Err(Reason::new(format!("neither mains nor battery is in use by {}", names.join(", "))))
}

/// The source before, if it is the one after too.
pub(super) fn source_between(before: &Snapshot, after: &Snapshot) -> Reading<PowerSource> {
    match (before.power_source.clone()?, after.power_source.clone()?) {
        (PowerSource::Mains, PowerSource::Battery) => {
            Err(Reason::new("the machine was unplugged in between"))
        }
        (PowerSource::Battery, PowerSource::Mains) => {
            Err(Reason::new("the machine was plugged in in between"))
        }
        (source, _) => Ok(source),
    }
}

/// The charge of the machine's batteries, on average.
pub(super) fn battery_percent(files: &SystemFiles) -> Reading<f64> {
    let batteries = supplies(files)?.into_iter().filter(|supply| supply.is_battery);
    let percents = batteries
        .map(|supply| files.number::<u8>(&format!("{FOLDER}/{}/capacity", supply.name)))
        .collect::<Reading<Vec<u8>>>()?;
    if percents.is_empty() {
        return Err(Reason::new("no battery"));
    }
    Ok(percents.iter().copied().map(f64::from).sum::<f64>() / percents.len() as f64)
}

struct Supply {
    name: String,
    is_battery: bool,
}

/// Supplies of the machine, not those of a mouse; at least one.
fn supplies(files: &SystemFiles) -> Reading<Vec<Supply>> {
    let text = |name: &str, file: &str| files.text(&format!("{FOLDER}/{name}/{file}")).ok();
    let mut supplies = Vec::new();
    for name in files.names(FOLDER)? {
        let is_of_machine = text(&name, "scope").as_deref() != Some("Device");
        let is_battery = match text(&name, "type").as_deref() {
            Some("Battery") => true,
            Some("Mains" | "USB") => false,
            _ => continue,
        };
        if is_of_machine {
            supplies.push(Supply { name, is_battery });
        }
    }
    if supplies.is_empty() {
        return Err(Reason::new(format!("/{FOLDER} lists nothing, as on a desktop or a server")));
    }
    Ok(supplies)
}
