//! Where a file has the weights of experts.
//!
//! ```text
//! safetensors:   model.layers.0.block_sparse_moe.experts.5.w1.weight    one by one, by the family
//!                model.layers.0.mlp.experts.gate_up_proj                all, as transformers 5 has
//!                                                                       them in memory
//! GGUF:          blk.0.ffn_gate_exps.weight                             all
//! ```

use lapwing_model::{Architecture, Experts, FamilyExperts, Transformer};

use super::layout::Part;

/// What a tensor of a mixture is, by its Hugging Face name.
enum Role<'a> {
    Router,
    /// `part` is `gate`, `up` or `down`.
    Projection {
        expert_idx: usize,
        part: &'a str,
    },
}

/// The beginning of the name, up to the layer's number and a dot, and what the tensor is.
fn role(name: &str) -> Option<(&str, Role<'_>)> {
    if Experts::is_router(name) {
        return Some((name.strip_suffix(Experts::ROUTER)?, Role::Router));
    }
    let (layer, rest) = name.split_once("mlp.experts.")?;
    let (expert_idx, rest) = rest.split_once('.')?;
    let part = rest.strip_suffix("_proj.weight")?;
    Some((layer, Role::Projection { expert_idx: expert_idx.parse().ok()?, part }))
}

/// The name in safetensors, and which rows of it; `has` tells whether there is a tensor of a name.
/// None for other tensors than those of a mixture.
pub(super) fn in_safetensors(
    family: &FamilyExperts,
    architecture: &Architecture<Transformer>,
    name: &str,
    has: &dyn Fn(&str) -> bool,
) -> Option<(String, Option<Part>)> {
    let (layer, role) = role(name)?;
    let module = format!("{layer}{}", family.module);
    let Role::Projection { expert_idx, part } = role else {
        let own = format!("{module}.gate.weight");
        return Some((if has(&own) { own } else { name.to_owned() }, None));
    };
    let both = format!("{layer}mlp.experts.gate_up_proj");
    if has(&both) {
        let down = format!("{layer}mlp.experts.down_proj");
        let whole = if part == "down" { down } else { both };
        let n_beside = if part == "down" { 1 } else { 2 };
        let place = if part == "up" { 1 } else { 0 };
        return Some((whole, Some(stacked(architecture, part, [expert_idx, n_beside, place])?)));
    }
    let at = ["gate", "up", "down"].iter().position(|known| *known == part)?;
    let projection = family.projections[at];
    Some((format!("{module}.experts.{expert_idx}.{projection}.weight"), None))
}

/// The name in a GGUF as Hugging Face would have it, and which rows of it. None for other tensors
/// than an expert's.
pub(super) fn in_gguf(
    architecture: &Architecture<Transformer>,
    name: &str,
) -> Option<(String, Part)> {
    let (layer, Role::Projection { expert_idx, part }) = role(name)? else { return None };
    let whole = format!("{layer}mlp.experts.{part}_proj.weight");
    Some((whole, stacked(architecture, part, [expert_idx, 1, 0])?))
}

/// The rows of one expert in the matrices of all, each of which holds `n_beside` projections of an
/// expert one below the other.
fn stacked(
    architecture: &Architecture<Transformer>,
    part: &str,
    [expert_idx, n_beside, place]: [usize; 3],
) -> Option<Part> {
    let n_rows = match part {
        "down" => architecture.hidden_size,
        _ => architecture.family.intermediate_size,
    };
    let start = expert_idx.saturating_mul(n_beside).saturating_add(place).saturating_mul(n_rows);
    Some(Part {
        rows: start..start.saturating_add(n_rows),
        n_rows: n_rows.saturating_mul(n_beside),
        n_matrices: Some(architecture.family.experts?.n_experts),
    })
}
