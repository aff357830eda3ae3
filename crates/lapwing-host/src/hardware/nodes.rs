//! The kernel's side of a device: what is on the bus, who drives it, and the file to open.

use std::io;
use std::path::{Path, PathBuf};

use lapwing_files::regular::{self, N_TEXT_BYTES_MAX};

use super::{DeviceFacts, Machine};
use crate::fact::Fact;

/// Intel, as PCI numbers makers.
const INTEL: &str = "0x8086";

/// Where the kernel shows one kind of device.
#[derive(Debug)]
pub(super) struct Kind {
    /// What the facts are called.
    pub(super) device: &'static str,
    driver: &'static str,
    access: &'static str,
    /// In words.
    name: &'static str,
    folder: &'static str,
    prefix: &'static str,
    class_folder: &'static str,
    /// How the class of such devices begins on the PCI bus.
    pci_class: &'static str,
    /// The kernel's drivers for them.
    drivers: &'static [&'static str],
    /// Where there is none.
    no_device: &'static str,
    /// Where nothing drives it.
    no_driver: &'static str,
    in_container: &'static str,
}

/// An Intel GPU.
pub(super) const GPU: Kind = Kind {
    device: "gpu device",
    driver: "gpu kernel driver",
    access: "gpu access",
    name: "Intel GPU",
    folder: "/dev/dri",
    prefix: "renderD",
    class_folder: "/sys/class/drm",
    pci_class: "0x03",
    drivers: &["i915", "xe"],
    no_device: "nothing to install: it takes a computer with an Intel GPU",
    no_driver: "sudo modprobe xe (i915 for GPUs before Lunar Lake); where that fails, a newer \
        kernel or the firmware of the distribution (linux-firmware) is needed",
    in_container: "in a container, hand it on: --device /dev/dri",
};

/// An Intel NPU.
pub(super) const NPU: Kind = Kind {
    device: "npu device",
    driver: "npu kernel driver",
    access: "npu access",
    name: "Intel NPU",
    folder: "/dev/accel",
    prefix: "accel",
    class_folder: "/sys/class/accel",
    pci_class: "0x1200",
    drivers: &["intel_vpu"],
    no_device: "nothing to install: it takes a processor with an Intel NPU (Core Ultra), switched \
        on in the firmware's set-up",
    no_driver: "sudo modprobe intel_vpu; where that fails, a kernel of 6.8 or later or the \
        firmware of the distribution (linux-firmware) is needed",
    in_container: "in a container, hand it on: --device /dev/accel",
};

/// A device of Intel's.
struct Found {
    /// Where: a device file or an address on the bus.
    place: PathBuf,
    /// Maker and product, as `8086:64a0`.
    id: String,
    driver: Option<String>,
}

/// Look for a kind of device, its driver and its file.
pub(super) fn look(machine: &Machine, kind: &Kind, facts: &mut DeviceFacts) {
    let nodes = nodes(machine, kind);
    let on_bus = on_bus(machine, kind);
    let Some(first) = nodes.first().or(on_bus.first()) else {
        facts.lack("no device", no_device(machine, kind));
        return;
    };
    let all = if nodes.is_empty() { &on_bus } else { &nodes };
    let ids: Vec<&str> = all.iter().map(|found| &*found.id).collect();
    facts.add(Fact::fine(kind.device, format!("{} {}", kind.name, ids.join(", "))));
    let driver = all.iter().find_map(|found| found.driver.as_deref());
    match (nodes.is_empty(), driver) {
        // Who made the file drives the device, named or not.
        (false, driver) => {
            facts.add(Fact::fine(kind.driver, driver.unwrap_or("of unknown name")));
            access(machine, kind, &nodes, facts);
        }
        (true, None) => {
            let place = machine.shown(&first.place);
            let found = format!("none for {place}: the kernel module is missing");
            facts.lack("no driver", Fact::broken(kind.driver, found, kind.no_driver));
        }
        (true, Some(driver)) => {
            let found = format!("{driver}, but no {}/{}*", kind.folder, kind.prefix);
            // Another driver is one that hands the device to a virtual machine.
            let is_ours = kind.drivers.contains(&driver);
            let cure = if is_ours { kind.in_container } else { kind.no_driver };
            let reason = if is_ours { "no device file" } else { "no driver" };
            facts.lack(reason, Fact::broken(kind.driver, found, cure));
        }
    }
}

