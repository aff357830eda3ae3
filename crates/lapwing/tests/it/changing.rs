//! Files of a model that somebody writes to, cuts off or replaces while it is used, and file systems
//! that do not map files as others do.
#![cfg(unix)]

use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::fake_openvino::{Script, VARIABLE, calls, folder, write_model};
use crate::real::{shared_folder, with_runtimes};
use crate::{Lapwing, Outcome, files_below};

/// The program with a pretended OpenVINO that takes its time.
struct Slow {
    lapwing: Lapwing,
    played: tempfile::TempDir,
}

impl Slow {
    fn new() -> Slow {
        let played = tempfile::tempdir().unwrap();
        let script = Script::new(played.path()).line("fault infer CPU slow 700");
        let lapwing = Lapwing::new()
            .with("OPENVINO_INSTALL_DIR", folder().display().to_string())
            .with(VARIABLE, script.write().display().to_string());
        write_model(&lapwing.path("model"), 50, "");
        Slow { lapwing, played }
    }

    fn weights(&self) -> PathBuf {
        self.lapwing.path("model/openvino_model.bin")
    }

    /// Start a command, and let `change` happen while the library infers.
    fn during(&self, arguments: &[&str], change: impl FnOnce(&Path)) -> Outcome {
        let _ = std::fs::remove_file(self.played.path().join("calls.log"));
        let mut command = self.lapwing.command(arguments);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !calls(self.played.path()).iter().any(|call| call.what == "infer") {
            assert!(Instant::now() < deadline, "it never infers");
            std::thread::sleep(Duration::from_millis(10));
        }
        change(&self.weights());
        end(child)
    }
}

/// Whatever ends it, it is no signal.
fn end(child: Child) -> Outcome {
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.signal(), None);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn write_in_place(path: &Path) {
    let mut file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all(&[1; 16]).unwrap();
}

#[test]
fn a_file_that_is_written_to_during_an_answer_spoils_it() {
    let slow = Slow::new();
    let model = slow.lapwing.path("model").display().to_string();
    let run = ["run", "--model", &model, "--prompt-ids", "1,2,3", "-n", "2", "--json"];
    let outcome = slow.during(&run, write_in_place).expect_code(1);
    assert_eq!(outcome.stdout, "", "no object with numbers that are not to be trusted");
    let says = ["not to be trusted", "openvino_model.bin changed", "it was written to", "hint: "];
    outcome.expect_says(&says);
    let longer = |path: &Path| {
        let mut file = std::fs::File::options().append(true).open(path).unwrap();
        file.write_all(&[1]).unwrap();
    };
    let outcome = slow.during(&run, longer).expect_code(1);
    outcome.expect_says(&["openvino_model.bin changed", "it had ", " bytes and has "]);
    // The same again, with the file as it is now.
    slow.during(&run, |_| {}).expect_code(0);
}

#[test]
fn a_file_that_changed_is_named_before_what_comes_of_it() {
    let slow = Slow::new();
    Script::new(slow.played.path())
        .line("fault infer CPU slow 700")
        .line("fault infer CPU error logits of another world")
        .write();
    let model = slow.lapwing.path("model").display().to_string();
    let run = ["run", "--model", &model, "--prompt-ids", "1,2,3", "-n", "2", "--trust"];
    for more in [&[][..], &["--warmup"]] {
        let run = [&run[..], more].concat();
        let outcome = slow.during(&run, write_in_place).expect_code(1);
        outcome.expect_says(&["openvino_model.bin changed", "or its time was set", "hint: "]);
        let outcome = slow.during(&run, |_| {}).expect_code(1);
        outcome.expect_says(&["logits of another world"]);
    }
}

#[test]
fn a_file_that_is_replaced_during_an_answer_does_not() {
    let slow = Slow::new();
    let model = slow.lapwing.path("model").display().to_string();
    let run = ["run", "--model", &model, "--prompt-ids", "1,2,3", "-n", "2", "--json"];
    let replace = |path: &Path| {
        let new = path.with_extension("new");
        std::fs::write(&new, [7; 10]).unwrap();
        std::fs::rename(new, path).unwrap();
    };
    slow.during(&run, replace).expect_code(0);
}

/// An export that takes seconds to answer, and can be spoiled.
fn copy_of(lapwing: &Lapwing, export: &str) -> Option<PathBuf> {
    let original = shared_folder()?.join("exports").join(export);
    let folder = lapwing.path("model");
    for file in files_below(&original) {
        let to = folder.join(&file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, std::fs::read(original.join(file)).unwrap()).unwrap();
    }
    Some(folder)
}

