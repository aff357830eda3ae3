//! What the system does not give any more: room on a disk, descriptors.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::{Daemon, chat, request};
use crate::real::{shared_folder, with_runtimes};
use crate::{Lapwing, files_below};

/// A daemon whose messages and log go where nothing takes them.
fn unheard(stderr: Stdio) -> Daemon {
    let home = tempfile::tempdir().unwrap();
    // It cannot say where it listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lapwing"));
    command.args(["serve", "-vv", "--listen", &port.to_string()]);
    command.env("LAPWING_HOME", home.path()).env_remove("LAPWING_CONFIG");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    let child = command.spawn().unwrap();
    let daemon = Daemon { child, address: port.to_string(), home, said: Default::default() };
    daemon.until("it listens", || std::net::TcpStream::connect(&daemon.address).is_ok());
    daemon
}

#[test]
fn a_log_that_nobody_takes_stops_nothing() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    for stderr in [Stdio::from(full), Stdio::from(closed)] {
        let mut daemon = unheard(stderr);
        assert_eq!(daemon.chat("fake", "a", 3).status, 200);
        kill(Pid::from_raw(daemon.workers()[0] as i32), Signal::SIGKILL).unwrap();
        daemon.until("the loss was seen", || daemon.workers().is_empty());
        assert_eq!(daemon.chat("fake", "a", 3).status, 200);
        assert_eq!(daemon.chat("fake-aborts", "a", 3).status, 500);
        assert_eq!(daemon.post("/v1/lapwing/models/unload", &json!({"model": "fake"})).status, 200);
        assert_eq!(daemon.chat("fake", "a", 3).status, 200);
        daemon.signal(Signal::SIGTERM);
        assert!(daemon.child.wait().unwrap().success());
    }
}

/// A home that holds a copy of an export, and where the runtimes are.
fn with_model(export: &str) -> Option<(tempfile::TempDir, Vec<(&'static str, String)>)> {
    let runtimes = with_runtimes(Lapwing::new())?.environment.clone();
    let original = shared_folder()?.join("exports").join(export);
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("models/real");
    for file in files_below(&original) {
        let to = folder.join(&file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(original.join(file), to).unwrap();
    }
    Some((home, runtimes))
}

fn borrowed<'a>(variables: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    variables.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[test]
fn models_answer_where_no_file_can_be_written() {
    for export in ["stories260k-ov-int8", "smollm2-135m-instruct-ort-int4"] {
        let Some((home, variables)) = with_model(export) else { return };
        let before = files_below(home.path());
        // Every write to a file fails from here on: of settings, trials, compiled models.
        let full = "trap '' XFSZ; ulimit -f 0";
        let daemon = Daemon::start_behind(full, home, &["--device", "cpu"], &borrowed(&variables));
        let body = json!({"model": "real", "prompt": "Once", "max_tokens": 5, "temperature": 0});
        for _ in 0..2 {
            let answer = daemon.post("/v1/completions", &body);
            assert_eq!(answer.status, 200, "{export}: {}", answer.body);
            daemon.post("/v1/lapwing/models/unload", &json!({"model": "real"}));
        }
        assert_eq!(daemon.chat("fake", "a", 1).status, 200);
        for path in ["/v1/lapwing/devices", "/v1/lapwing/profiles", "/v1/lapwing/power", "/metrics"]
        {
            assert_eq!(daemon.get(path).status, 200, "{path}");
        }
        let is_written = |file: &String| {
            std::fs::metadata(daemon.home.path().join(file)).is_ok_and(|of| of.len() != 0)
        };
        let after = files_below(daemon.home.path());
        let new: Vec<_> = after.iter().filter(|file| !before.contains(file)).collect();
        assert!(!new.into_iter().any(is_written), "something was written: {after:?}");
    }
}

#[test]
fn without_room_for_the_own_socket_the_port_is_served() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("daemon"), "no folder").unwrap();
    let daemon = Daemon::start_in(home, &["--listen", "127.0.0.1:0"], &[]);
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
    assert!(daemon.has_said("do not ask this daemon"), "{}", daemon.said.lock().unwrap());
}

#[test]
fn a_model_that_is_cut_off_while_it_answers_fails_alone_and_is_read_anew() {
    let Some((home, variables)) = with_model("smollm2-135m-instruct-ort-int4") else { return };
    let weights = home.path().join("models/real/model.onnx.data");
    let whole = std::fs::read(&weights).unwrap();
    let arguments = ["--listen", "127.0.0.1:0", "--device", "cpu"];
    let daemon = Daemon::start_in(home, &arguments, &borrowed(&variables));
    let mut body = chat("real", "Tell me a story.", 2000);
    body["stream"] = json!(true);
    std::thread::scope(|scope| {
        let cut = scope.spawn(|| daemon.post("/v1/chat/completions", &body));
        daemon.until("it answers", || {
            daemon.workers().len() == 1
                && 3 < daemon.state("real")["n_tokens"].as_u64().unwrap_or(0)
        });
        std::fs::File::options().write(true).open(&weights).unwrap().set_len(4096).unwrap();
        let cut = cut.join().unwrap();
        assert!(cut.body.contains("\"error\""), "it ended as if nothing was: {}", cut.body);
        assert_eq!(daemon.chat("fake", "a", 1).status, 200);
    });
    std::fs::write(&weights, whole).unwrap();
    let answer = daemon.chat("real", "Hello", 3);
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// What the processor did for the daemon, in hundredths of a second.
fn ticks(daemon: &Daemon) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.child.id())).unwrap();
    let behind = stat.rsplit(')').next().unwrap();
    let fields: Vec<&str> = behind.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn without_descriptors_it_waits_and_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_behind("ulimit -n 48", home, &[], &[]);
    let mut early = daemon.connect();
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
    let held: Vec<_> = (0..80).map(|_| daemon.connect()).collect();
    daemon.until("there is none left", || daemon.has_said("no connection was to be had"));
    // Another model cannot be loaded now, which is said.
    let body = request("/v1/chat/completions", &chat("fake-2000", "a", 1));
    early.write_all(body.as_bytes()).unwrap();
    let mut answer = [0; 600];
    let n_bytes = std::io::Read::read(&mut early, &mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..n_bytes]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 500") && answer.contains("cannot start"), "{answer}");
    let before = ticks(&daemon);
    std::thread::sleep(Duration::from_secs(1));
    let spent = ticks(&daemon) - before;
    assert!(spent < 10, "{spent} hundredths of a second in one");
    drop((held, early));
    for model in ["fake", "fake-2000"] {
        assert_eq!(daemon.chat(model, "a", 1).status, 200);
    }
    let n_said = daemon.said.lock().unwrap().matches("no connection was to be had").count();
    assert!(n_said < 5, "the log fills with it: {n_said}");
}
