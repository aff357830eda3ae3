use super::fakes::Fake;
use super::*;

/// The facts as `what: standing`, and the reason.
fn told(facts: &DeviceFacts) -> (Vec<String>, Option<&str>) {
    let facts_told =
        facts.facts.iter().map(|fact| format!("{}: {}", fact.what, fact.standing.name()));
    (facts_told.collect(), facts.reason.as_deref())
}

#[track_caller]
fn check(facts: &DeviceFacts, expected: &[&str], reason: Option<&str>) {
    let (found, found_reason) = told(facts);
    assert_eq!((found, found_reason), (expected.iter().map(|s| (*s).to_owned()).collect(), reason));
    for fact in &facts.facts {
        assert_eq!(fact.cure.is_empty(), fact.standing == Standing::Fine, "{fact:?}");
        assert!(!fact.found.is_empty(), "{fact:?}");
    }
}

fn fact<'a>(facts: &'a DeviceFacts, what: &str) -> &'a Fact {
    facts.facts.iter().find(|fact| fact.what == what).unwrap()
}

const NO_GPU_LIBRARIES: [&str; 2] = ["libOpenCL.so.1: absent", "libigdrcl.so: absent"];
const NO_NPU_LIBRARIES: [&str; 3] =
    ["libze_loader.so.1: absent", "libze_intel_npu.so.1: absent", "npu compiler: absent"];

#[test]
fn a_machine_without_devices_lacks_everything_and_the_device_first() {
    let fake = Fake::new();
    // A network card of Intel's is none.
    fake.os_release("debian").pci("0000:00:1f.6", "0x020000", "0x8086", "e1000e");
    let gpu = fake.machine().gpu();
    check(
        &gpu,
        &["gpu device: absent", NO_GPU_LIBRARIES[0], NO_GPU_LIBRARIES[1]],
        Some("no device"),
    );
    assert_eq!(fact(&gpu, "gpu device").found, "no Intel GPU");
    assert_eq!(fact(&gpu, "libOpenCL.so.1").cure, "sudo apt install ocl-icd-libopencl1");
    let npu = fake.machine().npu();
    let expected = [&["npu device: absent"][..], &NO_NPU_LIBRARIES].concat();
    check(&npu, &expected, Some("no device"));
    assert!(fact(&npu, "libze_intel_npu.so.1").cure.contains("intel/linux-npu-driver/releases"));
}

#[test]
fn another_makers_gpu_is_none() {
    let fake = Fake::new();
    fake.pci("0000:01:00.0", "0x030000", "0x10de", "nvidia");
    fake.node("/dev/dri/renderD128", "drm", "0x10de", "nvidia");
    let gpu = fake.machine().gpu();
    assert_eq!(gpu.reason.as_deref(), Some("no device"));
    assert_eq!(fact(&gpu, "gpu device").found, "no Intel GPU, only of 0x10de");
    // Beside one of Intel's it is in nobody's way.
    fake.node("/dev/dri/renderD129", "drm", "0x8086", "i915");
    let gpu = fake.machine().gpu();
    assert_eq!(fact(&gpu, "gpu access").found, "/dev/dri/renderD129");
    assert_eq!(gpu.reason.as_deref(), Some("libOpenCL.so.1 is missing"));
}

#[test]
fn a_device_without_a_driver_is_told_from_none() {
    let fake = Fake::new();
    fake.pci("0000:00:02.0", "0x038000", "0x8086", "");
    fake.pci("0000:00:0b.0", "0x120000", "0x8086", "");
    let gpu = fake.machine().gpu();
    let expected = ["gpu device: ok", "gpu kernel driver: broken"];
    check(&gpu, &[&expected[..], &NO_GPU_LIBRARIES].concat(), Some("no driver"));
    assert!(fact(&gpu, "gpu kernel driver").found.contains("0000:00:02.0"));
    assert!(fact(&gpu, "gpu kernel driver").cure.contains("modprobe xe"));
    let npu = fake.machine().npu();
    let expected = ["npu device: ok", "npu kernel driver: broken"];
    check(&npu, &[&expected[..], &NO_NPU_LIBRARIES].concat(), Some("no driver"));
    assert!(fact(&npu, "npu kernel driver").cure.contains("modprobe intel_vpu"));
}

#[test]
fn a_driver_without_a_device_file_is_a_container_or_a_guest() {
    let check = |driver: &str, reason: &str, cure: &str| {
        let fake = Fake::new();
        fake.pci("0000:00:02.0", "0x030000", "0x8086", driver);
        let gpu = fake.machine().gpu();
        assert_eq!(gpu.reason.as_deref(), Some(reason));
        let fact = fact(&gpu, "gpu kernel driver");
        assert!(fact.found.contains(driver) && fact.cure.contains(cure), "{fact:?}");
    };
    check("i915", "no device file", "--device /dev/dri");
    check("vfio-pci", "no driver", "modprobe");
}

