//! Opening, checking and writing models.

use std::path::Path;

use super::proto::StringStringEntryProto;
use super::*;

const FIXTURE: &[u8] = include_bytes!("../../tests/data/inline.onnx");

fn open(folder: &Path, proto: &ModelProto) -> Result<OnnxModel, OpenOnnxError> {
    let path = folder.join("model.onnx");
    std::fs::write(&path, proto.encode_to_vec()).unwrap();
    OnnxModel::open(&path)
}

/// A model whose one weight `w`, f32 `[2, 3]`, is external with these entries.
fn external(entries: &[(&str, &str)]) -> ModelProto {
    let entry = |&(key, value): &(&str, &str)| StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    };
    let weight = TensorProto {
        dims: vec![2, 3],
        data_type: Some(ElementType::F32.number()),
        name: Some("w".to_owned()),
        external_data: entries.iter().map(entry).collect(),
        data_location: Some(TensorProto::EXTERNAL),
        ..TensorProto::default()
    };
    let graph = GraphProto {
        initializer: vec![weight],
        output: vec![Value::to_proto("w", ElementType::F32, &[])],
        ..GraphProto::default()
    };
    ModelProto { graph: Some(graph), ..ModelProto::default() }
}

#[test]
fn external_weights_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("w.data"), [0; 32]).unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    let check = |entries: &[(&str, &str)], expected: &str| {
        let found = match open(folder.path(), &external(entries)) {
            Ok(_) => "fine".to_owned(),
            Err(OpenOnnxError::External { name, source, .. }) => format!("{name}: {source}"),
            Err(other) => panic!("{other:?}"),
        };
        assert!(found.contains(expected), "{entries:?}: {found}");
    };
    let good = ("location", "w.data");
    check(&[good], "fine");
    check(&[good, ("offset", "8"), ("length", "24")], "fine");
    check(&[good, ("offset", "9"), ("length", "24")], "expected at least 33 bytes, found 32");
    check(&[good, ("offset", "9")], "expected at least 33 bytes, found 32");
    check(&[good, ("length", "20")], "w: its length is wrong: expected 24 bytes, found 20");
    check(&[good, ("offset", "-1")], "its offset is no number: found \"-1\"");
    check(&[good, ("offset", "18446744073709551615"), ("length", "24")], "too short");
    check(&[], "location is missing");
    check(&[("location", "sub")], "not a regular file");
    check(&[("location", "gone.data")], "cannot find");
    for outside in ["/etc/passwd", "../w.data", "sub/../../w.data", "", "..\\w.data"] {
        check(&[("location", outside)], "not inside");
    }
}

#[test]
fn subgraph_weights_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let mut outer = external(&[("location", "gone.data")]);
    let body = outer.graph.replace(GraphProto::default()).unwrap();
    let mut branch = proto::AttributeProto::int("then_branch", 0);
    branch.g = Some(body.encode_to_vec().into());
    let node = NodeProto::new("", "If", &["flag"], &["y"]).with(branch);
    let graph = outer.graph.as_mut().unwrap();
    graph.node = vec![node.encode_to_vec().into()];
    graph.output = vec![Value::to_proto("y", ElementType::F32, &[])];
    let error = open(folder.path(), &outer).unwrap_err();
    assert!(matches!(
        error,
        OpenOnnxError::External { name, source: ExternalError { source: Some(_), .. }, .. }
            if name == "w"
    ));
}

#[test]
fn inline_weights_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let mut proto = external(&[]);
    let weight = &mut proto.graph.as_mut().unwrap().initializer[0];
    weight.data_location = None;
    weight.raw_data = Some(vec![0; 23].into());
    let error = open(folder.path(), &proto).unwrap_err();
    assert!(matches!(error, OpenOnnxError::InlineLength { expected: 24, found: 23, .. }));
}

