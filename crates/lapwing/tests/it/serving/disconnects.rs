//! Who hangs up, at whatever stage and in whatever protocol, stops the work.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::{Daemon, chat, every_way, request};

const MODEL: &str = "fake-20000";

/// Ask in every way; the connections, with nothing read of them.
fn ask_in_every_way(daemon: &Daemon, text: &str, behind: &str) -> Vec<TcpStream> {
    let ask = |(path, body): (&str, Value)| {
        let mut stream = daemon.connect();
        stream.write_all((request(path, &body) + behind).as_bytes()).unwrap();
        stream
    };
    // Eighty seconds of work each.
    every_way(MODEL, text, 4000 - text.len() as u32).into_iter().map(ask).collect()
}

/// A second after the hang-up the counter of tokens stands still, and nobody runs or waits.
fn all_is_still(daemon: &Daemon, stage: &str) {
    std::thread::sleep(Duration::from_secs(1));
    let before = daemon.state(MODEL);
    assert_eq!((&before["n_running"], &before["n_waiting"]), (&0.into(), &0.into()), "{stage}");
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(daemon.state(MODEL)["n_tokens"], before["n_tokens"], "{stage}");
    assert_eq!(daemon.chat(MODEL, "a", 1).status, 200, "{stage}");
}

#[test]
fn nothing_goes_on_for_who_hangs_up() {
    let daemon = Daemon::start(&["--parallel", "32"]);
    // Before the model is loaded, or meanwhile.
    drop(ask_in_every_way(&daemon, "a", ""));
    assert_eq!(daemon.chat(MODEL, "a", 1).status, 200);
    all_is_still(&daemon, "loading");
    // While prompts are read.
    let long = "a".repeat(3000);
    drop(ask_in_every_way(&daemon, &long, ""));
    all_is_still(&daemon, "prompts");
    // In the middle of answers.
    let n_before = daemon.state(MODEL)["n_tokens"].as_u64().unwrap();
    let asked = ask_in_every_way(&daemon, "a", "");
    daemon.until("all are answered", || {
        let state = daemon.state(MODEL);
        state["n_running"] == 18 && n_before + 100 < state["n_tokens"].as_u64().unwrap()
    });
    drop(asked);
    all_is_still(&daemon, "answers");
}

#[test]
fn nothing_goes_on_for_who_hangs_up_behind_the_first_token_or_with_more_to_ask() {
    let daemon = Daemon::start(&["--parallel", "32"]);
    assert_eq!(daemon.chat(MODEL, "a", 1).status, 200);
    let asked = ask_in_every_way(&daemon, "a", "");
    // Those of streams: the others say nothing before the end.
    for mut stream in asked.into_iter().skip(1).step_by(2) {
        let mut begun = [0; 300];
        stream.read_exact(&mut begun).unwrap();
        assert!(begun.starts_with(b"HTTP/1.1 200"));
    }
    all_is_still(&daemon, "the first token");
    // The next request is there already, or what some clients write behind a body.
    for behind in ["\r\n", &request("/v1/chat/completions", &chat(MODEL, "a", 4000))] {
        let asked = ask_in_every_way(&daemon, "a", behind);
        daemon.until("all are answered", || daemon.state(MODEL)["n_running"] == 18);
        drop(asked);
        all_is_still(&daemon, behind);
    }
}

#[test]
fn nothing_begins_for_who_hangs_up_while_he_waits() {
    let daemon = Daemon::start(&["--parallel", "1", "--queue", "64"]);
    assert_eq!(daemon.chat(MODEL, "a", 1).status, 200);
    let asked = ask_in_every_way(&daemon, "a", "");
    daemon.until("all wait", || daemon.state(MODEL)["n_waiting"].as_u64().unwrap_or(0) > 10);
    drop(asked);
    all_is_still(&daemon, "waiting");
}

#[test]
fn who_hangs_up_before_all_is_said_leaves_nothing_behind() {
    let daemon = Daemon::start(&[]);
    for (path, body) in every_way("fake", "a", 4) {
        let whole = request(path, &body);
        let head = whole.find("\r\n\r\n").unwrap() + 4;
        for n_bytes in [0, 5, head - 10, head, head + 20, whole.len() - 1] {
            let mut stream = daemon.connect();
            stream.write_all(&whole.as_bytes()[..n_bytes]).unwrap();
        }
    }
    assert!(daemon.workers().is_empty(), "nothing was asked");
    assert_eq!(daemon.chat("fake", "a", 1).status, 200);
}
