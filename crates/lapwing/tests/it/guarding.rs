//! The process that guards the one that does the work: crashes of libraries become errors, signals
//! reach both, none outlives the other.
#![cfg(unix)]

use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::fake_openvino::{Script, VARIABLE, calls, folder, write_model};
use crate::real::{shared_folder, with_runtimes};
use crate::{Lapwing, Outcome, files_below};

/// The program with a pretended OpenVINO in which something goes wrong.
struct Faulty {
    lapwing: Lapwing,
    played: tempfile::TempDir,
}

impl Faulty {
    fn new(faults: &[&str]) -> Faulty {
        let played = tempfile::tempdir().unwrap();
        let script = faults.iter().fold(Script::new(played.path()), |script, fault| {
            script.line(&format!("fault {fault}"))
        });
        let path = script.write().display().to_string();
        let lapwing = Lapwing::new()
            .with("OPENVINO_INSTALL_DIR", folder().display().to_string())
            .with(VARIABLE, path);
        write_model(&lapwing.path("model"), 50, "");
        Faulty { lapwing, played }
    }

    fn command(&self, more: &[&str]) -> Command {
        let model = self.lapwing.path("model").display().to_string();
        let line =
            ["run", "--model", &model, "--prompt-ids", "1,2,3", "-n", "4", "--device", "cpu"];
        self.lapwing.command(&[&line[..], more].concat())
    }

    fn run(&self, more: &[&str]) -> Outcome {
        let output = self.command(more).output().unwrap();
        assert_eq!(output.status.signal(), None, "a signal ended it");
        outcome(output)
    }

