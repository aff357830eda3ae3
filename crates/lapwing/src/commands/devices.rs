//! `lapwing devices`: what this machine has, and which backend can use it.

use lapwing_backend::{Device, DeviceKind};
use lapwing_host::hardware::DeviceFacts;
use lapwing_host::ledger::Tried;
use lapwing_host::ort_plugin;
use lapwing_host::trial::Failure;
use lapwing_logits::Level;
use lapwing_store::natives::{Runtime, locate};
use serde_json::{Value, json};

use crate::cli::DevicesArgs;
use crate::interrupt;
use crate::printer::Printer;
use crate::settings::Settings;

/// What one backend offers, or why it offers nothing.
struct Offer {
    backend: &'static str,
    version: String,
    outcome: Result<Vec<Device>, String>,
    /// Why its plugin brings no devices, where that is not as it should be.
    plugin_refusal: Option<String>,
}

/// A device that no backend offers.
struct Absent {
    kind: DeviceKind,
    reason: String,
    missing: Vec<&'static str>,
}

/// List the devices of every backend.
///
/// # Errors
///
/// When stdout cannot be written. A backend that is missing is part of the answer.
pub fn run(settings: &Settings, printer: &Printer, args: &DevicesArgs) -> anyhow::Result<()> {
    if args.forget {
        return forget(settings, printer, args);
    }
    let offers: Vec<Offer> =
        Runtime::ALL.into_iter().map(|runtime| offer(runtime, settings)).collect();
    let machine = settings.host.machine();
    let absent = absent(&offers, [machine.gpu(), machine.npu()]);
    let levels: Vec<String> = Level::available().map(|level| level.name().to_owned()).collect();
    let trials = settings.host.ledger().trials().into_iter();
    let is_harm = |tried: &Tried| tried.failure.as_ref().is_some_and(Failure::is_harm);
    let failed: Vec<Tried> = trials.filter(is_harm).collect();
    if args.json {
        let mut report = as_json(&offers, &absent, &levels);
        report["failed_trials"] = json!(failed);
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

fn offer(runtime: Runtime, settings: &Settings) -> Offer {
    let backend = runtime.backend();
    if let Err(error) = locate(runtime, &settings.host.store) {
        return Offer::none(backend, error.to_string());
    }
    match lapwing_host::load(runtime, &settings.host) {
        Ok(loaded) => {
            let outcome = match loaded.devices() {
                Ok(devices) => Ok(with_test_device(runtime, devices)),
                Err(error) => Err(format!("{:#}", anyhow::Error::new(error))),
            };
            let plugin_refusal = match runtime {
                Runtime::OnnxRuntime => ort_plugin::refusal(&settings.host),
                Runtime::OpenVino => None,
            };
            Offer { backend, version: loaded.version(), outcome, plugin_refusal }
        }
        Err(error) => Offer::none(backend, format!("{:#}", anyhow::Error::new(error))),
    }
}

impl Offer {
    /// Of a library that cannot be used.
    fn none(backend: &'static str, reason: String) -> Offer {
        Offer { backend, version: "-".to_owned(), outcome: Err(reason), plugin_refusal: None }
    }
}

/// The devices, and the one that no library lists: it works wherever OpenVINO has its NPU plugin.
fn with_test_device(runtime: Runtime, mut devices: Vec<Device>) -> Vec<Device> {
    let is_listed = devices.iter().any(|device| device.kind == DeviceKind::NpuOnCpu);
    if runtime == Runtime::OpenVino && cfg!(target_arch = "x86_64") && !is_listed {
        devices.push(Device {
            kind: DeviceKind::NpuOnCpu,
            id: "NPU:CPU".to_owned(),
            name: "test device: the NPU path on the CPU".to_owned(),
        });
    }
    devices
}

/// The GPU and the NPU where no backend offers one, and why.
fn absent(offers: &[Offer], facts: [DeviceFacts; 2]) -> Vec<Absent> {
    let is_offered = |kind: DeviceKind| {
        let offered = offers.iter().filter_map(|offer| offer.outcome.as_ref().ok()).flatten();
        offered.into_iter().any(|device| device.kind == kind)
    };
    let openvino = offers.iter().find(|offer| offer.backend == "openvino");
    let is_loaded = openvino.is_some_and(|offer| offer.outcome.is_ok());
    facts
        .into_iter()
        .filter(|facts| !is_offered(facts.kind))
        .map(|facts| Absent {
            kind: facts.kind,
            missing: facts.missing().map(|fact| fact.what).collect(),
            reason: facts.reason.unwrap_or_else(|| match is_loaded {
                true => "its driver offers nothing to OpenVINO".to_owned(),
                false => "OpenVINO is needed".to_owned(),
            }),
        })
        .collect()
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
    use lapwing_host::hardware::fakes::Fake;

    #[test]
    fn devices_that_no_backend_offers_are_absent_for_a_reason() {
        let fake = Fake::new();
        fake.gpu().npu().npu_libraries();
        let offer = |backend, devices: Option<&[DeviceKind]>| {
            let device = |&kind| Device { kind, id: "X".into(), name: String::new() };
            let devices = devices.map(|kinds| kinds.iter().map(device).collect());
            let outcome = devices.ok_or("gone".to_owned());
            Offer { backend, version: "1".into(), outcome, plugin_refusal: None }
        };
        let check = |openvino: Option<&[DeviceKind]>, expected: &[(DeviceKind, &str)]| {
            let offers = [offer("ort", Some(&[DeviceKind::Cpu])), offer("openvino", openvino)];
            let machine = fake.machine();
            let found = absent(&offers, [machine.gpu(), machine.npu()]);
            let told: Vec<_> = found.iter().map(|absent| (absent.kind, &*absent.reason)).collect();
            assert_eq!(told, expected);
            for absent in found {
                let is_gpu = absent.kind == DeviceKind::Gpu;
                let missing: &[&str] =
                    if is_gpu { &["libOpenCL.so.1", "libigdrcl.so"] } else { &[] };
                assert_eq!(absent.missing, missing);
            }
        };
        let (gpu, npu) = (DeviceKind::Gpu, DeviceKind::Npu);
        let no_library = (gpu, "libOpenCL.so.1 is missing");
        let no_offer = (npu, "its driver offers nothing to OpenVINO");
        check(Some(&[DeviceKind::Cpu, DeviceKind::NpuOnCpu]), &[no_library, no_offer]);
        check(Some(&[DeviceKind::Cpu, gpu]), &[no_offer]);
        check(Some(&[DeviceKind::Cpu, gpu, npu]), &[]);
        check(None, &[no_library, (npu, "OpenVINO is needed")]);
    }

    #[test]
    fn the_test_device_is_listed_once_and_where_it_works() {
        let cpu = Device { kind: DeviceKind::Cpu, id: "CPU".into(), name: String::new() };
        let n_listed =
            |runtime, devices: &[Device]| with_test_device(runtime, devices.into()).len();
        let n_expected = if cfg!(target_arch = "x86_64") { 2 } else { 1 };
        assert_eq!(n_listed(Runtime::OpenVino, std::slice::from_ref(&cpu)), n_expected);
        assert_eq!(n_listed(Runtime::OnnxRuntime, std::slice::from_ref(&cpu)), 1);
        let both = with_test_device(Runtime::OpenVino, vec![cpu]);
        assert_eq!(n_listed(Runtime::OpenVino, &both), both.len());
        assert!(verified(DeviceKind::Npu).contains("not verified"));
    }

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