#[test]
fn a_device_without_permission_names_the_group() {
    let check = |groups: &str, cure: &str| {
        let fake = Fake::new();
        fake.gpu().npu().gpu_libraries().npu_libraries();
        let node = fake.machine().below("/dev/dri/renderD128");
        let gid = std::os::unix::fs::MetadataExt::gid(&std::fs::metadata(node).unwrap());
        fake.file("/etc/group", groups.replace("GID", &gid.to_string()));
        let machine = fake.machine_without_permission();
        for (facts, what) in [(machine.gpu(), "gpu access"), (machine.npu(), "npu access")] {
            assert_eq!(facts.reason.as_deref(), Some("no permission"));
            let fact = fact(&facts, what);
            assert_eq!(fact.standing, Standing::Broken);
            assert!(fact.cure.contains(cure), "{fact:?}");
            assert_eq!(facts.missing().count(), 1);
        }
    };
    check("video:x:9998:\nrender:x:GID:\n", "sudo usermod -aG render $USER, then log in again");
    check("root:x:GID:\n", "sudo chgrp render /dev/");
}

#[test]
fn libraries_are_found_where_the_loader_looks() {
    let check = |path: &str, configure: &dyn Fn(&Fake), is_found: bool| {
        let fake = Fake::new();
        fake.gpu().library(path);
        configure(&fake);
        let reason = fake.machine().gpu().reason.unwrap();
        assert_eq!(
            reason,
            if is_found { "libigdrcl.so" } else { "libOpenCL.so.1" }.to_owned() + " is missing",
            "{path}"
        );
    };
    let nothing = |_: &Fake| {};
    check("/usr/lib64/libOpenCL.so.1", &nothing, true);
    check("/usr/lib/libOpenCL.so.1", &nothing, true);
    let multiarch = format!("/usr/lib/{}-linux-gnu/libOpenCL.so.1", std::env::consts::ARCH);
    check(&multiarch, &nothing, true);
    check("/usr/lib64/libOpenCL.so.2", &nothing, false);
    check("/opt/cl/lib/libOpenCL.so.1", &nothing, false);
    let included = |fake: &Fake| {
        fake.file("/etc/ld.so.conf", "# ours\ninclude ld.so.conf.d/*.conf\n");
        fake.file("/etc/ld.so.conf.d/cl.conf", "/opt/cl/lib # OpenCL\n");
    };
    check("/opt/cl/lib/libOpenCL.so.1", &included, true);
    let other_name = |fake: &Fake| {
        fake.file("/etc/ld.so.conf", "include ld.so.conf.d/*.conf\n");
        fake.file("/etc/ld.so.conf.d/cl.txt", "/opt/cl/lib\n");
    };
    check("/opt/cl/lib/libOpenCL.so.1", &other_name, false);
    let endless = |fake: &Fake| {
        fake.file("/etc/ld.so.conf", "include /etc/ld.so.conf\n/opt/cl/lib\n");
    };
    check("/opt/cl/lib/libOpenCL.so.1", &endless, true);
    let of_32_bits = |fake: &Fake| {
        fake.file("/usr/lib64/libOpenCL.so.1", [&b"\x7fELF\x01\x01"[..], &[0; 60]].concat());
    };
    check("/usr/lib64/libOpenCL.so.1", &of_32_bits, false);
    let cut_off = |fake: &Fake| {
        fake.file("/usr/lib64/libOpenCL.so.1", "\x7fELF\x02\x01");
    };
    check("/usr/lib64/libOpenCL.so.1", &cut_off, false);
}

#[test]
fn the_library_path_and_openvinos_own_folder_are_looked_through() {
    let fake = Fake::new();
    fake.gpu().library("/opt/cl/libOpenCL.so.1");
    let mut machine = fake.machine();
    let missing = |machine: &Machine| machine.gpu().reason.unwrap();
    assert_eq!(missing(&machine), "libOpenCL.so.1 is missing");
    machine.library_folders = libraries::split("relative:/opt/cl:".as_ref());
    assert_eq!(missing(&machine), "libigdrcl.so is missing");
    machine.library_folders.clear();
    machine.openvino = Some(machine.below("/opt/cl"));
    assert_eq!(missing(&machine), "libigdrcl.so is missing");
}

