pub(super) fn add_offset(row: &mut [f32], offset: &[f32]) {
    for (x, &offset) in row.iter_mut().zip(offset) {
        if x.is_finite() {
            *x += offset;
        }
    }
}

pub(super) fn affine_in_place(row: &mut [f32], from_mean: f32, scale: f32, to_mean: f32) {
    for x in row {
        if x.is_finite() {
            *x = (*x - from_mean) * scale + to_mean;
        }
    }
}
