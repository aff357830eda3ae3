//! The program and the daemon of the same user: `run`, `chat`, `ps`, `stop`.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::json;

use super::Daemon;

impl Daemon {
    /// What `lapwing` does with these arguments in the home of this daemon.
    pub(super) fn program(&self, arguments: &[&str], stdin: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lapwing"));
        command.args(arguments).env("LAPWING_HOME", self.home.path());
        command.env_remove("LAPWING_CONFIG");
        command.stdin(if stdin.is_empty() { Stdio::null() } else { Stdio::piped() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        if let Some(mut pipe) = child.stdin.take() {
            pipe.write_all(stdin.as_bytes()).unwrap();
        }
        child.wait_with_output().unwrap()
    }

    pub(super) fn says(&self, arguments: &[&str]) -> String {
        let output = self.program(arguments, "");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap() + &errors
    }
}

#[test]
fn run_lets_the_daemon_answer_and_shows_the_same() {
    let daemon = Daemon::start(&[]);
    let answer = daemon.chat("fake", "abc", 8).json();
    let content = answer["choices"][0]["message"]["content"].as_str().unwrap();
    let run = daemon.program(&["run", "-m", "fake", "-p", "abc", "-n", "8"], "");
    assert_eq!(String::from_utf8(run.stdout).unwrap(), format!("{content}\n"));
    let note = String::from_utf8(run.stderr).unwrap();
    assert_eq!(note, "stopped after 8 tokens: --max-tokens allows more\n");
}

#[test]
fn chat_lets_the_daemon_answer_and_keeps_the_conversation() {
    let daemon = Daemon::start(&[]);
    // The model goes on counting behind the last character of all that was said.
    let chat = daemon.program(&["chat", "-m", "fake", "-n", "2"], "a\n/system X\nb\n");
    assert_eq!(String::from_utf8(chat.stdout).unwrap(), "bc\ncd\n");
}

#[test]
fn what_the_daemon_would_do_otherwise_is_done_here() {
    let daemon = Daemon::start(&[]);
    // No model of the store has this name: only the daemon knows it.
    let asked = ["run", "-m", "fake", "-p", "abc", "-n", "8"];
    assert!(daemon.program(&asked, "").status.success());
    for other in [["--no-daemon"].as_slice(), &["--threads", "1"], &["--json"], &["--raw"]] {
        let output = daemon.program(&[&asked, other].concat(), "");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains("no model \"fake\""), "{other:?}: {errors}");
    }
    let alike = Daemon::start(&["--threads", "1"]);
    assert!(alike.program(&[&asked[..], &["--threads", "1"]].concat(), "").status.success());
    assert!(!alike.program(&asked, "").status.success());
}

#[test]
fn ps_and_stop_see_what_is_loaded() {
    let daemon = Daemon::start(&[]);
    assert!(daemon.says(&["ps"]).contains("no model is loaded"));
    daemon.chat("fake", "abc", 2);
    let shown = daemon.says(&["ps"]);
    assert!(shown.contains("NAME") && shown.contains("in 5 min"), "{shown}");
    let json: serde_json::Value = serde_json::from_str(&daemon.says(&["ps", "--json"])).unwrap();
    assert_eq!(json[0]["name"], "fake");
    assert_eq!(json[0]["loaded"]["state"]["n_tokens"], 2);
    assert_eq!(daemon.says(&["stop", "fake"]), "unloaded fake\n");
    assert_eq!(daemon.says(&["stop", "fake"]), "fake was not loaded\n");
    let unknown = daemon.program(&["stop", "unknown"], "");
    assert!(!unknown.status.success());
    assert!(daemon.get("/v1/lapwing/models").json()["models"][0]["loaded"].is_null());
}

#[test]
fn the_key_is_for_ports_and_not_for_the_own_socket() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "secret").unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let daemon = Daemon::start(&["--key-file", key.to_str().unwrap()]);
    assert_eq!(daemon.get("/v1/lapwing/models").status, 401);
    assert_eq!(daemon.post("/v1/lapwing/models/unload", &json!({"model": "fake"})).status, 401);
    assert!(daemon.says(&["ps"]).contains("no model is loaded"));
}

#[test]
fn the_socket_is_gone_with_the_daemon() {
    let mut daemon = Daemon::start(&[]);
    let socket = daemon.home.path().join("daemon/socket");
    assert!(socket.exists());
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(daemon.child.id().cast_signed()),
        nix::sys::signal::Signal::SIGTERM,
    )
    .unwrap();
    daemon.child.wait().unwrap();
    assert!(!socket.exists());
    let ps = daemon.program(&["ps"], "");
    let errors = String::from_utf8_lossy(&ps.stderr);
    assert_eq!(ps.status.code(), Some(1));
    assert!(
        errors.contains("no daemon runs") && errors.contains("hint: `lapwing serve`"),
        "{errors}"
    );
}