#[test]
fn a_file_that_is_cut_off_during_an_answer_is_an_error_and_no_signal() {
    let check = |export: &str, file: &str| {
        let Some(lapwing) = with_runtimes(Lapwing::new()) else { return };
        let Some(folder) = copy_of(&lapwing, export) else { return };
        let model = folder.display().to_string();
        let run =
            ["run", "--model", &model, "--prompt-ids", "1,2,3", "-n", "2000", "--device", "cpu"];
        let mut command = lapwing.command(&[&run[..], &["--ignore-eos"]].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // An answer has begun.
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let cut = std::fs::File::options().write(true).open(folder.join(file)).unwrap();
        cut.set_len(4096).unwrap();
        let outcome = end(child).expect_code(1).expect_says(&["error: ", "hint: ", file]);
        // Whether a library has read all it needs by then is its own matter.
        let is_told = ["SIGBUS ended the work", "changed while it was used"];
        let is_told = is_told.iter().any(|words| outcome.stderr.contains(words));
        assert!(is_told, "{export}: {}", outcome.stderr);
    };
    check("smollm2-135m-instruct-ov-int4", "openvino_model.bin");
    check("smollm2-135m-instruct-ort-int4", "model.onnx.data");
}

/// A library that refuses maps of files, shared or all, as some file systems do. Programs and
/// libraries are mapped by the loader itself.
#[allow(clippy::print_stderr, reason = "a skipped test says so")]
fn shim(folder: &Path, refused: &str) -> Option<PathBuf> {
    let code = format!(
        "#define _GNU_SOURCE\n#include <sys/mman.h>\n#include <errno.h>\n#include <dlfcn.h>\n\
         void *mmap(void *a, size_t l, int p, int f, int fd, off_t o) {{\n\
         static void *(*real)(void *, size_t, int, int, int, off_t);\n\
         if (!real) real = dlsym(RTLD_NEXT, \"mmap\");\n\
         if (fd >= 0 && ({refused})) {{ errno = ENODEV; return MAP_FAILED; }}\n\
         return real(a, l, p, f, fd, o);\n}}\n\
         void *mmap64(void *a, size_t l, int p, int f, int fd, off_t o)\n\
         {{ return mmap(a, l, p, f, fd, o); }}\n"
    );
    let (source, library) = (folder.join("shim.c"), folder.join("shim.so"));
    std::fs::write(&source, code).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl");
    match compiler.status() {
        Ok(status) => assert!(status.success(), "the shim does not compile"),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "CI skips nothing: no cc: {error}");
            eprintln!("skipped: no C compiler `cc`: {error}");
            return None;
        }
    }
    Some(library)
}

#[test]
fn file_systems_without_shared_maps_or_without_any_hold_models() {
    let Some(shared) = shared_folder() else { return };
    let Some(lapwing) = with_runtimes(Lapwing::new()) else { return };
    let exports = ["stories260k-ov-int8", "tiny/tiny-llama-ort_int4", "stories260k-hf"];
    let [ir, onnx, checkpoint] =
        exports.map(|export| shared.join("exports").join(export).display().to_string());
    let is_shared = "(f & 0x0f) == MAP_SHARED";
    let is_of_a_model = "(p & PROT_EXEC) == 0";
    for (refused, runs) in [(is_shared, true), (is_of_a_model, false)] {
        let folder = tempfile::tempdir().unwrap();
        let Some(library) = shim(folder.path(), refused) else { return };
        let check = |arguments: &[&str]| {
            let outcome = |command: &mut Command| {
                let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
                end(child.unwrap()).expect_code(0).stdout
            };
            let expected = outcome(&mut lapwing.command(arguments));
            let found = outcome(lapwing.command(arguments).env("LD_PRELOAD", &library));
            assert_eq!(found, expected, "{arguments:?} where {refused} is refused");
        };
        for model in [&ir, &onnx, &checkpoint] {
            check(&["inspect", model, "--json"]);
        }
        // How a library maps what it reads itself is its own matter.
        for model in [&ir, &onnx].into_iter().filter(|_| runs) {
            let run = ["run", "--model", model, "--prompt-ids", "1,2,3", "-n", "3"];
            check(&[&run[..], &["--temperature", "0", "--device", "cpu"]].concat());
        }
    }
}
