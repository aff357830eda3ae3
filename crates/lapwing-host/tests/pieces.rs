//! A model that answers a prompt in pieces otherwise than at once.

#![allow(clippy::unwrap_used, reason = "the lint knows tests, not their helpers")]

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use lapwing_formats::onnx::OnnxModel;
use lapwing_formats::onnx::proto::{AttributeProto, NodeProto};
use lapwing_host::backend::conformance::{library_file, shared_folder};
use lapwing_host::backend::{DeviceKind, DeviceRequest, OpenOptions};
use lapwing_host::store::{Origin, Pointer};
use lapwing_host::{Caller, Engine, Host, OpenRequest};

/// A copy of an export with rotary caches that turns its heads the other way from 7 positions on, in a
/// way that nothing finds by looking at the graph.
fn turning_at_seven(export: &Path, to: &Path) {
    for entry in fs::read_dir(export).unwrap().flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let graph = to.join("model.onnx");
    let mut model = OnnxModel::open(&graph).unwrap();
    let mut nodes = model.nodes().map(Result::unwrap).enumerate();
    let (at, mut caches) = nodes.find(|(_, node)| node.output[0] == "cos_cache").unwrap();
    drop(nodes);
    caches.output[0] = "cos_before".to_owned();
    let node =
        |op_type: &str, input: &[&str], output: &str| NodeProto::new("", op_type, input, &[output]);
    let float = |value: f32, name: &str| {
        node("Constant", &[], name).with(AttributeProto::float("value_float", value))
    };
    let put_in = [
        caches,
        node("Constant", &[], "six").with(AttributeProto::int("value_int", 6)),
        node("Shape", &["attention_mask"], "sizes"),
        node("ReduceMax", &["sizes"], "length"),
        node("Greater", &["length", "six"], "is_long"),
        float(-1.0, "back"),
        float(1.0, "forth"),
        node("Where", &["is_long", "back", "forth"], "way"),
        node("Mul", &["cos_before", "way"], "cos_cache"),
    ];
    model.graph_mut().node.splice(at..=at, put_in.map(|node| node.encoded()));
    fs::write(graph, model.encode()).unwrap();
}

#[test]
fn a_model_that_answers_pieces_otherwise_gets_whole_prompts() {
    let Some(shared) = shared_folder() else { return };
    let Some(library) = library_file("LAPWING_TEST_ORT") else { return };
    let (home, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut host = Host::below(home.path());
    let origin = Origin::Environment("a test");
    host.store.pointers.onnxruntime = Some(Pointer { path: library, origin });
    let export = shared.join("exports-next/tiny-phi4long-ort_int4");
    turning_at_seven(&export, copy.path());
    let open = |path: &Path| {
        let notices = RefCell::new(Vec::new());
        let request = OpenRequest::of(path.to_str().unwrap(), &host);
        let device = DeviceRequest::One(DeviceKind::Cpu, None);
        let options = OpenOptions { device, ..request.options };
        let request = OpenRequest { options, ..request };
        let tell = |notice: lapwing_host::Notice| notices.borrow_mut().push(notice.to_string());
        let caller = Caller { tell: &tell, ..Caller::NOBODY };
        let engine = Engine::open(&host, &request, caller).unwrap();
        let n_follow = engine.model.limits().n_follow_tokens_max;
        drop(engine);
        (n_follow, notices.into_inner())
    };
    let (n_follow, notices) = open(&export);
    assert!(1 < n_follow && notices.is_empty(), "{n_follow} {notices:?}");
    let (n_follow, notices) = open(copy.path());
    assert_eq!(n_follow, 1);
    let expected = "a prompt in pieces gives other logits than at once";
    assert!(notices.len() == 1 && notices[0].contains(expected), "{notices:?}");
    // The second time it is known.
    let (n_follow, notices) = open(copy.path());
    assert!(n_follow == 1 && notices.is_empty(), "{n_follow} {notices:?}");
}
