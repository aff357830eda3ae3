//! Rows of two models side by side.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::Ordering;

use lapwing_eval::{PairScorer, require_same_tokenizer, score_pair};
use lapwing_text::Tokenizer;

use crate::models::{HashModel, text};

const N_VOCAB: usize = 11;

/// Both rows after every token of two sequences, with one scorer.
fn check(reference: &HashModel, model: &HashModel, n_decoders: usize) {
    let mut scorer = PairScorer::new(reference, model, N_VOCAB).expect("a scorer");
    for tokens in [text(1100, N_VOCAB), text(3, N_VOCAB)] {
        let mut n_pairs = 0;
        let flow = scorer.score(&tokens, &mut |pair| {
            let seen = &tokens[..=pair.position];
            assert_eq!(pair.position, n_pairs);
            for (side, row) in [(reference, pair.reference), (model, pair.model)] {
                assert_eq!(row.token_idx, pair.position);
                assert_eq!(row.logits, &side.row(seen)[..N_VOCAB], "at {n_pairs}");
                let hidden = side.n_hidden.filter(|_| side.can_score);
                assert_eq!(row.hidden.map(<[f32]>::to_vec), hidden.map(|_| side.hidden(seen)));
            }
            n_pairs += 1;
            ControlFlow::Continue(())
        });
        assert!(flow.expect("both are scored").is_continue());
        assert_eq!(n_pairs, tokens.len());
    }
    assert_eq!(reference.n_decoders.load(Ordering::Relaxed), n_decoders);
    assert_eq!(model.n_decoders.load(Ordering::Relaxed), n_decoders);
}

#[test]
fn rows_of_every_position_come_in_pairs() {
    let plain = |seed| HashModel::new(seed, N_VOCAB);
    check(&plain(1), &plain(2), 1);
    let padded = |seed, n_padding| HashModel { n_padding, ..plain(seed) };
    check(&padded(1, 5), &padded(2, 0), 1);
    let hidden = |seed, n_hidden| HashModel { n_hidden, ..plain(seed) };
    check(&hidden(1, Some(4)), &hidden(2, None), 1);
    check(&hidden(1, Some(4)), &hidden(2, Some(3)), 1);
    let forward_only = |seed| HashModel { can_rewind: false, ..plain(seed) };
    check(&forward_only(1), &forward_only(2), 2);
    let last_only = |seed| HashModel { can_score: false, n_hidden: Some(2), ..plain(seed) };
    check(&last_only(1), &last_only(2), 1);
}

#[test]
fn the_caller_may_break_off() {
    let (reference, model) = (HashModel::new(1, N_VOCAB), HashModel::new(2, N_VOCAB));
    let mut last = None;
    let flow = score_pair(&reference, &model, N_VOCAB, &text(900, N_VOCAB), &mut |pair| {
        last = Some(pair.position);
        if pair.position == 600 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(flow.expect("it is scored").is_break());
    assert_eq!(last, Some(600));
}

#[test]
fn sequences_and_models_that_do_not_fit_are_refused() {
    let plain = |seed| HashModel::new(seed, N_VOCAB);
    let check = |reference: &HashModel, model: &HashModel, n_vocab, tokens: &[u32], expected| {
        let never = &mut |_: lapwing_eval::RowPair<'_>| ControlFlow::Continue(());
        let error = score_pair(reference, model, n_vocab, tokens, never).expect_err(expected);
        assert_eq!(error.to_string(), expected);
    };
    let short = "rows of the reference hold 11 logits: expected at least 12, one a token";
    check(&plain(1), &HashModel::new(2, 12), 12, &[0], short);
    let empty = "cannot score an empty sequence: expected at least one token";
    check(&plain(1), &plain(2), N_VOCAB, &[], empty);
    let small = HashModel { n_positions_max: 4, ..plain(2) };
    let long = "5 tokens are too many for the model: its context holds 4";
    check(&plain(1), &small, N_VOCAB, &[0; 5], long);
    let outside = "token 9 at position 1 is not in the vocabulary of 9";
    check(&plain(1), &plain(2), 9, &[8, 9], outside);
}

#[test]
fn another_tokenizer_is_told_by_what_differs() {
    let tokenizer = |vocabulary: &str, merges: &str| {
        let json = format!(
            r#"{{"version": "1.0", "added_tokens": [], "model": {{"type": "BPE",
                "vocab": {{{vocabulary}}}, "merges": [{merges}]}}}}"#
        );
        Tokenizer::from_bytes(json.as_bytes(), Path::new("made")).expect("a tokenizer")
    };
    let plain = tokenizer(r#""a": 0, "b": 1, "ab": 2"#, "");
    require_same_tokenizer(&plain, &plain, "abba").expect("the same");
    let check = |reference: &Tokenizer, expected: &str| {
        let error = require_same_tokenizer(reference, &plain, "abba").expect_err(expected);
        assert_eq!(error.to_string(), expected);
    };
    check(
        &tokenizer(r#""a": 0, "b": 1"#, ""),
        "the reference has another tokenizer: 2 tokens, expected 3",
    );
    check(
        &tokenizer(r#""a": 0, "b": 2, "ab": 1"#, ""),
        "the reference has another tokenizer: token 1 is Some(\"ab\"), expected Some(\"b\")",
    );
    check(
        &tokenizer(r#""a": 0, "b": 1, "ab": 2"#, r#""a b""#),
        "the reference has another tokenizer: the text becomes Some(2) at token 0, \
         expected Some(0)",
    );
}
