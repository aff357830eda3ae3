use super::*;
use crate::reading::fake::FakeSystem;

const CPU: &str = "sys/devices/system/cpu";

/// A laptop with two cores of two threads, the last of which the process may not use.
fn laptop() -> FakeSystem {
    let fake = FakeSystem::new(&[
        ("proc/cpuinfo", "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2\n"),
        ("proc/self/status", "Name:\tx\nCpus_allowed_list:\t0-2\n"),
        ("proc/loadavg", "0.50 0.68 0.89 1/89 16356\n"),
        ("proc/meminfo", "MemTotal:       16000000 kB\nMemAvailable:    8000000 kB\n"),
        ("proc/sys/kernel/osrelease", "6.18.1\n"),
        ("etc/os-release", "NAME=\"Some\"\nPRETTY_NAME=\"Some Linux 12\"\n"),
        ("sys/devices/system/cpu/online", "0-3\n"),
        ("sys/class/hwmon/hwmon0/name", "nvme\n"),
        ("sys/class/hwmon/hwmon0/temp1_input", "99000\n"),
        ("sys/class/hwmon/hwmon1/name", "coretemp\n"),
        ("sys/class/hwmon/hwmon1/temp1_input", "55000\n"),
        ("sys/class/hwmon/hwmon1/temp2_input", "57500\n"),
        ("sys/class/hwmon/hwmon1/temp2_crit", "100000\n"),
        ("sys/class/power_supply/AC/type", "Mains\n"),
        ("sys/class/power_supply/AC/online", "1\n"),
        ("sys/class/power_supply/BAT0/type", "Battery\n"),
        ("sys/class/power_supply/BAT0/status", "Full\n"),
        ("sys/class/power_supply/BAT0/capacity", "80\n"),
        ("sys/module/i915/srcversion", "ABC\n"),
        ("sys/module/intel_vpu/version", "1.2\n"),
    ]);
    for core_idx in 0..4 {
        let put = |file: &str, text: &str| fake.put(&format!("{CPU}/cpu{core_idx}/{file}"), text);
        put("cpufreq/scaling_cur_freq", &format!("{}", 1_000_000 * (core_idx + 1)));
        put("cpufreq/scaling_max_freq", &format!("{}", 4_000_000 + 100_000 * core_idx));
        put("cpufreq/scaling_governor", "powersave\n");
        put("cpufreq/energy_performance_preference", "balance_power\n");
        put("topology/physical_package_id", "0");
        put("topology/core_id", &format!("{}", core_idx / 2));
        put("thermal_throttle/core_throttle_count", "7");
        put("thermal_throttle/package_throttle_count", "3");
    }
    fake
}

/// The entry for one and the same state before and after, with its nulls.
fn still(fake: &FakeSystem) -> (Conditions, BTreeMap<String, String>) {
    let snapshot = Snapshot::take(&fake.files());
    let mut nulls = BTreeMap::new();
    let libraries = BTreeMap::from([("openvino".to_owned(), "2026.4".to_owned())]);
    let found = conditions(&fake.files(), (&snapshot, &snapshot), libraries, &mut nulls);
    (found, nulls)
}

#[test]
fn a_laptop_tells_everything() {
    let (found, nulls) = still(&laptop());
    let expected = Conditions {
        cpu_model: Some("Some CPU".to_owned()),
        architecture: Some(std::env::consts::ARCH.to_owned()),
        isa_level: Some(Level::detect().name().to_owned()),
        n_cores_physical: Some(2),
        n_cores_logical: Some(4),
        cores_used: Some(vec![0, 1, 2]),
        frequency_before_mhz: Some(2000.0),
        frequency_after_mhz: Some(2000.0),
        frequency_max_mhz: Some(4200.0),
        temperature_before_c: Some(57.5),
        temperature_after_c: Some(57.5),
        n_throttle_events: Some(0),
        governor: Some("powersave/balance_power".to_owned()),
        power_source: Some(PowerSource::Mains),
        battery_percent: Some(80.0),
        load_average_before: Some(0.5),
        load_average_after: Some(0.5),
        memory_total_bytes: Some(16_000_000 * 1024),
        memory_available_bytes: Some(8_000_000 * 1024),
        cpu_quota: None,
        memory_limit_bytes: None,
        os: Some("Some Linux 12".to_owned()),
        kernel: Some("6.18.1".to_owned()),
        hypervisor: None,
        library_versions: Some(BTreeMap::from([("openvino".to_owned(), "2026.4".to_owned())])),
        driver_versions: Some(BTreeMap::from([
            ("i915".to_owned(), "kernel 6.18.1".to_owned()),
            ("intel_vpu".to_owned(), "1.2".to_owned()),
        ])),
    };
    assert_eq!(found, expected);
    assert_eq!(nulls.len(), 1);
    assert_eq!(nulls["conditions.hypervisor"], "the processor tells of no hypervisor");
}

