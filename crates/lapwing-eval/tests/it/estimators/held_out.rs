//! Whether a gain brings logits closer to a reference on text it was not fitted on.

/// Filters rows with given gains and compares with a reference, before and after.
///
/// A cheap look ahead of a gate: it needs no probabilities. That squares get smaller does
/// not mean that the likelihood gets better.
#[derive(Clone, Debug)]
pub(crate) struct HeldOutGain {
    gains: Vec<f32>,
    /// NaN where a chain starts.
    state: Vec<f32>,
    n: usize,
    raw: f64,
    filtered: f64,
}

/// Mean squared distances to the reference; NaN when no pair was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct HeldOutError {
    /// Pairs seen.
    pub(crate) n: usize,
    /// Of the model's logits as they are.
    pub(crate) raw: f64,
    /// Of the filtered logits.
    pub(crate) filtered: f64,
}

impl HeldOutGain {
    /// With one gain for each token.
    pub(crate) fn new(gains: Vec<f32>) -> HeldOutGain {
        let state = vec![f32::NAN; gains.len()];
        HeldOutGain { gains, state, n: 0, raw: 0.0, filtered: 0.0 }
    }

    /// What follows is not the continuation of what was pushed.
    pub(crate) fn begin_window(&mut self) {
        self.state.fill(f32::NAN);
    }

    /// Take in the rows of one position.
    ///
    /// An entry of the model that is no logit breaks the token's chain; one of the
    /// reference is only left out of the comparison.
    ///
    /// Shapes: `reference_centred [n_tokens]`, `model_centred [n_tokens]`.
    ///
    /// # Panics
    ///
    /// When a row has another length.
    pub(crate) fn push(&mut self, reference_centred: &[f32], model_centred: &[f32]) {
        assert_eq!(reference_centred.len(), self.gains.len(), "one logit for each gain");
        assert_eq!(model_centred.len(), self.gains.len(), "one logit for each gain");
        let rows = reference_centred.iter().zip(model_centred);
        for ((&reference, &model), (state, &gain)) in
            rows.zip(self.state.iter_mut().zip(&self.gains))
        {
            if !is_logit(model) {
                *state = f32::NAN;
                continue;
            }
            *state = if state.is_nan() { model } else { *state + gain * (model - *state) };
            if is_logit(reference) {
                self.n += 1;
                self.raw += f64::from(model - reference).powi(2);
                self.filtered += f64::from(*state - reference).powi(2);
            }
        }
    }

    /// The errors so far.
    pub(crate) fn error(&self) -> HeldOutError {
        let n = self.n as f64;
        HeldOutError { n: self.n, raw: self.raw / n, filtered: self.filtered / n }
    }
}

/// As the estimators see it: neither NaN nor infinite, nor a mask.
fn is_logit(value: f32) -> bool {
    value.abs() < 1e15
}

#[test]
fn errors_before_and_after_the_filter() {
    let mut held_out = HeldOutGain::new(vec![0.5, 1.0]);
    held_out.push(&[1.0, 0.0], &[2.0, 2.0]);
    // States 1 and 4.
    held_out.push(&[1.0, 0.0], &[0.0, 4.0]);
    // Left out, and left out with a new start.
    held_out.push(&[f32::NAN, 0.0], &[3.0, f32::NEG_INFINITY]);
    // States 1.5 = 2 + 0.5 (1 - 2), and 7 anew.
    held_out.push(&[0.0, 7.0], &[1.0, 7.0]);
    held_out.begin_window();
    held_out.push(&[5.0, 5.0], &[5.0, 5.0]);
    let error = held_out.error();
    assert_eq!(error.n, 8);
    assert_eq!(error.raw, (1.0 + 4.0 + 1.0 + 16.0 + 1.0) / 8.0);
    assert_eq!(error.filtered, (1.0 + 4.0 + 0.0 + 16.0 + 2.25) / 8.0);
}
