//! One layer's attention in standard operators, for head sizes that the fused one refuses.
//!
//! Query heads that share a key head lie one below the other, so that keys and values are never
//! repeated: `[batch, n_kv_heads, heads a group * positions, head_size]`.

use std::collections::{BTreeMap, BTreeSet};

use lapwing_formats::onnx::ElementType;
use lapwing_formats::onnx::proto::AttributeProto;
use lapwing_model::{Architecture, RopeKind, Transformer};

use super::{LongStart, Projections, rope_kinds, table_names};
use crate::onnx_folder::graph::Graph;

/// Values that every layer uses.
pub(super) struct Shared {
    /// Added to the scores of layers with this window: 0 where a query may look, the lowest number
    /// elsewhere; `[batch, 1, positions, total]`.
    masks: BTreeMap<Option<usize>, String>,
    /// Cosines and sines of the new positions `[batch, 1, positions, n_rotated / 2]`.
    angles: BTreeMap<RopeKind, [String; 2]>,
    /// The shape `[batch, n_heads, positions, total]` for a reshape.
    by_head: String,
    /// The shape `[batch, n_kv_heads, heads a group * positions, total]` for a reshape.
    by_group: String,
}

impl Shared {
    /// Add mask, angles and shapes to the graph.
    pub(super) fn new(
        graph: &mut Graph,
        architecture: &Architecture<Transformer>,
        long: Option<LongStart>,
    ) -> Shared {
        let first = graph.i64_list("/model/constants/1d/1", &[1]);
        let last = graph.i64_list("/model/constants/1d/-1", &[-1]);
        let shape = graph.node("/model/total/Shape", "Shape", &["attention_mask"], []);
        let axis = || AttributeProto::int("axis", 0);
        let total = graph.node("/model/total/Gather", "Gather", &[&shape, &first], [axis()]);
        let rows_of_table = match long {
            None => "position_ids".to_owned(),
            Some(long) => {
                let axis = graph.i64_list("/model/constants/1d/0", &[0]);
                let n_total = graph.node("/model/total/Squeeze", "Squeeze", &[&total, &axis], []);
                let first_row = long.first_row(graph, &n_total);
                graph.node("/model/rotary/rows", "Add", &["position_ids", &first_row], [])
            }
        };
        let angle = |graph: &mut Graph, kind: RopeKind, table: &str| {
            let name = format!("/model/{table}");
            let rows = match kind {
                RopeKind::General => rows_of_table.as_str(),
                RopeKind::Window => "position_ids",
            };
            let rows = &[table, rows];
            let rows = graph.node(&format!("{name}/Gather"), "Gather", rows, [axis()]);
            graph.node(&format!("{name}/Unsqueeze"), "Unsqueeze", &[&rows, &first], [])
        };
        let mut shape = |name: &str, n_heads: usize| {
            let copy = graph.i64_list("/model/constants/1d/0", &[0]);
            let heads =
                graph.i64_list(&format!("/model/constants/1d/{n_heads}"), &[n_heads as i64]);
            let parts = [copy.as_str(), &heads, &last, &total];
            graph.node(&format!("/model/{name}/Concat"), "Concat", &parts, [axis()])
        };
        let by_head = shape("by_head", architecture.n_heads);
        let by_group = shape("by_group", architecture.n_kv_heads);
        let windows: BTreeSet<Option<usize>> =
            (0..architecture.n_layers).map(|layer_idx| architecture.window(layer_idx)).collect();
        let is_mixed = windows.len() > 1;
        let masks = windows.into_iter().map(|window| {
            let name = if is_mixed && window.is_some() { "window_mask" } else { "mask" };
            (window, mask(graph, name, &total, window))
        });
        let masks = masks.collect();
        let kinds = rope_kinds(architecture).into_iter();
        let angles =
            kinds.map(|kind| (kind, table_names(kind).map(|table| angle(graph, kind, table))));
        let angles = angles.collect();
        Shared { masks, angles, by_head, by_group }
    }

