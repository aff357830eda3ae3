//! `lapwing pull` from the hub, with a hub that misbehaves.

use std::process::Stdio;
use std::time::Duration;

use crate::hub::{COMMIT, Hub, HubFile, Manners};
use crate::{Lapwing, files_below, leftovers};

/// More than three ranges: the first has one MiB, the second two.
const LARGE_BYTES: usize = (5 << 20) + 12_345;

fn large_bytes() -> Vec<u8> {
    (0..LARGE_BYTES as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

pub(crate) fn files() -> Vec<HubFile> {
    let small = |path, text: &str| HubFile { path, bytes: text.into(), is_large: false };
    vec![
        small("README.md", "not wanted"),
        HubFile::of_model("config.json"),
        small("empty.txt", ""),
        HubFile::of_model("openvino_model.xml"),
        HubFile { path: "openvino_model.bin", bytes: large_bytes(), is_large: true },
    ]
}

fn start(manners: Manners) -> (Hub, Lapwing) {
    let hub = Hub::start(files(), manners);
    let lapwing = Lapwing::new().with("HF_ENDPOINT", &hub.endpoint);
    (hub, lapwing)
}

fn assert_whole(lapwing: &Lapwing, folder: &str) {
    let folder = lapwing.path("models").join(folder);
    let expected =
        [".lapwing.json", "config.json", "empty.txt", "openvino_model.bin", "openvino_model.xml"];
    assert_eq!(files_below(&folder), expected);
    assert!(std::fs::read(folder.join("openvino_model.bin")).unwrap() == large_bytes());
    assert_eq!(leftovers(lapwing), Vec::<String>::new());
}

#[test]
fn whole_and_again() {
    let (hub, lapwing) = start(Manners::default());
    lapwing.run(&["pull", "org/repo"]).expect_code(0).expect_says(&["5.3 MB", "org/repo is in"]);
    assert_whole(&lapwing, "org--repo");
    let ranges: Vec<_> =
        hub.downloads("openvino_model.bin").iter().map(|request| request.range).collect();
    assert!(ranges.len() > 1 && ranges.iter().all(Option::is_some), "{ranges:?}");
    assert_eq!(hub.downloads("README.md").len(), 0);

    let listed = lapwing.json(&["list", "--json"]);
    assert_eq!(listed[0]["name"], "org/repo");
    assert_eq!(listed[0]["kind"], "openvino");
    assert_eq!(listed[0]["source"], format!("hf:org/repo@{COMMIT}"));

    let n_requests = hub.requests().len();
    let again = lapwing.json(&["pull", "org/repo", "--json"]);
    assert_eq!(again[0]["was_there"], true);
    assert_eq!(hub.requests().len(), n_requests);

    lapwing.run(&["pull", "org/repo", "--force"]).expect_code(0);
    assert_whole(&lapwing, "org--repo");
    lapwing.run(&["rm", "org/repo", "--yes"]).expect_code(0);
    assert_eq!(lapwing.json(&["list", "--json"]), serde_json::json!([]));
}

#[test]
fn a_revision_is_a_model_of_its_own() {
    let (_hub, lapwing) = start(Manners::default());
    lapwing.run(&["pull", "hf:org/repo@v1", "--quiet"]).expect_code(0);
    assert_whole(&lapwing, "org--repo@v1");
}

#[test]
fn resumed_where_it_broke_off() {
    let cut = Manners { cut_at: Some(2 << 20), ..Manners::default() };
    let (hub, lapwing) = start(cut);
    let outcome = lapwing.run(&["pull", "org/repo"]).expect_code(1);
    outcome.expect_says(&["broke off after 1048576 of", "hint: run the same command again"]);
    assert_eq!(lapwing.json(&["list", "--json"]), serde_json::json!([]));
    let partial = format!("org--repo/{COMMIT}/openvino_model.bin.partial");
    assert!(leftovers(&lapwing).contains(&partial), "{:?}", leftovers(&lapwing));

    hub.behave(Manners::default());
    let n_before = hub.downloads("openvino_model.bin").len();
    lapwing.run(&["pull", "org/repo"]).expect_code(0);
    assert_whole(&lapwing, "org--repo");
    let first = hub.downloads("openvino_model.bin")[n_before].range;
    assert_eq!(first.map(|(start, _)| start), Some(1 << 20));
}

#[test]
fn an_unfinished_pull_can_be_removed() {
    let (_hub, lapwing) = start(Manners { cut_at: Some(2 << 20), ..Manners::default() });
    lapwing.run(&["pull", "org/repo"]).expect_code(1);
    lapwing.run(&["rm", "org/repo", "--yes"]).expect_code(0).expect_says(&["unfinished"]);
    assert_eq!(leftovers(&lapwing), Vec::<String>::new());
}

#[test]
fn a_wrong_hash_is_refused() {
    let claimed_hash = Some("ab".repeat(32));
    let (hub, lapwing) = start(Manners { claimed_hash, ..Manners::default() });
    let outcome = lapwing.run(&["pull", "org/repo"]).expect_code(1);
    outcome.expect_says(&["openvino_model.bin is damaged", &"ab".repeat(32), "hint: "]);
    assert_eq!(lapwing.json(&["list", "--json"]), serde_json::json!([]));
    assert!(leftovers(&lapwing).iter().all(|file| !file.contains("openvino_model.bin")));

    hub.behave(Manners::default());
    lapwing.run(&["pull", "org/repo"]).expect_code(0);
    assert_whole(&lapwing, "org--repo");
}

#[test]
fn damage_on_the_way_is_mended() {
    let (hub, lapwing) = start(Manners { flip_in_ranges: true, ..Manners::default() });
    lapwing.run(&["pull", "org/repo"]).expect_code(0);
    assert_whole(&lapwing, "org--repo");
    assert!(hub.downloads("openvino_model.bin").iter().any(|request| request.range.is_none()));
}

#[test]
fn a_token_is_asked_for_and_sent() {
    let (_hub, lapwing) = start(Manners { token: Some("hf_secret"), ..Manners::default() });
    let outcome = lapwing.run(&["pull", "org/repo"]).expect_code(1);
    outcome.expect_says(&["wants a token for org/repo", "hint: ", "HF_TOKEN"]);
    let lapwing = lapwing.with("HF_TOKEN", "hf_secret");
    lapwing.run(&["pull", "org/repo"]).expect_code(0);
    assert_whole(&lapwing, "org--repo");
}

#[test]
fn a_token_with_a_newline_is_sent_without() {
    let (_hub, lapwing) = start(Manners { token: Some("hf_secret"), ..Manners::default() });
    let lapwing = lapwing.with("HF_TOKEN", "hf_secret\n");
    lapwing.run(&["pull", "org/repo"]).expect_code(0);
    let lapwing = lapwing.with("HF_TOKEN", "hf secret");
    let outcome = lapwing.run(&["pull", "org/repo", "--force"]).expect_code(1);
    outcome.expect_says(&["HF_TOKEN holds no token", "hint: set HF_TOKEN"]);
}

#[test]
fn a_password_in_the_address_is_sent_and_never_shown() {
    let (hub, lapwing) = start(Manners::default());
    let address = hub.endpoint.replace("http://", "http://me:secret@");
    let lapwing = lapwing.with("HF_ENDPOINT", &address);
    for arguments in [["pull", "org/repo"], ["pull", "org/other"]] {
        let outcome = lapwing.run(&[&arguments[..], &["-vv"]].concat());
        assert!(!outcome.stderr.contains("secret"), "{}", outcome.stderr);
        assert!(!outcome.stdout.contains("secret"), "{}", outcome.stdout);
    }
    // me:secret
    let expected = Some("Basic bWU6c2VjcmV0".to_owned());
    assert!(hub.requests().iter().all(|request| request.authorization == expected));
    assert_whole(&lapwing, "org--repo");
    let lapwing = lapwing.with("HF_ENDPOINT", "me:secret@hub");
    let outcome = lapwing.run(&["pull", "org/other"]).expect_code(1);
    assert!(!outcome.stderr.contains("secret"), "{}", outcome.stderr);
    outcome.expect_says(&["the address of the hub is none", "hint: correct HF_ENDPOINT"]);
}

#[test]
fn refusals() {
    let check = |status: u16, code: &'static str, says: &[&str]| {
        let (_hub, lapwing) = start(Manners { refuse: Some((status, code)), ..Manners::default() });
        lapwing.run(&["pull", "org/repo"]).expect_code(1).expect_says(says);
        assert_eq!(leftovers(&lapwing), Vec::<String>::new());
    };
    check(401, "", &["wants a token", "HF_TOKEN"]);
    check(401, "RepoNotFound", &["no repository org/repo", "private", "hint: check the spelling"]);
    check(401, "GatedRepo", &["org/repo is gated", "in a browser"]);
    check(403, "GatedRepo", &["org/repo is gated", "in a browser"]);
    check(403, "", &["forbids access", "HF_TOKEN"]);
    check(404, "", &["no repository org/repo"]);
    check(429, "", &["slow down", "hint: wait"]);
}

#[test]
fn what_is_not_there() {
    let (hub, lapwing) = start(Manners::default());
    lapwing.run(&["pull", "org/other"]).expect_code(1).expect_says(&["no repository org/other"]);
    lapwing.run(&["pull", "org/repo", "--link"]).expect_code(1).expect_says(&["only a path"]);
    drop(hub);
    let lapwing = Lapwing::new().with("HF_ENDPOINT", "http://127.0.0.1:9");
    lapwing.run(&["pull", "org/repo"]).expect_code(1).expect_says(&["cannot reach", "HF_ENDPOINT"]);
}

#[test]
fn large_files_elsewhere_get_no_token() {
    let store = Hub::start(files(), Manners::default());
    let redirect_to = Some(store.endpoint.clone());
    let (hub, lapwing) =
        start(Manners { redirect_to, token: Some("hf_secret"), ..Manners::default() });
    let lapwing = lapwing.with("HF_TOKEN", "hf_secret");
    lapwing.run(&["pull", "org/repo"]).expect_code(0);
    assert_whole(&lapwing, "org--repo");
    assert!(hub.requests().iter().all(|request| request.authorization.is_some()));
    assert!(!store.requests().is_empty());
    assert!(store.requests().iter().all(|request| request.authorization.is_none()));
}

#[test]
fn one_precision_of_several() {
    let paths = ["config.json", "onnx/model_q4.onnx", "onnx/model_fp16.onnx"];
    let hub = Hub::start(paths.map(HubFile::of_model).into(), Manners::default());
    let lapwing = Lapwing::new().with("HF_ENDPOINT", &hub.endpoint);
    lapwing
        .run(&["pull", "org/repo", "--variant", "q8"])
        .expect_code(1)
        .expect_says(&["no variant \"q8\" in org/repo; it has fp16, q4", "--variant"]);
    lapwing.run(&["pull", "org/repo", "--variant", "fp16", "--as", "mine"]).expect_code(0);
    let files = files_below(&lapwing.path("models/mine"));
    assert_eq!(files, [".lapwing.json", "config.json", "onnx/model_fp16.onnx"]);
}

#[test]
fn another_revision_or_variant_does_not_pass_for_what_is_there() {
    let paths = ["config.json", "onnx/model_q4.onnx", "onnx/model_fp16.onnx"];
    let hub = Hub::start(paths.map(HubFile::of_model).into(), Manners::default());
    let lapwing = Lapwing::new().with("HF_ENDPOINT", &hub.endpoint);
    lapwing.run(&["pull", "org/repo", "--as", "m"]).expect_code(0);
    let check = |arguments: &[&str], says: &[&str]| {
        let outcome = lapwing.run(&[&["pull"], arguments, &["--as", "m"]].concat()).expect_code(1);
        outcome.expect_says(says).expect_says(&["the name m is taken", "--as", "--force"]);
    };
    let found = "found hf:org/repo (q4)";
    check(&["hf:org/repo@v1"], &["expected hf:org/repo@v1,", found]);
    check(&["org/repo", "--variant", "fp16"], &["expected hf:org/repo (fp16),", found]);
    let other = lapwing.path("other.gguf");
    std::fs::write(&other, "weights").unwrap();
    check(&[other.to_str().unwrap()], &["other.gguf,", found]);

    // The same again, by whatever name, is there.
    for same in [&["org/repo"][..], &["org/repo", "--variant", "q4"]] {
        let pulled = lapwing.json(&[&["pull"], same, &["--as", "m", "--json"]].concat());
        assert_eq!(pulled[0]["was_there"], true, "{same:?}");
    }
    let commit = format!("hf:org/repo@{COMMIT}");
    assert_eq!(lapwing.json(&["pull", &commit, "--as", "m", "--json"])[0]["was_there"], true);
    lapwing.run(&["pull", "org/repo", "--variant", "fp16", "--as", "m", "--force"]).expect_code(0);
    let files = files_below(&lapwing.path("models/m"));
    assert_eq!(files, [".lapwing.json", "config.json", "onnx/model_fp16.onnx"]);
}

#[test]
fn a_pull_of_one_variant_brings_nothing_of_another_that_broke_off() {
    let weights = vec![7; 4 << 20];
    let files = vec![
        HubFile::of_model("config.json"),
        HubFile::of_model("onnx/model_q4.onnx"),
        HubFile { path: "onnx/model_q4.onnx_data", bytes: weights, is_large: true },
        HubFile::of_model("onnx/model_fp16.onnx"),
    ];
    let cut = Manners { cut_at: Some(3 << 20), ..Manners::default() };
    let hub = Hub::start(files, cut);
    let lapwing = Lapwing::new().with("HF_ENDPOINT", &hub.endpoint);
    lapwing.run(&["pull", "org/repo"]).expect_code(1).expect_says(&["broke off"]);
    assert!(leftovers(&lapwing).iter().any(|path| path.ends_with("model_q4.onnx_data.partial")));
    hub.behave(Manners::default());
    lapwing.run(&["pull", "org/repo", "--variant", "fp16"]).expect_code(0);
    let files = files_below(&lapwing.path("models/org--repo"));
    assert_eq!(files, [".lapwing.json", "config.json", "onnx/model_fp16.onnx"]);
}

#[test]
fn a_small_file_that_is_damaged_is_refused() {
    let file = |path| HubFile { is_large: true, ..HubFile::of_model(path) };
    let mut files = ["openvino_model.xml", "config.json", "openvino_model.bin"].map(file).to_vec();
    files.push(HubFile { path: "merges.txt", bytes: b"hello\n".into(), is_large: false });
    let right = Manners {
        git_hash: Some("ce013625030ba8dba906f756967f9e9ca394464a"),
        ..Manners::default()
    };
    let wrong = Manners {
        git_hash: Some("ce013625030ba8dba906f756967f9e9ca394464b"),
        ..Manners::default()
    };
    let hub = Hub::start(files, wrong);
    let lapwing = Lapwing::new().with("HF_ENDPOINT", &hub.endpoint);
    let outcome = lapwing.run(&["pull", "org/repo"]).expect_code(1);
    outcome.expect_says(&["is damaged: expected git sha1 ce01", "hint: "]);
    hub.behave(right);
    lapwing.run(&["pull", "org/repo"]).expect_code(0);
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_can_be_continued() {
    let slow = Manners { pause: Duration::from_millis(400), ..Manners::default() };
    let (hub, lapwing) = start(slow);
    let mut command = lapwing.command(&["pull", "org/repo"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let partial =
        lapwing.path(&format!("models/.partial/org--repo/{COMMIT}/openvino_model.bin.partial"));
    while std::fs::metadata(&partial).map_or(0, |metadata| metadata.len()) < 1 << 20 {
        assert!(child.try_wait().unwrap().is_none(), "the pull ended too soon");
        std::thread::sleep(Duration::from_millis(20));
    }
    let killed =
        std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("interrupted") && stderr.contains("hint: run the same"), "{stderr}");

    hub.behave(Manners::default());
    let n_before = hub.downloads("openvino_model.bin").len();
    lapwing.run(&["pull", "org/repo"]).expect_code(0);
    assert_whole(&lapwing, "org--repo");
    let first = hub.downloads("openvino_model.bin")[n_before].range;
    assert!(first.is_some_and(|(start, _)| start >= 1 << 20), "{first:?}");
}

/// An ONNX graph whose one weight is in another file.
fn graph_with_weights_in(location: &str) -> Vec<u8> {
    let field = |tag: u8, bytes: &[u8]| [&[tag << 3 | 2, bytes.len() as u8], bytes].concat();
    let entry = [field(1, b"location"), field(2, location.as_bytes())].concat();
    // Four numbers of f32, elsewhere.
    let weight = [&[0x08, 4, 0x10, 1, 0x70, 1][..], &field(8, b"w"), &field(13, &entry)].concat();
    field(7, &[field(5, &weight), field(12, &field(1, b"w"))].concat())
}

#[test]
fn a_model_that_no_command_could_open_is_not_said_to_be_there() {
    let hub = |paths: &[&'static str]| {
        let files = paths.iter().copied().map(HubFile::of_model).collect();
        Hub::start(files, Manners::default())
    };
    // A translator: its decoder goes on from what an encoder made of another text.
    let merged = hub(&["config.json", "onnx/decoder_model_merged.onnx", "onnx/encoder_model.onnx"]);
    let lapwing = Lapwing::new().with("HF_ENDPOINT", &merged.endpoint);
    let outcome = lapwing.run(&["pull", "org/repo"]).expect_code(1);
    outcome.expect_says(&["the model in org/repo cannot be used", "decoder_model_merged.onnx"]);
    assert!(merged.downloads(".onnx").is_empty(), "refused before the download");

    // The graph names a file that the repository does not have under the usual name.
    let paths = ["config.json", "onnx/model.onnx"].map(HubFile::of_model);
    let mut files = paths.to_vec();
    files[1].bytes = graph_with_weights_in("weights.bin");
    let elsewhere = Hub::start(files, Manners::default());
    let lapwing = Lapwing::new().with("HF_ENDPOINT", &elsewhere.endpoint);
    let outcome = lapwing.run(&["pull", "org/repo"]).expect_code(1);
    outcome.expect_says(&["the model is not whole", "weights.bin", "hint: --variant chooses"]);
    assert_eq!(lapwing.json(&["list", "--json"]), serde_json::json!([]));
    lapwing.run(&["rm", "org/repo", "--yes"]).expect_code(0).expect_says(&["unfinished"]);
    assert_eq!(leftovers(&lapwing), Vec::<String>::new());
}
