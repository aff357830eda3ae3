//! What goes wrong costs no more than it must, and the next request is answered.

use std::io::Write as _;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{Daemon, chat};

#[test]
fn a_worker_that_is_killed_fails_its_own_requests_only() {
    let daemon = Daemon::start(&[]);
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
    let before = daemon.workers();
    let mut stream = chat("fake-20000", "a", 1000);
    stream["stream"] = json!(true);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| daemon.chat("fake-20000", "a", 60));
        daemon.until("the second model is loaded", || daemon.workers().len() == 2);
        let cut = scope.spawn(|| daemon.post("/v1/chat/completions", &stream));
        std::thread::sleep(Duration::from_millis(400));
        let workers = daemon.workers();
        let victim = workers.iter().find(|id| !before.contains(id)).unwrap();
        kill(Pid::from_raw(*victim as i32), Signal::SIGKILL).unwrap();
        assert_eq!(other.join().unwrap().status, 500);
        let cut = cut.join().unwrap();
        assert!(cut.body.contains("\"error\""), "{}", cut.body);
        assert!(!cut.body.contains("[DONE]"), "a stream that was cut looks like none");
    });
    // The others go on, and so does the model at the next request.
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
    assert_eq!(daemon.chat("fake-20000", "a", 2).json()["usage"]["completion_tokens"], 2);
}

#[test]
fn who_leaves_stops_the_work() {
    let daemon = Daemon::start(&["--parallel", "1"]);
    assert_eq!(daemon.chat("fake-20000", "a", 1).status, 200);
    for is_stream in [false, true] {
        let mut request = chat("fake-20000", "a", 4000);
        request["stream"] = json!(is_stream);
        let body = request.to_string();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut running = daemon.connect();
        running.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut waiting = daemon.connect();
        waiting.write_all(format!("{head}{body}").as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        drop((running, waiting));
        // Eighty seconds of work were asked for.
        let started = Instant::now();
        assert_eq!(daemon.chat("fake-20000", "a", 1).status, 200);
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
}

#[test]
fn a_model_is_unloaded_when_nobody_has_asked_for_long_and_loaded_again() {
    let daemon = Daemon::start(&["--keep-alive", "300ms"]);
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
    assert_eq!(daemon.workers().len(), 1);
    daemon.until("it is unloaded", || daemon.workers().is_empty());
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
    // A request may ask for more.
    let mut request = chat("fake", "a", 1);
    request["keep_alive"] = json!("1h");
    assert_eq!(daemon.post("/v1/chat/completions", &request).status, 200);
    std::thread::sleep(Duration::from_millis(800));
    assert_eq!(daemon.workers().len(), 1);
}

#[test]
fn a_model_is_loaded_once_however_many_wait() {
    let daemon = Daemon::start(&[]);
    assert_eq!(daemon.get("/v1/models").status, 200);
    std::thread::scope(|scope| {
        let ask = || assert_eq!(daemon.chat("fake", "a", 1).status, 200);
        (0..12).for_each(|_| drop(scope.spawn(ask)));
    });
    assert_eq!(daemon.workers().len(), 1);
}

#[test]
fn a_signal_lets_answers_end_and_takes_the_workers_along() {
    let mut daemon = Daemon::start(&[]);
    assert_eq!(daemon.chat("fake-20000", "a", 1).status, 200);
    let workers = daemon.workers();
    let process = Pid::from_raw(daemon.child.id() as i32);
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| daemon.chat("fake-20000", "a", 40));
        std::thread::sleep(Duration::from_millis(300));
        kill(process, Signal::SIGTERM).unwrap();
        let answer = answer.join().unwrap();
        assert_eq!(answer.json()["usage"]["completion_tokens"], 40, "{}", answer.body);
    });
    assert!(daemon.child.wait().unwrap().success());
    daemon.until("the workers have ended", || {
        workers.iter().all(|id| kill(Pid::from_raw(*id as i32), None).is_err())
    });
}

