//! Ten thousand damaged IRs: each is read or refused, quickly and within its memory.

use std::hint::black_box;
use std::path::{Path, PathBuf};

use lapwing_formats::ir::{ElementType, IrModel, expose_hidden, slice_before_head};

use crate::hostile;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/tiny-ir/openvino_model.xml")
}

/// Everything that an open model offers.
fn read(path: &Path) {
    let Ok(mut model) = IrModel::open(path) else { return };
    for constant in model.constants() {
        black_box(model.constant_bytes(&constant));
    }
    for layer in model.layers() {
        black_box((layer.name(), layer.opset(), layer.attributes()));
        layer.inputs().chain(layer.outputs()).for_each(|port| drop(black_box(port.names())));
        layer.sources().for_each(|source| drop(black_box(source.kind())));
    }
    drop(black_box((model.parameters(), model.results(), model.variables())));
    drop(black_box(model.weight_compression()));
    drop(black_box(slice_before_head(&mut model)));
    drop(black_box(expose_hidden(&mut model, ElementType::F16)));
}

#[test]
fn mutated_xml_neither_panics_nor_hangs_nor_fills_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(fixture().with_extension("bin"), folder.path().join("mutated.bin")).unwrap();
    let seed_file = std::fs::read(fixture()).unwrap();
    hostile::check_mutations_in(folder.path(), "mutated.xml", &seed_file, 10_000, read);
}

#[test]
fn a_bin_of_any_other_length_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.xml");
    std::fs::copy(fixture(), &path).unwrap();
    let bin = std::fs::read(fixture().with_extension("bin")).unwrap();
    for n_bytes in 0..bin.len() {
        std::fs::write(path.with_extension("bin"), &bin[..n_bytes]).unwrap();
        assert!(IrModel::open(&path).is_err(), "{n_bytes} of {}", bin.len());
    }
    std::fs::write(path.with_extension("bin"), &bin).unwrap();
    IrModel::open(&path).unwrap();
}

/// Opens `xml` beside an empty BIN and compares the heap that it takes with its size.
#[track_caller]
fn check_memory(xml: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("m.xml");
    std::fs::write(&path, xml).expect("the temporary folder is writable");
    std::fs::write(path.with_extension("bin"), b"").expect("the temporary folder is writable");
    let start = std::time::Instant::now();
    let peak = hostile::peak_allocation(|| drop(black_box(IrModel::open(&path))));
    assert!(peak < 4 * xml.len() + 16_384, "{peak} bytes for {}", xml.len());
    assert!(start.elapsed().as_secs() < 5, "{:?} for {} bytes", start.elapsed(), xml.len());
}

#[test]
fn many_small_elements_stay_within_four_times_the_file() {
    let net = |layers: &str, edges: &str| {
        format!("<net version=\"11\"><layers>{layers}</layers><edges>{edges}</edges></net>")
    };
    let n = 40_000;
    let layers: String =
        (0..n).map(|id| format!("<layer id=\"{id}\" name=\"\" type=\"\"/>")).collect();
    check_memory(&net(&layers, ""));
    check_memory(&net(&"<layer".repeat(n), ""));
    let ports: String = (0..n).map(|id| format!("<port id=\"{id}\"/>")).collect();
    let one = |id, side| {
        format!("<layer id=\"{id}\" name=\"\" type=\"\"><{side}>{ports}</{side}></layer>")
    };
    let both = one(0, "output") + &one(1, "input");
    let edges: String = (0..n)
        .map(|port| {
            format!(
                "<edge from-layer=\"0\" from-port=\"{port}\" to-layer=\"1\" to-port=\"{port}\"/>"
            )
        })
        .collect();
    check_memory(&net(&both, &edges));
    check_memory(&net(&both, &"<edge".repeat(n)));
    let attributes: String = (0..n).map(|index| format!(" a{index}=\"\"")).collect();
    check_memory(&net(&format!("<layer id=\"0\"{attributes}/>"), ""));
    check_memory(&net(&format!("<layer id=\"{}\"/>", "9".repeat(1_000_000)), ""));
    check_memory(&"<a>".repeat(n));
}
