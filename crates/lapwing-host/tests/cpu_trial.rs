//! A program that has the CPU tried in a process that may die, with a pretended OpenVINO.
//!
//! A process loads one OpenVINO and a crash ends it, so the test starts this binary again: as the
//! program that opens a model, and that one as its worker.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "the lint knows tests, not their helpers")]

#[path = "../../lapwing-openvino/tests/support/fake_openvino.rs"]
mod fake_openvino;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fake_openvino::{Script, VARIABLE, calls, folder, write_model};
use lapwing_host::store::{Origin, Pointer};
use lapwing_host::worker::WorkerCommand;
use lapwing_host::{Caller, Engine, Host, OpenRequest, attempt};

/// The folder of the program's host, in the two inner processes.
const HOST: &str = "LAPWING_TEST_HOST";

fn host(below: &Path) -> Host {
    let mut host = Host::below(below);
    let origin = Origin::Environment("a test");
    host.store.pointers.openvino = Some(Pointer { path: folder(), origin });
    let arguments = ["serves_trials", "--exact", "--nocapture"].map(Into::into).to_vec();
    host.trials.worker = Some(WorkerCommand { program: None, arguments });
    host.trials.cpu_too = true;
    host
}

/// The worker; nothing in the outer process.
#[test]
fn serves_trials() {
    let Some(below) = std::env::var_os(HOST).map(PathBuf::from) else { return };
    let mut host = host(&below);
    host.trials.worker = None;
    attempt::serve(std::io::stdin(), &mut std::io::stdout(), &host).unwrap();
}

/// The program; nothing in the outer process.
#[test]
fn opens_a_model() {
    let Some(below) = std::env::var_os(HOST).map(PathBuf::from) else { return };
    let host = host(&below);
    let mut request = OpenRequest::of(below.join("model").to_str().unwrap(), &host);
    request.options.device = "cpu".parse().unwrap();
    request.options.cache_folder = None;
    match Engine::open(&host, &request, Caller::NOBODY) {
        Ok(engine) => println!("\nopened on {}", engine.model.device_used().id),
        Err(error) => println!("\nrefused: {}", error.reason()),
    }
}

struct Program(tempfile::TempDir);

impl Program {
    fn with(faults: &[&str]) -> Program {
        let below = tempfile::tempdir().unwrap();
        write_model(&below.path().join("model"), 50, "");
        let program = Program(below);
        program.play(faults);
        program
    }

    fn play(&self, faults: &[&str]) {
        let script = faults.iter().fold(Script::new(self.0.path()), |script, fault| {
            script.line(&format!("fault {fault}"))
        });
        script.write();
    }

    /// What it says, and how often the library compiled for it.
    fn opens(&self) -> (String, usize) {
        let _ = std::fs::remove_file(self.0.path().join("calls.log"));
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["opens_a_model", "--exact", "--nocapture"]).env(HOST, self.0.path());
        let Output { status, stdout, stderr } =
            command.env(VARIABLE, self.0.path().join("openvino.script")).output().unwrap();
        let said = String::from_utf8(stdout).unwrap();
        assert!(status.success(), "{status}: {said} {}", String::from_utf8_lossy(&stderr));
        let calls = calls(self.0.path());
        (said, calls.iter().filter(|call| call.what == "compile").count())
    }
}

#[test]
fn a_model_that_crashes_the_cpu_is_refused_and_remembered() {
    if std::env::var_os(HOST).is_some() {
        return;
    }
    let program = Program::with(&["compile CPU segfault"]);
    let (said, _) = program.opens();
    let expected = "refused: cannot use cpu: the process ended while compiling: segmentation fault";
    assert!(said.contains(expected), "{said}");
    program.play(&[]);
    let (said, n_compilations) = program.opens();
    assert!(said.contains("it came to harm at"), "{said}");
    assert_eq!(n_compilations, 0);
}

#[test]
fn a_model_that_does_no_harm_is_tried_once() {
    if std::env::var_os(HOST).is_some() {
        return;
    }
    let program = Program::with(&[]);
    for expected in [2, 1] {
        let (said, n_compilations) = program.opens();
        assert!(said.contains("opened on CPU"), "{said}");
        assert_eq!(n_compilations, expected);
    }
}
