//! Where a file has the weights of experts.
//!
//! ```text
//! safetensors:   model.layers.0.block_sparse_moe.experts.5.w1.weight    one by one, by the family
//!                model.layers.0.mlp.experts.gate_up_proj                all, as transformers 5 has
//!                                                                       them in memory; of gpt-oss
//!                                                                       [experts, columns, rows]
//!                model.layers.0.mlp.experts.gate_up_proj_blocks         all, of gpt-oss: MXFP4
//! GGUF:          blk.0.ffn_gate_exps.weight                             all
//! ```

use lapwing_model::{Architecture, Experts, FamilyExperts, Transformer};

use super::layout::Part;
use crate::tensor::Order;

/// What a tensor of a mixture is, by its Hugging Face name.
enum Role<'a> {
    /// `parameter` is `weight` or `bias`.
    Router { parameter: &'a str },
    /// `part` is `gate`, `up` or `down`.
    Projection { expert_idx: usize, part: &'a str, parameter: &'a str },
}

/// Where a tensor is in a file: its name there, which rows of it, and in which order.
pub(super) type Place = (String, Option<Part>, Order);

/// The beginning of the name, up to the layer's number and a dot, and what the tensor is.
fn role(name: &str) -> Option<(&str, Role<'_>)> {
    if Experts::is_router(name) {
        let role = Role::Router { parameter: "weight" };
        return Some((name.strip_suffix(Experts::ROUTER)?, role));
    }
    if let Some(layer) = name.strip_suffix(Experts::ROUTER_BIAS).filter(|n| n.ends_with('.')) {
        return Some((layer, Role::Router { parameter: "bias" }));
    }
    let (layer, rest) = name.split_once("mlp.experts.")?;
    let (expert_idx, rest) = rest.split_once('.')?;
    let (part, parameter) = rest.split_once("_proj.")?;
    Some((layer, Role::Projection { expert_idx: expert_idx.parse().ok()?, part, parameter }))
}

/// The place in safetensors; `has` tells whether there is a tensor of a name. None for other tensors
/// than those of a mixture.
pub(super) fn in_safetensors(
    family: &FamilyExperts,
    architecture: &Architecture<Transformer>,
    name: &str,
    has: &dyn Fn(&str) -> bool,
) -> Option<Place> {
    let (layer, role) = role(name)?;
    let module = format!("{layer}{}", family.module);
    let whole = |part: &str| format!("{layer}mlp.experts.{part}_proj");
    // Of which the other may be missing.
    let are_stacked = has(&whole("gate_up")) || has(&whole("down"));
    let (expert_idx, part, parameter) = match role {
        Role::Router { parameter } => {
            let own = format!("{module}.{}.{parameter}", family.router);
            let has_own = !are_stacked && !has(name);
            let name =
                if has(&own) || family.are_in_turn || has_own { own } else { name.to_owned() };
            return Some((name, None, Order::Same));
        }
        Role::Projection { expert_idx, part, parameter } => (expert_idx, part, parameter),
    };
    if family.are_in_turn {
        return in_turn(architecture, &module, (expert_idx, part, parameter), has);
    }
    if are_stacked {
        let whole = whole(if part == "down" { "down" } else { "gate_up" });
        let n_beside = if part == "down" { 1 } else { 2 };
        let place = if part == "up" { 1 } else { 0 };
        let part = stacked(architecture, part, [expert_idx, n_beside, place])?;
        return Some((whole, Some(part), Order::Same));
    }
    let at = ["gate", "up", "down"].iter().position(|known| *known == part)?;
    let projection = family.projections[at];
    Some((format!("{module}.experts.{expert_idx}.{projection}.weight"), None, Order::Same))
}

/// The place among those of all experts, where gate and up have a row in turn.
fn in_turn(
    architecture: &Architecture<Transformer>,
    module: &str,
    (expert_idx, part, parameter): (usize, &str, &str),
    has: &dyn Fn(&str) -> bool,
) -> Option<Place> {
    let (whole, n_beside, place) = match part {
        "down" => ("down_proj", 1, 0),
        "up" => ("gate_up_proj", 2, 1),
        _ => ("gate_up_proj", 2, 0),
    };
    let whole = format!("{module}.experts.{whole}");
    let mut all = stacked(architecture, part, [expert_idx, n_beside, 0])?;
    all.rows.end = all.rows.start.saturating_add(all.n_rows);
    let rows = match n_beside {
        1 => Order::Same,
        _ => Order::Alternating { place },
    };
    let blocks = format!("{whole}_blocks");
    let (name, order) = match parameter {
        "bias" => (format!("{whole}_bias"), rows),
        _ if has(&blocks) => (blocks, rows),
        _ => (whole, Order::Columns { place, n_beside }),
    };
    Some((name, Some(all), order))
}

/// The name in a GGUF as Hugging Face would have it, and which rows of it. None for other tensors
/// than an expert's.
pub(super) fn in_gguf(
    architecture: &Architecture<Transformer>,
    name: &str,
) -> Option<(String, Part)> {
    let (layer, Role::Projection { expert_idx, part, parameter }) = role(name)? else {
        return None;
    };
    let whole = format!("{layer}mlp.experts.{part}_proj.{parameter}");
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
