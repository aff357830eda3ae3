use super::*;
use crate::reading::fake::FakeSystem;

const PACKAGE: &str = "sys/class/powercap/intel-rapl:0";

/// One package that shows 1000 J of 262 144 J, with its cores and its memory.
fn one_package() -> FakeSystem {
    FakeSystem::new(&[
        ("sys/class/powercap/intel-rapl/enabled", "1"),
        ("sys/class/powercap/intel-rapl:0/name", "package-0\n"),
        ("sys/class/powercap/intel-rapl:0/energy_uj", "1000000000\n"),
        ("sys/class/powercap/intel-rapl:0/max_energy_range_uj", "262144000000\n"),
        ("sys/class/powercap/intel-rapl:0:0/name", "core"),
        ("sys/class/powercap/intel-rapl:0:0/energy_uj", "500000000"),
        ("sys/class/powercap/intel-rapl:0:0/max_energy_range_uj", "262144000000"),
    ])
}

fn put_domain(fake: &FakeSystem, folder: &str, name: &str, energy_uj: &str) {
    let folder = format!("sys/class/powercap/{folder}");
    fake.put(&format!("{folder}/name"), name);
    fake.put(&format!("{folder}/energy_uj"), energy_uj);
    fake.put(&format!("{folder}/max_energy_range_uj"), "262144000000");
}

fn on_battery(extra: &[(&str, &str)]) -> FakeSystem {
    let fake = FakeSystem::new(&[
        ("sys/class/power_supply/AC/type", "Mains"),
        ("sys/class/power_supply/AC/online", "0"),
        ("sys/class/power_supply/BAT0/type", "Battery"),
        ("sys/class/power_supply/BAT0/status", "Discharging"),
        ("sys/class/power_supply/hid-mouse/type", "Battery"),
        ("sys/class/power_supply/hid-mouse/scope", "Device"),
        ("sys/class/power_supply/hid-mouse/status", "Discharging"),
    ]);
    for (file, text) in extra {
        fake.put(&format!("sys/class/power_supply/BAT0/{file}"), text);
    }
    fake
}

/// One window of `seconds` with `change` at its end.
fn window(
    meter: &mut EnergyMeter,
    started: Instant,
    from_s: f64,
    to_s: f64,
    change: impl FnOnce(),
) {
    let counters = meter.counters();
    meter.begin_at(started + Duration::from_secs_f64(from_s), counters);
    change();
    let counters = meter.counters();
    meter.end_at(started + Duration::from_secs_f64(to_s), counters);
}

fn energy(meter: &EnergyMeter) -> Reading<Energy> {
    meter.energy(Ok(0.0), 10, &mut BTreeMap::new())
}

fn why(meter: &EnergyMeter) -> String {
    energy(meter).unwrap_err().to_string()
}

fn why_closed(fake: &FakeSystem) -> String {
    EnergyMeter::open(&fake.files()).unwrap_err().to_string()
}

#[test]
fn windows_add_up_and_idle_power_is_subtracted() {
    let fake = one_package();
    let mut meter = EnergyMeter::open(&fake.files()).unwrap();
    let started = Instant::now();
    let counter = format!("{PACKAGE}/energy_uj");
    window(&mut meter, started, 0.0, 2.0, || fake.put(&counter, "1030000000"));
    // What is counted between windows counts not.
    fake.put(&counter, "1100000000");
    window(&mut meter, started, 5.0, 6.0, || fake.put(&counter, "1110000000"));
    let mut nulls = BTreeMap::new();
    let found = meter.energy(Ok(4.0), 56, &mut nulls).unwrap();
    let expected = Energy {
        source: EnergySource::Rapl,
        sensors: vec!["package-0".to_owned()],
        measured_s: 3.0,
        total_energy_j: 40.0,
        idle_power_w: Some(4.0),
        energy_j: Some(28.0),
        n_tokens: 56,
        joules_per_token: Some(0.5),
    };
    assert_eq!(found, expected);
    assert_eq!(nulls, BTreeMap::new());
}

