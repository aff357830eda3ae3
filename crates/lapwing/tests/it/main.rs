//! The program as users meet it: the built binary, its output and its exit codes.
//!
//! No network: repositories come from a small server in [`hub`], wheels from a pretended pip. Real
//! models and runtimes are those that `scripts/test` provides; [`real`] finds them.

#![allow(clippy::unwrap_used, reason = "the lint knows tests, not their helpers")]

mod bad_models;
mod benching;
mod caching;
mod calibrating;
mod changing;
mod choosing;
mod commands;
mod correct_head;
mod embedding;
mod evaluating;
mod exports;
#[path = "../../../lapwing-openvino/tests/support/fake_openvino.rs"]
mod fake_openvino;
#[path = "../../../lapwing-weights/tests/support/gguf_file.rs"]
mod gguf_file;
mod guarding;
#[path = "../../../lapwing-store/tests/support/hub.rs"]
mod hub;
#[path = "../../../lapwing-formats/tests/support/mutate.rs"]
mod mutate;
mod mutated;
#[cfg(unix)]
mod odd_files;
mod onnx_devices;
#[cfg(unix)]
mod pull_cached;
mod pull_hub;
mod pull_local;
mod pull_wheel;
mod quoting;
mod real;
mod replies;
mod reporting;
mod running;
#[cfg(target_os = "linux")]
mod serving;
#[cfg(feature = "lab")]
mod studying;
mod tokenizing;
mod typing;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The program with an empty home of its own.
struct Lapwing {
    home: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
}

/// What one call did.
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Lapwing {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap(), environment: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.home.path().join(relative)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lapwing"));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            let ours = ["LAPWING_", "HF_", "ORT_", "OPENVINO_", "INTEL_OPENVINO_", "CLICOLOR"];
            let is_proxy = name.to_ascii_lowercase().ends_with("_proxy");
            if is_proxy || name == "NO_COLOR" || ours.iter().any(|start| name.starts_with(start)) {
                command.env_remove(name.as_ref());
            }
        }
        command.env("LAPWING_HOME", self.home.path());
        // The token file of whoever runs the tests is none of our business.
        command.env("HF_HOME", self.path("hf-home"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.args(arguments).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        Outcome {
            code: status.code(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    /// Run, demand success and parse stdout as JSON.
    fn json(&self, arguments: &[&str]) -> Value {
        let outcome = self.run(arguments).expect_code(0);
        serde_json::from_str(&outcome.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", outcome.stdout))
    }
}

impl Outcome {
    #[track_caller]
    fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// The message must contain all of these.
    #[track_caller]
    fn expect_says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.stderr.contains(part), "`{part}` is not in: {}", self.stderr);
        }
        self
    }
}

/// Names of everything below `folder`, sorted, folders left out.
fn files_below(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() && !path.is_symlink() {
                true => folders.push(path),
                false => {
                    let relative = path.strip_prefix(folder).unwrap();
                    files.push(relative.to_str().unwrap().to_owned());
                }
            }
        }
    }
    files.sort();
    files
}

/// What is left in the store apart from models: nothing but lock files, when all is well.
fn leftovers(lapwing: &Lapwing) -> Vec<String> {
    files_below(&lapwing.path("models/.partial"))
}

fn sha256(bytes: &[u8]) -> String {
    lapwing_files::checksum::sha256_bytes(bytes)
}
