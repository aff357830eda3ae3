//! Power: how the daemon works on mains and on battery, by files that stand for the system's.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Daemon;

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn on_battery(root: &Path, percent: &str) {
    put(root, "sys/class/power_supply/BAT0/type", "Battery");
    put(root, "sys/class/power_supply/BAT0/status", "Discharging");
    put(root, "sys/class/power_supply/BAT0/capacity", percent);
}

fn start(root: &Path, rules: &[&str]) -> Daemon {
    let mut arguments = vec!["--system-files", root.to_str().unwrap()];
    arguments.extend(rules.iter().flat_map(|rule| ["--power", rule]));
    Daemon::start(&arguments)
}

#[test]
fn models_compute_for_the_share_that_the_battery_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    on_battery(folder.path(), "50");
    let [all, part] =
        [&["battery=100%", "mains=99%"], &["battery=25%", "mains=100%"]].map(|rules| {
            let daemon = start(folder.path(), rules);
            daemon.chat("fake-2000", "warm", 2);
            let started = Instant::now();
            assert_eq!(daemon.chat("fake-2000", "abc", 100).status, 200);
            started.elapsed()
        });
    // A step sleeps for 2 ms, so that nothing but pauses tells the two apart.
    assert!(all.mul_f64(3.0) < part, "{all:?} and {part:?}");
}

#[test]
fn what_nobody_waits_for_waits_for_the_mains() {
    let folder = tempfile::tempdir().unwrap();
    on_battery(folder.path(), "50");
    let daemon = start(folder.path(), &["battery=background=wait"]);
    let body = super::chat("fake", "abc", 2);
    let mut flex = body.clone();
    flex["service_tier"] = json!("flex");
    let response = json!({"model": "fake", "input": "abc", "max_output_tokens": 2,
        "service_tier": "flex"});
    let ask = |path, fields, body: &Value| daemon.ask("POST", path, fields, &body.to_string());
    std::thread::scope(|scope| {
        let waiting = [
            scope.spawn(|| {
                ask("/v1/chat/completions", &[("X-Lapwing-Priority", "background")], &body)
            }),
            scope.spawn(|| ask("/v1/chat/completions", &[("Priority", "u=7")], &body)),
            scope.spawn(|| ask("/v1/chat/completions", &[], &flex)),
            scope.spawn(|| ask("/v1/responses", &[], &response)),
        ];
        let late = ask("/v1/chat/completions", &[("X-Lapwing-Timeout", "100ms")], &flex);
        assert_eq!(late.status, 504, "{}", late.body);
        assert_eq!(daemon.chat("fake", "abc", 2).status, 200, "somebody waits for this one");
        std::thread::sleep(Duration::from_millis(300));
        assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
        put(folder.path(), "sys/class/power_supply/BAT0/status", "Charging");
        for waiting in waiting {
            let answer = waiting.join().unwrap();
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
    });
}

#[test]
fn power_and_energy_are_told_or_why_they_are_not() {
    let folder = tempfile::tempdir().unwrap();
    on_battery(folder.path(), "12");
    let daemon = start(folder.path(), &["low-battery=50%"]);
    let power = daemon.get("/v1/lapwing/power").json();
    assert_eq!(power["supply"], "low-battery");
    assert_eq!(power["battery_percent"], 12.0);
    assert_eq!(power["manner"]["duty"], 0.5);
    assert!(power["temperature_c"].is_null() && power["nulls"]["temperature_c"].is_string());
    let answer = daemon.chat("fake", "abc", 2).json();
    let energy = &answer["usage"]["lapwing"];
    assert!(energy["energy_j"].is_null(), "{answer}");
    assert!(energy["energy_null"].as_str().unwrap().contains("no energy counter"));
    assert!(daemon.get("/metrics").body.contains("\nlapwing_power_duty 0.5\n"));
}

#[test]
fn answers_tell_what_they_took() {
    let folder = tempfile::tempdir().unwrap();
    let package = "sys/class/powercap/intel-rapl:0";
    put(folder.path(), &format!("{package}/name"), "package-0");
    put(folder.path(), &format!("{package}/max_energy_range_uj"), "262143328850");
    let counter = format!("{package}/energy_uj");
    put(folder.path(), &counter, "1000000");
    let daemon = start(folder.path(), &[]);
    daemon.chat("fake-20000", "warm", 2);
    let answer: Value = std::thread::scope(|scope| {
        let answer = scope.spawn(|| daemon.chat("fake-20000", "abc", 50));
        std::thread::sleep(Duration::from_millis(300));
        put(folder.path(), &counter, "8500000");
        answer.join().unwrap().json()
    });
    assert_eq!(answer["usage"]["lapwing"]["energy_j"], 7.5, "{answer}");
    assert!(daemon.get("/metrics").body.contains("\nlapwing_energy_joules_total 7.5\n"));
}

#[test]
fn what_is_put_off_takes_no_place_of_what_somebody_waits_for() {
    let folder = tempfile::tempdir().unwrap();
    on_battery(folder.path(), "50");
    let system = folder.path().to_str().unwrap();
    let rule = "battery=background=wait";
    let more = ["--queue", "1", "--parallel", "1"];
    let daemon = Daemon::start(&[&["--system-files", system, "--power", rule], &more[..]].concat());
    let body = super::chat("fake", "abc", 2).to_string();
    let background = [("X-Lapwing-Priority", "background")];
    let ask = || daemon.ask("POST", "/v1/chat/completions", &background, &body).status;
    std::thread::scope(|scope| {
        let waiting = [scope.spawn(ask), scope.spawn(ask), scope.spawn(ask)];
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(daemon.chat("fake", "abc", 2).status, 200);
        put(folder.path(), "sys/class/power_supply/BAT0/status", "Charging");
        let mut told = waiting.map(|waiting| waiting.join().unwrap());
        told.sort_unstable();
        assert_eq!(told, [200, 503, 503]);
    });
}