    /// Attend over past and new positions; gives `[batch, positions, n_heads * head_size]`.
    pub(super) fn layer(
        &self,
        graph: &mut Graph,
        architecture: &Architecture<Transformer>,
        layer_idx: usize,
        projections: &Projections,
        sinks: Option<&str>,
    ) -> String {
        let name = |part: &str| format!("/model/layers.{layer_idx}/attn/{part}");
        let (n_heads, n_kv_heads) = (architecture.n_heads, architecture.n_kv_heads);
        let [query, key, value] = separate(graph, architecture, &name("Split"), projections);
        let query = self.heads(graph, architecture, &name("q"), &query, n_heads);
        let kind = architecture.rope_kind(layer_idx);
        let query = self.rotated(graph, architecture, kind, &name("q"), query);
        let key = self.heads(graph, architecture, &name("k"), &key, n_kv_heads);
        let key = self.rotated(graph, architecture, kind, &name("k"), key);
        let value = self.heads(graph, architecture, &name("v"), &value, n_kv_heads);
        let key = appended(graph, layer_idx, "key", &key);
        let value = appended(graph, layer_idx, "value", &value);

        let scale = architecture.family.attention_scale;
        let scale = graph.f32_scalar("/model/constants/scale", scale);
        let query = graph.node(&name("q/Mul"), "Mul", &[&query, &scale], []);
        let size = architecture.head_size as i64;
        let grouped = graph.i64_list("/model/constants/grouped", &[0, n_kv_heads as i64, -1, size]);
        let query = graph.node(&name("q/Group"), "Reshape", &[&query, &grouped], []);
        let swap = AttributeProto::ints("perm", &[0, 1, 3, 2]);
        let key = graph.node(&name("k/Swap"), "Transpose", &[&key], [swap]);
        let scores = graph.node(&name("Scores"), "MatMul", &[&query, &key], []);
        let scores = graph.node(&name("Scores/Heads"), "Reshape", &[&scores, &self.by_head], []);
        let scores = match architecture.family.attention_cap {
            None => scores,
            Some(cap) => {
                let limit = graph.f32_scalar("/model/constants/attention_cap", cap);
                let share = graph.node(&name("Cap/Div"), "Div", &[&scores, &limit], []);
                let share = graph.node(&name("Cap/Tanh"), "Tanh", &[&share], []);
                graph.node(&name("Cap/Mul"), "Mul", &[&share, &limit], [])
            }
        };
        let mask = &self.masks[&architecture.window(layer_idx)];
        let scores = graph.node(&name("Mask"), "Add", &[&scores, mask], []);
        let last_axis = || AttributeProto::int("axis", -1);
        let scores = match sinks {
            None => scores,
            Some(sinks) => {
                let sinks = beside_scores(graph, &name("Sinks"), sinks, &scores, n_heads);
                graph.node(&name("Sinks/Concat"), "Concat", &[&scores, &sinks], [last_axis()])
            }
        };
        let mut shares = graph.node(&name("Softmax"), "Softmax", &[&scores], [last_axis()]);
        if sinks.is_some() {
            // Without the share of the sink.
            let bounds = [0, -1]
                .map(|bound| graph.i64_list(&format!("/model/constants/1d/{bound}"), &[bound]));
            let inputs = [shares.as_str(), &bounds[0], &bounds[1], &bounds[1]];
            shares = graph.node(&name("Sinks/Slice"), "Slice", &inputs, []);
        }
        let shares = graph.node(&name("Shares/Group"), "Reshape", &[&shares, &self.by_group], []);
        let mixed = graph.node(&name("Mixed"), "MatMul", &[&shares, &value], []);
        let headed = graph.i64_list("/model/constants/headed", &[0, n_heads as i64, -1, size]);
        let mixed = graph.node(&name("Mixed/Heads"), "Reshape", &[&mixed, &headed], []);
        let mixed =
            graph.node(&name("Mixed/Transpose"), "Transpose", &[&mixed], [positions_first()]);
        let width = (n_heads * architecture.head_size) as i64;
        let joined = graph.i64_list("/model/constants/joined", &[0, 0, width]);
        graph.node(&name("Joined"), "Reshape", &[&mixed, &joined], [])
    }

