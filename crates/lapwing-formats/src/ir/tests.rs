use super::*;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/tiny-ir/openvino_model.xml")
}

/// The fixture's text with one piece replaced, opened from a folder of its own.
fn open_changed(from: &str, to: &str) -> Result<IrModel, OpenIrError> {
    let text = std::fs::read_to_string(fixture()).unwrap();
    assert!(text.contains(from), "the fixture has no {from}");
    open_text(&text.replacen(from, to, 1))
}

fn open_text(text: &str) -> Result<IrModel, OpenIrError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("openvino_model.xml");
    std::fs::write(&path, text).unwrap();
    std::fs::copy(fixture().with_extension("bin"), path.with_extension("bin")).unwrap();
    IrModel::open(&path)
}

#[track_caller]
fn check_refused(from: &str, to: &str, expected: &str) {
    let error = open_changed(from, to).unwrap_err().to_string();
    assert!(error.contains(expected), "{error}");
}

#[test]
fn inputs_outputs_and_states() {
    let model = IrModel::open(&fixture()).unwrap();
    let parameters = model.parameters();
    let names: Vec<_> = parameters.iter().map(|parameter| &parameter.names[..]).collect();
    assert_eq!(names, [["input_ids"], ["attention_mask"], ["beam_idx"]]);
    assert_eq!(parameters[0].element_type, ElementType::I64);
    assert_eq!(parameters[0].dims, Some(vec![Dim::ANY, Dim::ANY]));
    assert_eq!(parameters[2].element_type, ElementType::I32);
    let results = model.results();
    assert_eq!(results.len(), 1);
    assert_eq!(results[0].names, ["logits"]);
    assert_eq!(results[0].element_type, ElementType::F32);
    assert_eq!(results[0].dims, [Dim::ANY, Dim::ANY, Dim::Fixed(16)]);
    assert_eq!(
        model.variables(),
        [Variable {
            id: "past_key_values.0.keypresent.0.key".to_owned(),
            element_type: ElementType::F32,
            dims: Some(vec![Dim::ANY, Dim::ANY, Dim::Fixed(8)]),
        }]
    );
}

#[test]
fn constants_and_their_bytes() {
    let model = IrModel::open(&fixture()).unwrap();
    let codes = model.constants().find(|c| c.element_type == ElementType::U4).unwrap();
    assert_eq!((&codes.dims[..], model.constant_bytes(&codes).len()), (&[16, 2, 4][..], 64));
    let embedding = model.constants().find(|c| c.name == "embed").unwrap();
    assert_eq!(embedding.element_type, ElementType::F32);
    assert_eq!(model.constant_bytes(&embedding).len(), 16 * 8 * 4);
}

#[test]
fn notes_of_the_exporter() {
    let model = IrModel::open(&fixture()).unwrap();
    let version = model.rt_info(&["OpenVINO Runtime"]).unwrap();
    assert!(version.starts_with("2026."), "{version}");
    assert_eq!(model.rt_info(&["nncf", "weight_compression", "nothing"]), None);
    assert_eq!(model.rt_info(&["nncf"]), None);
    assert_eq!(model.rt_info(&[]), None);
    assert_eq!(
        model.weight_compression(),
        Some(WeightCompression {
            mode: "int4_sym".to_owned(),
            group_size: Some(4),
            ratio: Some(1.0),
            backup_mode: Some("int8_asym".to_owned()),
        })
    );
}

#[test]
fn layers_edges_and_unknown_text_stay() {
    let marked = "<rt_info><attribute name=\"mark\" version=\"0\"/><odd>&amp;</odd></rt_info>";
    let with_mark = format!("<data batch_dims=\"0\" odd=\"1\" />{marked}");
    let model = open_changed("<data batch_dims=\"0\" />", &with_mark).unwrap();
    assert!(model.xml().contains(marked));
    let gather = model.layers().find(|layer| layer.attribute("odd").is_some()).unwrap();
    assert_eq!(gather.kind(), "Gather");
    assert_eq!(gather.attributes().len(), 2);
    assert_eq!(gather.sources().count(), 3);
    assert_eq!(gather.outputs().next().unwrap().id, 3);
    let (source, port) = gather.source_of(0).unwrap();
    assert!(model.edges().contains(&Edge {
        from_layer: source.id(),
        from_port: port,
        to_layer: gather.id(),
        to_port: 0
    }));
}

#[test]
fn port_names_with_commas() {
    let model = open_changed("names=\"input_ids\"", "names=\"a\\,b,,c\\d\"").unwrap();
    assert_eq!(model.parameters()[0].names, ["a,b", "c\\d"]);
}

