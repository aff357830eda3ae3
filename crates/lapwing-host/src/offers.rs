//! What each backend offers on this machine, and why a kind of device is offered by none.

use lapwing_backend::{Device, DeviceKind};
use lapwing_store::natives::{Runtime, locate};

use crate::backends::load;
use crate::hardware::DeviceFacts;
use crate::host::Host;
use crate::open_error::with_causes;
use crate::ort_plugin;

/// What one backend offers, or why it offers nothing.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Its name.
    pub backend: &'static str,
    /// That of its library; `-` where it cannot be used.
    pub version: String,
    /// Its devices, or why it has none.
    pub outcome: Result<Vec<Device>, String>,
    /// Why its plugin brings no devices, where that is not as it should be.
    pub plugin_refusal: Option<String>,
}

/// A device that no backend offers.
#[derive(Debug, Clone)]
pub struct Absent {
    /// Its kind.
    pub kind: DeviceKind,
    /// Why.
    pub reason: String,
    /// What the machine lacks for it.
    pub missing: Vec<&'static str>,
}

/// What every backend offers: a library that is missing is part of the answer.
pub fn offers(host: &Host) -> Vec<Offer> {
    Runtime::ALL.into_iter().map(|runtime| offer(runtime, host)).collect()
}

fn offer(runtime: Runtime, host: &Host) -> Offer {
    let backend = runtime.backend();
    if let Err(error) = locate(runtime, &host.store) {
        return Offer::none(backend, error.to_string());
    }
    match load(runtime, host) {
        Ok(loaded) => {
            let outcome = match loaded.devices() {
                Ok(devices) => Ok(with_test_device(runtime, devices)),
                Err(error) => Err(with_causes(&error)),
            };
            let plugin_refusal = match runtime {
                Runtime::OnnxRuntime => ort_plugin::refusal(host),
                Runtime::OpenVino => None,
            };
            Offer { backend, version: loaded.version(), outcome, plugin_refusal }
        }
        Err(error) => Offer::none(backend, with_causes(&error)),
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

/// The GPU and the NPU where no backend offers one, and why; `facts` are of this machine.
pub fn absent(offers: &[Offer], facts: [DeviceFacts; 2]) -> Vec<Absent> {
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

/// The device's name by its library, else the system's for a processor; none when neither knows.
pub fn name_of(device: &Device) -> Option<String> {
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
    use crate::hardware::fakes::Fake;

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