#[test]
fn a_daemon_that_is_killed_leaves_no_worker_behind() {
    let mut daemon = Daemon::start(&[]);
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
    let workers = daemon.workers();
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    daemon.until("the workers have ended", || {
        workers.iter().all(|id| kill(Pid::from_raw(*id as i32), None).is_err())
    });
}

#[test]
fn memory_is_a_budget_and_the_oldest_idle_model_goes() {
    // Two fakes fit by no measure: a process alone takes more than half of this.
    let daemon = Daemon::start(&["--memory-mb", "220"]);
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
    let first = daemon.workers();
    assert_eq!(daemon.chat("fake-2000", "a", 1).status, 200);
    daemon.until("the first was unloaded", || {
        let workers = daemon.workers();
        workers.len() == 1 && workers != first
    });
    let small = Daemon::start(&["--memory-mb", "100"]);
    let refused = small.chat("fake", "a", 1);
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.body.contains("100000000"), "the numbers are told: {}", refused.body);
}

#[test]
fn models_that_are_loaded_at_once_share_the_memory() {
    let daemon = Daemon::start(&["--memory-mb", "220"]);
    let n_workers = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let models = ["fake", "fake-2000", "fake-20000"];
        let asked = models.map(|model| scope.spawn(|| daemon.chat(model, "a", 1).status));
        while !asked.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let n = daemon.workers().len();
            n_workers.fetch_max(n, std::sync::atomic::Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(1));
        }
        for (model, asked) in models.into_iter().zip(asked) {
            assert_eq!(asked.join().unwrap(), 200, "{model}");
        }
    });
    // One that reads the store, and one that ends while the next begins.
    let n_workers = n_workers.into_inner();
    assert!(n_workers <= 2, "{n_workers} at a time, and only one fits");
}