#[test]
fn a_missing_bin_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("openvino_model.xml");
    std::fs::copy(fixture(), &path).unwrap();
    let error = IrModel::open(&path).unwrap_err();
    assert!(
        matches!(&error, OpenIrError::MissingBin { bin, .. } if bin.ends_with("openvino_model.bin"))
    );
    assert!(matches!(IrModel::open(&folder.path().join("no.xml")), Err(OpenIrError::Map(_))));
}

#[test]
fn a_cut_off_bin_is_named_with_the_layer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("openvino_model.xml");
    std::fs::copy(fixture(), &path).unwrap();
    std::fs::write(path.with_extension("bin"), [0; 40]).unwrap();
    match IrModel::open(&path).unwrap_err() {
        OpenIrError::Invalid { layer, expected, .. } => {
            assert!(layer.is_some());
            assert_eq!(expected, "its bytes inside the BIN of 40 bytes");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_refused() {
    check_refused("<?xml version=\"1.0\"?>", "<!DOCTYPE net [<!ENTITY a \"b\">]>", "document type");
    check_refused("name=\"embed\"", "name=\"&a;\"", "well-formed attributes");
    check_refused("version=\"11\"", "version=\"9\"", "IR version 10 or 11");
    check_refused("layer id=\"1\"", "layer id=\"0\"", "distinct layer ids");
    check_refused("from-layer=\"0\"", "from-layer=\"999\"", "from a port that exists");
    check_refused("to-port=\"0\"", "to-port=\"7\"", "to a port that exists");
    check_refused("element_type=\"f32\"", "element_type=\"f99\"", "an element type");
    check_refused("shape=\"16, 8\"", "shape=\"16, 9\"", "576 bytes for f32 [16, 9]");
    check_refused("shape=\"16, 8\"", "shape=\"?, 8\"", "fixed sizes");
    check_refused("shape=\"16, 8\"", &format!("shape=\"{}, 8\"", u64::MAX), "a size that fits");
    check_refused("offset=\"0\"", &format!("offset=\"{}\"", u64::MAX), "overflow");
    check_refused("<dim>-1</dim>", "<dim>x</dim>", "a size or -1");
    check_refused("<dim>-1</dim>", "<dim>1&amp;2</dim>", "one piece of text");
    check_refused("</layers>", "", "found");
    let deep = format!("<rt_info>{}", "<a>".repeat(200));
    check_refused("<rt_info>", &deep, "shallower nesting");
    check_refused("<dim>-1</dim>", &"<dim>-1</dim>".repeat(65), "at most 64 dimensions");
    assert!(matches!(
        open_text("").unwrap_err(),
        OpenIrError::Invalid { expected, .. } if expected == "a net element"
    ));
}

#[test]
fn an_edited_model_takes_the_positions_last() {
    let mut model = IrModel::open(&fixture()).unwrap();
    let (n_layers, bin) = (model.layers().len(), model.bin().to_vec());
    let head = model.layers().find(|layer| layer.kind() == "MatMul").unwrap();
    let (hidden, head) = (head.source_of(0).unwrap().0.id(), head.name().into_owned());
    assert_eq!(slice_before_head(&mut model).unwrap(), SliceEdit::Sliced { head });
    assert_eq!((model.layers().len(), model.bin().to_vec()), (n_layers + 3, bin));
    let parameters = model.parameters();
    assert_eq!(parameters.last().unwrap().names, [LOGITS_POSITIONS]);
    assert_eq!(parameters.last().unwrap().dims, Some(vec![Dim::ANY]));
    let head = model.layers().find(|layer| layer.kind() == "MatMul").unwrap();
    let gather = head.source_of(0).unwrap().0;
    assert_eq!((&*gather.kind(), gather.source_of(0).unwrap().0.id()), ("Gather", hidden));
    let axis = gather.source_of(2).unwrap().0.constant().unwrap();
    assert_eq!(model.constant_bytes(&axis), 1_i64.to_le_bytes());
    // Once is enough.
    assert_eq!(
        slice_before_head(&mut model).unwrap(),
        SliceEdit::NotFound(NotFound::AlreadySliced)
    );
}

#[test]
fn what_enters_the_head_is_shown_behind_the_choice_of_positions() {
    let check = |model: &mut IrModel, element_type| {
        let n_layers = model.layers().len();
        let head = model.layers().find(|layer| layer.kind() == "MatMul").unwrap();
        let (hidden, port_id) = head.source_of(0).unwrap();
        let dims = hidden.outputs().find(|port| port.id == port_id).unwrap().dims;
        let (hidden, head) = (hidden.id(), head.name().into_owned());
        assert_eq!(expose_hidden(model, element_type).unwrap(), HiddenEdit::Exposed { head });
        assert_eq!(model.layers().len(), n_layers + 2);
        let results = model.results();
        assert_eq!(results[0].names, ["logits"]);
        assert_eq!(results[1].names, [HIDDEN_STATES]);
        assert_eq!((results[1].element_type, &results[1].dims), (element_type, &dims));
        let convert = model.layers().find(|layer| layer.name() == HIDDEN_STATES).unwrap();
        assert_eq!(convert.source_of(0).unwrap().0.id(), hidden);
    };
    check(&mut IrModel::open(&fixture()).unwrap(), ElementType::F32);
    let mut sliced = IrModel::open(&fixture()).unwrap();
    slice_before_head(&mut sliced).unwrap();
    check(&mut sliced, ElementType::Bf16);
}

#[test]
fn a_model_without_a_head_shows_no_hidden_states() {
    let mut model = open_changed("type=\"Tanh\"", "type=\"Softmax\"").unwrap();
    let before = model.xml().to_owned();
    let outcome = expose_hidden(&mut model, ElementType::F32).unwrap();
    let HiddenEdit::NotFound(NotFound::UnknownLayer { kind, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(kind, "Softmax");
    assert_eq!(model.xml(), before);
}

#[track_caller]
fn check_not_sliced(from: &str, to: &str, expected: impl Fn(&NotFound) -> bool) {
    let mut model = open_changed(from, to).unwrap();
    let before = model.xml().to_owned();
    match slice_before_head(&mut model).unwrap() {
        SliceEdit::NotFound(why) => assert!(expected(&why), "{why:?}"),
        sliced @ SliceEdit::Sliced { .. } => panic!("{sliced:?}"),
    }
    assert_eq!(model.xml(), before);
}

#[test]
fn what_is_not_sliced() {
    check_not_sliced(
        "type=\"Tanh\"",
        "type=\"Softmax\"",
        |why| matches!(why, NotFound::UnknownLayer { kind, .. } if kind == "Softmax"),
    );
    check_not_sliced(
        "transpose_a=\"false\"",
        "transpose_a=\"true\"",
        |why| matches!(why, NotFound::UnknownLayer { kind, .. } if kind == "MatMul"),
    );
    check_not_sliced("type=\"Result\"", "type=\"Other\"", |why| *why == NotFound::NoLogits);
}

/// `x [?, ?, 2]` times two matrices, of the second product the columns from 1 on, side by side.
fn head_in_parts(slice_axis: i64, concat_axis: &str) -> IrModel {
    let transposes = [("transpose_a", "false"), ("transpose_b", "true")];
    let together = [("axis", concat_axis)];
    let mut writer = IrWriter::new("head", Vec::new());
    let three = |n| [Dim::ANY, Dim::ANY, Dim::Fixed(n)];
    let operation =
        |name, kind, attributes| Operation { name, kind, opset: "opset8", attributes, marks: &[] };
    let x = writer.layer(
        operation("x", "Parameter", &[("shape", "?,?,2"), ("element_type", "f32")]),
        &[],
        port(ElementType::F32, &three(2)),
    );
    let zeros = |n: usize| vec![0; n * 8];
    let common = writer.constant("common", ElementType::F32, &[1, 2], &zeros(1)).unwrap();
    let whole = writer.constant("whole", ElementType::F32, &[3, 2], &zeros(3)).unwrap();
    let mut integer = |name, value: i64| {
        writer.constant(name, ElementType::I64, &[1], &value.to_le_bytes()).unwrap()
    };
    let [start, end] = [integer("start", 1), integer("end", i64::MAX)];
    let [step, axis] = [integer("step", 1), integer("axis", slice_axis)];
    let mut product = |name, weight, n| {
        writer.layer(
            operation(name, "MatMul", &transposes),
            &[&x, weight],
            port(ElementType::F32, &three(n)),
        )
    };
    let [common, whole] = [product("first", &common, 1), product("second", &whole, 3)];
    let rest = writer.layer(
        operation("rest", "Slice", &[]),
        &[&whole, &start, &end, &step, &axis],
        port(ElementType::F32, &three(2)),
    );
    let logits = writer.layer(
        operation("concat", "Concat", &together),
        &[&common, &rest],
        port(ElementType::F32, &three(3)),
    );
    writer.layer_with(operation("logits", "Result", &[]), &[&logits], Vec::new());
    let (xml, bin) = writer.finish(&[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("openvino_model.xml");
    std::fs::write(&path, xml).unwrap();
    std::fs::write(path.with_extension("bin"), bin).unwrap();
    IrModel::open(&path).unwrap()
}

#[test]
fn every_part_of_a_head_gets_the_chosen_positions() {
    for axes in [(2, "2"), (-1, "-1")] {
        let mut model = head_in_parts(axes.0, axes.1);
        assert!(matches!(slice_before_head(&mut model).unwrap(), SliceEdit::Sliced { .. }));
        let products: Vec<_> = model.layers().filter(|layer| layer.kind() == "MatMul").collect();
        let sources: Vec<_> =
            products.iter().map(|product| product.source_of(0).unwrap().0).collect();
        assert_eq!(sources.len(), 2);
        assert!(sources.iter().all(|source| source.name() == "lapwing_logits_gather"));
        assert!(matches!(
            expose_hidden(&mut model, ElementType::F32).unwrap(),
            HiddenEdit::Exposed { .. }
        ));
    }
    for (slice_axis, concat_axis, kind) in [(1, "2", "Slice"), (2, "1", "Concat")] {
        let mut model = head_in_parts(slice_axis, concat_axis);
        let outcome = slice_before_head(&mut model).unwrap();
        let SliceEdit::NotFound(NotFound::UnknownLayer { kind: found, .. }) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(found, kind);
    }
}

fn port(element_type: ElementType, dims: &[Dim]) -> NewPort {
    NewPort { element_type, dims: dims.to_vec(), name: None }
}

#[test]
fn what_the_writer_writes_opens() {
    let mut writer = IrWriter::new("a <new> model", Vec::new());
    let operation =
        |name, kind, attributes| Operation { name, kind, opset: "opset1", attributes, marks: &[] };
    let dims = [Dim::ANY, Dim::Fixed(2)];
    let input = writer.layer(
        operation("x", "Parameter", &[("shape", "?,2"), ("element_type", "f32")]),
        &[],
        NewPort { name: Some("x,y".to_owned()), ..port(ElementType::F32, &dims) },
    );
    let bytes = [1_f32.to_le_bytes(), 2_f32.to_le_bytes()].concat();
    let one = writer.constant("one", ElementType::F32, &[1, 2], &bytes).unwrap();
    let large = vec![7; 5000];
    writer.constant("large", ElementType::U8, &[5000], &large).unwrap();
    let same = writer.constant("same", ElementType::F32, &[2], &bytes).unwrap();
    let sum =
        writer.layer(operation("s", "Add", &[]), &[&input, &one], port(ElementType::F32, &dims));
    let marked = Operation { marks: &["decompression"], ..operation("m", "Multiply", &[]) };
    let product = writer.layer(marked, &[&sum, &same], port(ElementType::F32, &dims));
    writer.layer_with(operation("r", "Result", &[]), &[&product], Vec::new());
    let info = [("a/b", "1"), ("a/c/d", "2 < 3"), ("e", "4")];
    let info = info.map(|(path, value)| (path.to_owned(), value.to_owned()));
    let (xml, bin) = writer.finish(&info);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.xml");
    std::fs::write(&path, &xml).unwrap();
    std::fs::write(path.with_extension("bin"), &bin).unwrap();
    let model = IrModel::open(&path).unwrap();
    assert_eq!(model.parameters()[0].names, ["x,y"]);
    assert_eq!(model.results()[0].dims, dims);
    let ranges: Vec<_> = model.constants().map(|constant| constant.range).collect();
    assert_eq!(ranges, [0..8, 64..5064, 0..8]);
    assert_eq!(model.rt_info(&["a", "b"]).as_deref(), Some("1"));
    assert_eq!(model.rt_info(&["a", "c", "d"]).as_deref(), Some("2 < 3"));
    assert_eq!(model.rt_info(&["e"]).as_deref(), Some("4"));
    assert!(model.xml().contains("<attribute name=\"decompression\" version=\"0\" />"));
}

#[test]
fn a_constant_that_does_not_fill_its_shape_is_refused() {
    let mut writer = IrWriter::new("m", Vec::new());
    let error = writer.constant("c", ElementType::U4, &[3], &[0]).unwrap_err();
    assert!(matches!(error, WriteIrError::Size { expected: Some(2), found: 1, .. }), "{error}");
}
