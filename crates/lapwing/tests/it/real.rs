//! Real models and native runtimes for the tests, where they are there.
//!
//! `scripts/test` sets the variables and pulls the small model. What is missing makes a test say so
//! and pass, or fail where `CI` is set.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Lapwing, files_below};

/// The program with both runtimes, on two threads.
pub(crate) fn with_runtimes(lapwing: Lapwing) -> Option<Lapwing> {
    let onnxruntime = library("LAPWING_TEST_ORT")?;
    let openvino = library("LAPWING_TEST_OPENVINO")?;
    let lapwing = lapwing.with("ORT_DYLIB_PATH", onnxruntime);
    Some(lapwing.with("OPENVINO_INSTALL_DIR", openvino).with("LAPWING_THREADS", "2"))
}

/// The library file that the variable `name` names.
pub(crate) fn library(name: &str) -> Option<String> {
    let path = std::env::var(name).ok().filter(|path| !path.is_empty());
    or_skip(path, &format!("{name} names no library; scripts/test sets it"))
}

/// Real exports and the reference outputs.
pub(crate) fn shared_folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("LAPWING_SHARED").map_or(beside, PathBuf::from);
    let found = shared.is_dir().then_some(shared);
    or_skip(found, "no real exports: neither ../shared nor LAPWING_SHARED")
}

/// Every folder of real exports with a graph, sorted.
pub(crate) fn graph_folders() -> Option<Vec<PathBuf>> {
    let exports = shared_folder()?.join("exports");
    let mut folders = Vec::new();
    for file in files_below(&exports) {
        let is_graph = file.ends_with("/openvino_model.xml") || file.ends_with(".onnx");
        let folder = exports.join(file).parent().unwrap().to_path_buf();
        let is_inner = folder.ends_with("onnx");
        let folder = if is_inner { folder.parent().unwrap().to_path_buf() } else { folder };
        if is_graph && !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    assert!(!folders.is_empty(), "{} holds no export", exports.display());
    Some(folders)
}

/// The GGUF file of SmolLM2 in the store of whoever runs the tests.
pub(crate) fn smollm_checkpoint() -> Option<PathBuf> {
    let home = std::env::var_os("LAPWING_HOME").map(PathBuf::from);
    let folder = home.map(|home| home.join("models/smollm2-135m-instruct"));
    let found = folder.and_then(|folder| {
        let gguf = files_below(&folder).into_iter().find(|file| file.ends_with(".gguf"))?;
        Some(folder.join(gguf))
    });
    or_skip(found, "no smollm2-135m-instruct below LAPWING_HOME; scripts/test pulls it")
}

/// Token ids out of JSON.
#[track_caller]
pub(crate) fn ids(list: &Value) -> Vec<u64> {
    let ids = list.as_array().expect("ids are a list").iter();
    ids.map(|id| id.as_u64().expect("ids are numbers")).collect()
}

#[allow(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) fn or_skip<T>(found: Option<T>, missing: &str) -> Option<T> {
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI skips nothing: {missing}");
        eprintln!("skipped: {missing}");
    }
    found
}