    /// The guard, and the process that does the work, once the library was asked for `what`.
    fn start(&self, what: &str) -> (Child, u32) {
        let mut command = self.command(&[]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let child = command.spawn().unwrap();
        let pid = || calls(self.played.path()).iter().find(|call| call.what == what)?.pid;
        until("it asks the library", &|| pid().is_some());
        (child, pid().unwrap())
    }
}

fn outcome(output: Output) -> Outcome {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[track_caller]
pub(crate) fn until(what: &str, is_so: &dyn Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Send a signal; a process group where `to` begins with a minus.
pub(crate) fn signal(name: &str, to: impl ToString) {
    let sent = Command::new("kill").args([name, "--", &to.to_string()]).status();
    assert!(sent.unwrap().success());
}

/// The exit code of a process that ends soon.
#[track_caller]
pub(crate) fn ends(child: &mut Child) -> Option<i32> {
    let child = std::cell::RefCell::new(child);
    until("it ends", &|| child.borrow_mut().try_wait().unwrap().is_some());
    child.into_inner().wait().unwrap().code()
}

/// The state of a process as the kernel tells it; `None` when it is gone.
pub(crate) fn state(pid: u32) -> Option<char> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(") ")?.1.chars().next().filter(|&state| state != 'Z')
}

/// The only child of a process.
pub(crate) fn child_of(pid: u32) -> Option<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    std::fs::read_to_string(path).unwrap_or_default().trim().parse().ok()
}

#[test]
fn a_library_that_crashes_is_an_error_with_its_stage() {
    let check = |fault: &str, says: &[&str]| {
        let faulty = Faulty::new(&[fault]);
        for more in [&[][..], &["--json"]] {
            let outcome = faulty.run(more).expect_code(1).expect_says(says);
            assert_eq!(outcome.stdout, "", "{fault}");
            let outcome = outcome.expect_says(&["hint: "]);
            assert_eq!(outcome.stderr.matches("error: ").count(), 1, "{}", outcome.stderr);
        }
    };
    let model = "ended the work on ";
    check("load * abort", &["SIGABRT", model, "/model with openvino: ", "loading the library"]);
    let compiling = ["SIGSEGV", model, "/model with openvino 2026", " on cpu: ", "while compiling"];
    check("compile CPU segfault", &compiling);
    check("compile CPU segfault", &["segmentation fault (signal 11)", "lapwing inspect "]);
    check("read * abort", &["SIGABRT", "while compiling"]);
    let first = "while inferring for the first time";
    check("request CPU abort", &["SIGABRT", first, ": aborted (signal 6)"]);
    check("infer CPU segfault", &["SIGSEGV", first]);
    check("compile CPU exit 3", &["exit code 3", "while compiling"]);
    check("compile CPU exit 0", &["exit code 0", "while compiling"]);
}

#[test]
fn who_is_trusted_is_not_guarded() {
    let mut faulty = Faulty::new(&["compile CPU abort"]);
    let is_ended = |faulty: &Faulty, more: &[&str]| {
        faulty.command(more).output().unwrap().status.signal() == Some(6)
    };
    assert!(is_ended(&faulty, &["--trust"]));
    assert!(!is_ended(&faulty, &["--trust=false"]));
    let file = faulty.lapwing.path("lapwing.toml");
    std::fs::write(&file, "trust = true\n").unwrap();
    assert!(is_ended(&faulty, &["--config", file.to_str().unwrap()]));
    faulty.lapwing = faulty.lapwing.with("LAPWING_TRUST", "true");
    assert!(is_ended(&faulty, &[]));
    assert!(!is_ended(&faulty, &["--trust=false"]));
    // Wrong usage is told once, by the first of the two.
    faulty.lapwing = faulty.lapwing.with("LAPWING_TRUST", "perhaps");
    faulty.run(&[]).expect_code(2).expect_says(&["LAPWING_TRUST", "perhaps"]);
}

#[test]
fn every_command_that_opens_a_model_is_guarded() {
    let faulty = Faulty::new(&["load * abort"]);
    let model = faulty.lapwing.path("model").display().to_string();
    let text = faulty.lapwing.path("text").display().to_string();
    std::fs::write(&text, "a text").unwrap();
    for command in [
        &["chat", "--model", &model][..],
        &["eval", "ppl", "--model", &model, "--text", &text],
        &["calibrate", "--model", &model, "--text", &text],
        &["cache", "warm", &model],
        &["devices"],
        &["doctor"],
    ] {
        let outcome = faulty.lapwing.run(command).expect_code(1);
        outcome.expect_says(&["SIGABRT ended the work", "aborted (signal 6)"]);
    }
}

#[test]
fn a_signal_to_the_guard_alone_reaches_the_work() {
    // What compiles cannot be stopped: the second signal ends the program at once.
    let faulty = Faulty::new(&["compile CPU hang"]);
    for (name, expected) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        let _ = std::fs::remove_file(faulty.played.path().join("calls.log"));
        let (mut child, worker) = faulty.start("compile");
        // Other signals do not count.
        signal("-TSTP", child.id());
        until("it is stopped", &|| state(worker) == Some('T') && state(child.id()) == Some('T'));
        signal("-CONT", child.id());
        until("it goes on", &|| state(worker) != Some('T'));
        signal(name, child.id());
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(child.try_wait().unwrap(), None, "one only asks, {name}");
        signal(name, child.id());
        let asked = Instant::now();
        assert_eq!(ends(&mut child), Some(expected), "{name}");
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        until("it is gone", &|| state(worker).is_none());
    }
}

#[test]
fn a_signal_to_both_counts_once() {
    let faulty = Faulty::new(&["compile CPU hang"]);
    let (mut child, worker) = faulty.start("compile");
    let pid = child.id();
    let ask = || signal("-INT", format!("-{pid}"));
    ask();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(child.try_wait().unwrap(), None, "one only asks");
    assert_eq!(ends(&mut child), Some(130));
    until("it is gone", &|| state(worker).is_none());
}