/// Whether one of the device files can be opened.
fn access(machine: &Machine, kind: &Kind, nodes: &[Found], facts: &mut DeviceFacts) {
    let mut refused = None;
    for node in nodes {
        match (machine.open)(&node.place) {
            Ok(()) => {
                facts.add(Fact::fine(kind.access, machine.shown(&node.place)));
                return;
            }
            Err(error) => {
                refused.get_or_insert((&node.place, error));
            }
        }
    }
    let Some((path, error)) = refused else { return };
    let shown = machine.shown(path);
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let group = group(machine, path);
            let owner = group.as_deref().unwrap_or("an unknown group");
            let found = format!("{shown} belongs to {owner}: permission denied");
            let cure = match group.as_deref() {
                Some("root") | None => format!(
                    "sudo chgrp render {shown} && sudo chmod g+rw {shown} (a udev rule keeps it), \
                     then sudo usermod -aG render $USER and log in again"
                ),
                Some(group) => format!("sudo usermod -aG {group} $USER, then log in again"),
            };
            facts.lack("no permission", Fact::broken(kind.access, found, cure));
        }
        _ => {
            let found = format!("{shown} cannot be opened: {error}");
            let cure = "the kernel's log tells why: sudo dmesg";
            facts.lack("device cannot be opened", Fact::broken(kind.access, found, cure));
        }
    }
}

/// What there is instead of a device.
fn no_device(machine: &Machine, kind: &Kind) -> Fact {
    if machine.below("/dev/dxg").exists() {
        let found = "/dev/dxg tells of WSL2";
        let cure = "not supported under WSL2: Lapwing needs Linux itself for this device";
        return Fact::absent(kind.device, found, cure);
    }
    let mut others = makers(machine, kind);
    others.retain(|maker| maker != INTEL);
    let found = match others.is_empty() {
        true => format!("no {}", kind.name),
        false => format!("no {}, only of {}", kind.name, others.join(", ")),
    };
    Fact::absent(kind.device, found, kind.no_device)
}

/// Intel's device files of a kind.
fn nodes(machine: &Machine, kind: &Kind) -> Vec<Found> {
    let is_node = |path: &PathBuf| starts_with(path, kind.prefix);
    let files = entries(&machine.below(kind.folder)).filter(is_node);
    files
        .filter_map(|place| {
            let name = place.file_name()?.to_owned();
            let device = machine.below(kind.class_folder).join(name).join("device");
            of_intel(place, &device)
        })
        .collect()
}

/// Intel's devices of a kind on the PCI bus, driven or not.
fn on_bus(machine: &Machine, kind: &Kind) -> Vec<Found> {
    pci(machine, kind).filter_map(|device| of_intel(device.clone(), &device)).collect()
}

/// The makers of a kind of device on the PCI bus.
fn makers(machine: &Machine, kind: &Kind) -> Vec<String> {
    let mut makers: Vec<String> =
        pci(machine, kind).filter_map(|device| word(&device.join("vendor"))).collect();
    makers.dedup();
    makers
}

fn pci<'a>(machine: &Machine, kind: &'a Kind) -> impl Iterator<Item = PathBuf> + use<'a> {
    let of_class = |device: &PathBuf| {
        word(&device.join("class")).is_some_and(|class| class.starts_with(kind.pci_class))
    };
    entries(&machine.below("/sys/bus/pci/devices")).filter(of_class)
}

/// What the kernel says in the folder `device`, where that is Intel's.
fn of_intel(place: PathBuf, device: &Path) -> Option<Found> {
    word(&device.join("vendor")).filter(|maker| maker == INTEL)?;
    let product = word(&device.join("device")).unwrap_or_default();
    let driver = std::fs::read_link(device.join("driver")).ok();
    let driver = driver.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let bare = |number: &str| number.trim_start_matches("0x").to_owned();
    Some(Found { place, id: format!("{}:{}", bare(INTEL), bare(&product)), driver })
}

/// The group of a file, by name; its number where it has none.
fn group(machine: &Machine, path: &Path) -> Option<String> {
    let gid = group_id(path)?.to_string();
    let groups =
        regular::read_text(&machine.below("/etc/group"), N_TEXT_BYTES_MAX).unwrap_or_default();
    let named = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == gid).then(|| name.to_owned())
    });
    Some(named.unwrap_or(gid))
}

#[cfg(unix)]
fn group_id(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).ok().map(|metadata| metadata.gid())
}

#[cfg(not(unix))]
fn group_id(_path: &Path) -> Option<u32> {
    None
}

/// The only word of a file.
fn word(path: &Path) -> Option<String> {
    regular::read_text(path, N_TEXT_BYTES_MAX).ok().map(|text| text.trim().to_owned())
}

/// The entries of a folder, sorted; none when it is not there.
pub(super) fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths.into_iter()
}

fn starts_with(path: &Path, prefix: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
}