    /// `[batch, positions, n * head_size]` to `[batch, n, positions, head_size]`.
    fn heads(
        &self,
        graph: &mut Graph,
        architecture: &Architecture<Transformer>,
        name: &str,
        value: &str,
        n_heads: usize,
    ) -> String {
        let dims = [0, 0, n_heads as i64, architecture.head_size as i64];
        let dims = graph.i64_list(&format!("/model/constants/split/{n_heads}"), &dims);
        let split = graph.node(&format!("{name}/Reshape"), "Reshape", &[value, &dims], []);
        graph.node(&format!("{name}/Transpose"), "Transpose", &[&split], [positions_first()])
    }

    /// Rotate by the positions' angles; the first half of what turns pairs with the second.
    ///
    /// Source: RoFormer, eq. 34, in the pairing of the models' checkpoints.
    fn rotated(
        &self,
        graph: &mut Graph,
        architecture: &Architecture<Transformer>,
        kind: Option<RopeKind>,
        name: &str,
        value: String,
    ) -> String {
        let Some(kind) = kind else { return value };
        let [cos, sin] = &self.angles[&kind];
        let n_rotated = architecture.rope(kind).n_rotated;
        let n_resting = architecture.head_size - n_rotated;
        let node = |part: &str| format!("{name}/rotary/{part}");
        let (left, right, resting) = (node("left"), node("right"), node("resting"));
        let axis = || AttributeProto::int("axis", -1);
        if n_resting == 0 {
            let attributes = [axis(), AttributeProto::int("num_outputs", 2)];
            graph.node_to(&node("Split"), "Split", &[&value], &[&left, &right], attributes);
        } else {
            let sizes = [n_rotated / 2, n_rotated / 2, n_resting].map(|size| size as i64);
            let sizes = graph.i64_list("/model/constants/rotary_sizes", &sizes);
            let parts = [left.as_str(), &right, &resting];
            graph.node_to(&node("Split"), "Split", &[&value, &sizes], &parts, [axis()]);
        }
        let left_cos = graph.node(&node("left_cos"), "Mul", &[&left, cos], []);
        let left_sin = graph.node(&node("left_sin"), "Mul", &[&left, sin], []);
        let right_cos = graph.node(&node("right_cos"), "Mul", &[&right, cos], []);
        let right_sin = graph.node(&node("right_sin"), "Mul", &[&right, sin], []);
        let left = graph.node(&node("Sub"), "Sub", &[&left_cos, &right_sin], []);
        let right = graph.node(&node("Add"), "Add", &[&right_cos, &left_sin], []);
        let mut parts = vec![left.as_str(), &right];
        parts.extend((n_resting > 0).then_some(resting.as_str()));
        graph.node(&node("Concat"), "Concat", &parts, [axis()])
    }
}

/// The heads' sinks as one more score of every position: `[batch, n_heads, positions, 1]`.
fn beside_scores(
    graph: &mut Graph,
    name: &str,
    sinks: &str,
    scores: &str,
    n_heads: usize,
) -> String {
    let dims = [1, n_heads as i64, 1, 1];
    let dims = graph.i64_list("/model/constants/sinks", &dims);
    let by_head = graph.node(&format!("{name}/Reshape"), "Reshape", &[sinks, &dims], []);
    let ends = [0, 3].map(|end| AttributeProto::int(if end == 0 { "start" } else { "end" }, end));
    let shape = graph.node(&format!("{name}/Shape"), "Shape", &[scores], ends);
    let one = graph.i64_list("/model/constants/1d/1", &[1]);
    let axis = AttributeProto::int("axis", 0);
    let shape = graph.node(&format!("{name}/Shape/Concat"), "Concat", &[&shape, &one], [axis]);
    graph.node(&format!("{name}/Expand"), "Expand", &[&by_head, &shape], [])
}

