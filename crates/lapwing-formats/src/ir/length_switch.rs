//! Where a graph computes otherwise once a sequence is longer than so many positions.
//!
//! LongRoPE has two sets of rotary factors, and the length of the *whole* sequence chooses between
//! them. Its graphs compare that length with a constant:
//!
//! ```text
//! attention_mask ── ShapeOf ── Gather(1) ─┐
//! attention_mask ── ReduceSum ────────────┼─ Convert, Add 1, … ── Greater(4096) ── Select or If
//! position_ids ──── ReduceMax ────────────┘
//! ```
//!
//! Such graphs are found by this computation, whatever their values are called. Who runs one must
//! know: keys that were computed on one side of the switch do not fit queries of the other.

use half::f16;

use super::{Constant, ElementType, IrModel, Layer};

/// Inputs that tell the length of the whole sequence: one entry a position that was ever seen, and
/// the positions of the new tokens.
const MASK: &str = "attention_mask";
const POSITIONS: &str = "position_ids";

/// No length is further from its input. Every layer has one way back at most, but for a sum.
const N_STEPS_BACK_MAX: usize = 16;

/// A value, as far as it is about the length of the sequence.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    /// The input [`MASK`], `[batch, length]`.
    Mask,
    /// The input [`POSITIONS`].
    Positions,
    /// The sizes of the mask: `[batch, length]`.
    MaskSizes,
    /// The length of the sequence and this much.
    Length(f64),
    /// One number.
    Constant(f64),
}

/// The lengths at which `model` changes what it computes: a sequence of more positions than one of
/// these is computed otherwise than one of as many. Sorted; usually none.
pub fn length_switches(model: &IrModel) -> Vec<u64> {
    let mut switches: Vec<u64> = model.layers().filter_map(|layer| switch(model, layer)).collect();
    switches.sort_unstable();
    switches.dedup();
    switches
}

/// The length behind which a comparison turns over, when `layer` is one of the length with a number.
fn switch(model: &IrModel, layer: Layer<'_>) -> Option<u64> {
    use Known::{Constant, Length};
    let kind = layer.kind();
    if !matches!(&*kind, "Greater" | "GreaterEqual" | "Less" | "LessEqual") {
        return None;
    }
    let mut sources = layer.sources().map(|source| known(model, source, 0));
    let (kind, by, number) = match (sources.next()??, sources.next()??) {
        (Length(by), Constant(number)) => (&*kind, by, number),
        (Constant(number), Length(by)) => (mirrored(&kind), by, number),
        _ => return None,
    };
    let last = match kind {
        "Greater" | "LessEqual" => (number - by).floor(),
        _ => (number - by).ceil() - 1.0,
    };
    // Every sequence has a position, and no one has as many as these.
    (1.0..f64::from(i32::MAX)).contains(&last).then_some(last as u64)
}

fn mirrored(kind: &str) -> &str {
    match kind {
        "Greater" => "Less",
        "Less" => "Greater",
        "GreaterEqual" => "LessEqual",
        _ => "GreaterEqual",
    }
}

/// What a layer gives, followed back to the inputs.
fn known(model: &IrModel, layer: Layer<'_>, n_steps: usize) -> Option<Known> {
    use Known::{Constant, Length, Mask, MaskSizes, Positions};
    if n_steps == N_STEPS_BACK_MAX {
        return None;
    }
    let mut sources = layer.sources();
    let (first, second) = (sources.next(), sources.next());
    let back = |source: Option<Layer<'_>>| known(model, source?, n_steps + 1);
    let is_largest = |number: Option<Known>| matches!(number, Some(Constant(1.0 | -1.0)));
    match &*layer.kind() {
        "Parameter" => input(layer),
        "Const" => only_number(model, &layer.constant()?).map(Constant),
        "ShapeOf" => (back(first)? == Mask).then_some(MaskSizes),
        // The second of two sizes is also the last.
        "Gather" | "Slice" | "StridedSlice" => {
            (back(first)? == MaskSizes && is_largest(back(second))).then_some(Length(0.0))
        }
        "ReduceSum" => (back(first)? == Mask).then_some(Length(0.0)),
        "ReduceMax" => match back(first)? {
            Positions => Some(Length(-1.0)),
            Length(by) => Some(Length(by)),
            _ => None,
        },
        "Convert" | "Squeeze" | "Unsqueeze" | "Reshape" => back(first),
        "Add" => match (back(first)?, back(second)?) {
            (Length(by), Constant(more)) | (Constant(more), Length(by)) => Some(Length(by + more)),
            _ => None,
        },
        "Subtract" => match (back(first)?, back(second)?) {
            (Length(by), Constant(less)) => Some(Length(by - less)),
            _ => None,
        },
        _ => None,
    }
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