#[test]
fn what_a_container_may_take_is_told() {
    let fake = laptop();
    let mount = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    fake.put("proc/self/mountinfo", mount);
    fake.put("proc/self/cgroup", "0::/box\n");
    fake.put("sys/fs/cgroup/box/cpu.max", "50000 100000\n");
    fake.put("sys/fs/cgroup/box/memory.max", "629145600\n");
    let (found, nulls) = still(&fake);
    assert_eq!((found.cpu_quota, found.memory_limit_bytes), (Some(0.5), Some(629_145_600)));
    assert_eq!(nulls.len(), 1, "a limit that is not there is no null");
    let json = serde_json::to_value(still(&laptop()).0).unwrap();
    assert!(json.get("cpu_quota").is_none() && json.get("memory_limit_bytes").is_none());
}

#[test]
fn what_changes_is_told_before_and_after() {
    let fake = laptop();
    let before = Snapshot::take(&fake.files());
    for core_idx in 0..4 {
        fake.put(&format!("{CPU}/cpu{core_idx}/cpufreq/scaling_cur_freq"), "1500000");
        fake.put(&format!("{CPU}/cpu{core_idx}/thermal_throttle/package_throttle_count"), "5");
    }
    // Two threads of one core count once.
    for core_idx in 0..2 {
        fake.put(&format!("{CPU}/cpu{core_idx}/thermal_throttle/core_throttle_count"), "11");
    }
    fake.put("sys/class/hwmon/hwmon1/temp1_input", "90000");
    fake.put("sys/class/power_supply/BAT0/status", "Discharging");
    fake.put("proc/loadavg", "2.00 1 1 1/1 1");
    let after = Snapshot::take(&fake.files());
    let mut nulls = BTreeMap::new();
    let found = conditions(&fake.files(), (&before, &after), BTreeMap::new(), &mut nulls);
    assert_eq!(found.frequency_before_mhz, Some(2000.0));
    assert_eq!(found.frequency_after_mhz, Some(1500.0));
    assert_eq!((found.temperature_before_c, found.temperature_after_c), (Some(57.5), Some(90.0)));
    assert_eq!((found.load_average_before, found.load_average_after), (Some(0.5), Some(2.0)));
    assert_eq!(found.n_throttle_events, Some(6));
    assert_eq!(nulls["conditions.power_source"], "the machine was unplugged in between");

    let found = conditions(&fake.files(), (&after, &before), BTreeMap::new(), &mut nulls);
    assert_eq!(found.n_throttle_events, None);
    let anew = "the count of throttle events of package 0 began anew";
    assert_eq!(nulls["conditions.n_throttle_events"], anew);
    assert_eq!(nulls["conditions.power_source"], "the machine was plugged in in between");
}

