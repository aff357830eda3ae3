//! `lapwing devices`: what this machine has, and which backend can use it.

use lapwing_backend::DeviceKind;
use lapwing_files::Allowance;
use lapwing_host::ledger::Tried;
use lapwing_host::offers::{Absent, Offer, absent, name_of, offers, processor_name};
use lapwing_host::trial::Failure;
use lapwing_logits::Level;
use serde_json::{Value, json};

use crate::cli::DevicesArgs;
use crate::interrupt;
use crate::printer::Printer;
use crate::settings::Settings;
use lapwing_host::allowance;

/// List the devices of every backend.
///
/// # Errors
///
/// When stdout cannot be written. A backend that is missing is part of the answer.
pub fn run(settings: &Settings, printer: &Printer, args: &DevicesArgs) -> anyhow::Result<()> {
    if args.forget {
        return forget(settings, printer, args);
    }
    let offers = offers(&settings.host);
    let machine = settings.host.machine();
    let absent = absent(&offers, [machine.gpu(), machine.npu()]);
    let levels: Vec<String> = Level::available().map(|level| level.name().to_owned()).collect();
    let trials = settings.host.ledger().trials().into_iter();
    let is_harm = |tried: &Tried| tried.failure.as_ref().is_some_and(Failure::is_harm);
    let failed: Vec<Tried> = trials.filter(is_harm).collect();
    if args.json {
        let mut report = as_json(&offers, &absent, &levels);
        report["failed_trials"] = json!(failed);
        let Allowance { n_cpus, memory_bytes } = settings.host.allowance;
        report["allowed"] = json!({"n_cpus": n_cpus, "memory_bytes": memory_bytes});
        printer.json(&report)?;
        return Ok(());
    }
    let mut rows = Vec::new();
    for offer in &offers {
        let mut row = |device: &str, id: &str, name: &str, verified: &str| {
            let cells = [offer.backend, &offer.version, device, id, name, verified];
            rows.push(cells.map(str::to_owned).to_vec());
        };
        match &offer.outcome {
            Ok(devices) => {
                for device in devices {
                    let name = name_of(device).unwrap_or_else(|| "-".to_owned());
                    row(&device.kind.to_string(), &device.id, &name, verified(device.kind));
                }
            }
            Err(reason) => row("-", "-", reason, "-"),
        }
    }
    for Absent { kind, reason, .. } in &absent {
        let cells =
            ["-", "-", &kind.to_string(), "-", &format!("absent: {reason}"), verified(*kind)];
        rows.push(cells.map(str::to_owned).to_vec());
    }
    printer.table(&["BACKEND", "VERSION", "DEVICE", "ID", "NAME", "VERIFIED"], &rows)?;
    let used = levels.last().cloned().unwrap_or_default();
    printer.line(format!("\nhost kernels: {used} (this CPU runs {})", levels.join(", ")))?;
    if let Some(allowed) = allowance::told(&settings.host.allowance) {
        printer.line(format!("this container may take {allowed}"))?;
    }
    for reason in offers.iter().filter_map(|offer| offer.plugin_refusal.as_ref()) {
        printer.line(format!("no GPU for ONNX exports: {reason}"))?;
    }
    for Tried { configuration, at, failure } in &failed {
        let model = configuration.model.parent().unwrap_or(&configuration.model);
        let why = failure.as_ref().map(ToString::to_string).unwrap_or_default();
        printer.line(format!(
            "{} failed with {} at {at}: {why}",
            configuration.device,
            model.display()
        ))?;
    }
    if !failed.is_empty() {
        printer.line("`lapwing devices --forget` lets what failed be tried again")?;
    }
    if !absent.is_empty() {
        printer.line("`lapwing doctor` tells what an absent device needs")?;
    }
    Ok(())
}

/// Forget the trials that failed.
fn forget(settings: &Settings, printer: &Printer, args: &DevicesArgs) -> anyhow::Result<()> {
    let n_forgotten = settings.host.ledger().forget_failures(&interrupt::requested)?;
    match args.json {
        true => printer.json(&json!({"n_forgotten": n_forgotten}))?,
        false => {
            let trials = if n_forgotten == 1 { "trial" } else { "trials" };
            printer.line(format!("{n_forgotten} failed {trials} forgotten"))?;
        }
    }
    Ok(())
}

/// Where this project has run models.
fn verified(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Cpu => "on hardware",
        DeviceKind::NpuOnCpu => "as a test device",
        DeviceKind::Gpu | DeviceKind::Npu => "not verified on hardware",
    }
}

fn as_json(offers: &[Offer], absent: &[Absent], levels: &[String]) -> Value {
    let backends = offers.iter().map(|offer| match &offer.outcome {
        Ok(devices) => {
            let devices: Vec<Value> = devices
                .iter()
                .map(|device| {
                    let kind = device.kind.to_string();
                    let verified = verified(device.kind);
                    let name = name_of(device);
                    json!({"kind": kind, "id": device.id, "name": name, "verified": verified})
                })
                .collect();
            let mut report =
                json!({"backend": offer.backend, "version": offer.version, "devices": devices});
            if let Some(reason) = &offer.plugin_refusal {
                report["plugin_refusal"] = json!(reason);
            }
            report
        }
        Err(reason) => {
            json!({"backend": offer.backend, "version": null, "devices": [], "reason": reason})
        }
    });
    let absent = absent.iter().map(|Absent { kind, reason, missing }| {
        let (device, verified) = (kind.to_string(), verified(*kind));
        json!({"device": device, "reason": reason, "missing": missing, "verified": verified})
    });
    json!({
        "backends": backends.collect::<Vec<_>>(),
        "absent": absent.collect::<Vec<_>>(),
        "processor": processor_name(),
        "host_kernels": {"used": levels.last(), "available": levels},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_npu_is_not_told_to_be_verified() {
        assert!(verified(DeviceKind::Npu).contains("not verified"));
    }
}