#[test]
fn a_worker_has_no_way_out() {
    let daemon = Daemon::start(&[]);
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
    let worker = daemon.workers()[0];
    let status = std::fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{status}")).trim().to_owned()
    };
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2");
    let limits = std::fs::read_to_string(format!("/proc/{worker}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
}

#[test]
fn an_answer_is_given_up_when_its_time_is_over() {
    let daemon = Daemon::start(&[]);
    let ask = |time: &str, path: &str, request: &Value| {
        let answer = daemon.ask("POST", path, &[("X-Lapwing-Timeout", time)], &request.to_string());
        let rests = || {
            daemon.get("/metrics").body.contains("lapwing_model_running{model=\"fake-20000\"} 0")
        };
        daemon.until("the work ends", rests);
        answer
    };
    let mut request = chat("fake-20000", "abc", 400);
    let whole = ask("300ms", "/v1/chat/completions", &request);
    assert_eq!(whole.status, 504, "{}", whole.body);
    assert_eq!(whole.json()["error"]["code"], "deadline_exceeded");
    // The official clients would send it again.
    assert_eq!(whole.field("x-should-retry"), Some("false"));
    request["stream"] = json!(true);
    let stream = ask("0.3", "/v1/chat/completions", &request);
    assert_eq!(stream.status, 200);
    let events = stream.events();
    assert!(2 < events.len(), "{}", stream.body);
    assert_eq!(events[events.len() - 1]["error"]["code"], "deadline_exceeded");
    assert!(!stream.body.contains("[DONE]"));
    let message = ask("0.3", "/v1/messages", &request);
    assert!(message.body.contains("event: error"), "{}", message.body);
    assert!(message.body.contains("timeout_error"), "{}", message.body);
    let lines =
        ask("0.3", "/api/chat", &json!({"model": "fake-20000", "messages": request["messages"]}));
    assert!(lines.body.lines().last().unwrap().starts_with("{\"error\":"), "{}", lines.body);
    assert_eq!(ask("1m", "/v1/chat/completions", &chat("fake-20000", "abc", 1)).status, 200);
    assert_eq!(ask("soon", "/v1/chat/completions", &request).status, 400);
}

#[test]
fn a_process_that_dies_again_and_again_is_waited_for() {
    let daemon = Daemon::start(&[]);
    for model in ["fake-aborts", "fake-dies"] {
        for _ in 0..2 {
            let answer = daemon.chat(model, "a", 3);
            assert_eq!(answer.status, 500, "{model}: {}", answer.body);
            assert!(
                answer.body.contains("was lost: it ended: aborted (signal 6)"),
                "{}",
                answer.body
            );
        }
        // The first loss costs nothing, the second one a second. It is counted by now.
        std::thread::sleep(Duration::from_millis(100));
        let answer = daemon.chat(model, "a", 3);
        assert_eq!(answer.status, 503, "{model}: {}", answer.body);
        assert!(answer.body.contains("lost 2 times in a row"), "{}", answer.body);
        assert_eq!(answer.field("retry-after"), Some("1"));
        assert_eq!(daemon.chat("fake", "a", 1).status, 200);
        std::thread::sleep(Duration::from_millis(1100));
        assert_eq!(daemon.chat(model, "a", 3).status, 500, "it is tried again");
    }
}

/// Whether a process is gone, or a zombie of somebody else's.
#[cfg(target_os = "linux")]
fn is_gone(id: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    status.rsplit(')').next().unwrap_or_default().trim_start().starts_with(['Z', 'X'])
        || status.is_empty()
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_that_is_stopped_holds_up_nobody_else() {
    let daemon = Daemon::start(&[]);
    assert_eq!(daemon.chat("fake-2000", "a", 1).status, 200);
    let stopped = Pid::from_raw(daemon.workers()[0] as i32);
    kill(stopped, Signal::SIGSTOP).unwrap();
    let started = Instant::now();
    let mut waiting = daemon.connect();
    let request = super::request("/v1/chat/completions", &chat("fake-2000", "a", 5));
    waiting.write_all(request.as_bytes()).unwrap();
    assert_eq!(daemon.chat("fake", "a", 5).status, 200);
    for path in ["/health", "/v1/models", "/api/ps", "/v1/lapwing/models", "/metrics"] {
        assert_eq!(daemon.get(path).status, 200, "{path}");
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    drop(waiting);
    kill(stopped, Signal::SIGCONT).unwrap();
    assert_eq!(daemon.chat("fake-2000", "a", 5).json()["usage"]["completion_tokens"], 5);
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_that_is_stopped_ends_with_the_daemon_however_that_ends() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut daemon = Daemon::start(&[]);
        assert_eq!(daemon.chat("fake", "a", 1).status, 200);
        let worker = daemon.workers()[0];
        kill(Pid::from_raw(worker as i32), Signal::SIGSTOP).unwrap();
        let started = Instant::now();
        daemon.signal(signal);
        assert_eq!(daemon.child.wait().unwrap().success(), signal == Signal::SIGTERM);
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        daemon.until("the worker has ended", || is_gone(worker));
    }
}

#[test]
fn what_is_not_done_in_time_is_told_at_the_end() {
    let mut daemon = Daemon::start(&["--parallel", "8"]);
    assert_eq!(daemon.chat("fake-20000", "a", 1).status, 200);
    let socket = daemon.home.path().join("daemon/socket");
    let mut ways = super::every_way("fake-20000", "a", 3000);
    // More than may be answered at a time: some only wait.
    ways.truncate(14);
    let started = Instant::now();
    let daemon_ref = &daemon;
    let answers: Vec<_> = std::thread::scope(|scope| {
        let ask = |(path, body): (&'static str, serde_json::Value)| {
            scope.spawn(move || (path, daemon_ref.post(path, &body)))
        };
        let asked: Vec<_> = ways.iter().cloned().map(ask).collect();
        std::thread::sleep(Duration::from_millis(700));
        daemon_ref.signal(Signal::SIGTERM);
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    for (path, answer) in answers {
        let is_told = answer.body.contains("the daemon ends") && answer.body.contains("error");
        assert!(is_told, "{path}: {} {}", answer.status, answer.body);
        assert!(matches!(answer.status, 200 | 503 | 529), "{path}: {}", answer.status);
        assert!(!answer.body.contains("[DONE]"), "{path}");
    }
    assert!(daemon.child.wait().unwrap().success());
    assert!(started.elapsed() < Duration::from_secs(18), "{:?}", started.elapsed());
    assert!(!socket.exists());
}