#[test]
fn what_cannot_be_derived_is_null_with_a_reason() {
    let fake = one_package();
    let mut meter = EnergyMeter::open(&fake.files()).unwrap();
    let counter = format!("{PACKAGE}/energy_uj");
    window(&mut meter, Instant::now(), 0.0, 2.0, || fake.put(&counter, "1010000000"));
    let check = |idle: Reading<f64>, n_tokens: u64, expected: &[(&str, &str)]| {
        let mut nulls = BTreeMap::new();
        let found = meter.energy(idle, n_tokens, &mut nulls).unwrap();
        assert_eq!(found.total_energy_j, 10.0);
        let expected = expected.iter().map(|(key, why)| (format!("energy.{key}"), why.to_string()));
        assert_eq!(nulls, expected.collect());
        assert_eq!(found.idle_power_w.is_none(), nulls.contains_key("energy.idle_power_w"));
        assert_eq!(found.energy_j.is_none(), nulls.contains_key("energy.energy_j"));
        assert_eq!(found.joules_per_token.is_none(), nulls.contains_key("energy.joules_per_token"));
    };
    let less = "the sensor counted less than when the machine was idle";
    let unknown = "the idle power is unknown: not asked";
    check(Ok(1.0), 5, &[]);
    check(Ok(5.0), 5, &[]);
    check(Ok(5.1), 5, &[("energy_j", less), ("joules_per_token", less)]);
    check(Ok(1.0), 0, &[("joules_per_token", "no tokens were read or produced")]);
    let expected =
        [("idle_power_w", "not asked"), ("energy_j", unknown), ("joules_per_token", unknown)];
    check(Err(Reason::new("not asked")), 5, &expected);
}

#[test]
fn idle_power_is_measured_and_begins_anew() {
    let fake = one_package();
    let counter = format!("{PACKAGE}/energy_uj");
    let mut meter = EnergyMeter::open(&fake.files()).unwrap();
    window(&mut meter, Instant::now(), 0.0, 2.0, || fake.put(&counter, "1030000000"));
    let watts = meter.idle_power_w(&mut || {
        std::thread::sleep(Duration::from_millis(120));
        fake.put(&counter, "1031000000");
    });
    // One joule in at least 120 ms.
    let watts = watts.unwrap();
    assert!((0.02..=1.0 / 0.12).contains(&watts), "{watts}");
    assert_eq!(why(&meter), "nothing ran while the sensors were read");
    let still = meter.idle_power_w(&mut || ()).unwrap_err().to_string();
    assert!(still.starts_with("the sensor is too slow for 0.0"), "{still}");
}

#[test]
fn a_counter_that_starts_again_is_counted_on() {
    let fake = one_package();
    let counter = format!("{PACKAGE}/energy_uj");
    fake.put(&counter, "262140000000");
    let mut meter = EnergyMeter::open(&fake.files()).unwrap();
    window(&mut meter, Instant::now(), 0.0, 1.0, || fake.put(&counter, "6000000"));
    assert_eq!(energy(&meter).unwrap().total_energy_j, 10.0);

    // Beyond its own range: it was not the end of the range that set it back.
    fake.put(&counter, "262145000000");
    let mut meter = EnergyMeter::open(&fake.files()).unwrap();
    window(&mut meter, Instant::now(), 0.0, 1.0, || fake.put(&counter, "6000000"));
    assert_eq!(why(&meter), "/sys/class/powercap/intel-rapl:0/energy_uj went back");

    fake.remove(&format!("{PACKAGE}/max_energy_range_uj"));
    let mut meter = EnergyMeter::open(&fake.files()).unwrap();
    window(&mut meter, Instant::now(), 0.0, 1.0, || fake.put(&counter, "262146000000"));
    assert_eq!(energy(&meter).unwrap().total_energy_j, 262_140.0);
    window(&mut meter, Instant::now(), 1.0, 2.0, || fake.put(&counter, "1"));
    let expected = "/sys/class/powercap/intel-rapl:0/energy_uj started again from zero, and there \
                    is no /sys/class/powercap/intel-rapl:0/max_energy_range_uj";
    assert_eq!(why(&meter), expected);
}

