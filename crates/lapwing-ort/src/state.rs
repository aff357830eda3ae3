//! The tensors that one run leaves for the next, as a graph declares them.

use std::collections::HashSet;

use lapwing_formats::onnx::proto::NodeProto;
use lapwing_formats::onnx::{Dim, ElementType, OnnxModel, Value};
use lapwing_model::Architecture;

/// Operators that take a state and several new positions, and give what one position after the
/// other would give. Of other operators a graph's maker may have traced the branch for a prompt
/// that starts a sequence, which does not look at the state.
const CONTINUING: [&str; 2] = ["CausalConvWithState", "LinearAttention"];

/// A state of more elements, or one position of one, is no state of a model: it would take the
/// memory of all weights.
const N_ELEMENTS_MAX: usize = 1 << 26;
/// The same for all states of a graph together.
const N_ELEMENTS_OF_ALL_MAX: usize = 1 << 28;

/// The states of a graph, by how they grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct States {
    pub(crate) kv: Vec<KvState>,
    pub(crate) fixed: Vec<FixedState>,
}

/// The keys or the values of one layer: `[1, n_heads, n_positions, head_size]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KvState {
    pub(crate) past: String,
    pub(crate) present: String,
    pub(crate) is_f16: bool,
    pub(crate) n_heads: usize,
    pub(crate) head_size: usize,
}

/// What a layer keeps of all positions in one size: the last inputs of a convolution, or the sum
/// of a recurrence. It begins with zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FixedState {
    pub(crate) past: String,
    pub(crate) present: String,
    pub(crate) is_f16: bool,
    /// The first axis is the batch, of one.
    pub(crate) dims: Vec<usize>,
}

