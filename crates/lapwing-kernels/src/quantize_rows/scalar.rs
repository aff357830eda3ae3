use super::{N_GROUP, QuantizedGroup, Scaling, sums};

pub(super) fn quantize(row: &[f32], out: &mut [QuantizedGroup]) {
    for (entries, out) in row.chunks(N_GROUP).zip(out) {
        *out = group(&filled_up(entries), scaling(entries));
    }
}

pub(super) fn quantize_in_two(
    row: &[f32],
    first: &mut [QuantizedGroup],
    second: &mut [QuantizedGroup],
) {
    for ((entries, first), second) in row.chunks(N_GROUP).zip(first).zip(second) {
        let scaling = scaling(entries);
        let mut entries = filled_up(entries);
        *first = group(&entries, scaling);
        for (x, &code) in entries.iter_mut().zip(&first.codes) {
            *x = (-scaling.scale).mul_add(f32::from(code), *x);
        }
        *second = group(&entries, scaling.of_rest());
    }
}

fn scaling(entries: &[f32]) -> Scaling {
    let largest = entries.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()));
    Scaling::new(largest, entries.iter().all(|x| x.is_finite()))
}

fn filled_up(entries: &[f32]) -> [f32; N_GROUP] {
    let mut group = [0.0; N_GROUP];
    group[..entries.len()].copy_from_slice(entries);
    group
}

fn group(entries: &[f32; N_GROUP], scaling: Scaling) -> QuantizedGroup {
    // Of no number, and of NaN, `as` makes zero.
    let codes = entries.map(|x| (x * scaling.inverse).round_ties_even() as i8);
    QuantizedGroup { codes, scale: scaling.scale, sums: sums(&codes) }
}
