//! What the machine is, and how busy.

use std::collections::BTreeSet;

use super::{core_folder, core_list};
use crate::reading::{Reading, Reason, SystemFiles, field_of};

const CPUINFO: &str = "proc/cpuinfo";

pub(super) fn cpu_model(files: &SystemFiles) -> Reading<String> {
    files.field(CPUINFO, "model name").or_else(|reason| {
        // Processors of other families are named elsewhere, in ways that a library knows.
        let kind = sysinfo::RefreshKind::nothing().with_cpu(sysinfo::CpuRefreshKind::nothing());
        let system = asked(files, &reason, || sysinfo::System::new_with_specifics(kind).ok())?;
        let brand = system.cpus().first().map(|cpu| cpu.brand().trim().to_owned());
        brand.filter(|brand| !brand.is_empty()).ok_or(reason)
    })
}

pub(super) fn n_cores_logical(files: &SystemFiles) -> Reading<usize> {
    online(files).map(|cores| cores.len()).or_else(|reason| {
        asked(files, &reason, || std::thread::available_parallelism().ok().map(usize::from))
    })
}

/// Logical cores of one core have its number in common, and that of its package.
pub(super) fn n_cores_physical(files: &SystemFiles) -> Reading<usize> {
    let counted = online(files).and_then(|cores| {
        let core = |core_idx: &usize| {
            let folder = format!("{}/topology", core_folder(*core_idx));
            let package: i64 = files.number(&format!("{folder}/physical_package_id"))?;
            Ok((package, files.number::<i64>(&format!("{folder}/core_id"))?))
        };
        cores.iter().map(core).collect::<Reading<BTreeSet<(i64, i64)>>>()
    });
    counted
        .map(|cores| cores.len())
        .or_else(|reason| asked(files, &reason, || sysinfo::System::physical_core_count().ok()))
}

/// The logical cores that this process may run on.
pub(super) fn cores_used(files: &SystemFiles) -> Reading<Vec<usize>> {
    cores_of(files.field("proc/self/status", "Cpus_allowed_list")?, "/proc/self/status")
}

pub(super) fn load_average(files: &SystemFiles) -> Reading<f64> {
    let told = files.text("proc/loadavg").and_then(|text| {
        let first = text.split_whitespace().next().and_then(|word| word.parse::<f64>().ok());
        first
            .filter(|load| load.is_finite())
            .ok_or_else(|| Reason::new(format!("/proc/loadavg holds \"{text}\"")))
    });
    // Windows has no such figure, and the library would say zero.
    if cfg!(not(unix)) {
        return told;
    }
    told.or_else(|reason| {
        asked(files, &reason, || sysinfo::System::load_average().ok()).map(|load| load.one)
    })
}

pub(super) fn memory_total_bytes(files: &SystemFiles) -> Reading<u64> {
    files
        .kib_field("proc/meminfo", "MemTotal")
        .or_else(|reason| asked_memory(files, reason, sysinfo::System::total_memory))
}

/// What a program can still get of the memory, in bytes.
///
/// # Errors
///
/// When the system does not tell.
pub fn memory_available_bytes(files: &SystemFiles) -> Reading<u64> {
    files
        .kib_field("proc/meminfo", "MemAvailable")
        .or_else(|reason| asked_memory(files, reason, sysinfo::System::available_memory))
}

/// The system's name and version, and whether it is that of a container.
pub(super) fn os(files: &SystemFiles) -> Reading<String> {
    let name = files
        .field("etc/os-release", "PRETTY_NAME")
        .or_else(|reason| asked(files, &reason, || sysinfo::System::long_os_version().ok()))?;
    let is_container = ["run/.containerenv", ".dockerenv", "run/systemd/container"]
        .into_iter()
        .any(|marker| files.exists(marker));
    Ok(if is_container { format!("{name} in a container") } else { name })
}

pub(super) fn kernel(files: &SystemFiles) -> Reading<String> {
    files
        .text("proc/sys/kernel/osrelease")
        .or_else(|reason| asked(files, &reason, || sysinfo::System::kernel_version().ok()))
}

/// The hypervisor under a virtual machine, by the name that it gives its hardware; `unnamed` where
/// it gives none.
pub(super) fn hypervisor(files: &SystemFiles) -> Reading<String> {
    let names = ["sys/hypervisor/type", "sys/class/dmi/id/sys_vendor"];
    let is_xen = files.exists(names[0]);
    let cpuinfo = files.text(CPUINFO)?;
    let flags = field_of(&cpuinfo, "flags").unwrap_or_default();
    if !is_xen && !flags.split_whitespace().any(|flag| flag == "hypervisor") {
        return Err(Reason::new("the processor tells of no hypervisor"));
    }
    let named = names.into_iter().find_map(|path| files.text(path).ok());
    Ok(named.filter(|name| !name.is_empty()).unwrap_or_else(|| "unnamed".to_owned()))
}

fn online(files: &SystemFiles) -> Reading<Vec<usize>> {
    const PATH: &str = "sys/devices/system/cpu/online";
    cores_of(files.text(PATH)?, &format!("/{PATH}"))
}

fn cores_of(list: String, path: &str) -> Reading<Vec<usize>> {
    core_list(&list).ok_or_else(|| Reason::new(format!("{path} lists the cores as \"{list}\"")))
}

fn asked_memory(
    files: &SystemFiles,
    reason: Reason,
    figure: fn(&sysinfo::System) -> u64,
) -> Reading<u64> {
    let kind = sysinfo::RefreshKind::nothing()
        .with_memory(sysinfo::MemoryRefreshKind::nothing().with_ram());
    let system = asked(files, &reason, || sysinfo::System::new_with_specifics(kind).ok())?;
    Some(figure(&system)).filter(|&n_bytes| n_bytes != 0).ok_or(reason)
}

/// Another way than the files, which only knows of the running system.
fn asked<T>(files: &SystemFiles, reason: &Reason, ask: impl FnOnce() -> Option<T>) -> Reading<T> {
    let answer = if files.is_this_system() { ask() } else { None };
    answer.ok_or_else(|| reason.clone())
}