#[test]
fn packages_with_their_memory_are_added_and_nothing_twice() {
    let check = |fake: &FakeSystem, expected: &[&str]| {
        let meter = EnergyMeter::open(&fake.files()).unwrap();
        assert_eq!(meter.source(), EnergySource::Rapl);
        let Sensor::Rapl(rapl) = &meter.sensor else { panic!("{meter:?}") };
        assert_eq!(rapl.names(), expected);
    };
    let fake = one_package();
    put_domain(&fake, "intel-rapl-mmio:0", "package-0", "7");
    put_domain(&fake, "intel-rapl:0:1", "uncore", "7");
    check(&fake, &["package-0"]);
    put_domain(&fake, "intel-rapl:2", "psys", "7");
    put_domain(&fake, "intel-rapl:1", "package-1", "2000000000");
    put_domain(&fake, "intel-rapl:0:2", "dram", "7");
    check(&fake, &["package-0", "dram", "package-1"]);
    let mut meter = EnergyMeter::open(&fake.files()).unwrap();
    window(&mut meter, Instant::now(), 0.0, 1.0, || {
        fake.put(&format!("{PACKAGE}/energy_uj"), "1001000000");
        fake.put("sys/class/powercap/intel-rapl:1/energy_uj", "2002000000");
        fake.put("sys/class/powercap/intel-rapl:0:2/energy_uj", "4000007");
        fake.put("sys/class/powercap/intel-rapl:2/energy_uj", "900000000");
    });
    assert_eq!(energy(&meter).unwrap().total_energy_j, 7.0);

    let platform = FakeSystem::new(&[]);
    put_domain(&platform, "intel-rapl:0", "psys", "1");
    check(&platform, &["psys"]);
    let mapped = FakeSystem::new(&[]);
    put_domain(&mapped, "intel-rapl-mmio:0", "package-0", "1");
    check(&mapped, &["package-0"]);
}

#[test]
fn without_a_sensor_the_reason_names_what_is_missing() {
    let none = "no energy counter of the processor (there is no /sys/class/powercap)";
    assert_eq!(why_closed(&FakeSystem::new(&[])), format!("{none}; no battery"));
    let empty = FakeSystem::new(&[("sys/class/powercap/dtpm/enabled", "0")]);
    let none = "no energy counter of the processor (/sys/class/powercap lists no package)";
    assert_eq!(why_closed(&empty), format!("{none}; no battery"));

    let fake = one_package();
    put_domain(&fake, "intel-rapl:1", "package-1", "1");
    fake.break_file("sys/class/powercap/intel-rapl:1/energy_uj");
    let expected = "cannot read /sys/class/powercap/intel-rapl:1/energy_uj: ";
    assert!(why_closed(&fake).starts_with(expected), "{}", why_closed(&fake));
}

/// Kernels show the counters to root alone.
#[cfg(unix)]
#[test]
fn a_counter_without_permission_says_how_to_get_it() {
    use std::os::unix::fs::PermissionsExt;
    let fake = one_package();
    let counter = fake.place_of(&format!("{PACKAGE}/energy_uj"));
    std::fs::set_permissions(&counter, std::fs::Permissions::from_mode(0o0)).unwrap();
    if std::fs::read(&counter).is_ok() {
        eprintln!("skipped: root reads every file");
        return;
    }
    let expected = "no permission to read /sys/class/powercap/intel-rapl:0/energy_uj, which root \
                    can allow with chmod a+r; no battery";
    assert_eq!(why_closed(&fake), expected);
}

#[test]
fn a_sensor_that_fails_in_between_tells_nothing() {
    let fake = one_package();
    let counter = format!("{PACKAGE}/energy_uj");
    let mut meter = EnergyMeter::open(&fake.files()).unwrap();
    window(&mut meter, Instant::now(), 0.0, 1.0, || fake.put(&counter, "1001000000"));
    window(&mut meter, Instant::now(), 1.0, 2.0, || fake.remove(&counter));
    assert_eq!(why(&meter), format!("there is no /{counter}"));
    // A later window cannot make up for it.
    fake.put(&counter, "1000000000");
    window(&mut meter, Instant::now(), 2.0, 3.0, || fake.put(&counter, "1001000000"));
    assert_eq!(why(&meter), format!("there is no /{counter}"));
    // The idle time before the next configuration makes it as new.
    let idle = meter.idle_power_w(&mut || ()).unwrap_err().to_string();
    assert!(idle.starts_with("the sensor is too slow"), "{idle}");
    window(&mut meter, Instant::now(), 3.0, 4.0, || fake.put(&counter, "1003000000"));
    assert_eq!(energy(&meter).unwrap().total_energy_j, 2.0);

    let mut meter = EnergyMeter::open(&fake.files()).unwrap();
    meter.end();
    assert_eq!(why(&meter), "nothing ran while the sensors were read");
    window(&mut meter, Instant::now(), 0.0, 1.0, || ());
    assert_eq!(why(&meter), "the sensor did not move in 1.000 s");
}