/// Nothing is told, and everything has a reason: the fields that are null are those in `nulls`.
#[test]
fn every_null_has_a_reason() {
    let (found, nulls) = still(&FakeSystem::new(&[]));
    let json = serde_json::to_value(&found).unwrap();
    let null_fields = json.as_object().unwrap().iter().filter(|(_, value)| value.is_null());
    let null_fields: BTreeMap<String, bool> =
        null_fields.map(|(field, _)| (format!("conditions.{field}"), true)).collect();
    assert_eq!(null_fields.keys().collect::<Vec<_>>(), nulls.keys().collect::<Vec<_>>());
    assert!(20 < nulls.len(), "{nulls:?}");
    for (path, reason) in &nulls {
        assert!(!reason.is_empty() && !reason.ends_with('.'), "{path}: {reason}");
    }
    let none = "no sensor of the processor under /sys/class/hwmon or /sys/class/thermal";
    assert_eq!(nulls["conditions.temperature_before_c"], none);
    assert_eq!(nulls["conditions.battery_percent"], "there is no /sys/class/power_supply");
}

#[test]
fn the_clock_is_the_processors_own_where_no_driver_tells() {
    let fake = laptop();
    fake.remove(&format!("{CPU}/cpu1/cpufreq/scaling_cur_freq"));
    let told = "processor : 0\ncpu MHz : 1000.5\n\nprocessor : 1\ncpu MHz : 2000.5\n\n\
                processor : 2\ncpu MHz : 3000.5\nflags : hypervisor\n";
    fake.put("proc/cpuinfo", told);
    assert_eq!(still(&fake).0.frequency_before_mhz, Some(2000.5));
    fake.put("proc/cpuinfo", "processor : 0\ncpu MHz : 1000.5\n");
    let reason = "there is no /sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq, and \
                  /proc/cpuinfo does not tell the clock either";
    assert_eq!(still(&fake).1["conditions.frequency_after_mhz"], reason);
}