#[test]
fn the_opencl_driver_is_the_one_that_a_file_names() {
    let check = |entry: &str, named: &str, library: &str, expected: Result<bool, &str>| {
        let fake = Fake::new();
        fake.gpu().library("/usr/lib64/libOpenCL.so.1").library(library).file(entry, named);
        let gpu = fake.machine().gpu();
        let fact = fact(&gpu, "libigdrcl.so");
        match expected {
            Ok(true) => assert_eq!(gpu.reason, None, "{fact:?}"),
            Ok(false) => assert_eq!(fact.standing, Standing::Absent, "{fact:?}"),
            Err(found) => {
                assert_eq!(fact.standing, Standing::Broken, "{fact:?}");
                assert!(fact.found.contains(found), "{fact:?}");
            }
        }
    };
    let (entry, library) = ("/etc/OpenCL/vendors/intel.icd", "/opt/intel/libigdrcl.so");
    check(entry, "/opt/intel/libigdrcl.so\n", library, Ok(true));
    check(entry, "libigdrcl.so", "/usr/lib64/libigdrcl.so", Ok(true));
    check(entry, "libigdrcl.so", library, Err("names libigdrcl.so, which cannot be loaded"));
    check(entry, "/gone/libigdrcl.so\n", library, Err("intel.icd names /gone/libigdrcl.so"));
    check("/etc/OpenCL/vendors/pocl.icd", "libpocl.so.2", library, Ok(false));
    check("/etc/OpenCL/vendors/intel.icd.bak", "libigdrcl.so", library, Ok(false));
}

#[test]
fn an_old_level_zero_loader_knows_the_drivers_old_name_only() {
    let check = |version: &str, driver: &str, expected: Option<&str>| {
        let fake = Fake::new();
        fake.npu().library(&format!("/usr/lib64/libze_loader.so.{version}"));
        fake.link("/usr/lib64/libze_loader.so.1", &format!("libze_loader.so.{version}"));
        fake.library("/usr/lib64/libnpu_driver_compiler.so");
        fake.library(&format!("/usr/lib64/{driver}"));
        assert_eq!(fake.machine().npu().reason.as_deref(), expected, "{version} {driver}");
    };
    let (new, old) = ("libze_intel_npu.so.1", "libze_intel_vpu.so.1");
    check("1.17.17", new, None);
    check("1.26.0", new, None);
    check("1.26.0", old, None);
    check("1.8.12", old, None);
    check("1.8.12", new, Some("Level Zero is too old"));
    check("1.26.0", "other.so", Some("libze_intel_npu.so.1 is missing"));
}

#[test]
fn compilers_beside_openvino_come_first() {
    let fake = Fake::new();
    fake.npu();
    let mut machine = fake.machine();
    machine.openvino = Some(machine.below("/opt/openvino"));
    assert_eq!(machine.npu_compiler(), None);
    fake.npu_libraries();
    assert_eq!(machine.npu_compiler(), Some(NpuCompiler::Driver));
    fake.library("/opt/openvino/libopenvino_intel_npu_compiler_loader.so");
    assert_eq!(machine.npu_compiler(), Some(NpuCompiler::Plugin));
}

#[test]
fn a_machine_with_everything_lacks_nothing() {
    let fake = Fake::new();
    fake.gpu().npu().gpu_libraries().npu_libraries();
    let [device, driver, access] = ["device", "kernel driver", "access"]
        .map(|what| ["gpu", "npu"].map(|kind| format!("{kind} {what}: ok")));
    let common = |idx: usize| [&*device[idx], &driver[idx], &access[idx]];
    let gpu = [&common(0)[..], &["libOpenCL.so.1: ok", "libigdrcl.so: ok"]].concat();
    check(&fake.machine().gpu(), &gpu, None);
    let libraries = ["libze_loader.so.1: ok", "libze_intel_npu.so.1: ok", "npu compiler: ok"];
    check(&fake.machine().npu(), &[&common(1)[..], &libraries].concat(), None);
}

#[test]
fn other_systems_are_not_known() {
    let fake = Fake::new();
    let machine = Machine { system: "macos", ..fake.machine() };
    for facts in [machine.gpu(), machine.npu()] {
        assert_eq!(facts.facts.len(), 1);
        assert_eq!(facts.facts[0].found, "not known on this system (macos)");
        assert_eq!(facts.reason.as_deref(), Some("not known on this system"));
    }
    assert_eq!(machine.facts(DeviceKind::Cpu), None);
    assert_eq!(machine.facts(DeviceKind::NpuOnCpu), None);
}

#[test]
fn windows_guests_are_told_that_they_are_not_supported() {
    let fake = Fake::new();
    fake.file("/dev/dxg", "");
    let gpu = fake.machine().gpu();
    assert_eq!(gpu.reason.as_deref(), Some("no device"));
    assert!(fact(&gpu, "gpu device").cure.contains("not supported under WSL2"));
}