#[test]
fn files_that_are_no_model() {
    let folder = tempfile::tempdir().unwrap();
    let check = |bytes: &[u8]| {
        let path = folder.path().join("model.onnx");
        std::fs::write(&path, bytes).unwrap();
        OnnxModel::open(&path).unwrap_err()
    };
    assert!(matches!(check(b""), OpenOnnxError::NoGraph { .. }));
    assert!(matches!(check(b"<?xml version=\"1.0\"?>"), OpenOnnxError::Decode { .. }));
    assert!(matches!(check(&FIXTURE[..FIXTURE.len() / 2]), OpenOnnxError::Decode { .. }));
    let missing = OnnxModel::open(&folder.path().join("gone.onnx")).unwrap_err();
    assert!(matches!(missing, OpenOnnxError::Map(_)));
}

#[test]
fn encoding_again_loses_nothing() {
    let model = OnnxModel::decode(Path::new("m.onnx"), FIXTURE.into()).unwrap();
    let again = OnnxModel::decode(Path::new("m.onnx"), model.encode().into()).unwrap();
    assert_eq!(model.proto(), again.proto());
    assert_eq!(model.encode().len(), FIXTURE.len());
    assert_eq!(model.inputs().len(), 1);
    let dims = [Dim::symbol("b"), Dim::symbol("s"), Dim::Fixed(16)];
    assert_eq!(model.outputs()[0].dims.as_deref(), Some(&dims[..]));
}

#[test]
fn inline_weights_become_references_into_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, FIXTURE).unwrap();
    let mut model = OnnxModel::open(&path).unwrap();
    let embed = model.graph().initializer.iter().find(|w| w.name() == "embed").unwrap().clone();
    assert_eq!(model.externalize(100), 16 * 8 * 4 + 16 * 8, "`embed` and `head`");
    assert!(model.encode().len() < FIXTURE.len() - 500);
    let moved = model.initializers().find(|weight| weight.name == "embed").unwrap();
    let Place::External(range) = moved.place else { panic!("{moved:?}") };
    assert_eq!(range.location, "model.onnx");
    let start = usize::try_from(range.offset).unwrap();
    assert_eq!(FIXTURE[start..start + 512], embed.raw_data.unwrap());
    // The result is a valid model beside the file.
    std::fs::write(folder.path().join("edited.onnx"), model.encode()).unwrap();
    OnnxModel::open(&folder.path().join("edited.onnx")).unwrap();
}

#[test]
fn what_is_written_opens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let mut writer = OnnxWriter::create(&path).unwrap();
    let small = writer.tensor("small", ElementType::I64, &[1], &7i64.to_le_bytes()).unwrap();
    let medium: Vec<u8> = (0..2000u32).map(|index| index as u8).collect();
    let codes = writer.tensor("codes", ElementType::U8, &[4, 500], &medium).unwrap();
    let large = writer.tensor("large", ElementType::F32, &[1, 20_000], &[1; 80_000]).unwrap();
    let wrong = writer.tensor("wrong", ElementType::F16, &[3], &[0; 5]).unwrap_err();
    assert!(matches!(wrong, WriteOnnxError::Length { expected: 6, found: 5, .. }));
    let graph = GraphProto {
        initializer: vec![small, codes, large],
        output: vec![Value::to_proto("codes", ElementType::U8, &[])],
        ..GraphProto::default()
    };
    writer.finish(&ModelProto { graph: Some(graph), ..ModelProto::default() }).unwrap();
    let model = OnnxModel::open(&path).unwrap();
    let places: Vec<Place> = model.initializers().map(|weight| weight.place).collect();
    let at = |offset, length| {
        let location = "model.onnx.data".to_owned();
        Place::External(ExternalRange { location, offset, length: Some(length) })
    };
    assert_eq!(places, [Place::Inline, at(0, 2000), at(4096, 80_000)]);
    let data = std::fs::read(folder.path().join("model.onnx.data")).unwrap();
    assert_eq!(data[..2000], medium);
    assert_eq!(data.len(), 4096 + 80_000);
}
