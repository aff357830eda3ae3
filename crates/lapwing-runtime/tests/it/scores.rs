//! Likelihoods against the fake model's known distribution.

use lapwing_backend::{FakeModel, Model};
use lapwing_logits::Level;
use lapwing_runtime::score;

use crate::models::{Fault, faulty};

/// After token `t` the logits are 10 at `t + 1`, 5 at `t + 2` and eighteen times 0.
fn normaliser() -> f64 {
    (10f64.exp() + 5f64.exp() + 18.0).ln()
}

#[test]
fn each_token_is_scored_given_those_before() {
    let everywhere: Box<dyn Model> = Box::new(FakeModel::new(20, 100, true));
    let last_only: Box<dyn Model> = Box::new(faulty(Fault::LastPositionOnly));
    for model in [everywhere, last_only] {
        for level in Level::available() {
            let score = score(&*model, level, &[1, 2, 4, 0]).unwrap();
            let expected = [10.0, 5.0, 0.0].map(|logit: f64| normaliser() - logit);
            assert_eq!(score.negative_log_likelihoods.len(), 3);
            for (found, expected) in score.negative_log_likelihoods.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            }
            let sum = 3.0 * normaliser() - 15.0;
            assert!((score.sum() - sum).abs() < 1e-6);
            assert!((score.perplexity() - (sum / 3.0).exp()).abs() < 1e-4);
        }
    }
}

#[test]
fn wrong_sequences_are_refused() {
    let check = |tokens: &[u32], expected: &str| {
        let found = score(&FakeModel::new(20, 4, true), Level::SCALAR, tokens);
        let message = found.map_or_else(|error| error.to_string(), |_| "scored".to_owned());
        assert_eq!(message, expected, "{tokens:?}");
    };
    check(&[], "cannot score 0 tokens: expected at least 2");
    check(&[1], "cannot score 1 tokens: expected at least 2");
    check(&[1, 2, 3, 4, 5], "scored");
    check(&[1, 2, 3, 4, 5, 6], "cannot score 6 tokens: the context holds 4 before the last");
    check(&[1, 2, 99], "token 99 at position 2 is not in the vocabulary of 20");
}

#[test]
fn rows_without_a_distribution_are_an_error() {
    let found = score(&faulty(Fault::NanFrom(2)), Level::detect(), &[1, 2, 3, 4, 5]);
    assert_eq!(
        found.unwrap_err().to_string(),
        "logits after position 2 are not a distribution: NaN, +inf or all -inf"
    );
}