#[test]
fn one_signal_ends_an_opening_soon_and_leaves_nothing_half_done() {
    let faulty = Faulty::new(&["compile CPU hang"]);
    for (name, to_all, expected) in
        [("-INT", false, 130), ("-INT", true, 130), ("-TERM", false, 143), ("-HUP", false, 129)]
    {
        let _ = std::fs::remove_file(faulty.played.path().join("calls.log"));
        let (mut child, worker) = faulty.start("compile");
        let to = if to_all { format!("-{}", child.id()) } else { child.id().to_string() };
        let asked = Instant::now();
        signal(name, to);
        assert_eq!(ends(&mut child), Some(expected), "{name}");
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        until("it is gone", &|| state(worker).is_none());
        let outcome = outcome(child.wait_with_output().unwrap());
        assert!(outcome.stderr.ends_with("interrupted\n"), "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("error"), "{}", outcome.stderr);
    }
    // Nothing of it is in the way of the next one.
    Script::new(faulty.played.path()).write();
    faulty.run(&[]).expect_code(0);
    let kept = files_below(&faulty.lapwing.path("cache"));
    assert!(!kept.iter().any(|file| file.contains("partial")), "{kept:?}");
}

#[test]
fn a_key_that_is_held_down_counts_more_than_once() {
    let faulty = Faulty::new(&["compile CPU hang"]);
    let (mut child, _) = faulty.start("compile");
    let deadline = Instant::now() + Duration::from_secs(10);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "it never ends");
        signal("-INT", child.id());
        std::thread::sleep(Duration::from_millis(30));
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn neither_process_outlives_the_other() {
    let faulty = Faulty::new(&["compile CPU hang"]);
    let (mut child, worker) = faulty.start("compile");
    signal("-KILL", child.id());
    child.wait().unwrap();
    until("the work ends with its guard", &|| state(worker).is_none());

    std::fs::remove_file(faulty.played.path().join("calls.log")).unwrap();
    let (child, worker) = faulty.start("compile");
    signal("-KILL", worker);
    let outcome = outcome(child.wait_with_output().unwrap()).expect_code(1);
    outcome.expect_says(&[
        "SIGKILL ended the work",
        "while compiling",
        "the memory was not enough",
    ]);
}

#[test]
fn who_stops_and_goes_on_does_so_with_both_processes() {
    let folder = tempfile::tempdir().unwrap();
    let compiled = folder.path().join("compiled");
    let faulty = Faulty::new(&[&format!("compile CPU until {}", compiled.display())]);
    let (mut child, worker) = faulty.start("compile");
    let both = |wanted: char| [child.id(), worker].iter().all(|&pid| state(pid) == Some(wanted));
    signal("-TSTP", child.id());
    until("both are stopped", &|| both('T'));
    std::thread::sleep(Duration::from_millis(100));
    assert!(both('T'));
    signal("-CONT", child.id());
    let goes_on = |pid: u32| state(pid).is_some_and(|state| state != 'T');
    until("both go on", &|| goes_on(child.id()) && goes_on(worker));
    std::fs::write(compiled, "").unwrap();
    assert_eq!(ends(&mut child), Some(0));
}

#[test]
fn an_answer_without_a_tokenizer_is_shown_as_ids() {
    let faulty = Faulty::new(&[]);
    let outcome = faulty.run(&[]).expect_code(0).expect_says(&["warning: ", "no tokenizer.json"]);
    let ids: Vec<_> = outcome.stdout.trim_end().split(',').map(str::parse::<u32>).collect();
    assert!(ids.len() == 4 && ids.iter().all(Result::is_ok), "{}", outcome.stdout);
    let outcome = faulty.run(&["--json"]).expect_code(0);
    assert!(!outcome.stderr.contains("tokenizer"), "{}", outcome.stderr);
}

#[test]
fn names_that_are_no_text_do_no_harm() {
    use std::os::unix::ffi::OsStrExt as _;
    let faulty = Faulty::new(&[]);
    let name = std::ffi::OsStr::from_bytes(b"\xff.txt");
    std::fs::write(faulty.lapwing.path("model").join(name), "").unwrap();
    faulty.run(&[]).expect_code(0);
}

#[test]
fn who_inherits_that_children_are_forgotten_waits_for_his_own() {
    let faulty = Faulty::new(&[]);
    let inner = faulty.command(&[]);
    let mut command = Command::new("bash");
    command.args(["-c", "trap '' CHLD; exec \"$@\"", "bash"]);
    command.arg(inner.get_program()).args(inner.get_args()).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    assert_eq!(ends(&mut child), Some(0));
}

#[test]
fn signals_that_the_program_was_started_to_ignore_stay_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let compiled = folder.path().join("compiled");
    let faulty = Faulty::new(&[&format!("compile CPU until {}", compiled.display())]);
    for more in [&[][..], &["--trust"]] {
        let _ = std::fs::remove_file(faulty.played.path().join("calls.log"));
        let inner = faulty.command(more);
        // As `nohup` does, and a shell without job control with what runs in the background.
        let mut command = Command::new("bash");
        command.args(["-c", "trap '' HUP INT; exec \"$@\"", "bash"]);
        command.arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null());
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap();
        let is_compiling = || calls(faulty.played.path()).iter().any(|call| call.what == "compile");
        until("it compiles", &is_compiling);
        for name in ["-HUP", "-INT"] {
            signal(name, child.id());
            signal(name, format!("-{}", child.id()));
        }
        std::thread::sleep(Duration::from_millis(700));
        assert_eq!(child.try_wait().unwrap(), None, "{more:?}");
        std::fs::write(&compiled, "").unwrap();
        assert_eq!(ends(&mut child), Some(0), "{more:?}");
        std::fs::remove_file(&compiled).unwrap();
        faulty.lapwing.run(&["cache", "clear"]).expect_code(0);
    }
}

