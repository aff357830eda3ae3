//! `lapwing devices`: what this machine has, and which backend can use it.

use lapwing_backend::{Device, DeviceKind};
use lapwing_logits::Level;
use serde_json::{Value, json};

use crate::engine;
use crate::natives::{Runtime, locate};
use crate::printer::Printer;
use crate::settings::Settings;

use crate::cli::DevicesArgs;

/// What one backend offers, or why it offers nothing.
struct Offer {
    backend: &'static str,
    version: String,
    outcome: Result<Vec<Device>, String>,
}

/// List the devices of every backend.
///
/// # Errors
///
/// When stdout cannot be written. A backend that is missing is part of the answer.
pub fn run(settings: &Settings, printer: &Printer, args: &DevicesArgs) -> anyhow::Result<()> {
    let offers: Vec<Offer> =
        Runtime::ALL.into_iter().map(|runtime| offer(runtime, settings)).collect();
    let levels: Vec<String> = Level::available().map(|level| level.name().to_owned()).collect();
    if args.json {
        printer.json(&as_json(&offers, &levels))?;
        return Ok(());
    }
    let mut rows = Vec::new();
    for offer in &offers {
        match &offer.outcome {
            Ok(devices) => rows.extend(devices.iter().map(|device| {
                let name = name_of(device).unwrap_or_else(|| "-".to_owned());
                row(offer, &device.kind.to_string(), &device.id, &name)
            })),
            Err(reason) => rows.push(row(offer, "-", "-", reason)),
        }
    }
    printer.table(&["BACKEND", "VERSION", "DEVICE", "ID", "NAME"], &rows)?;
    let used = levels.last().cloned().unwrap_or_default();
    printer.line(format!("\nhost kernels: {used} (this CPU runs {})", levels.join(", ")))?;
    Ok(())
}

fn offer(runtime: Runtime, settings: &Settings) -> Offer {
    let backend = match runtime {
        Runtime::OnnxRuntime => "ort",
        Runtime::OpenVino => "openvino",
    };
    if let Err(error) = locate(runtime, settings) {
        return Offer { backend, version: "-".to_owned(), outcome: Err(error.to_string()) };
    }
    match engine::load(runtime, settings) {
        Ok(loaded) => {
            let outcome =
                loaded.devices().map_err(|error| format!("{:#}", anyhow::Error::new(error)));
            Offer { backend, version: loaded.version(), outcome }
        }
        Err(error) => {
            Offer { backend, version: "-".to_owned(), outcome: Err(format!("{error:#}")) }
        }
    }
}

fn row(offer: &Offer, kind: &str, id: &str, name: &str) -> Vec<String> {
    [offer.backend, &offer.version, kind, id, name].map(str::to_owned).to_vec()
}

fn as_json(offers: &[Offer], levels: &[String]) -> Value {
    let backends = offers.iter().map(|offer| match &offer.outcome {
        Ok(devices) => {
            let devices: Vec<Value> = devices
                .iter()
                .map(|device| {
                    let kind = device.kind.to_string();
                    json!({"kind": kind, "id": device.id, "name": name_of(device)})
                })
                .collect();
            json!({"backend": offer.backend, "version": offer.version, "devices": devices})
        }
        Err(reason) => {
            json!({"backend": offer.backend, "version": null, "devices": [], "reason": reason})
        }
    });
    json!({
        "backends": backends.collect::<Vec<_>>(),
        "processor": processor_name(),
        "host_kernels": {"used": levels.last(), "available": levels},
    })
}

/// The device's name by its library, else the system's for a processor; none when neither knows.
fn name_of(device: &Device) -> Option<String> {
    match device.name.trim() {
        "" if device.kind == DeviceKind::Cpu => processor_name(),
        "" => None,
        name => Some(name.to_owned()),
    }
}

/// The processor's name as the system knows it.
pub fn processor_name() -> Option<String> {
    let system = sysinfo::System::new_with_specifics(
        sysinfo::RefreshKind::nothing().with_cpu(sysinfo::CpuRefreshKind::nothing()),
    );
    let name = system.ok().and_then(|s| s.cpus().first().map(|cpu| cpu.brand().trim().to_owned()));
    name.filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_a_name_has_the_processors_or_none_and_never_an_empty_one() {
        let check = |kind, name: &str, expected: Option<&str>| {
            let device = Device { kind, id: "X".into(), name: name.into() };
            assert_eq!(name_of(&device).as_deref(), expected, "{device:?}");
        };
        check(DeviceKind::Cpu, "", processor_name().as_deref());
        check(DeviceKind::Cpu, "Some CPU", Some("Some CPU"));
        check(DeviceKind::Gpu, " ", None);
        assert_ne!(processor_name().as_deref(), Some(""));
    }
}