impl States {
    /// Read `input` as a past, find its present, and keep both.
    ///
    /// # Errors
    ///
    /// Why not, when it is of no known kind, or its sizes are not known.
    pub(crate) fn take(
        &mut self,
        input: &Value,
        outputs: &[Value],
        architecture: &Architecture,
    ) -> Result<(), &'static str> {
        let Some((kind, present)) = Kind::of(&input.name) else {
            return Err("expected integers by a known name, a KV cache or another state");
        };
        let is_f16 = match input.element {
            Some(ElementType::F32) => false,
            Some(ElementType::F16) => true,
            _ => return Err("expected a state of f32 or f16"),
        };
        if !outputs.iter().any(|value| value.name == present) {
            return Err("the output `present…` that belongs to it is missing");
        }
        let (past, dims) = (input.name.clone(), input.dims.as_deref().unwrap_or_default());
        if kind != Kind::KeysOrValues {
            let dims = fixed_dims(kind, dims, architecture)?;
            self.fixed.push(FixedState { past, present, is_f16, dims });
            return Ok(());
        }
        let [_, heads, _, size] = dims else {
            return Err("expected the axes batch, heads, positions, head size");
        };
        let fixed = |dim: &Dim, otherwise| match dim {
            Dim::Fixed(size) => *size,
            Dim::Symbolic(_) | Dim::Unknown => otherwise,
        };
        let n_heads = fixed(heads, architecture.n_kv_heads);
        let head_size = fixed(size, architecture.head_size);
        if n_heads == 0 || head_size == 0 {
            return Err("its sizes are not known");
        }
        self.kv.push(KvState { past, present, is_f16, n_heads, head_size });
        Ok(())
    }

    /// Whether keys and values all go straight through a GroupQueryAttention, which writes the new
    /// positions into the buffer of the old ones and ignores what lies behind them.
    pub(crate) fn share_buffers(&self, model: &OnnxModel) -> bool {
        let mut shared = HashSet::new();
        // A node that cannot be decoded is no attention; the library will say what is wrong.
        for node in model.nodes().filter_map(Result::ok) {
            if node.op_type() != "GroupQueryAttention" {
                continue;
            }
            // Inputs: query, key, value, past_key, past_value, …; outputs: output, present_key, ….
            for (past, present) in [(3, 1), (4, 2)] {
                if let (Some(past), Some(present)) =
                    (node.input.get(past), node.output.get(present))
                {
                    shared.insert((past.clone(), present.clone()));
                }
            }
        }
        let is_shared =
            |state: &KvState| shared.contains(&(state.past.clone(), state.present.clone()));
        !self.kv.is_empty() && self.kv.iter().all(is_shared)
    }

    /// Positions that a shared buffer must have room for from the first run on: an attention that keeps
    /// a window of its cache asks for all of the window, however short the sequence is.
    pub(crate) fn n_buffered_min(&self, model: &OnnxModel) -> usize {
        let of_window = |node: &NodeProto| {
            let int = |name: &str| node.attribute(name).ok().flatten().map(|found| found.i());
            let keeps_window = int("sliding_window_cache") == Some(1);
            int("local_window_size").filter(|_| keeps_window).and_then(|n| usize::try_from(n).ok())
        };
        let nodes = model.nodes().filter_map(Result::ok);
        let attentions = nodes.filter(|node| node.op_type() == "GroupQueryAttention");
        attentions.filter_map(|node| of_window(&node)).max().unwrap_or(0)
    }

    /// Whether several tokens behind others are known to give what one after the other gives.
    pub(crate) fn take_several_behind(&self, model: &OnnxModel) -> bool {
        let mut left: HashSet<&str> = self.fixed.iter().map(|state| &*state.past).collect();
        for node in model.nodes().filter_map(Result::ok) {
            if CONTINUING.contains(&node.op_type()) {
                left.retain(|past| node.input.iter().all(|input| input != past));
            }
        }
        left.is_empty()
    }

    /// Refuse sizes that no model has, before memory is made for them.
    ///
    /// # Errors
    ///
    /// What was expected and found.
    pub(crate) fn check_sizes(&self) -> Result<(), String> {
        let mut n_of_all = 0_usize;
        let of_kv = self.kv.iter().map(|state| state.n_heads.checked_mul(state.head_size));
        let of_fixed = self.fixed.iter().map(|state| Some(state.dims.iter().product()));
        for (n_elements, name) in of_kv.chain(of_fixed).zip(self.pasts()) {
            match n_elements {
                Some(n_elements @ 1..=N_ELEMENTS_MAX) => n_of_all += n_elements,
                _ => {
                    return Err(format!(
                        "expected at most {N_ELEMENTS_MAX} numbers for a position of `{name}`, \
                         found more"
                    ));
                }
            }
            if N_ELEMENTS_OF_ALL_MAX < n_of_all {
                return Err(format!(
                    "expected at most {N_ELEMENTS_OF_ALL_MAX} numbers in all of them, found more"
                ));
            }
        }
        Ok(())
    }

    fn pasts(&self) -> impl Iterator<Item = &str> {
        let of_fixed = self.fixed.iter().map(|state| &*state.past);
        self.kv.iter().map(|state| &*state.past).chain(of_fixed)
    }

    /// Bytes of the keys and values of one position; `None` when the sizes make no sense.
    pub(crate) fn bytes_per_position(&self) -> Option<u64> {
        self.kv.iter().try_fold(0_u64, |sum, state| {
            let n_elements = (state.n_heads as u64).checked_mul(state.head_size as u64)?;
            sum.checked_add(n_elements.checked_mul(n_bytes(state.is_f16))?)
        })
    }

    /// Bytes of a sequence whatever its length, when nothing in it grows.
    pub(crate) fn bytes_per_sequence(&self) -> Option<u64> {
        let n_elements = |state: &FixedState| state.dims.iter().product::<usize>() as u64;
        let sizes = self.fixed.iter().map(|state| n_elements(state) * n_bytes(state.is_f16));
        self.kv.is_empty().then(|| sizes.sum())
    }
}

fn n_bytes(is_f16: bool) -> u64 {
    if is_f16 { 2 } else { 4 }
}

/// What a state holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    KeysOrValues,
    Convolution,
    Recurrence,
}

