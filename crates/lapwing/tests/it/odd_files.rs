//! Pipes, devices and folders where a file is expected: said as such, at once.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Lapwing;
use crate::hub::{Hub, HubFile, Manners};

/// Far more than any of these commands takes, and less than for ever.
const PATIENCE: Duration = Duration::from_secs(60);

const ODD: [&str; 3] = ["a pipe", "a device", "a folder"];

/// Put one of [`ODD`] at `path`, in place of what is there.
fn put(odd: &str, path: &Path) {
    if path.is_dir() {
        std::fs::remove_dir(path).unwrap();
    } else if path.symlink_metadata().is_ok() {
        std::fs::remove_file(path).unwrap();
    }
    match odd {
        "a pipe" => assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
        "a device" => symlink("/dev/zero", path).unwrap(),
        _ => std::fs::create_dir(path).unwrap(),
    }
}

/// Run a command that ends by itself; gives its exit code and what it said.
#[track_caller]
fn ends(lapwing: &Lapwing, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = lapwing.command(arguments);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let end = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if end < Instant::now() {
            child.kill().unwrap();
            panic!("{arguments:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// The command ends with `code` for each of [`ODD`] at `path`, and says what it found there.
#[track_caller]
fn refuses(lapwing: &Lapwing, path: &Path, arguments: &[&str], expected_code: i32) {
    for odd in ODD {
        put(odd, path);
        let (code, said) = ends(lapwing, arguments);
        assert_eq!(code, Some(expected_code), "{odd} {arguments:?}: {said}");
        let expected = format!("expected a regular file, found {odd}");
        assert!(said.contains(&expected), "{arguments:?} does not say `{expected}`: {said}");
        assert!(said.contains(path.file_name().unwrap().to_str().unwrap()), "{said}");
    }
}

/// A model folder of nothing.
fn model(lapwing: &Lapwing) -> std::path::PathBuf {
    let folder = lapwing.path("model");
    std::fs::create_dir(&folder).unwrap();
    for file in ["config.json", "openvino_model.xml", "openvino_model.bin"] {
        let file = HubFile::of_model(file);
        std::fs::write(folder.join(file.path), file.bytes).unwrap();
    }
    folder
}

#[test]
fn settings_and_catalogue() {
    let lapwing = Lapwing::new();
    refuses(&lapwing, &lapwing.path("catalog.toml"), &["list", "--all"], 1);
    let lapwing = Lapwing::new();
    refuses(&lapwing, &lapwing.path("lapwing.toml"), &["list"], 2);
    // By this name people say that there shall be no settings.
    let lapwing = Lapwing::new().with("LAPWING_CONFIG", "/dev/null");
    assert_eq!(ends(&lapwing, &["list"]).0, Some(0));
}

#[test]
fn files_of_a_model() {
    let lapwing = Lapwing::new();
    let folder = model(&lapwing);
    let inspect = ["inspect", folder.to_str().unwrap()];
    assert_eq!(ends(&lapwing, &inspect).0, Some(0));
    for odd in ODD {
        for name in ["chat_template.jinja", "tokenizer.json", "tokenizer_config.json"] {
            put(odd, &folder.join(name));
            // What cannot be read is left out, or said.
            let (code, said) = ends(&lapwing, &inspect);
            let is_said = code == Some(1) && said.contains(name);
            assert!(code == Some(0) || is_said, "{odd} {name}: {said}");
            put("a folder", &folder.join(name));
            std::fs::remove_dir(folder.join(name)).unwrap();
        }
    }
    for odd in ["a pipe", "a device"] {
        put(odd, &folder.join("config.json"));
        let (code, said) = ends(&lapwing, &inspect);
        assert_eq!(code, Some(1), "{odd}: {said}");
        put(odd, &folder.join("openvino_model.xml"));
        assert_eq!(ends(&lapwing, &inspect).0, Some(1), "{odd}");
    }
}

#[test]
fn a_pipe_is_read_where_it_was_handed_over_and_else_not_waited_for() {
    let lapwing = Lapwing::new();
    let folder = model(&lapwing);
    let pipe = lapwing.path("pipe");
    put("a pipe", &pipe);
    let prompt = ["run", folder.to_str().unwrap(), "--prompt-file", pipe.to_str().unwrap()];
    let measure = ["eval", "ppl", "-m", folder.to_str().unwrap(), "--text", pipe.to_str().unwrap()];
    for command in [&prompt[..], &measure] {
        let (code, said) = ends(&lapwing, command);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("found a pipe") && said.contains("hint: a pipe is read"), "{said}");
    }
    // Settings come before anything else, so that they tell what was read of them.
    let through = |name: &str| {
        let inner = lapwing.command(&["list"]);
        let mut command = Command::new("bash");
        command.args(["-c", &format!("echo 'treads = 1' | \"$0\" --config {name} list")]);
        command.arg(inner.get_program()).env("LAPWING_HOME", lapwing.path(""));
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    for name in ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0", "<(echo 'treads = 1')"] {
        let said = through(name);
        assert!(said.contains("unknown field `treads`"), "{name}: {said}");
    }
}

/// What is there and is not the file that somebody wanted: how it is made, and what is said of it.
const IN_ITS_PLACE: [(&str, &str); 5] = [
    ("a pointer", "a pointer of git lfs in its place"),
    ("a link", "a link to ../../blobs/gone, where nothing is"),
    ("a pipe", "expected a regular file, found a pipe"),
    ("a device", "expected a regular file, found a device"),
    ("a folder", "expected a regular file, found a folder"),
];

fn put_in_place(what: &str, path: &Path) {
    const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
    let _ = std::fs::remove_file(path);
    match what {
        "a pointer" => std::fs::write(path, POINTER).unwrap(),
        "a link" => symlink("../../blobs/gone", path).unwrap(),
        odd => put(odd, path),
    }
}

#[test]
fn a_name_that_is_there_is_never_taken_for_an_absent_file() {
    for name in [
        "config.json",
        "openvino_model.bin",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "chat_template.jinja",
        "genai_config.json",
    ] {
        for (what, says) in IN_ITS_PLACE {
            let lapwing = Lapwing::new();
            let folder = model(&lapwing);
            put_in_place(what, &folder.join(name));
            let folder = folder.to_str().unwrap();
            let is_of_weights = name.ends_with(".bin") && what == "a pointer";
            let commands = [&["run", "--model", folder, "--prompt", "x"][..], &["pull", folder]];
            for command in commands.into_iter().filter(|_| !is_of_weights) {
                // To pull a folder takes what is in a folder of it.
                if what == "a folder" && command[0] == "pull" {
                    continue;
                }
                let (code, said) = ends(&lapwing, command);
                assert_eq!(code, Some(1), "{what} {name} {command:?}: {said}");
                assert!(said.contains(says) && said.contains(name), "{what} {name}: {said}");
                let is_pointer = what == "a pointer";
                assert_eq!(said.contains("hint: fetch it where"), is_pointer, "{name}: {said}");
            }
        }
    }
}

#[test]
fn files_of_weights() {
    let lapwing = Lapwing::new();
    for name in ["m.gguf", "m.safetensors", "m.onnx", "openvino_model.xml"] {
        let path = lapwing.path(name);
        for odd in ["a pipe", "a device"] {
            put(odd, &path);
            let (code, said) = ends(&lapwing, &["inspect", path.to_str().unwrap()]);
            assert_eq!(code, Some(1), "{odd} {name}: {said}");
            let expected = format!("expected a regular file, found {odd}");
            assert!(said.contains(&expected) && said.contains(name), "{said}");
        }
    }
}

#[test]
fn files_of_a_checkpoint() {
    let Some(shared) = crate::real::shared_folder() else { return };
    let lapwing = Lapwing::new();
    let folder = lapwing.path("checkpoint");
    std::fs::create_dir(&folder).unwrap();
    for entry in std::fs::read_dir(shared.join("exports/stories260k-hf")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::write(folder.join(path.file_name().unwrap()), std::fs::read(&path).unwrap())
            .unwrap();
    }
    let out = lapwing.path("out");
    let (folder, out) = (folder.as_path(), out.to_str().unwrap());
    let export = ["export", folder.to_str().unwrap(), "--to", "onnx", "--out", out];
    refuses(&lapwing, &folder.join("tokenizer.json"), &export, 1);
}

#[test]
fn what_is_pulled() {
    let lapwing = Lapwing::new();
    for odd in ["a pipe", "a device"] {
        let path = lapwing.path("m.gguf");
        put(odd, &path);
        let (code, said) = ends(&lapwing, &["pull", path.to_str().unwrap()]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("no model in"), "{said}");
    }
    let hub = Hub::start(Vec::new(), Manners::default());
    let lapwing = Lapwing::new().with("HF_ENDPOINT", &hub.endpoint);
    std::fs::create_dir(lapwing.path("hf-home")).unwrap();
    for odd in ODD {
        put(odd, &lapwing.path("hf-home/token"));
        let (code, said) = ends(&lapwing, &["pull", "org/other"]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("no repository org/other"), "{said}");
    }
}