#[test]
fn a_model_runs_on_the_device_that_was_chosen_for_it() {
    let daemon = Daemon::start(&["--alias", "f=fake"]);
    let choose = |model: &str, device: serde_json::Value| {
        daemon.post("/v1/lapwing/models/device", &json!({"model": model, "device": device}))
    };
    let held = || {
        let models = daemon.get("/v1/lapwing/models").json()["models"].clone();
        let of = models.as_array().unwrap().iter().find(|model| model["name"] == "fake").cloned();
        let of = of.unwrap();
        json!([of["device"], of["loaded"]["device"], of["loaded"]["is_outdated"]])
    };
    let run = || daemon.program(&["run", "-m", "fake", "-p", "a", "-n", "1"], "").status.success();
    daemon.chat("fake", "a", 1);
    assert_eq!(held(), json!([null, "FAKE", false]));
    let answer = choose("f", json!("GPU.1"));
    assert_eq!(answer.json(), json!({"model": "fake", "device": "gpu.1"}));
    assert_eq!(held(), json!(["gpu.1", "FAKE", true]));
    assert!(!run(), "the program itself would take another device");
    daemon.chat("fake", "a", 1);
    assert_eq!(held(), json!(["gpu.1", "FAKE.GPU.1", false]));
    assert_eq!(choose("fake", json!(null)).status, 200);
    assert!(run());
    assert_eq!(held(), json!([null, "FAKE", false]));
    let wrong = choose("fake", json!("sun"));
    assert_eq!(wrong.status, 400);
    assert!(wrong.body.contains("expected auto, cpu, gpu, npu"), "{}", wrong.body);
    assert_eq!(choose("none", json!("cpu")).status, 404);
    assert_eq!(held(), json!([null, "FAKE", false]));
}

#[test]
fn devices_and_records_of_the_machine_are_told() {
    let daemon = Daemon::start(&[]);
    let devices = daemon.get("/v1/lapwing/devices").json();
    let backends = devices["libraries"].as_array().unwrap();
    let names: Vec<_> = backends.iter().map(|library| library["backend"].clone()).collect();
    assert_eq!(names, ["ort", "openvino"]);
    let has_some = |library: &serde_json::Value| !library["devices"][0].is_null();
    assert!(backends.iter().all(|of| has_some(of) != of["unusable"].is_string()), "{devices}");
    assert_eq!(daemon.get("/v1/lapwing/profiles").json(), json!({"records": []}));
    let folder = daemon.home.path().join("profiles").join(lapwing_measure::bench::host());
    std::fs::create_dir_all(&folder).unwrap();
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../profiles/sample/2026-11-21.jsonl");
    std::fs::copy(sample, folder.join("sample.jsonl")).unwrap();
    let all = daemon.get("/v1/lapwing/profiles").json();
    let all = all["records"].as_array().unwrap();
    assert!(1 < all.len());
    let one = daemon.get("/v1/lapwing/profiles?limit=1").json();
    assert_eq!(one["records"], json!([all[all.len() - 1]]));
    let report = daemon.get("/v1/lapwing/report");
    assert!(report.body.contains("Lapwing profiles"));
    assert!(report.field("content-security-policy").unwrap().contains("default-src 'none'"));
}

#[test]
fn a_long_chat_keeps_room_for_answers() {
    let daemon = Daemon::start(&[]);
    let lines = format!("{}\nb\n", "x".repeat(2000));
    // Of 4096 positions 3501 are taken by then, which leaves less than an answer.
    let chat = daemon.program(&["chat", "-m", "fake", "-n", "1500"], &lines);
    let answers = String::from_utf8(chat.stdout).unwrap();
    assert_eq!(answers.lines().map(str::len).collect::<Vec<_>>(), [1500, 1500]);
    let notes = String::from_utf8(chat.stderr).unwrap();
    assert_eq!(notes.matches("the oldest messages are forgotten").count(), 1, "{notes}");
}

#[test]
fn a_model_is_stopped_by_its_own_name_alone() {
    let daemon = Daemon::start(&["--default-model", "fake", "--any-name", "--alias", "short=fake"]);
    daemon.chat("anything", "abc", 2);
    assert!(!daemon.program(&["stop", "anything"], "").status.success());
    assert_eq!(daemon.says(&["stop", "short"]), "unloaded short\n");
}
