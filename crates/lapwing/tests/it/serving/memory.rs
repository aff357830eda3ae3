//! Memory: what goes when the machine runs short of it, told by files that stand for the system's.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use serde_json::json;

use super::{Daemon, chat};

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn start(root: &Path) -> Daemon {
    let files = root.to_str().unwrap();
    Daemon::start(&["--system-files", files, "--keep-alive", "forever", "--memory-mb", "10000"])
}

/// Something in the place of the kernel, which says that memory is short with every byte.
fn kernel(root: &Path) -> File {
    let path = root.join("proc/pressure/memory");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    File::options().read(true).write(true).open(path).unwrap()
}

impl Daemon {
    /// Names of the models that are loaded.
    fn loaded(&self) -> Vec<String> {
        let models = self.get("/v1/lapwing/models").json();
        let models = models["models"].as_array().unwrap().iter();
        let loaded = models.filter(|model| !model["loaded"].is_null());
        loaded.map(|model| model["name"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn idle_models_go_one_by_one_while_memory_is_short() {
    let folder = tempfile::tempdir().unwrap();
    let kernel = kernel(folder.path());
    let daemon = start(folder.path());
    for model in ["fake-2000", "fake"] {
        assert_eq!(daemon.chat(model, "a", 1).status, 200);
    }
    assert_eq!(daemon.loaded().len(), 2);
    // What the kernel says twice before the first is gone is one and the same shortage.
    (&kernel).write_all(b"12").unwrap();
    daemon.until("one was unloaded", || daemon.loaded() == ["fake"]);
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(daemon.loaded(), ["fake"], "the shortage is over");
    daemon.until("the other was unloaded", || {
        // What is said while the first ends is not heard.
        (&kernel).write_all(b"3").unwrap();
        daemon.loaded().is_empty()
    });
    let memory = &daemon.get("/v1/lapwing/models").json()["memory"];
    assert_eq!(memory["n_unloaded_for_pressure"], 2, "{memory}");
    assert!(memory["n_pressures"].as_u64().is_some_and(|n| 2 <= n), "{memory}");
    let metrics = daemon.get("/metrics").body;
    let line = "lapwing_models_unloaded_total{why=\"pressure\"} 2";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
    assert!(metrics.contains("\nlapwing_memory_pressures_total "), "{metrics}");
}

#[test]
fn a_busy_model_stays_however_short_memory_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut kernel = kernel(folder.path());
    let daemon = start(folder.path());
    let mut body = chat("fake-2000", "a", 2000);
    body["stream"] = json!(true);
    let body = body.to_string();
    let mut stream = daemon.connect();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        daemon.address,
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.read_exact(&mut [0; 300]).unwrap();
    kernel.write_all(b"1").unwrap();
    daemon.until("it was heard", || {
        daemon.get("/v1/lapwing/models").json()["memory"]["n_pressures"] == 1
    });
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("[DONE]"), "{rest}");
    assert_eq!(daemon.loaded(), ["fake-2000"]);
    // It is idle now.
    kernel.write_all(b"1").unwrap();
    daemon.until("it was unloaded", || daemon.loaded().is_empty());
}

#[test]
fn a_machine_that_tells_nothing_of_pressure_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(folder.path());
    daemon.until("it is in the log", || daemon.has_said("memory pressure is not heard of"));
    let memory = &daemon.get("/v1/lapwing/models").json()["memory"];
    assert!(memory["n_pressures"].is_null(), "{memory}");
    assert_eq!(memory["nulls"]["n_pressures"], "there is no /proc/pressure/memory");
    assert_eq!(memory["budget_bytes"], 10_000_000_000_u64);
    assert!(!daemon.get("/metrics").body.contains("lapwing_memory_pressures_total"));
}

#[test]
fn what_the_machine_has_no_room_for_is_refused_with_both_numbers() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "proc/meminfo", "MemAvailable:    9000000 kB\n");
    let daemon = start(folder.path());
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
    put(folder.path(), "proc/meminfo", "MemAvailable:    1000 kB\n");
    assert_eq!(daemon.chat("fake", "a", 1).status, 200, "it is loaded already");
    let refused = daemon.chat("fake-2000", "a", 1);
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.body.contains("1024000 left"), "{}", refused.body);
    assert_eq!(refused.field("retry-after"), Some("10"));
    assert!(daemon.loaded().is_empty(), "the idle one had to go first");
    put(folder.path(), "proc/meminfo", "MemAvailable:    9000000 kB\n");
    assert_eq!(daemon.chat("fake-2000", "a", 1).status, 200);
}

#[test]
fn the_kernel_ends_a_models_process_before_the_daemon() {
    let daemon = Daemon::start(&[]);
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
    let badness = |process: u32| -> i32 {
        let path = format!("/proc/{process}/oom_score_adj");
        std::fs::read_to_string(path).unwrap().trim().parse().unwrap()
    };
    assert!(badness(daemon.child.id()) < badness(daemon.workers()[0]));
}
