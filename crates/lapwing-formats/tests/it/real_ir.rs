//! The exports that users make: every IR below `../shared/exports` opens and is handed on as it
//! was.
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "the helpers beside the tests belong to the tests"
)]

use std::path::{Path, PathBuf};

use lapwing_formats::ir::{
    Dim, ElementType, HIDDEN_STATES, HiddenEdit, IrModel, SliceEdit, expose_hidden,
    slice_before_head,
};

/// The shared folder; none, said aloud, where it is not there and need not be.
fn shared() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("LAPWING_SHARED").map_or(beside, PathBuf::from);
    if shared.join("exports").is_dir() {
        return Some(shared);
    }
    assert!(std::env::var_os("CI").is_none(), "no {}", shared.display());
    eprintln!("skipped: no ../shared");
    None
}

fn irs_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "xml") {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn every_ir_opens_and_stays_as_it_is() {
    let Some(shared) = shared() else { return };
    let irs = irs_below(&shared.join("exports"));
    assert!(irs.len() >= 40, "only {} IRs", irs.len());
    for path in irs {
        let model = IrModel::open(&path).unwrap();
        assert_eq!(model.xml(), std::fs::read_to_string(&path).unwrap(), "{}", path.display());
        assert!(model.constants().count() > 0 && !model.parameters().is_empty());
        if path.ends_with("openvino_model.xml") {
            assert_eq!(model.results()[0].names, ["logits"], "{}", path.display());
            assert_eq!(model.parameters()[0].names, ["input_ids"], "{}", path.display());
        }
    }
}

#[test]
fn every_language_model_can_be_sliced_and_show_its_hidden_states() {
    let Some(shared) = shared() else { return };
    let irs = irs_below(&shared.join("exports"));
    for path in irs.iter().filter(|path| path.ends_with("openvino_model.xml")) {
        let mut model = IrModel::open(path).unwrap();
        let outcome = slice_before_head(&mut model).unwrap();
        assert!(matches!(outcome, SliceEdit::Sliced { .. }), "{}: {outcome:?}", path.display());
        let outcome = expose_hidden(&mut model, ElementType::F32).unwrap();
        assert!(matches!(outcome, HiddenEdit::Exposed { .. }), "{}: {outcome:?}", path.display());
        assert_eq!(model.results()[0].names, ["logits"], "{}", path.display());
        assert_eq!(model.results().last().unwrap().names, [HIDDEN_STATES]);
    }
}

#[test]
fn facts_of_a_real_export() {
    let Some(shared) = shared() else { return };
    let path = shared.join("exports/smollm2-135m-instruct-ov-int4/openvino_model.xml");
    let model = IrModel::open(&path).unwrap();
    let names: Vec<_> = model.parameters().into_iter().flat_map(|p| p.names).collect();
    assert_eq!(names, ["input_ids", "attention_mask", "position_ids", "beam_idx"]);
    let variables = model.variables();
    assert_eq!(variables.len(), 60);
    for variable in variables {
        assert_eq!(variable.element_type, ElementType::F32);
        let dims = vec![Dim::ANY, Dim::Fixed(3), Dim::ANY, Dim::Fixed(64)];
        assert_eq!(variable.dims, Some(dims));
    }
    let compression = model.weight_compression().unwrap();
    assert_eq!((&*compression.mode, compression.group_size), ("int4_sym", Some(64)));
    assert_eq!(model.rt_info(&["runtime_options", "ACTIVATIONS_SCALE_FACTOR"]).unwrap(), "8.0");
}
