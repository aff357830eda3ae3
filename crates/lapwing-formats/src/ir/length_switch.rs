//! Where an IR graph computes otherwise once a sequence is longer than so many positions.

use std::collections::HashMap;

use half::f16;

use super::{Constant, ElementType, IrModel, Layer};
use crate::length_switch::{Comparison, Known, MASK, POSITIONS, Step, sorted};

/// No length is further from its input. Every layer has one way back at most, but for a sum.
const N_STEPS_BACK_MAX: usize = 16;

/// What is known of inputs and constants, by the ids of their layers: their names and sizes may be
/// as long as the file, and many layers may read one of them.
type Leaves = HashMap<u32, Option<Known>>;

/// The lengths at which `model` changes what it computes: a sequence of more positions than one of
/// these is computed otherwise than one of as many. Sorted; usually none.
pub fn length_switches(model: &IrModel) -> Vec<u64> {
    let leaves: Leaves = model
        .layers()
        .filter_map(|layer| match &*layer.kind() {
            "Parameter" => Some((layer.id(), input(layer))),
            "Const" => {
                let number = layer.constant().and_then(|constant| only_number(model, &constant));
                Some((layer.id(), number.map(Known::Constant)))
            }
            _ => None,
        })
        .collect();
    sorted(model.layers().filter_map(|layer| switch(&leaves, layer)))
}

/// The length behind which a comparison turns over, when `layer` is one of the length with a number.
fn switch(leaves: &Leaves, layer: Layer<'_>) -> Option<u64> {
    let comparison = match &*layer.kind() {
        "Greater" => Comparison::Greater,
        "GreaterEqual" => Comparison::GreaterEqual,
        "Less" => Comparison::Less,
        "LessEqual" => Comparison::LessEqual,
        _ => return None,
    };
    let mut sources = layer.sources();
    let (first, second) = (sources.next()?, sources.next()?);
    comparison.switch(|| known(leaves, first, 0), || known(leaves, second, 0))
}

/// What a layer gives, followed back to the inputs.
fn known(leaves: &Leaves, layer: Layer<'_>, n_steps: usize) -> Option<Known> {
    if n_steps == N_STEPS_BACK_MAX {
        return None;
    }
    let step = match &*layer.kind() {
        "Parameter" | "Const" => return *leaves.get(&layer.id())?,
        "ShapeOf" => Step::Sizes,
        "Gather" | "Slice" | "StridedSlice" => Step::Entry,
        "ReduceSum" => Step::Sum,
        "ReduceMax" => Step::Largest,
        "Convert" | "Squeeze" | "Unsqueeze" | "Reshape" => Step::Same,
        "Add" => Step::Add,
        "Subtract" => Step::Subtract,
        _ => return None,
    };
    let mut sources = layer.sources();
    let (first, second) = (sources.next(), sources.next());
    step.result(|| known(leaves, first?, n_steps + 1), || known(leaves, second?, n_steps + 1))
}

fn input(layer: Layer<'_>) -> Option<Known> {
    let names = layer.outputs().next()?.names();
    let is = |known: &str| names.iter().any(|name| name == known) || layer.name() == known;
    match (is(MASK), is(POSITIONS)) {
        (true, _) => Some(Known::Mask),
        (_, true) => Some(Known::Positions),
        _ => None,
    }
}

