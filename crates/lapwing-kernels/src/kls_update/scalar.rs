use super::Reversion;

pub(super) fn kls_update(row: &mut [f32], state: &mut [f32], gauge: f32, gain: f32) {
    for (y, s) in row.iter_mut().zip(state) {
        let prior = *s;
        update(y, s, prior, gauge, gain);
    }
}

pub(super) fn kls_update_each(row: &mut [f32], state: &mut [f32], gauge: f32, gains: &[f32]) {
    for ((y, s), &gain) in row.iter_mut().zip(state).zip(gains) {
        let prior = *s;
        update(y, s, prior, gauge, gain);
    }
}

pub(super) fn kls_update_reverting(
    row: &mut [f32],
    state: &mut [f32],
    gauge: f32,
    gains: &[f32],
    reversion: Reversion<'_>,
) {
    let entries = row.iter_mut().zip(state);
    for ((y, s), (&gain, &level)) in entries.zip(gains.iter().zip(reversion.levels)) {
        let prior = reversion.coefficient * *s + (1.0 - reversion.coefficient) * level;
        update(y, s, prior, gauge, gain);
    }
}

fn update(y: &mut f32, s: &mut f32, prior: f32, gauge: f32, gain: f32) {
    if !y.is_finite() {
        return;
    }
    let x = *y - gauge;
    if prior.is_finite() && gain != 1.0 {
        *s = prior + gain * (x - prior);
        *y = *s + gauge;
    } else {
        *s = x;
    }
}