/// Swaps the axes of positions and heads, either way.
fn positions_first() -> AttributeProto {
    AttributeProto::ints("perm", &[0, 2, 1, 3])
}

/// Query, key and value, cut apart where they come packed.
fn separate(
    graph: &mut Graph,
    architecture: &Architecture<Transformer>,
    name: &str,
    projections: &Projections,
) -> [String; 3] {
    let packed = match projections {
        Projections::Separate(separate) => return separate.clone(),
        Projections::Packed(packed) => packed,
    };
    let size = |n_heads: usize| (n_heads * architecture.head_size) as i64;
    let sizes =
        [size(architecture.n_heads), size(architecture.n_kv_heads), size(architecture.n_kv_heads)];
    let sizes = graph.i64_list("/model/constants/qkv_sizes", &sizes);
    let parts = ["query", "key", "value"].map(|part| format!("{name}/{part}"));
    let outputs: Vec<&str> = parts.iter().map(String::as_str).collect();
    let axis = AttributeProto::int("axis", -1);
    graph.node_to(name, "Split", &[packed, &sizes], &outputs, [axis]);
    parts
}

/// The past of `part` and what is new; the result is an output of the graph too.
fn appended(graph: &mut Graph, layer_idx: usize, part: &str, new: &str) -> String {
    let past = format!("past_key_values.{layer_idx}.{part}");
    let present = format!("present.{layer_idx}.{part}");
    let axis = AttributeProto::int("axis", 2);
    let name = format!("/model/layers.{layer_idx}/attn/{part}/Concat");
    graph.node_to(&name, "Concat", &[&past, new], &[&present], [axis]);
    present
}

/// 0 where a query may look at a key, the lowest number elsewhere; `[batch, 1, positions, total]`.
fn mask(graph: &mut Graph, name: &str, total: &str, sliding_window: Option<usize>) -> String {
    let node = |part: &str| format!("/model/{name}/{part}");
    let zero = graph.i64_scalar("/model/constants/0", 0);
    let one = graph.i64_scalar("/model/constants/1", 1);
    let first = graph.i64_list("/model/constants/1d/1", &[1]);
    let total = graph.node(&node("total"), "Squeeze", &[total], []);
    let shape = graph.node(&node("new/Shape"), "Shape", &["input_ids"], []);
    let axis = AttributeProto::int("axis", 0);
    let n_new = graph.node(&node("new"), "Gather", &[&shape, &one], [axis]);
    let n_past = graph.node(&node("past"), "Sub", &[&total, &n_new], []);
    let keys = graph.node(&node("keys"), "Range", &[&zero, &total, &one], []);
    let queries = graph.node(&node("queries"), "Range", &[&n_past, &total, &one], []);
    let queries = graph.node(&node("queries/Unsqueeze"), "Unsqueeze", &[&queries, &first], []);
    let mut seen = graph.node(&node("causal"), "LessOrEqual", &[&keys, &queries], []);
    if let Some(window) = sliding_window.and_then(|window| i64::try_from(window).ok()) {
        let window = graph.i64_scalar("/model/constants/window", window);
        let start = graph.node(&node("window/Sub"), "Sub", &[&queries, &window], []);
        let near = graph.node(&node("window"), "Greater", &[&keys, &start], []);
        seen = graph.node(&node("near"), "And", &[&seen, &near], []);
    }
    let to = AttributeProto::int("to", i64::from(ElementType::Bool.number()));
    let given = graph.node(&node("given/Cast"), "Cast", &["attention_mask"], [to]);
    let axes = graph.i64_list("/model/constants/1d/1,2", &[1, 2]);
    let given = graph.node(&node("given"), "Unsqueeze", &[&given, &axes], []);
    let seen = graph.node(&node("seen"), "And", &[&given, &seen], []);
    let visible = graph.f32_scalar("/model/constants/visible", 0.0);
    let hidden = graph.f32_scalar("/model/constants/hidden", f32::MIN);
    graph.node(&node("Where"), "Where", &[&seen, &visible, &hidden], [])
}
