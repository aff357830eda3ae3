//! Rows of a given text, against those that the fake model is known to give.

use lapwing_backend::{FakeModel, Model, StepError};
use lapwing_logits::{Level, log_probability};
use lapwing_runtime::score_rows;

use crate::models::{Fault, faulty};

/// `-ln p` of every token but the first.
fn surprises(model: &dyn Model, level: Level, tokens: &[u32]) -> Result<Vec<f64>, StepError> {
    let mut found = Vec::new();
    let mut decoder = model.decoder().expect("a decoder");
    score_rows(model, &mut *decoder, &tokens[..tokens.len() - 1], &mut |row| {
        assert_eq!(row.token_idx, found.len(), "rows come in order");
        let next = log_probability(level, row.logits, tokens[row.token_idx + 1]);
        found.push(-next.expect("a distribution"));
    })?;
    Ok(found)
}

#[test]
fn each_token_is_scored_given_those_before() {
    // After token `t` the logits are 10 at `t + 1`, 5 at `t + 2` and eighteen times 0.
    let normaliser = (10f64.exp() + 5f64.exp() + 18.0).ln();
    let everywhere: Box<dyn Model> = Box::new(FakeModel::new(20, 100, true));
    let last_only: Box<dyn Model> = Box::new(faulty(Fault::LastPositionOnly));
    for model in [everywhere, last_only] {
        for level in Level::available() {
            let found = surprises(&*model, level, &[1, 2, 4, 0]).unwrap();
            let expected = [10.0, 5.0, 0.0].map(|logit: f64| normaliser - logit);
            assert_eq!(found.len(), 3);
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            }
        }
    }
}

#[test]
fn wrong_sequences_are_refused() {
    let check = |tokens: &[u32], expected: &str| {
        let found = surprises(&FakeModel::new(20, 4, true), Level::SCALAR, tokens);
        let message = found.map_or_else(|error| error.to_string(), |_| "scored".to_owned());
        assert_eq!(message, expected, "{tokens:?}");
    };
    check(&[1, 2, 3, 4, 5], "scored");
    check(&[1, 2, 3, 4, 5, 6], "context is full: 0 positions seen, 5 new, 4 allowed");
    check(&[1, 2, 99, 0], "token 99 is not in the vocabulary of 20");
}
