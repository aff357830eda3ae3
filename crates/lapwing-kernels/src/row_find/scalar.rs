pub(super) fn row_find_equal(logits: &[f32], value: f32) -> Option<usize> {
    logits.iter().position(|&logit| logit == value)
}

pub(super) fn row_find_nan(logits: &[f32]) -> Option<usize> {
    logits.iter().position(|logit| logit.is_nan())
}
