//! What the IR says about itself in `rt_info`.

use lapwing_model::{Architecture, Transformer};

use super::source::Written;
use crate::plan::{Precision, WHOLE_ROW};

/// What NNCF calls MXFP4.
const MXFP4: &str = "mxfp4";
/// By how much plugins that compute in f16 shrink activations, as optimum-intel notes it for
/// every decoder.
const ACTIVATIONS_SCALE_FACTOR: &str = "8.0";

/// The notes as paths and values.
pub(super) fn rt_info(
    architecture: &Architecture<Transformer>,
    written: &[Written],
) -> Vec<(String, String)> {
    let mut notes = Vec::new();
    let mut note = |path: &str, value: String| notes.push((path.to_owned(), value));
    note("conversion_parameters/framework", "lapwing".to_owned());
    note("lapwing/version", env!("CARGO_PKG_VERSION").to_owned());
    if architecture.sliding_window.is_some() {
        // See `mask`: what tells these from graphs whose windows count slots of the cache.
        note("lapwing/window_counts", "positions".to_owned());
    }
    if let Some(main) = main_precision(written) {
        let backup = written
            .iter()
            .map(|weight| weight.precision)
            .find(|&other| matches!(other, Precision::Int8 { .. }) && other != main);
        let group_size = match main {
            Precision::Int8 { group_size: Some(size), .. }
            | Precision::Int4 { group_size: size, .. }
                if size != WHOLE_ROW =>
            {
                size.to_string()
            }
            _ => "-1".to_owned(),
        };
        note("nncf/weight_compression/backup_mode", mode(backup.unwrap_or(main)).to_owned());
        note("nncf/weight_compression/group_size", group_size);
        let is_mx = mx_is_most(written, main);
        note("nncf/weight_compression/mode", if is_mx { MXFP4 } else { mode(main) }.to_owned());
        note("nncf/weight_compression/ratio", ratio(written, main, is_mx));
    }
    note("runtime_options/ACTIVATIONS_SCALE_FACTOR", ACTIVATIONS_SCALE_FACTOR.to_owned());
    notes
}

/// The type of floats that `openvino_config.json` names: empty when the weights are codes.
pub(super) fn openvino_config_dtype(written: &[Written]) -> &'static str {
    let has = |precision| written.iter().any(|weight| weight.precision == precision);
    match (main_precision(written), has(Precision::F16)) {
        (Some(_), _) => "",
        (None, true) => "fp16",
        (None, false) => "fp32",
    }
}

/// The narrowest codes that the projections have, and of these the most used; none when all are
/// floats.
fn main_precision(written: &[Written]) -> Option<Precision> {
    let projections = || written.iter().filter(|weight| !weight.is_head);
    let n_weights = |precision| -> usize {
        projections().filter(|w| w.precision == precision).map(|w| w.n_weights).sum()
    };
    let is_int4 = |precision| matches!(precision, Precision::Int4 { .. });
    projections()
        .map(|weight| weight.precision)
        .filter(|precision| !matches!(precision, Precision::F32 | Precision::F16))
        .max_by_key(|&precision| (is_int4(precision), n_weights(precision)))
}

/// Whether most of the projections of this precision have kept the checkpoint's MXFP4.
fn mx_is_most(written: &[Written], main: Precision) -> bool {
    let of_main = written.iter().filter(|weight| !weight.is_head && weight.precision == main);
    let (mut n_mx, mut n_all) = (0, 0);
    for weight in of_main {
        n_all += weight.n_weights;
        n_mx += if weight.is_mx { weight.n_weights } else { 0 };
    }
    n_all < 2 * n_mx
}

fn mode(precision: Precision) -> &'static str {
    match precision {
        Precision::Int4 { symmetric: true, .. } => "int4_sym",
        Precision::Int4 { symmetric: false, .. } => "int4_asym",
        Precision::Int8 { symmetric: true, .. } => "int8_sym",
        Precision::Int8 { symmetric: false, .. } => "int8_asym",
        Precision::F16 | Precision::F32 => "none",
    }
}

/// The share of the projections that have the main mode, without trailing zeros.
fn ratio(written: &[Written], main: Precision, is_mx: bool) -> String {
    let (mut n_main, mut n_all) = (0, 0);
    for weight in written.iter().filter(|weight| !weight.is_head) {
        n_all += weight.n_weights;
        let is_main = mode(weight.precision) == mode(main) && weight.is_mx == is_mx;
        n_main += if is_main { weight.n_weights } else { 0 };
    }
    let ratio = n_main as f64 / n_all.max(1) as f64;
    format!("{:?}", (ratio * 10_000.0).round() / 10_000.0)
}
