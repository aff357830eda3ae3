pub(super) fn rotate_halves(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (low, high) = head.split_at_mut(cos.len());
    rotate(low, high, cos, sin);
}

pub(super) fn rotate(low: &mut [f32], high: &mut [f32], cos: &[f32], sin: &[f32]) {
    for ((a, b), (cos, sin)) in low.iter_mut().zip(high).zip(cos.iter().zip(sin)) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}