#[test]
fn an_end_that_somebody_wanted_is_no_crash() {
    // Nobody has taken over the signal while the text of the prompt is waited for.
    let faulty = Faulty::new(&[]);
    let model = faulty.lapwing.path("model").display().to_string();
    let mut command = faulty.lapwing.command(&["run", "--model", &model]);
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Open to the end: else the text would end before the signal is there.
    let _stdin = child.stdin.take();
    until("it does its work in another process", &|| child_of(child.id()).is_some());
    // The other one is in `main` by then.
    std::thread::sleep(Duration::from_millis(300));
    signal("-TERM", child.id());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), Some(15), "the shell sees what it would have seen");
    assert_eq!(outcome(output).stderr, "");
}

/// A copy of an export whose graph is changed.
fn changed(lapwing: &Lapwing, export: &Path, change: impl FnOnce(String) -> String) -> PathBuf {
    let folder = lapwing.path("model");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    for entry in std::fs::read_dir(export).unwrap() {
        let from = entry.unwrap().path();
        if from.is_file() {
            std::fs::write(folder.join(from.file_name().unwrap()), std::fs::read(&from).unwrap())
                .unwrap();
        }
    }
    let graph = folder.join("openvino_model.xml");
    let text = change(std::fs::read_to_string(&graph).unwrap());
    std::fs::write(graph, text).unwrap();
    folder
}

#[test]
fn graphs_that_were_made_to_do_harm_end_in_an_error() {
    let Some(lapwing) = with_runtimes(Lapwing::new()) else { return };
    let Some(shared) = shared_folder() else { return };
    let export = shared.join("exports/stories260k-ov-int8");
    let run = |what: &str, change: &dyn Fn(String) -> String| {
        let folder = changed(&lapwing, &export, change);
        let model = folder.to_str().unwrap();
        let line = ["run", "--model", model, "--prompt-ids", "1,2,3", "-n", "3", "--device", "cpu"];
        let output = lapwing.command(&line).output().unwrap();
        assert_eq!(output.status.signal(), None, "{what}");
        let outcome = outcome(output);
        assert!(matches!(outcome.code, Some(0 | 1)), "{what}: {}", outcome.stderr);
        outcome
    };
    let renamed = |text: String| text.replacen("type=\"Const\"", "type=\"Broadcast\"", 1);
    run("a constant that is called something else", &renamed).expect_code(1);
    // One edge at a time comes from another layer.
    for edge_idx in (0..120).step_by(12) {
        let moved = |text: String| {
            let start = text.match_indices("from-layer=\"").nth(edge_idx).unwrap().0;
            let end = start + "from-layer=\"".len();
            let n_digits = text[end..].find('"').unwrap();
            format!("{}{}{}", &text[..end], edge_idx / 2, &text[end + n_digits..])
        };
        run(&format!("edge {edge_idx} is moved"), &moved);
    }
}
