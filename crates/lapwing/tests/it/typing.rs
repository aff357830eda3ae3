//! `chat` at a terminal: what somebody types, when, and Ctrl-C at every stage.
#![cfg(target_os = "linux")]

use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};

use crate::Lapwing;
use crate::guarding::{child_of, ends, signal, state, until};
use crate::real::{or_skip, shared_folder, with_runtimes};

/// The same command in a terminal of its own, which `script` of util-linux plays; `None` with a note
/// where that is missing.
pub(crate) fn in_terminal(inner: &Command) -> Option<Command> {
    let script = Command::new("script").arg("--version").output();
    or_skip(script.ok(), "no `script` to play a terminal")?;
    let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_str().unwrap());
    let words = std::iter::once(inner.get_program()).chain(inner.get_args()).map(quoted);
    // A shell that stays would be ended by the signals of the terminal.
    let line = format!("exec {}", words.collect::<Vec<_>>().join(" "));
    let mut command = Command::new("script");
    command.args(["-qefc", &line, "/dev/null"]).env("TERM", "xterm");
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Some(command)
}

/// A chat in a terminal.
struct Typist {
    child: Child,
    shown: Arc<Mutex<String>>,
}

impl Typist {
    /// A chat that waits for its first message; `None` with a note where something is missing.
    fn chat(export: &str, more: &[&str]) -> Option<Typist> {
        let lapwing = with_runtimes(Lapwing::new())?;
        let model = shared_folder()?.join("exports").join(export);
        let chat = lapwing.command(&[&["chat", "-m", model.to_str().unwrap()], more].concat());
        let mut command = in_terminal(&chat)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut screen, seen) = (child.stdout.take().unwrap(), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n_bytes @ 1..) = screen.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..n_bytes]);
                seen.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            }
        });
        let mut typist = Typist { child, shown };
        typist.sees("/help for commands", 1);
        typist.sees("> ", 1);
        Some(typist)
    }

    fn types(&mut self, keys: &str) {
        self.child.stdin.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }

    fn shown(&self) -> String {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Wait until the screen has shown `part` so many times.
    fn sees(&mut self, part: &str, n_times: usize) {
        let started = Instant::now();
        while self.shown().matches(part).count() < n_times {
            assert!(started.elapsed() < Duration::from_secs(60), "no {part:?} in {}", self.shown());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The exit code, and what was shown.
    fn leaves(mut self, keys: &str) -> (Option<i32>, String) {
        self.types(keys);
        let code = self.child.wait().unwrap().code();
        (code, self.shown())
    }
}

const SMALL: &str = "stories260k-ov-int8";
const SLOW: &str = "smollm2-135m-instruct-ov-int4";
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";

#[test]
fn ctrl_c_at_an_idle_prompt_says_how_to_leave() {
    let Some(mut typist) = Typist::chat(SMALL, &["--max-tokens", "4"]) else { return };
    typist.types(CTRL_C);
    typist.sees("Ctrl-D or /exit ends", 1);
    typist.types("half a mess");
    typist.types(CTRL_C);
    typist.sees("Ctrl-D or /exit ends", 2);
    let (code, shown) = typist.leaves(CTRL_D);
    assert_eq!(code, Some(0), "{shown}");
}

#[test]
fn ctrl_c_pressed_twice_while_a_prompt_is_read_keeps_the_conversation() {
    let long = "The quick brown fox jumps over the lazy dog. ".repeat(300);
    let options = ["--max-tokens", "4", "-vv", "--system", &long];
    let Some(mut typist) = Typist::chat(SLOW, &options) else { return };
    typist.types("hello\r");
    typist.sees("prompt rendered", 1);
    std::thread::sleep(Duration::from_millis(200));
    let started = Instant::now();
    typist.types(CTRL_C);
    typist.types(CTRL_C);
    typist.sees("(stopped)", 1);
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    typist.sees("/undo takes the message back", 1);
    // Where the first was enough, the second drops what is typed at the prompt.
    std::thread::sleep(Duration::from_secs(1));
    typist.types("/undo\r");
    typist.sees("(the last message is taken back)", 1);
    typist.types("/undo\r");
    typist.sees("(there is no message to take back)", 1);
    typist.types("/system be brief\rhello\r");
    typist.sees("stopped after 4 tokens", 1);
    let (code, shown) = typist.leaves(CTRL_D);
    assert_eq!(code, Some(0), "{shown}");
}

#[test]
fn lines_typed_during_an_answer_are_all_answered() {
    let Some(mut typist) = Typist::chat(SLOW, &["--max-tokens", "40", "-vv"]) else { return };
    typist.types("one\r");
    typist.sees("prompt rendered", 1);
    typist.types("two\nthree\nfour\n");
    typist.sees("prompt rendered", 4);
    let (code, shown) = typist.leaves(&[CTRL_C, CTRL_D].concat());
    assert_eq!(code, Some(0), "{shown}");
}

/// What makes an answer take seconds until its first token.
fn long_system() -> String {
    "The quick brown fox jumps over the lazy dog. ".repeat(300)
}

#[test]
fn a_sigterm_ends_a_chat_behind_the_answer_that_it_stops_and_at_an_idle_prompt() {
    for is_idle in [false, true] {
        let options = ["--max-tokens", "4", "-vv", "--system", &long_system()];
        let Some(mut typist) = Typist::chat(SLOW, &options) else { return };
        if !is_idle {
            typist.types("hello\r");
            typist.sees("prompt rendered", 1);
        }
        let guard = child_of(typist.child.id()).expect("the program");
        let worker = child_of(guard).expect("the process that does the work");
        signal("-TERM", guard);
        let code = ends(&mut typist.child);
        let shown = typist.shown();
        assert_eq!(code, Some(143), "{shown}");
        assert_eq!(shown.matches("(stopped)").count(), usize::from(!is_idle), "{shown}");
        assert_eq!((state(guard), state(worker)), (None, None));
    }
}

#[test]
fn a_terminal_that_is_closed_during_an_answer_ends_both_processes_in_order() {
    let Some(lapwing) = with_runtimes(Lapwing::new()) else { return };
    let Some(shared) = shared_folder() else { return };
    let setsid = Command::new("setsid").arg("--version").output();
    if or_skip(setsid.ok(), "no `setsid` to give a terminal to").is_none() {
        return;
    }
    let terminal = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname_r(&terminal).unwrap();
    let said = lapwing.path("said");
    let model = shared.join("exports").join(SLOW).display().to_string();
    let system = long_system();
    let chat = lapwing.command(&["chat", "-m", &model, "-vv", "--system", &system]);
    let mut command = Command::new("setsid");
    command.arg("--ctty").arg(chat.get_program()).args(chat.get_args());
    for (name, value) in chat.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    // It is the terminal of the program, not of the tests.
    let mut slave = std::fs::File::options();
    slave.read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits());
    let slave = || slave.open(&name).unwrap();
    // What it says is read where no terminal is needed.
    command.stdin(slave()).stdout(slave()).stderr(std::fs::File::create(&said).unwrap());
    let mut child = command.spawn().unwrap();
    // It keeps what it gave to the child.
    drop(command);
    let says = || std::fs::read_to_string(&said).unwrap();
    until("it can be talked to", &|| says().contains("/help for commands"));
    nix::unistd::write(&terminal, b"hello\r").unwrap();
    until("the answer has begun", &|| says().contains("prompt rendered"));
    let worker = child_of(child.id()).expect("the process that does the work");
    drop(terminal);
    assert_eq!(ends(&mut child), Some(129), "{}", says());
    let says = says();
    assert!(says.contains("reason=\"cancelled\"") && says.ends_with("interrupted\n"), "{says}");
    assert_eq!(state(worker), None);
}