impl Kind {
    /// What the name of a past says, and the name of its present.
    ///
    /// Source: onnxruntime-genai, `src/config.h` and its model builder (`past_key_values.3.key`,
    /// `past.0.conv`, `past_key_values.0.recurrent_state`); transformers.js, `src/configs.js`
    /// (`past_conv.0`, `past_ssm.0`, `past_recurrent.0`).
    fn of(past: &str) -> Option<(Kind, String)> {
        let rest = past.strip_prefix("past")?;
        let (first, second) = rest.split_once('.')?;
        let is_layer = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if let ("" | "_key_values", Some((layer, what))) = (first, second.split_once('.')) {
            let kind = match what {
                "key" | "value" => Kind::KeysOrValues,
                "conv" | "conv_state" => Kind::Convolution,
                "recurrent" | "recurrent_state" => Kind::Recurrence,
                _ => return None,
            };
            return is_layer(layer).then(|| (kind, format!("present.{second}")));
        }
        let kind = match first {
            "_conv" => Kind::Convolution,
            "_ssm" | "_recurrent" => Kind::Recurrence,
            _ => return None,
        };
        is_layer(second).then(|| (kind, format!("present{rest}")))
    }
}

/// The sizes of a state that does not grow: the graph's, and those of a convolution over hidden
/// states also from the manifest.
fn fixed_dims(
    kind: Kind,
    dims: &[Dim],
    architecture: &Architecture,
) -> Result<Vec<usize>, &'static str> {
    let [_, rest @ ..] = dims else { return Err("expected a batch axis and others") };
    let from_manifest = match (kind, rest) {
        (Kind::Convolution, [_, _]) => {
            [Some(architecture.hidden_size), architecture.conv_cache_size]
        }
        _ => [None, None],
    };
    let mut sizes = vec![1];
    for (axis_idx, dim) in rest.iter().enumerate() {
        let told = from_manifest.get(axis_idx).copied().flatten();
        // The manifest's channels are those of a model that tells of its convolutions.
        let told = told.filter(|_| architecture.conv_cache_size.is_some());
        sizes.push(match dim {
            Dim::Fixed(size) => *size,
            Dim::Symbolic(_) | Dim::Unknown => told.ok_or("its sizes are not known")?,
        });
    }
    let n_elements = sizes.iter().try_fold(1_usize, |n, size| n.checked_mul(*size));
    match n_elements {
        Some(1..=N_ELEMENTS_MAX) => Ok(sizes),
        _ => Err("its sizes make no sense"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn architecture(conv_cache_size: Option<usize>) -> Architecture {
        Architecture {
            model_type: "lfm2".to_owned(),
            n_vocab: 100,
            n_layers: 2,
            n_heads: 4,
            n_kv_heads: 2,
            head_size: 16,
            hidden_size: 64,
            n_positions_max: 128,
            sliding_window: None,
            conv_cache_size,
            family: (),
        }
    }

    #[test]
    fn sizes_that_no_model_has_are_refused_before_memory_is_made() {
        let kv = |n_heads: usize, head_size: usize| KvState {
            past: "past_key_values.0.key".to_owned(),
            present: "present.0.key".to_owned(),
            is_f16: false,
            n_heads,
            head_size,
        };
        let check = |kv: Vec<KvState>, expected: Option<&str>| {
            let found = States { kv, fixed: Vec::new() }.check_sizes();
            match (found, expected) {
                (Ok(()), None) => {}
                (Err(found), Some(expected)) => assert!(found.contains(expected), "{found}"),
                (found, expected) => panic!("{found:?} instead of {expected:?}"),
            }
        };
        check(vec![kv(64, 256); 128], None);
        check(vec![kv(1 << 40, 16)], Some("past_key_values.0.key"));
        check(vec![kv(1 << 40, 1 << 40)], Some("found more"));
        check(vec![kv(1 << 26, 1); 9], Some("in all of them"));
    }

    fn value(name: &str, element: ElementType, dims: &[Dim]) -> Value {
        Value { name: name.to_owned(), element: Some(element), dims: Some(dims.to_vec()) }
    }

    fn check_name(past: &str, expected: Option<(Kind, &str)>) {
        let expected = expected.map(|(kind, present)| (kind, present.to_owned()));
        assert_eq!(Kind::of(past), expected, "{past}");
    }

    #[test]
    fn names_of_every_exporter_find_their_present() {
        check_name("past_key_values.3.key", Some((Kind::KeysOrValues, "present.3.key")));
        check_name("past.12.value", Some((Kind::KeysOrValues, "present.12.value")));
        check_name("past.0.conv", Some((Kind::Convolution, "present.0.conv")));
        check_name(
            "past_key_values.0.conv_state",
            Some((Kind::Convolution, "present.0.conv_state")),
        );
        check_name(
            "past_key_values.7.recurrent_state",
            Some((Kind::Recurrence, "present.7.recurrent_state")),
        );
        check_name("past_conv.0", Some((Kind::Convolution, "present_conv.0")));
        check_name("past_ssm.5", Some((Kind::Recurrence, "present_ssm.5")));
        check_name("past_recurrent.11", Some((Kind::Recurrence, "present_recurrent.11")));
        for name in [
            "cache_position",
            "past",
            "past.key",
            "past.x.key",
            "past..conv",
            "past.0.decoder.key",
            "past_conv.",
            "past_conv.0.key",
            "past_rwkv.0",
            "pasta.0.key",
        ] {
            check_name(name, None);
        }
    }

    fn check_dims(dims: &[Dim], architecture: &Architecture, expected: Result<&[usize], &str>) {
        let input = value("past.0.conv", ElementType::F32, dims);
        let outputs = [value("present.0.conv", ElementType::F32, dims)];
        let mut states = States::default();
        match (states.take(&input, &outputs, architecture), expected) {
            (Ok(()), Ok(expected)) => assert_eq!(states.fixed[0].dims, expected),
            (Err(reason), Err(expected)) => assert!(reason.contains(expected), "{reason}"),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn sizes_come_from_the_graph_then_from_the_manifest_or_are_refused() {
        let (batch, size) = (Dim::symbol("batch"), Dim::symbol("size"));
        let (told, untold) = (architecture(Some(3)), architecture(None));
        let fixed = [batch.clone(), Dim::Fixed(96), Dim::Fixed(4)];
        check_dims(&fixed, &told, Ok(&[1, 96, 4]));
        check_dims(&fixed, &untold, Ok(&[1, 96, 4]));
        let open = [batch.clone(), size.clone(), Dim::Unknown];
        check_dims(&open, &told, Ok(&[1, 64, 3]));
        check_dims(&open, &untold, Err("sizes are not known"));
        check_dims(&[batch.clone(), size], &told, Err("sizes are not known"));
        check_dims(&[], &told, Err("a batch axis"));
        check_dims(&[batch.clone(), Dim::Fixed(0)], &told, Err("no sense"));
        check_dims(&[batch, Dim::Fixed(usize::MAX), Dim::Fixed(2)], &told, Err("no sense"));
    }

    #[test]
    fn states_that_do_not_grow_are_no_bytes_per_position() {
        let dims = |n: &[usize]| n.iter().map(|&n| Dim::Fixed(n)).collect::<Vec<_>>();
        let mut states = States::default();
        let take = |states: &mut States, name: &str, element, sizes: &[usize]| {
            let input = value(name, element, &dims(sizes));
            let present = name.replacen("past", "present", 1).replace("_key_values", "");
            let outputs = [value(&present, element, &dims(sizes))];
            states.take(&input, &outputs, &architecture(None)).expect("a state");
        };
        take(&mut states, "past_conv.0", ElementType::F16, &[1, 64, 3]);
        take(&mut states, "past_ssm.0", ElementType::F32, &[1, 64, 16]);
        assert_eq!(states.bytes_per_position(), Some(0));
        assert_eq!(states.bytes_per_sequence(), Some(64 * 3 * 2 + 64 * 16 * 4));
        take(&mut states, "past_key_values.1.key", ElementType::F32, &[1, 2, 0, 16]);
        assert_eq!(states.bytes_per_position(), Some(2 * 16 * 4));
        assert_eq!(states.bytes_per_sequence(), None, "it grows");
    }
}