#[test]
fn a_battery_tells_energy_charge_or_power() {
    let check = |before: &[(&str, &str)], after: &[(&str, &str)], expected_j: f64| {
        let fake = on_battery(before);
        let mut meter = EnergyMeter::open(&fake.files()).unwrap();
        window(&mut meter, Instant::now(), 0.0, 100.0, || {
            for (file, text) in after {
                fake.put(&format!("sys/class/power_supply/BAT0/{file}"), text);
            }
        });
        let found = energy(&meter).unwrap();
        assert_eq!((found.source, found.measured_s), (EnergySource::Battery, 100.0));
        assert_eq!(found.sensors, ["BAT0"]);
        assert!((found.total_energy_j - expected_j).abs() < 1e-6, "{}", found.total_energy_j);
    };
    // Half a watt-hour is 1800 J.
    check(&[("energy_now", "50000000")], &[("energy_now", "49500000")], 1800.0);
    let volts = ("voltage_now", "10000000");
    check(&[("charge_now", "5000000"), volts], &[("charge_now", "4950000")], 1800.0);
    check(&[("power_now", "-10000000")], &[("power_now", "-20000000")], 1500.0);
    // Energy is told best, power worst.
    let all = [("energy_now", "50000000"), ("power_now", "1"), ("charge_now", "1"), volts];
    check(&all, &[("energy_now", "49500000")], 1800.0);
}

#[test]
fn a_battery_is_read_only_while_it_discharges() {
    let no_counter = "no energy counter of the processor (there is no /sys/class/powercap); ";
    let check = |extra: &[(&str, &str)], expected: &str| {
        let found = why_closed(&on_battery(extra));
        assert_eq!(found.strip_prefix(no_counter), Some(expected));
    };
    let charging = "the battery BAT0 is not discharging but \"Charging\"";
    check(&[("status", "Charging"), ("energy_now", "5")], charging);
    let folder = "there is no /sys/class/power_supply/BAT0";
    let nothing = format!("{folder}/energy_now, {folder}/charge_now, {folder}/power_now");
    check(&[], &nothing);
    check(
        &[("../BAT1/type", "Battery"), ("../BAT1/status", "Discharging")],
        "BAT0, BAT1 are discharging at once",
    );

    let fake = on_battery(&[("energy_now", "50000000")]);
    let mut meter = EnergyMeter::open(&fake.files()).unwrap();
    window(&mut meter, Instant::now(), 0.0, 100.0, || {
        fake.put("sys/class/power_supply/BAT0/status", "Charging");
    });
    assert_eq!(why(&meter), charging);
}

#[test]
fn a_battery_needs_a_long_time_without_pauses() {
    let check = |windows: &[(f64, f64)], expected: &str| {
        let fake = on_battery(&[("energy_now", "50000000")]);
        let mut meter = EnergyMeter::open(&fake.files()).unwrap();
        let started = Instant::now();
        for (window_idx, &(from_s, to_s)) in windows.iter().enumerate() {
            let left = (49_999_999 - window_idx * 100_000).to_string();
            window(&mut meter, started, from_s, to_s, || {
                fake.put("sys/class/power_supply/BAT0/energy_now", &left);
            });
        }
        let found = energy(&meter).map(|_| ()).map_err(|reason| reason.to_string());
        assert_eq!(found.err().unwrap_or_default(), expected, "{windows:?}");
    };
    check(&[(0.0, 60.0)], "");
    check(&[(0.0, 59.9)], "the sensor is too slow for 59.900 s, it takes 60s");
    check(&[(0.0, 40.0), (42.0, 82.0)], "");
    let pauses =
        "a battery's gauge is too slow to leave out pauses: 80.0 s of 90.0 s were measured";
    check(&[(0.0, 40.0), (50.0, 90.0)], pauses);
}

/// The real machine: a figure or a reason, never neither.
#[test]
fn this_machine_has_a_sensor_or_a_reason() {
    match EnergyMeter::open(&SystemFiles::of_this_system()) {
        Err(reason) => assert!(!reason.to_string().is_empty()),
        Ok(mut meter) => {
            let idle = meter.idle_power_w(&mut || std::thread::sleep(Duration::from_millis(200)));
            if let Ok(watts) = idle {
                assert!((0.01..2000.0).contains(&watts), "{watts}");
            }
        }
    }
}