#[test]
fn a_power_source_is_told_or_not() {
    let check = |supplies: &[(&str, &str)], expected: Result<PowerSource, &str>| {
        let fake = FakeSystem::new(&[("sys/class/power_supply/.keep", "")]);
        for (file, text) in supplies {
            fake.put(&format!("sys/class/power_supply/{file}"), text);
        }
        let found = power::source(&fake.files()).map_err(|reason| reason.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{supplies:?}");
    };
    let desktop = "/sys/class/power_supply lists nothing, as on a desktop or a server";
    check(&[], Err(desktop));
    let mouse = [("m/type", "Battery"), ("m/scope", "Device"), ("m/status", "Discharging")];
    check(&mouse, Err(desktop));
    check(&[("AC/type", "Mains"), ("AC/online", "1")], Ok(PowerSource::Mains));
    check(&[("ucsi/type", "USB"), ("ucsi/online", "1")], Ok(PowerSource::Mains));
    let unused = "neither mains nor battery is in use by AC";
    check(&[("AC/type", "Mains"), ("AC/online", "0")], Err(unused));
    let battery = ("B/type", "Battery");
    check(&[battery, ("B/status", "Discharging")], Ok(PowerSource::Battery));
    check(&[battery, ("B/status", "Not charging")], Ok(PowerSource::Mains));
    // A weak charger does not feed the machine alone.
    let charger = [("AC/type", "Mains"), ("AC/online", "1")];
    check(
        &[charger[0], charger[1], battery, ("B/status", "Discharging")],
        Ok(PowerSource::Battery),
    );
    check(&[battery, ("B/status", "Unknown")], Err("neither mains nor battery is in use by B"));
}

#[test]
fn temperatures_are_of_the_processor_alone() {
    let check = |sensors: &[(&str, &str)], expected: Result<f64, &str>| {
        let fake = FakeSystem::new(&[]);
        for (file, text) in sensors {
            fake.put(&format!("sys/class/{file}"), text);
        }
        let found = heat::temperature_c(&fake.files()).map_err(|reason| reason.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{sensors:?}");
    };
    let none = "no sensor of the processor under /sys/class/hwmon or /sys/class/thermal";
    let zone =
        |kind| [("thermal/thermal_zone0/type", kind), ("thermal/thermal_zone0/temp", "45500")];
    check(&zone("acpitz"), Err(none));
    check(&zone("x86_pkg_temp"), Ok(45.5));
    check(&zone("cpu-thermal"), Ok(45.5));
    check(&[("hwmon/hwmon0/name", "k10temp"), ("hwmon/hwmon0/temp1_input", "-2000")], Ok(-2.0));
    let name = ("hwmon/hwmon0/name", "coretemp");
    let two = [name, ("hwmon/hwmon0/temp1_input", "?"), ("hwmon/hwmon0/temp2_input", "40000")];
    check(&two, Ok(40.0));
    let held = "/sys/class/hwmon/hwmon0/temp1_input holds \"?\", expected a number";
    check(&two[..2], Err(held));
}

#[test]
fn virtual_machines_containers_and_drivers_are_named() {
    let fake = laptop();
    fake.put("proc/cpuinfo", "processor : 0\nmodel name : X\nflags : fpu hypervisor avx2\n");
    let (found, nulls) = still(&fake);
    assert_eq!(found.hypervisor.as_deref(), Some("unnamed"));
    assert_eq!(nulls, BTreeMap::new());
    fake.put("sys/class/dmi/id/sys_vendor", "QEMU\n");
    assert_eq!(still(&fake).0.hypervisor.as_deref(), Some("QEMU"));
    fake.put(".dockerenv", "");
    assert_eq!(still(&fake).0.os.as_deref(), Some("Some Linux 12 in a container"));
    fake.put("sys/module/i915/taint", "OE\n");
    assert_eq!(still(&fake).0.driver_versions.unwrap()["i915"], "source ABC");
    fake.put(&format!("{CPU}/cpu2/cpufreq/scaling_governor"), "performance");
    fake.remove(&format!("{CPU}/cpu2/cpufreq/energy_performance_preference"));
    let governors = still(&fake).0.governor.unwrap();
    assert_eq!(governors, "performance, powersave/balance_power");
}

#[test]
fn lists_of_cores_are_read_as_the_kernel_writes_them() {
    let check = |text: &str, expected: Option<&[usize]>| {
        assert_eq!(core_list(text).as_deref(), expected, "{text}");
    };
    check("0", Some(&[0]));
    check("0-2,5, 7-8", Some(&[0, 1, 2, 5, 7, 8]));
    check("", None);
    check("3-1", None);
    check("0-99999999999", None);
    check("a", None);
    check("0-65536,0-1", None);
}

/// The real machine agrees with what others say of it.
#[cfg(target_os = "linux")]
#[test]
fn this_machine_is_plausible() {
    let files = SystemFiles::of_this_system();
    let before = Snapshot::take(&files);
    let after = Snapshot::take(&files);
    let mut nulls = BTreeMap::new();
    let found = conditions(&files, (&before, &after), BTreeMap::new(), &mut nulls);
    let n_allowed = std::thread::available_parallelism().unwrap().get();
    assert!(n_allowed <= found.cores_used.unwrap().len());
    let (n_physical, n_logical) = (found.n_cores_physical.unwrap(), found.n_cores_logical.unwrap());
    assert!(1 <= n_physical && n_physical <= n_logical, "{n_physical} {n_logical}");
    let kind = sysinfo::RefreshKind::nothing()
        .with_memory(sysinfo::MemoryRefreshKind::nothing().with_ram());
    let system = sysinfo::System::new_with_specifics(kind).unwrap();
    let total = found.memory_total_bytes.unwrap();
    assert_eq!(total, system.total_memory());
    let available = found.memory_available_bytes.unwrap();
    assert!(available < total, "{available} of {total}");
    assert!(available.abs_diff(system.available_memory()) < total / 4, "{available}");
    assert_eq!(found.kernel, sysinfo::System::kernel_version().ok());
    assert!((0.0..10_000.0).contains(&found.load_average_before.unwrap()));
    for mhz in [found.frequency_before_mhz, found.frequency_after_mhz].into_iter().flatten() {
        assert!((100.0..10_000.0).contains(&mhz), "{mhz}");
    }
    for celsius in [found.temperature_before_c, found.temperature_after_c].into_iter().flatten() {
        assert!((0.0..130.0).contains(&celsius), "{celsius}");
    }
}
