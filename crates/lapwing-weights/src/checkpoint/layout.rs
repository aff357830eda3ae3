//! Under which name, and in which form, a file has a tensor.

use std::ops::Range;

use lapwing_model::{Architecture, Family, Transformer};

use crate::tensor::{Order, Tensor};

/// A tensor of a file, or a part of one.
#[derive(Debug)]
pub(super) struct Stored {
    /// Its name in the file.
    pub(super) name: String,
    /// Which rows of it, where projections lie one below the other in it.
    pub(super) part: Option<Part>,
    /// In which order its elements are there.
    pub(super) order: Order,
    /// What is added to every element.
    pub(super) added: f32,
}

/// Some rows of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part {
    /// Counted through all matrices.
    pub(super) rows: Range<usize>,
    /// Of the whole, or of each of its matrices.
    pub(super) n_rows: usize,
    /// Where the whole is several matrices, how many.
    pub(super) n_matrices: Option<usize>,
}

impl Stored {
    /// What the file has, of a tensor of this shape.
    pub(super) fn whole_shape(&self, mut shape: Vec<usize>) -> Vec<usize> {
        if let (Some(part), Some(n_rows)) = (&self.part, shape.first_mut()) {
            *n_rows = part.n_rows;
            if matches!(self.order, Order::Columns { .. }) {
                shape.reverse();
            }
            shape.splice(0..0, part.n_matrices);
        }
        shape
    }

    /// The tensor, of what the file has under the name.
    ///
    /// # Panics
    ///
    /// When that has another shape than [`Stored::whole_shape`] says.
    pub(super) fn of_whole<'a>(&self, whole: Tensor<'a>) -> Tensor<'a> {
        let mut tensor = match &self.part {
            None => whole,
            Some(part) => match (self.order, part.n_matrices) {
                (Order::Columns { .. }, _) => {
                    let (matrix_idx, n) = (part.rows.start / part.n_rows.max(1), whole.shape[1]);
                    whole.of_rows(matrix_idx * n..(matrix_idx + 1) * n)
                }
                // Of each matrix there is a vector.
                (_, Some(_)) if whole.shape.len() == 2 => {
                    whole.flattened().of_rows(part.rows.clone())
                }
                _ => whole.of_rows(part.rows.clone()),
            },
        };
        tensor = tensor.in_order(self.order);
        tensor.added = self.added;
        tensor
    }
}

/// Projections that have biases together: of queries, keys and values, of the output, of the
/// feed-forward layer.
pub(super) const BIASED: [&[&str]; 3] = [
    &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    &["self_attn.o_proj"],
    &["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"],
];

/// The name of a bias of any of these projections. Two layers are looked at: where one bias of a
/// model is missing, the others tell that it has them.
pub(super) fn any_bias(modules: &[&str], has: &dyn Fn(&str) -> bool) -> Option<String> {
    let names = (0..2).flat_map(|layer_idx| {
        modules.iter().map(move |module| format!("model.layers.{layer_idx}.{module}.bias"))
    });
    names.into_iter().find(|name| has(name))
}

/// The name, as Hugging Face has it, that a projection is fused under, and which rows it is there;
/// none where it stands alone.
pub(super) fn fused(
    family: &Family,
    architecture: &Architecture<Transformer>,
    name: &str,
) -> Option<(String, Part)> {
    const FUSED: [(&str, &[&str]); 2] = [
        ("self_attn.qkv_proj", &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
        ("mlp.gate_up_proj", &["mlp.gate_proj", "mlp.up_proj"]),
    ];
    if !family.is_fused {
        return None;
    }
    let n_rows_of = |module: &str| {
        let n_heads = match module {
            "self_attn.q_proj" => architecture.n_heads,
            "self_attn.k_proj" | "self_attn.v_proj" => architecture.n_kv_heads,
            _ => return architecture.family.intermediate_size,
        };
        n_heads.saturating_mul(architecture.head_size)
    };
    FUSED.iter().find_map(|(whole, modules)| {
        let in_name = |module: &&&str| name.contains(&format!(".{module}."));
        let module = modules.iter().find(in_name)?;
        let before = modules.iter().take_while(|other| other != &module);
        let start = before.map(|module| n_rows_of(module)).fold(0, usize::saturating_add);
        let n_rows = modules.iter().map(|module| n_rows_of(module)).fold(0, usize::saturating_add);
        let rows = start..start.saturating_add(n_rows_of(module));
        Some((name.replace(module, whole), Part { rows, n_rows, n_matrices: None }))
    })
}
