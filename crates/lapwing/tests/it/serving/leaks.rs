//! Nothing is left of requests: no descriptors, threads, processes or memory.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::{Daemon, every_way, request};

/// What the daemon and a process of its hold.
#[derive(Debug)]
struct Held {
    n_descriptors: usize,
    n_threads: usize,
    n_bytes: u64,
}

fn held(id: u32) -> Held {
    let folder = |name: &str| Path::new("/proc").join(id.to_string()).join(name);
    // A process that holds a model shows its descriptors to root alone.
    let count = |name: &str| std::fs::read_dir(folder(name)).map_or(0, Iterator::count);
    let status = std::fs::read_to_string(folder("status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    Held { n_descriptors: count("fd"), n_threads: count("task"), n_bytes: kilobytes << 10 }
}

/// Requests of every kind: answered, refused, given up; and a model that comes and goes.
fn some(daemon: &Daemon, n_requests: usize) {
    let ways = every_way("fake", "abc", 8);
    let slow = every_way("fake-2000", "abc", 2000);
    for idx in 0..n_requests {
        let (path, body) = &ways[idx % ways.len()];
        match idx % 10 {
            0..=4 => assert_eq!(daemon.post(path, body).status, 200, "{path}"),
            5 => assert_eq!(daemon.chat("none", "a", 1).status, 404),
            6 => assert_eq!(daemon.ask("POST", path, &[("Origin", "null")], "{}").status, 403),
            7 => drop(daemon.raw(b"GET / HTTP/1.1\r\nHost: x y\r\nConnection: close\r\n\r\n")),
            8 => {
                let (path, body) = &slow[idx % slow.len()];
                let mut stream = daemon.connect();
                stream.write_all(request(path, body).as_bytes()).unwrap();
                std::thread::sleep(Duration::from_millis(idx as u64 % 7));
            }
            _ if idx % 50 == 9 => {
                daemon.post("/v1/lapwing/models/unload", &json!({"model": "fake-2000"}));
            }
            _ => drop(daemon.get("/v1/lapwing/models")),
        }
    }
    daemon.until("all is over", || {
        let state = daemon.state("fake");
        state["n_running"] == 0 && daemon.workers().len() <= 2
    });
    daemon.post("/v1/lapwing/models/unload", &json!({"model": "fake-2000"}));
    daemon.until("only one is loaded", || daemon.workers().len() == 1);
}

/// A few in every test run, as many as the issue asks for at night.
#[test]
fn many_requests_leave_nothing_behind() {
    let n_requests = std::env::var("LAPWING_TEST_REQUESTS").ok();
    let n_requests = n_requests.map_or(300, |n| n.parse().unwrap());
    let daemon = Daemon::start(&[]);
    some(&daemon, 200);
    let ids = [daemon.child.id(), daemon.workers()[0]];
    let before = ids.map(held);
    some(&daemon, n_requests);
    // Closed connections are noticed, threads end.
    daemon.until("nothing more is held", || {
        ids.map(held).iter().zip(&before).all(|(after, before)| {
            after.n_descriptors <= before.n_descriptors && after.n_threads <= before.n_threads
        })
    });
    assert_eq!(daemon.workers(), [ids[1]], "the same process answered all the time");
    for (after, before) in ids.map(held).iter().zip(&before) {
        // Allocators keep some: 5 % and a megabyte.
        let n_bytes_max = before.n_bytes + before.n_bytes / 20 + (1 << 20);
        assert!(after.n_bytes <= n_bytes_max, "{before:?} became {after:?}");
    }
}
