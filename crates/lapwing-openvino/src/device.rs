//! What the library tells of devices, and of what runs on them.

use lapwing_backend::{Device, DeviceKind, OpenOptions, Precision};
use lapwing_formats::ir::ElementType;

use crate::native::{CompiledModel, Core, NativeError};
use crate::npu::is_npu;

/// The devices that the library finds, of the kinds that we know.
pub(crate) fn list(core: &Core) -> Result<Vec<Device>, NativeError> {
    let ids = core.device_ids()?;
    let devices = ids.into_iter().filter_map(|id| {
        let kind = match id.split('.').next()? {
            "CPU" => DeviceKind::Cpu,
            "GPU" => DeviceKind::Gpu,
            "NPU" => DeviceKind::Npu,
            _ => return None,
        };
        let name = core.property(&id, "FULL_DEVICE_NAME").unwrap_or_default();
        Some(Device { kind, id, name })
    });
    Ok(devices.collect())
}

/// The CPU, which is always there.
pub(crate) fn cpu(core: &Core) -> Device {
    let id = "CPU".to_owned();
    let name = core.property(&id, "FULL_DEVICE_NAME").unwrap_or_default();
    Device { kind: DeviceKind::Cpu, id, name }
}

/// The version of a device's driver, where its plugin tells.
pub(crate) fn driver(core: &Core, device: &Device) -> Option<String> {
    let key = match device.kind {
        DeviceKind::Cpu | DeviceKind::NpuOnCpu => return None,
        DeviceKind::Gpu => "GPU_DRIVER_VERSION",
        DeviceKind::Npu => "NPU_DRIVER_VERSION",
    };
    let version = core.property(&device.id, key).ok()?;
    let version = version.trim();
    (!version.is_empty()).then(|| version.to_owned())
}

/// The device with the name of the processor that it is: in the test device the CPU works.
pub(crate) fn processor(core: &Core, device: &Device) -> Device {
    match device.kind {
        DeviceKind::NpuOnCpu => {
            let name = core.property("CPU", "FULL_DEVICE_NAME").unwrap_or_default();
            Device { name, ..device.clone() }
        }
        DeviceKind::Cpu | DeviceKind::Gpu | DeviceKind::Npu => device.clone(),
    }
}

/// What the plugin computes in; a hidden state of another type would change what it computes.
pub(crate) fn arithmetic(core: &Core, device: &Device, options: &OpenOptions) -> ElementType {
    if options.precision == Precision::Exact {
        return ElementType::F32;
    }
    match core.property(&device.id, "INFERENCE_PRECISION_HINT").as_deref() {
        Ok("bf16") => ElementType::Bf16,
        Ok("f16") => ElementType::F16,
        _ => ElementType::F32,
    }
}

/// The device as the compiled model reports it: the library may have placed it elsewhere.
///
/// NPUW calls itself an NPU whatever it runs on, and tells in another property where that is.
pub(crate) fn executing(compiled: &CompiledModel, asked: Device) -> Result<Device, NativeError> {
    if is_npu(&asked) {
        let expected = if asked.kind == DeviceKind::NpuOnCpu { "CPU" } else { "NPU" };
        let found = compiled.property("NPUW_DEVICES")?;
        return match found.trim() == expected {
            true => Ok(asked),
            false => Err(NativeError {
                call: "asking where the model runs",
                message: format!("expected {expected} alone, found {found}"),
            }),
        };
    }
    let ids = match compiled.property("EXECUTION_DEVICES") {
        Ok(ids) if !ids.trim().is_empty() => ids.trim().to_owned(),
        _ => return Ok(asked),
    };
    let kind = ids.split(['.', ' ', ',']).next().unwrap_or_default();
    match kind.eq_ignore_ascii_case(&asked.kind.to_string()) {
        true => Ok(Device { id: ids, ..asked }),
        false => Err(NativeError {
            call: "asking where the model runs",
            message: format!("expected {}, found {ids}", asked.id),
        }),
    }
}

/// What the GPU's plugin holds for all models of this process; other plugins keep no count.
pub(crate) fn bytes_in_use(core: &Core, device: &Device) -> Option<u64> {
    if device.kind != DeviceKind::Gpu {
        return None;
    }
    let statistics = core.property(&device.id, "GPU_MEMORY_STATISTICS").ok()?;
    sum_of_statistics(&statistics)
}

/// The sum of all figures in `cl_mem 5 usm_host 7`, whatever stands between them; peaks are no
/// present use.
fn sum_of_statistics(text: &str) -> Option<u64> {
    let is_between = |letter: char| !letter.is_ascii_alphanumeric() && letter != '_';
    let (mut sum, mut is_peak) = (None, false);
    for word in text.split(is_between).filter(|word| !word.is_empty()) {
        match word.parse::<u64>() {
            Ok(n_bytes) if !is_peak => sum = sum.unwrap_or(0_u64).checked_add(n_bytes),
            Ok(_) => {}
            Err(_) => is_peak = word.contains("peak"),
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::sum_of_statistics;

    #[test]
    fn statistics_are_summed_whatever_stands_between_them() {
        let check = |text: &str, expected| assert_eq!(sum_of_statistics(text), expected, "{text}");
        check("cl_mem 5 usm_device 7", Some(12));
        check("{cl_mem:5,usm_device:7}", Some(12));
        check("usm_host_current 5 usm_host_peak 700 cl_mem_current 1", Some(6));
        check("", None);
        check("nothing", None);
        check(&format!("a {} b 1", u64::MAX), None);
    }
}