/// The number of a constant that holds one.
fn only_number(model: &IrModel, constant: &Constant<'_>) -> Option<f64> {
    if constant.dims.iter().any(|&size| size != 1) {
        return None;
    }
    let bytes = model.constant_bytes(constant);
    match constant.element_type {
        ElementType::I64 => Some(i64::from_le_bytes(bytes.try_into().ok()?) as f64),
        ElementType::I32 => Some(i32::from_le_bytes(bytes.try_into().ok()?).into()),
        ElementType::F32 => Some(f32::from_le_bytes(bytes.try_into().ok()?).into()),
        ElementType::F16 => Some(f16::from_le_bytes(bytes.try_into().ok()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Dim, IrWriter, NewPort, Node, Operation};
    use super::*;

    /// A graph in the making, whose types and sizes nobody looks at.
    struct Graph(IrWriter<Vec<u8>>);

    impl Graph {
        fn new() -> Graph {
            Graph(IrWriter::new("m", Vec::new()))
        }

        fn input(&mut self, name: &str) -> Node {
            self.add(name, "Parameter", &[("shape", "?,?"), ("element_type", "i64")], &[])
        }

        fn number(&mut self, name: &str, number: i64) -> Node {
            self.0.constant(name, ElementType::I64, &[], &number.to_le_bytes()).unwrap()
        }

        fn layer(&mut self, kind: &str, takes: &[&Node]) -> Node {
            self.add(&format!("{kind} {takes:?}"), kind, &[], takes)
        }

        fn add(
            &mut self,
            name: &str,
            kind: &str,
            attributes: &[(&str, &str)],
            takes: &[&Node],
        ) -> Node {
            let port = NewPort {
                element_type: ElementType::I64,
                dims: vec![Dim::ANY],
                name: (kind == "Parameter").then(|| name.to_owned()),
            };
            let operation = Operation { name, kind, opset: "opset1", attributes, marks: &[] };
            self.0.layer(operation, takes, port)
        }

        fn switches(mut self, last: &Node) -> Vec<u64> {
            let result = Operation {
                name: "r",
                kind: "Result",
                opset: "opset1",
                attributes: &[],
                marks: &[],
            };
            self.0.layer_with(result, &[last], Vec::new());
            let (xml, bin) = self.0.finish(&[]);
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("m.xml");
            std::fs::write(&path, xml).unwrap();
            std::fs::write(path.with_extension("bin"), bin).unwrap();
            length_switches(&IrModel::open(&path).unwrap())
        }
    }

    #[test]
    fn a_length_is_found_whichever_way_it_is_computed() {
        let check = |kind: &str, is_mirrored: bool, expected: u64| {
            for way in ["positions", "sum", "shape"] {
                let mut graph = Graph::new();
                let one = graph.number("one", 1);
                let length = match way {
                    "positions" => {
                        let positions = graph.input("position_ids");
                        let largest = graph.layer("ReduceMax", &[&positions, &one]);
                        graph.layer("Add", &[&largest, &one])
                    }
                    "sum" => {
                        let mask = graph.input("attention_mask");
                        graph.layer("ReduceSum", &[&mask, &one])
                    }
                    _ => {
                        let mask = graph.input("attention_mask");
                        let shape = graph.layer("ShapeOf", &[&mask]);
                        let zero = graph.number("zero", 0);
                        graph.layer("Gather", &[&shape, &one, &zero])
                    }
                };
                let length = graph.layer("Convert", &[&length]);
                let limit = graph.number("limit", 4096);
                let takes = if is_mirrored { [&limit, &length] } else { [&length, &limit] };
                let last = graph.layer(kind, &takes);
                assert_eq!(graph.switches(&last), [expected], "{kind} {way}");
            }
        };
        check("Greater", false, 4096);
        check("LessEqual", false, 4096);
        check("GreaterEqual", false, 4095);
        check("Less", false, 4095);
        check("Less", true, 4096);
        check("Greater", true, 4095);
    }

    #[test]
    fn comparisons_of_other_things_are_none() {
        let check = |input: &str, reduce: &str, number: i64| {
            let mut graph = Graph::new();
            let one = graph.number("one", 1);
            let input = graph.input(input);
            let reduced = graph.layer(reduce, &[&input, &one]);
            let limit = graph.number("limit", number);
            let last = graph.layer("Greater", &[&reduced, &limit]);
            assert_eq!(graph.switches(&last), [0; 0], "{reduce} {number}");
        };
        check("input_ids", "ReduceMax", 4096);
        check("position_ids", "ReduceMin", 4096);
        check("attention_mask", "ReduceMax", 4096);
        // No length is behind these.
        check("position_ids", "ReduceMax", -2);
        check("position_ids", "ReduceMax", i64::MAX);
    }

    #[test]
    fn a_graph_of_many_comparisons_takes_no_longer_than_its_size() {
        // Comparisons that each read an input of a long name, a constant of several sizes and a chain
        // of sums, none of which is the length.
        let n_comparisons = 5_000;
        let mut graph = Graph::new();
        let long_name = (0..20_000).map(|n| format!("name{n}")).collect::<Vec<_>>().join(",");
        let input = graph.input(&long_name);
        let sizes = vec![1; 8];
        let mut one =
            graph.0.constant("one", ElementType::I64, &sizes, &1_i64.to_le_bytes()).unwrap();
        // Each layer that takes it would write them again.
        one.dims.clear();
        let mut length = graph.layer("ReduceMax", &[&input, &one]);
        for n in 0..n_comparisons {
            length = graph.add(&format!("sum {n}"), "Add", &[], &[&one, &length]);
            graph.add(&format!("greater {n}"), "Greater", &[], &[&length, &one]);
            graph.add(&format!("less {n}"), "Less", &[], &[&one, &input]);
        }
        let started = std::time::Instant::now();
        assert_eq!(graph.switches(&length), [0; 0]);
        // Far less; and more where each comparison reads names and sizes anew.
        let elapsed = started.elapsed();
        assert!(elapsed < std::time::Duration::from_secs(20), "{elapsed:?}");
    }

    #[test]
    fn of_the_real_exports_longrope_alone_switches() {
        let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
        let shared = std::env::var_os("LAPWING_SHARED").map_or(shared, Into::into);
        if !shared.is_dir() {
            assert!(std::env::var_os("CI").is_none(), "CI needs {}", shared.display());
            eprintln!("skipped: no ../shared");
            return;
        }
        let mut found = Vec::new();
        for folder in ["exports", "exports/tiny", "exports-next"] {
            for entry in std::fs::read_dir(shared.join(folder)).unwrap() {
                let entry = entry.unwrap().path();
                for name in ["openvino_model.xml", "openvino_language_model.xml"] {
                    let graph = entry.join(name);
                    if graph.is_file() {
                        let switches = length_switches(&IrModel::open(&graph).unwrap());
                        let name = entry.file_name().unwrap().to_string_lossy().into_owned();
                        found.extend(switches.iter().map(|&switch| (name.clone(), switch)));
                    }
                }
            }
        }
        assert_eq!(found, [("tiny-phi4long-ov_int4".to_owned(), 256)]);
    }
}
